"""
Plain arrays as demonstrations. Integers are never changed on the way; floats of another width are rounded to the
space's dtype, with a warning where that changes one.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations
from sb3_ext.demonstrations.formats.base import Option
from sb3_ext.env_ids import without_module

FinalObservation = Literal["unknown", "repeat", "drop"]
"""
What to do where a file lacks the observation behind an episode's last step. ``"unknown"``: say so; the last state, the
last action and the way in which the episode ended are kept. ``"repeat"``: take the last known observation for it, which
is untrue. ``"drop"``: leave the last step out, which makes every episode a cut (truncated) one: who imitates them
learns no end.
"""
FinalOption = Annotated[
    FinalObservation,
    Option(
        "where the last observation is missing, say so, repeat the one before, or drop the last step and with it the "
        "end (unknown)",
        (("unknown", "unknown"), ("repeat", "repeat"), ("drop", "drop")),
    ),
]


class Parts(NamedTuple):
    """An episode as a reader finds it."""

    observations: Any
    """[T+1, *shape], or a dictionary of such arrays; T rows where the final one is unknown"""
    actions: np.ndarray
    rewards: np.ndarray | None
    terminated: bool | None
    truncated: bool | None
    seed: int | None = None
    final_known: bool = True


def from_arrays(
    observations: Sequence[Any],
    actions: Sequence[Any],
    rewards: Sequence[Any] | None = None,
    *,
    terminated: Sequence[bool | None],
    truncated: Sequence[bool | None] | None = None,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    seeds: Sequence[int | None] | None = None,
    versions: Mapping[str, str] | None = None,
    final_known: Sequence[bool] | None = None,
) -> Demonstrations:
    """
    Demonstrations from one array per episode and field.

    :param observations: of each episode [T+1, *shape], or a dictionary of such arrays; T rows where the final
        observation is unknown
    :param actions: of each episode [T, *shape], as the environment executed them
    :param rewards: of each episode [T]
    :param terminated: whether each episode reached a terminal state, None = unknown
    :param truncated: whether each was cut off; default: the ones that did not terminate
    :param observation_space: arrays are cast to its dtype, see above
    :param action_space: likewise
    :param env_id: gymnasium's id
    :param seeds: that the environment was reset with
    :param versions: of the packages that made them, by name
    :param final_known: whether the observation behind each episode's last step is there; default: all are
    :raises ValueError: with the episode and the field
    """
    if truncated is None:
        truncated = [None if end is None else not end for end in terminated]
    if final_known is None:
        final_known = [True] * len(observations)
    per_episode: dict[str, Sequence[Any]] = {"actions": actions, "terminated": terminated, "truncated": truncated}
    per_episode |= {"final_known": final_known}
    per_episode |= {} if rewards is None else {"rewards": rewards}
    per_episode |= {} if seeds is None else {"seeds": seeds}
    rounded: dict[str, str] = {}
    for name, values in per_episode.items():
        if len(values) != len(observations):
            raise ValueError(f"{name}: of {len(values)} episodes, observations of {len(observations)}")
    episodes = []
    for i in range(len(observations)):
        try:
            episodes.append(
                Episode(
                    observations=cast_observations(observations[i], observation_space, rounded),
                    actions=cast(actions[i], action_space.dtype, "actions", rounded),
                    rewards=None if rewards is None else as_numbers(rewards[i], "rewards"),
                    terminated=terminated[i],
                    truncated=truncated[i],
                    seed=None if seeds is None else seeds[i],
                    final_known=final_known[i],
                )
            )
        except ValueError as error:
            raise ValueError(f"episode {i}: {error}") from None
    if rounded:
        changes = "; ".join(f"{name}: {change}" for name, change in rounded.items())
        warnings.warn(f"{changes}, the dtype of their space: numbers changed in their last digits", stacklevel=2)
    env_id = without_module(env_id)
    return Demonstrations(tuple(episodes), observation_space, action_space, env_id, dict(versions or {}))


def from_parts(
    parts: Sequence[Parts],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None,
    versions: Mapping[str, str] | None = None,
) -> Demonstrations:
    """Parameters and errors as in `from_arrays`."""
    with_rewards = all(part.rewards is not None for part in parts)
    return from_arrays(
        [part.observations for part in parts],
        [part.actions for part in parts],
        [part.rewards for part in parts] if with_rewards else None,
        terminated=[part.terminated for part in parts],
        truncated=[part.truncated for part in parts],
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        seeds=[part.seed for part in parts],
        versions=versions,
        final_known=[part.final_known for part in parts],
    )


def cast_observations(observations: Any, space: spaces.Space[Any], rounded: dict[str, str]) -> Observations:
    """
    :param observations: [T+1, *shape], or a dictionary of such arrays
    :param space: of one of them
    :param rounded: see `cast`
    :return: the same numbers in the space's dtypes
    :raises ValueError: where an integer would change, or keys differ
    """
    if not isinstance(space, spaces.Dict):
        return cast(observations, space.dtype, "observations", rounded)
    if not isinstance(observations, Mapping) or observations.keys() != space.keys():
        given = sorted(observations) if isinstance(observations, Mapping) else type(observations).__name__
        raise ValueError(f"observations: {given}; the space has {sorted(space)}")
    return {key: cast(observations[key], part.dtype, f"observations.{key}", rounded) for key, part in space.items()}


def cast(values: Any, dtype: np.dtype | None, name: str, rounded: dict[str, str]) -> np.ndarray:
    """
    :param values: an array, or nested lists
    :param dtype: wanted
    :param name: what to call them
    :param rounded: gets the name where numbers had to be rounded, and from what to what
    :return: the same numbers, the nearest floats of ``dtype`` where it is one
    :raises ValueError: where an integer would change, a float become one, or a number leave the range of ``dtype``
    """
    array = as_numbers(values, name)
    if dtype is None or not dtype.kind == array.dtype.kind == "f":
        return cast_exactly(array, dtype, name)
    with np.errstate(over="ignore", under="ignore"):
        result: np.ndarray = array.astype(dtype)
    if not np.array_equal(np.isfinite(array), np.isfinite(result)):
        return cast_exactly(array, dtype, name)  # names the number
    if np.isfinite(array).all() and (result.astype(array.dtype) != array).any():
        rounded[name] = f"{array.dtype} rounded to {dtype}"
    return result


def cast_exactly(values: Any, dtype: np.dtype | None, name: str) -> np.ndarray:
    """
    :param values: an array, or nested lists
    :param dtype: wanted
    :param name: what to call them
    :raises ValueError: where a value would change, or a float would become an integer
    """
    array = as_numbers(values, name)
    if dtype is None or array.dtype == dtype:
        return array
    if array.dtype.kind == "f" and dtype.kind != "f":
        raise ValueError(f"{name}: {array.dtype} numbers in a space of {dtype}; cast them yourself if that is meant")
    with np.errstate(over="ignore", invalid="ignore"):
        result: np.ndarray = array.astype(dtype)
        # There and back again; by value too, since the sign of an integer may come back from a wrong number.
        changed = (result.astype(array.dtype) != array) | (np.signbit(result) != np.signbit(array))
        if dtype.kind == "f":
            changed &= ~(np.isnan(result) & np.isnan(array.astype(dtype)))  # an episode names these itself
    if changed.any():
        place = tuple(int(i) for i in np.argwhere(changed)[0])
        raise ValueError(
            f"{name}: {array[place]} at {place} is not exact as {dtype}, the space's dtype; cast the array of "
            f"{array.dtype} yourself if that is meant"
        )
    return result


def as_numbers(values: Any, name: str) -> np.ndarray:
    """
    :param values: an array, or nested lists
    :param name: what to call them
    :raises ValueError: if they are no array of numbers
    """
    try:
        array: np.ndarray = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: no array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: dtype {array.dtype}; arrays of numbers only")
    return array


def check_final_observation(how: FinalObservation) -> None:
    """:raises ValueError: for what is no `FinalObservation`"""
    if how not in get_args(FinalObservation):
        choice = " or ".join(map(repr, get_args(FinalObservation)))
        raise ValueError(f"final_observation {how!r} must be {choice}")


def without_final(parts: Parts, how: FinalObservation) -> Parts:
    """
    :param parts: an episode of T observations for T actions
    :param how: see `FinalObservation`; ``"drop"`` may leave no step
    :return: what is to become an episode
    """
    if how == "unknown":
        return parts._replace(final_known=False)
    parts = parts._replace(final_known=True)
    if how == "repeat":
        return parts._replace(observations=np.concatenate([parts.observations, parts.observations[-1:]]))
    rewards = None if parts.rewards is None else parts.rewards[:-1]
    # The episode went on behind what is left of it, however it ended.
    return parts._replace(actions=parts.actions[:-1], rewards=rewards, terminated=False, truncated=True)


def same_but_for_ones(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """:return: whether two shapes [N, ...] differ in axes of size 1 at most, which some formats add to numbers"""
    wide, narrow = ([n for n in axes[1:] if n != 1] for axes in (shape, other))
    return shape[:1] == other[:1] and wide == narrow


def refuse_kept(demos: Demonstrations, format_name: str) -> None:
    """:raises ValueError: for subsampled demonstrations and for labels, which only our own files can hold"""
    if any(episode.executed is not None for episode in demos.episodes):
        raise ValueError(f"executed: {format_name} has no place for labels beside executed actions; write an .npz")
    if any(episode.kept is not None for episode in demos.episodes):
        raise ValueError(
            f"kept: {format_name} holds whole episodes; write them before `subsample`, or write an .npz with `save`"
        )


def refuse_unknown(demos: Demonstrations, format_name: str, end: bool = True, final: bool = True) -> None:
    """
    :param demos: to be written
    :param format_name: of what has no place for an unknown
    :param end: whether an unknown end is refused
    :param final: whether an unknown final observation is
    :raises ValueError: with the episode
    """
    advice = "write an .npz with `save`, or read the source with what it should be"
    for i, episode in enumerate(demos.episodes):
        if end and not episode.end_known:
            raise ValueError(f"episode {i}: nobody knows how it ended, and {format_name} must say; {advice}")
        if final and not episode.final_known:
            raise ValueError(f"episode {i}: its final observation is unknown, and {format_name} needs it; {advice}")


def optional(module: str) -> Any:  # Any: a module that may ship no annotations
    """
    :param module: of a package that only some formats need
    :raises ImportError: with the command that installs it
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module.split('.')[0]} is needed here ({error}): pip install 'sb3-ext[demos]'") from error
