"""
A decision process of which only a part is seen, as tables. Observations have numbers; what is seen may depend on the
action that led there (T24: listening informs, opening does not), and says nothing of rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_ext.envs.tables import PomdpTables
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.mdp_sources import check_wrappers, time_limit

TOLERANCE = 1e-6  # of a sum of probabilities: what float32 leaves
LAST_BITS = 1e-15
MAX_SIZE = 10**8  # numbers of a table that is made of a function: 0.8 GB


@dataclass(frozen=True, eq=False)
class TabularPOMDP:
    """
    :param mdp: the states behind what is seen
    :param observation: [A, S, O] probability of seeing o where action a has led to state s. It is kept and
        not copied, as what follows: do not write into it
    :param first_observation: [S, O] the same before any action; None = nothing is seen then
    :param shown: [O, ...] what the environment gives an agent for each observation; None = the number
    :raises ValueError: where they do not fit, or are no probabilities
    """

    mdp: TabularMDP
    observation: np.ndarray
    first_observation: np.ndarray | None = None
    shown: np.ndarray | None = None

    def __post_init__(self) -> None:
        n_actions, n_states = self.mdp.n_actions, self.mdp.n_states
        observation = np.asarray(self.observation, float)
        if observation.ndim != 3 or observation.shape[:2] != (n_actions, n_states) or not observation.shape[2]:
            raise ValueError(f"observation has shape {observation.shape}, not [A, S, O] = ({n_actions}, {n_states}, O)")
        object.__setattr__(self, "observation", _distributions(observation, "observation"))
        if self.first_observation is not None:
            first, expected = np.asarray(self.first_observation, float), (n_states, self.n_observations)
            if first.shape != expected:
                raise ValueError(f"first_observation has shape {first.shape}, not [S, O] = {expected}")
            object.__setattr__(self, "first_observation", _distributions(first[None], "first_observation")[0])
        if self.shown is not None and len(self.shown) != self.n_observations:
            raise ValueError(f"shown has {len(self.shown)} rows for {self.n_observations} observations")

    @property
    def n_observations(self) -> int:
        """:return: O"""
        return int(self.observation.shape[2])

    @property
    def state_observation(self) -> np.ndarray | None:
        """:return: [S] the number shown in each state where it depends on the state alone; None where it does not"""
        seen: np.ndarray = self.observation[0].argmax(axis=1)
        after = np.take_along_axis(self.observation, seen[None, :, None], axis=2)
        begins = self.mdp.start > 0.0
        if self.first_observation is None or np.any(after < 1.0 - TOLERANCE):
            return None
        if np.any(self.first_observation[begins, seen[begins]] < 1.0 - TOLERANCE):
            return None
        return seen

    def first_belief(self, observation: int | None = None) -> np.ndarray:
        """
        :param observation: what is seen before any action; None = nothing
        :return: [S] the chance of each state then
        :raises ValueError: where that cannot be
        """
        if observation is None:
            return np.array(self.mdp.start)
        if self.first_observation is None:
            raise ValueError(f"observation {observation} cannot be seen first: nothing is")
        _check_number(observation, self.n_observations, "observation")
        seen = self.first_observation[:, observation]
        return _normalised(self.mdp.start * seen, f"observation {observation} cannot be seen first")

    def next_belief(self, belief: np.ndarray, action: int, observation: int) -> np.ndarray:
        """
        :param belief: [S]
        :param action: what was done
        :param observation: what was seen after it, if the episode went on
        :return: [S] the chance of each state now
        :raises ValueError: where that cannot be
        """
        belief = as_belief(belief, self.mdp.n_states)
        _check_number(action, self.mdp.n_actions, "action")
        _check_number(observation, self.n_observations, "observation")
        after = belief @ self.mdp.matrix[action :: self.mdp.n_actions]
        seen = self.observation[action, :, observation]
        return _normalised(after * seen, f"observation {observation} cannot be seen after action {action}")

    @classmethod
    def from_env(cls, env: gym.Env[Any, Any] | str, gamma: float | None = None) -> TabularPOMDP:
        """
        What is seen is what the tables say, whatever an observation wrapper makes of it.

        :param env: an environment that publishes ``pomdp`` (`sb3_ext.envs.tables.PomdpTables`), or its id
        :param gamma: discount in [0, 1]; None = the one of these tables
        :raises ValueError: where it publishes none, or a wrapper changes rewards or actions
        """
        made = gym.make(env) if isinstance(env, str) else env
        try:
            check_wrappers(made)
            tables: PomdpTables | None = getattr(made.unwrapped, "pomdp", None)
            name = type(made.unwrapped).__name__ if made.spec is None else made.spec.id
            horizon = time_limit(made)
        finally:
            if made is not env:
                made.close()
        if tables is None:
            raise ValueError(
                f"{name} publishes no tables of what is seen (.pomdp): TabularPOMDP(mdp, observation), or "
                "TabularPOMDP.from_mdp(mdp, observe) where the state says what is seen"
            )
        gamma = tables.gamma if gamma is None else gamma
        mdp = TabularMDP.from_table(tables.P, tables.start, gamma, tables.horizon if horizon is None else horizon)
        return cls(mdp, tables.observation, tables.first_observation, tables.shown)

    @classmethod
    def from_mdp(cls, mdp: TabularMDP, observe: Callable[[int], int]) -> TabularPOMDP:
        """
        :param mdp: the states
        :param observe: number of what is seen in a state
        """
        seen = np.array([observe(state) for state in range(mdp.n_states)])
        if not np.issubdtype(seen.dtype, np.integer) or seen.min() < 0:
            raise ValueError(f"observe must give numbers from 0 up, got {seen[:5].tolist()}, ...")
        state = int(seen.argmax())
        size = mdp.n_states * (int(seen[state]) + 1)
        if size > MAX_SIZE:
            raise ValueError(
                f"observation {seen[state]} of state {state}: a table of what is seen would take {8e-9 * size:.1f} GB; "
                "number what is seen from 0 up, without gaps"
            )
        of_state = np.zeros((mdp.n_states, int(seen.max()) + 1))
        of_state[np.arange(mdp.n_states), seen] = 1.0
        return cls(mdp, np.broadcast_to(of_state, (mdp.n_actions, *of_state.shape)), of_state)


def _normalised(weight: np.ndarray, impossible: str) -> np.ndarray:
    """
    :return: the same, summing to 1
    :raises ValueError: saying what is impossible, where it sums to 0
    """
    if not weight.sum() > 0.0:
        raise ValueError(impossible)
    result: np.ndarray = weight / weight.sum()
    return result


def as_belief(belief: np.ndarray, n_states: int) -> np.ndarray:
    """
    :return: [S]
    :raises ValueError: where it is no distribution over the states
    """
    belief = np.asarray(belief, float)
    if belief.shape != (n_states,):
        raise ValueError(f"belief has shape {belief.shape}, not [S] = ({n_states},)")
    if not (belief >= 0.0).all() or abs(belief.sum() - 1.0) > TOLERANCE:
        raise ValueError(
            f"belief must hold probabilities that sum to 1: least {belief.min():.6g}, sum {belief.sum():.6g}"
        )
    return belief


def _check_number(number: int, n: int, name: str) -> None:
    if not 0 <= number < n:
        raise ValueError(f"{name} {number} must lie in [0, {n})")


def _distributions(probability: np.ndarray, name: str) -> np.ndarray:
    """
    :param probability: [A, S, O]
    :return: the same, in rows that sum to 1 but for the last bits
    :raises ValueError: where a row is no distribution
    """
    sums = probability.sum(axis=2)
    wrong = ~(np.abs(sums - 1.0) <= TOLERANCE) | (probability < 0.0).any(axis=2)  # NaN is not within it
    if wrong.any():
        action, state = np.argwhere(wrong)[0]
        place = f"state {state}" if len(probability) == 1 else f"action {action}, state {state}"
        row = probability[action, state]
        if np.isnan(row).any() or row.min() >= 0.0:
            raise ValueError(f"{name}: probabilities of {place} sum to {sums[action, state]:.6g}, not 1")
        raise ValueError(f"{name}: a probability of {place} is {row.min():.6g}")
    if np.abs(sums - 1.0).max() <= LAST_BITS:
        return probability  # also where it is a view of one table for all actions
    divided: np.ndarray = probability / sums[:, :, None]
    return divided


def seen_with(
    observation: np.ndarray, action: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    All that may be seen after each of K steps.

    :param observation: [A, S, O]
    :param action: [K]
    :param state: [K] where it has led to
    :return: each [L]: number of the step, what is seen, its probability
    """
    n_actions, n_states, _ = observation.shape
    row, seen = np.nonzero(observation.reshape(n_actions * n_states, -1))
    begin = np.searchsorted(row, np.arange(n_actions * n_states + 1))
    after = action * n_states + state
    step, index = ranges(begin[after], begin[after + 1])
    return step, seen[index], observation[action[step], state[step], seen[index]]


def ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    :param begin: [K] integers
    :param end: [K] behind the last
    :return: all integers of each range, one range after the other: [L] whose they are, and themselves
    """
    length = end - begin
    whose = np.repeat(np.arange(len(length)), length)
    return whose, np.arange(length.sum()) + np.repeat(begin - (np.cumsum(length) - length), length)
