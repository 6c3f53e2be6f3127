"""
A Markov decision process as tables. Outcomes that terminate are not among its transitions: their rows sum to less than
1, and so the value of an end is 0 wherever it is used, with no mask that could be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_ext.envs.tables import TransitionTable


class Outcomes(NamedTuple):
    """All that can happen, as it is drawn: reward and end of an outcome belong together. Sorted by row."""

    row: np.ndarray
    """[K] int64: state * A + action"""
    next: np.ndarray
    """[K] int64: the state after it, also where it terminates"""
    probability: np.ndarray
    """[K] float64: they sum to 1 in each row"""
    reward: np.ndarray
    """[K] float64"""
    terminated: np.ndarray
    """[K] bool"""


class Csr(NamedTuple):
    """A sparse matrix by rows: those of row i lie at ``indptr[i]`` to ``indptr[i + 1]``."""

    indptr: np.ndarray
    """[rows + 1] int64"""
    column: np.ndarray
    """[K] int64"""
    value: np.ndarray
    """[K] float64"""
    n_columns: int

    def times(self, vector: np.ndarray) -> np.ndarray:
        """
        :param vector: [columns]
        :return: [rows]
        """
        from scipy.sparse import csr_array

        shape = (len(self.indptr) - 1, self.n_columns)
        product: np.ndarray = csr_array((self.value, self.column, self.indptr), shape=shape) @ vector
        return product


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """
    :param outcomes: all that can happen
    :param n_states: S
    :param n_actions: A
    :param start: [S] probabilities of the first state
    :param gamma: discount in [0, 1]
    :param horizon: steps after which the environment truncates an episode; None = it never does
    """

    outcomes: Outcomes
    n_states: int
    n_actions: int
    start: np.ndarray
    gamma: float
    horizon: int | None = None
    transitions: Csr = field(init=False, repr=False)
    """[S * A, S] of the outcomes that go on"""
    reward: np.ndarray = field(init=False, repr=False)
    """[S, A] expected, of all outcomes"""

    def __post_init__(self) -> None:
        of, n_rows = self.outcomes, self.n_states * self.n_actions
        expected = np.bincount(of.row, of.probability * of.reward, minlength=n_rows)
        object.__setattr__(self, "reward", expected.reshape(self.n_states, self.n_actions))
        object.__setattr__(self, "transitions", _csr(of, ~of.terminated, n_rows, self.n_states))

    @classmethod
    def from_env(cls, env: gym.Env[Any, Any] | str, gamma: float) -> TabularMDP:
        """
        :param env: an environment that publishes its table ``P`` and ``initial_state_distrib``, or its id
        :param gamma: discount in [0, 1]
        """
        made = gym.make(env) if isinstance(env, str) else env
        table, start = made.unwrapped.P, made.unwrapped.initial_state_distrib  # type: ignore[attr-defined]
        horizon = None if made.spec is None else made.spec.max_episode_steps
        if made is not env:
            made.close()
        return cls.from_table(table, start, gamma, horizon)

    @classmethod
    def from_table(
        cls, table: TransitionTable, start: np.ndarray, gamma: float, horizon: int | None = None
    ) -> TabularMDP:
        """
        :param table: ``table[state][action]``: outcomes (probability, next state, reward, terminated)
        :param start: [S] probabilities of the first state
        :param gamma: discount in [0, 1]
        :param horizon: steps after which an episode is truncated; None = it never is
        """
        n_states, n_actions = len(table), len(table[0])
        rows = [
            (s * n_actions + a, next_state, probability, reward, terminated)
            for s in range(n_states)
            for a in range(n_actions)
            for probability, next_state, reward, terminated in table[s][a]
        ]
        row, following, probability, reward, terminated = map(np.array, zip(*rows, strict=True))
        outcomes = Outcomes(row, following, probability.astype(float), reward.astype(float), terminated.astype(bool))
        return cls(outcomes, n_states, n_actions, np.asarray(start, float), gamma, horizon)


def _csr(of: Outcomes, which: np.ndarray, n_rows: int, n_columns: int) -> Csr:
    """:return: the probabilities of some outcomes"""
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(of.row[which], minlength=n_rows), out=indptr[1:])
    return Csr(indptr, of.next[which], of.probability[which], n_columns)
