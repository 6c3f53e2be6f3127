"""Plain arrays as demonstrations. A number is never changed on the way: a dtype is, where every value survives it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations

FinalObservation = Literal["drop", "repeat"]
"""
What to do where a file lacks the observation behind an episode's last step. ``"drop"``: leave the last step out, which
makes every episode a cut (truncated) one. ``"repeat"``: take the last known observation for it, and so keep the last
action and the way in which the episode ended.
"""


def from_arrays(
    observations: Sequence[Any],
    actions: Sequence[Any],
    rewards: Sequence[Any] | None = None,
    *,
    terminated: Sequence[bool],
    truncated: Sequence[bool] | None = None,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    seeds: Sequence[int | None] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Demonstrations:
    """
    Demonstrations from one array per episode and field.

    :param observations: of each episode [T+1, *shape], or a dictionary of such arrays
    :param actions: of each episode [T, *shape], as the environment executed them
    :param rewards: of each episode [T]
    :param terminated: whether each episode reached a terminal state
    :param truncated: whether each was cut off; default: the ones that did not terminate
    :param observation_space: arrays are cast to its dtype where that changes no value
    :param action_space: likewise
    :param env_id: gymnasium's id
    :param seeds: that the environment was reset with
    :param versions: of the packages that made them, by name
    :raises ValueError: with the episode and the field
    """
    if truncated is None:
        truncated = [not end for end in terminated]
    per_episode = {"actions": actions, "terminated": terminated, "truncated": truncated}
    per_episode |= {} if rewards is None else {"rewards": rewards}
    per_episode |= {} if seeds is None else {"seeds": seeds}
    for name, values in per_episode.items():
        if len(values) != len(observations):
            raise ValueError(f"{name}: of {len(values)} episodes, observations of {len(observations)}")
    episodes = []
    for i in range(len(observations)):
        try:
            episodes.append(
                Episode(
                    observations=cast_observations(observations[i], observation_space),
                    actions=cast_exactly(actions[i], action_space.dtype, "actions"),
                    rewards=None if rewards is None else as_numbers(rewards[i], "rewards"),
                    terminated=bool(terminated[i]),
                    truncated=bool(truncated[i]),
                    seed=None if seeds is None else seeds[i],
                )
            )
        except ValueError as error:
            raise ValueError(f"episode {i}: {error}") from None
    return Demonstrations(tuple(episodes), observation_space, action_space, env_id, dict(versions or {}))


def cast_observations(observations: Any, space: spaces.Space[Any]) -> Observations:
    """
    :param observations: [T+1, *shape], or a dictionary of such arrays
    :param space: of one of them
    :return: the same numbers in the space's dtypes
    :raises ValueError: where a number would change, or keys differ
    """
    if not isinstance(space, spaces.Dict):
        return cast_exactly(observations, space.dtype, "observations")
    if not isinstance(observations, Mapping) or observations.keys() != space.keys():
        given = sorted(observations) if isinstance(observations, Mapping) else type(observations).__name__
        raise ValueError(f"observations: {given}; the space has {sorted(space)}")
    return {key: cast_exactly(observations[key], part.dtype, f"observations.{key}") for key, part in space.items()}


def cast_exactly(values: Any, dtype: np.dtype | None, name: str) -> np.ndarray:
    """
    :param values: an array, or nested lists
    :param dtype: wanted
    :param name: what to call them
    :raises ValueError: where a value would change, or a float would become an integer
    """
    values = as_numbers(values, name)
    if dtype is None or values.dtype == dtype:
        return values
    if values.dtype.kind == "f" and dtype.kind != "f":
        raise ValueError(f"{name}: {values.dtype} numbers in a space of {dtype}; cast them yourself if that is meant")
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(dtype)
        # There and back again; by value too, since the sign of an integer may come back from a wrong number.
        changed = (result.astype(values.dtype) != values) | (np.signbit(result) != np.signbit(values))
        if dtype.kind == "f":
            changed &= ~(np.isnan(result) & np.isnan(values.astype(dtype)))  # an episode names these itself
    if changed.any():
        place = tuple(int(i) for i in np.argwhere(changed)[0])
        raise ValueError(
            f"{name}: {values[place]} at {place} is not exact as {dtype}, the space's dtype; cast the array of "
            f"{values.dtype} yourself if that is meant"
        )
    return result


def as_numbers(values: Any, name: str) -> np.ndarray:
    """
    :param values: an array, or nested lists
    :param name: what to call them
    :raises ValueError: if they are no array of numbers
    """
    try:
        values = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: no array ({error})") from None
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: dtype {values.dtype}; arrays of numbers only")
    return values


def without_final(
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray | None,
    final_observation: FinalObservation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """
    Make T observations and T actions an episode's.

    :param observations: [T, *shape]
    :param actions: [T, *shape]
    :param rewards: [T]
    :param final_observation: see `FinalObservation`; ``"drop"`` may leave no step
    :return: observations with one row more than actions and rewards
    """
    if final_observation == "repeat":
        return np.concatenate([observations, observations[-1:]]), actions, rewards
    if final_observation != "drop":
        raise ValueError(f"final_observation {final_observation!r} must be 'drop' or 'repeat'")
    return observations, actions[:-1], None if rewards is None else rewards[:-1]


def refuse_kept(demos: Demonstrations, format_name: str) -> None:
    """:raises ValueError: for subsampled demonstrations, which only our own files can hold"""
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
