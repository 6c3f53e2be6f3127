"""
Expert episodes as data: whole, checked when they are made, and never changed after.

An episode of T actions has T+1 observations, so the next observation of every step, the last one's too, is the true
one. Arrays are read-only views, not copies, and have their space's dtype: whoever made them must not write to them
any more. Actions are those that the environment executed; or labels, beside which stands what it executed.

Two things some files do not tell, and nothing here makes them up: how an episode ended (``terminated`` and
``truncated`` are None), and the observation behind its last step (``final_known`` is False and there are T of them)::

    terminated  truncated   the last step leads
    True        any         into a terminal state: the absorbing one, where that counts
    False       True        to an observation behind which the episode would have gone on
    None        None        nobody knows where: neither absorbing nor to be bootstrapped from
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.demonstrations.array_spaces import check_array, check_spaces, out_of_space, subspaces

Observations = np.ndarray | dict[str, np.ndarray]
"""[T, *shape] of a Box, Discrete, MultiDiscrete or MultiBinary space, or a dictionary of such arrays"""


class Transitions(NamedTuple):
    """Steps of many episodes, N of them."""

    observations: Observations
    """[N, *shape]; where ``absorbing`` the one in which the episode ended"""
    actions: np.ndarray
    """[N, *shape]; zeros where ``absorbing``"""
    next_observations: Observations
    """[N, *shape]"""
    absorbing: np.ndarray
    """[N] bool, the step starts in the absorbing state behind a termination"""
    next_absorbing: np.ndarray
    """[N] bool, the step ends there: it was a termination"""
    next_known: np.ndarray
    """[N] bool, False where the episode's final observation is unknown, and the next observation is zeros, which say
    nothing, where it is unknown whether it was a termination, or where the environment executed another action. State
    and action are the expert's all the same"""


@dataclass(frozen=True, eq=False)
class Episode:
    """
    One episode.

    :param observations: [T+1, *shape], or a dictionary of such arrays; T rows where the final one is unknown
    :param actions: [T, *shape], as the environment executed them
    :param rewards: [T] numbers, or None where nobody wrote them down
    :param terminated: whether the last step reached a terminal state, None = unknown
    :param truncated: whether the last step was cut off, by a time limit for example; both may be true. None = unknown,
        which both are or neither
    :param seed: the environment was reset with, None = unknown
    :param kept: [K] increasing steps that imitation may use, at least one, None = all; T is the absorbing step behind a
        termination
    :param final_known: whether the observation behind the last step is there
    :param executed: [T, *shape] what the environment executed where ``actions`` are something else: labels, by an
        expert, of states that another went through, as `DAgger` gathers them. None = the actions themselves
    :raises ValueError: where a field is no array of numbers, lengths do not fit, a number is not finite, or the episode
        has no end
    """

    observations: Observations
    actions: np.ndarray
    rewards: np.ndarray | None
    terminated: bool | None
    truncated: bool | None
    seed: int | None = None
    kept: np.ndarray | None = None
    final_known: bool = True
    executed: np.ndarray | None = None

    def __post_init__(self) -> None:
        # The kinds before anything else: the other checks would fail in their own words.
        for name, values in self.arrays():
            _check_numbers(values, name)
        for name in ("terminated", "truncated"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, bool(getattr(self, name)))
        object.__setattr__(self, "final_known", bool(self.final_known))
        self._check_lengths()
        self._check_end()
        self._check_kept()
        for name, values in self.arrays():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise ValueError(f"{name}: {values[place]} at step {place[0]} is not finite")
        # Read-only views: the caller's own arrays stay writeable.
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray | dict):
                object.__setattr__(self, name, nested.map(_frozen, value))

    def _check_lengths(self) -> None:
        n_steps = len(self.actions)
        if n_steps == 0:
            raise ValueError("actions: an episode needs at least one step")
        for name, values in self.named_observations().items():
            if len(values) != n_steps + self.final_known:
                more = "an episode has one more" if self.final_known else "with final_known=False as many"
                raise ValueError(f"{name}: {len(values)} rows for {n_steps} actions; {more}")
        if self.executed is not None and self.executed.shape != self.actions.shape:
            raise ValueError(f"executed: shape {self.executed.shape}; must be that of actions, {self.actions.shape}")
        if self.rewards is not None and self.rewards.shape != (n_steps,):
            raise ValueError(f"rewards: shape {self.rewards.shape} for {n_steps} actions; must be ({n_steps},)")

    def _check_end(self) -> None:
        if (self.terminated is None) != (self.truncated is None):
            raise ValueError(
                f"terminated {self.terminated}, truncated {self.truncated}: None says that the end is unknown, in both "
                "or in neither"
            )
        if self.end_known and not (self.terminated or self.truncated):
            raise ValueError(
                "terminated, truncated: an episode ends with one of them; mark a cut as truncated, and an unknown end "
                "by None for both"
            )

    def _check_kept(self) -> None:
        n_steps = len(self.actions) + bool(self.terminated)
        if self.kept is not None and (
            self.kept.ndim != 1
            or len(self.kept) == 0
            or self.kept.dtype.kind not in "iu"
            or np.any(self.kept[1:] <= self.kept[:-1])  # no difference: unsigned ones wrap around
            or np.any((self.kept < 0) | (self.kept >= n_steps))
        ):
            raise ValueError(f"kept: {self.kept} must be increasing steps below {n_steps}")

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """:return: name and array of each, ``observations.key`` for a dictionary's"""
        yield from self.named_observations().items()
        yield "actions", self.actions
        if self.executed is not None:
            yield "executed", self.executed
        if self.rewards is not None:
            yield "rewards", self.rewards
        if self.kept is not None:
            yield "kept", self.kept

    def named_observations(self) -> dict[str, np.ndarray]:
        """:return: by the names that `arrays` gives them: ``observations``, or ``observations.key`` of each key"""
        parts = self.observations
        return (
            {f"observations.{key}": x for key, x in parts.items()}
            if isinstance(parts, dict)
            else {"observations": parts}
        )

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def followed(self) -> np.ndarray:
        """[T] bool: the environment executed the action. Behind other steps nobody knows where it leads."""
        if self.executed is None:
            return np.ones(len(self), dtype=bool)
        same: np.ndarray = (self.executed == self.actions).reshape(len(self), -1).all(axis=1)
        return same

    @property
    def end_known(self) -> bool:
        """Whether anybody knows how the episode ended."""
        return self.terminated is not None

    def __eq__(self, other: object) -> bool:
        """Equal to the last bit, dtypes too."""
        if not isinstance(other, Episode):
            return NotImplemented
        mine, theirs = dict(self.arrays()), dict(other.arrays())
        ends = (self.terminated, self.truncated, self.seed) == (other.terminated, other.truncated, other.seed)
        # Whether the final observation is known is in the lengths.
        return ends and mine.keys() == theirs.keys() and all(_same_bits(mine[k], theirs[k]) for k in mine)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    @property
    def total_reward(self) -> float:
        """Undiscounted return, NaN where nobody wrote rewards down."""
        return float("nan") if self.rewards is None else float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True)
class Demonstrations:
    """
    Episodes of one task.

    :param episodes: at least one
    :param observation_space: Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them
    :param action_space: Box, Discrete, MultiDiscrete or MultiBinary
    :param env_id: gymnasium's id without a module, None = unknown
    :param versions: of the packages that made them, by name
    :raises ValueError: with the episode and the field, where an array is not of its space's shape or dtype, an action
        or a discrete observation lies outside its space, or rewards differ in dtype
    """

    episodes: tuple[Episode, ...]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    env_id: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "episodes", tuple(self.episodes))
        if not self.episodes:
            raise ValueError("episodes: demonstrations need at least one")
        if self.env_id is not None and ":" in self.env_id:
            raise ValueError(f"env_id: {self.env_id!r} names a module to import; files hold the id behind the colon")
        check_spaces(self.observation_space, self.action_space)
        parts = subspaces(self.observation_space, "observations")
        reward_dtypes = {e.rewards.dtype for e in self.episodes if e.rewards is not None}
        if len(reward_dtypes) > 1:
            raise ValueError(f"rewards: dtypes {sorted(map(str, reward_dtypes))}; all episodes must have the same")
        for i, episode in enumerate(self.episodes):
            given = episode.named_observations()
            if given.keys() != parts.keys():
                raise ValueError(f"episode {i}: observations has {sorted(given)}, the space has {sorted(parts)}")
            for name, values in episode.arrays():
                is_action = name in ("actions", "executed")
                if not is_action and name not in given:
                    continue
                space = self.action_space if is_action else parts[name]
                check_array(values, space, f"episode {i}: {name}")
                if not is_action and isinstance(space, spaces.Box):
                    continue  # many environments leave their own Box: it is a hint there, no promise
                outside = out_of_space(values, space)
                if outside.any():
                    step = int(outside.argmax())
                    hint = "; demonstrations hold the actions that the environment executed, after clipping"
                    raise ValueError(
                        f"episode {i}: {name}: {values[step]} at step {step} lies outside {space}"
                        + (hint if is_action else "")
                    )

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def n_steps(self) -> int:
        """Steps of all episodes together."""
        return sum(len(episode) for episode in self.episodes)

    @property
    def returns(self) -> np.ndarray:
        """[episodes] undiscounted returns, NaN where rewards are unknown."""
        return np.array([episode.total_reward for episode in self.episodes])

    @property
    def lengths(self) -> np.ndarray:
        """[episodes] steps."""
        return np.array([len(episode) for episode in self.episodes])

    def limit(self, n_episodes: int) -> Demonstrations:
        """
        :param n_episodes: how many of the first episodes to keep
        :raises ValueError: if there are fewer
        """
        if not 1 <= n_episodes <= len(self):
            raise ValueError(f"n_episodes {n_episodes} must be in 1 to {len(self)}, the number of episodes")
        return replace(self, episodes=self.episodes[:n_episodes])

    def split(self, fraction: float, seed: int = 0) -> tuple[Demonstrations, Demonstrations]:
        """
        Whole episodes at random, at least one on each side.

        :param fraction: of the episodes that go to the first part, between 0 and 1
        :param seed: of the draw
        :raises ValueError: with fewer than two episodes, or a fraction outside (0, 1)
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction {fraction} must lie between 0 and 1")
        if len(self) < 2:
            raise ValueError(f"a split needs two episodes or more, there is {len(self)}")
        order = np.random.default_rng(seed).permutation(len(self))
        n_first = min(max(round(fraction * len(self)), 1), len(self) - 1)
        first, second = (tuple(self.episodes[i] for i in sorted(part)) for part in (order[:n_first], order[n_first:]))
        return replace(self, episodes=first), replace(self, episodes=second)

    def subsample(self, every: int, seed: int = 0) -> Demonstrations:
        """
        Keep every k-th step of each episode from a random offset, as Ho and Ermon (2016, section 6) do. The absorbing
        step behind a termination is there before the draw (Kostrikov et al., 2019, section 4.2). Nothing is deleted:
        the steps are written down in `Episode.kept`.

        :param every: k
        :param seed: of the offsets
        :raises ValueError: if k < 1
        """
        if every < 1:
            raise ValueError(f"every {every} must be at least 1")
        rng = np.random.default_rng(seed)
        episodes = []
        for episode in self.episodes:
            steps = kept_steps(episode)
            episodes.append(replace(episode, kept=steps[int(rng.integers(min(every, len(steps)))) :: every]))
        return replace(self, episodes=tuple(episodes))

    @property
    def finals_known(self) -> bool:
        """Whether the observation in which it ended is known of every episode that terminated."""
        return all(episode.final_known for episode in self.episodes if episode.terminated)

    def transitions(self, absorbing: bool, from_final: bool = True) -> Transitions:
        """
        :param absorbing: whether the absorbing steps behind terminations are among them: each stays in the observation
            in which its episode ended
        :param from_final: False = in the one before, which is known of every episode
        :return: the kept steps of all episodes, in order
        :raises ValueError: for absorbing steps from a final observation that is unknown
        """
        if absorbing and from_final and not self.finals_known:
            raise ValueError("the final observation of an episode that terminated is unknown: from_final=False")
        parts: list[Transitions] = []
        for episode in self.episodes:
            n_steps = len(episode)
            kept = kept_steps(episode)
            steps = kept[kept < n_steps]
            within = steps < n_steps - 1
            there = within | episode.final_known
            followed = episode.followed
            ends_so = bool(episode.terminated) and bool(followed[-1])  # by the action, and not by another one
            part = Transitions(
                nested.take(episode.observations, steps),
                episode.actions[steps],
                nested.take(episode.observations, np.where(there, steps + 1, steps)),
                np.zeros(len(steps), dtype=bool),
                ~within & ends_so,
                there & (within | (episode.terminated is not None)) & followed[steps],
            )
            for values in nested.leaves(part.next_observations):
                values[~there] = 0
            parts.append(part)
            if absorbing and len(kept) > len(steps) and ends_so:
                ones = np.ones(1, dtype=bool)
                end = nested.take(episode.observations, np.array([n_steps if from_final else n_steps - 1]))
                parts.append(Transitions(end, np.zeros_like(episode.actions[:1]), end, ones, ones, ones))
        return nested.cat(parts)


def kept_steps(episode: Episode) -> np.ndarray:
    """:return: [K] steps that imitation may use; T is the absorbing step"""
    return np.arange(len(episode) + bool(episode.terminated)) if episode.kept is None else episode.kept


def _check_numbers(values: object, name: str) -> None:
    """:raises ValueError: unless they are an array of numbers with an axis for the steps"""
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name}: {type(values).__name__}; must be a NumPy array")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: dtype {values.dtype}; arrays of numbers only")
    if values.ndim == 0:
        raise ValueError(f"{name}: a single number; the first axis counts steps")


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Stricter than `np.array_equal`, which takes -0 for 0."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _frozen(values: np.ndarray) -> np.ndarray:
    values = values.view()
    values.flags.writeable = False
    return values
