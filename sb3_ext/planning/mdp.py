"""
A Markov decision process as tables. Outcomes that terminate are not among its transitions: their rows sum to less than
1, and so the value of an end is 0 wherever it is used, with no mask that could be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_ext.planning import mdp_sources
from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp_checks import (
    check_numbers,
    check_outcomes,
    check_reward,
    check_start,
    check_sums,
)

if TYPE_CHECKING:
    from sb3_ext.planning.counts import TransitionCounts


class Outcomes(NamedTuple):
    """All that can happen, as it is drawn: reward and end of an outcome belong together. Sorted by row."""

    row: np.ndarray
    """[K] int64: state * A + action"""
    next: np.ndarray
    """[K] int64: the state after it, also where it terminates"""
    probability: np.ndarray
    """[K] float64, positive: they sum to 1 in each row"""
    reward: np.ndarray
    """[K] float64"""
    terminated: np.ndarray
    """[K] bool"""


class Csr(NamedTuple):
    """A sparse matrix by rows: those of row i lie at ``indptr[i]`` to ``indptr[i + 1]``."""

    indptr: np.ndarray
    """[rows + 1] int32, int64 above 2^31 entries"""
    column: np.ndarray
    """[K] of the same type; a row may name a column twice"""
    value: np.ndarray
    """[K] float64"""
    n_columns: int

    def matrix(self) -> Any:  # Any: scipy ships no annotations
        """:return: the same as scipy's ``csr_array``, on the same memory"""
        shape = (len(self.indptr) - 1, self.n_columns)
        return scipy_module("scipy.sparse").csr_array((self.value, self.column, self.indptr), shape=shape)

    def times(self, vector: np.ndarray) -> np.ndarray:
        """
        :param vector: [columns]
        :return: [rows]
        """
        product: np.ndarray = self.matrix() @ vector
        return product


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """
    :param outcomes: all that can happen, in any order. Those of probability 0 are left out, rows that sum to 1 but for
        rounding are divided by their sum. Arrays that need no change are kept and not copied: do not write into them
    :param n_states: S
    :param n_actions: A
    :param start: [S] probabilities of the first state
    :param gamma: discount in [0, 1]
    :param horizon: steps after which the environment truncates an episode; None = it never does
    :raises ValueError: for numbers that are no process: the message names state, action and number
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
        check_numbers(self.n_states, self.n_actions, self.gamma, self.horizon)
        n_rows = int(self.n_states) * int(self.n_actions)
        of = Outcomes(*[np.asarray(column) for column in self.outcomes])
        check_outcomes(of, self.n_states, self.n_actions)
        start = np.asarray(self.start, float)
        check_start(start, self.n_states)
        of = _in_order(of)
        sums = np.bincount(of.row, of.probability, minlength=n_rows)
        check_sums(sums, self.n_actions)
        if np.abs(sums - 1.0).max() > 4.0 * np.finfo(float).eps:
            of = of._replace(probability=of.probability / sums[of.row])
        expected = np.bincount(of.row, of.probability * of.reward, minlength=n_rows)
        derived = {
            "n_states": int(self.n_states),
            "n_actions": int(self.n_actions),
            "outcomes": of,
            "start": start / start.sum(),
            "reward": expected.reshape(self.n_states, self.n_actions),
            "transitions": _csr(of, ~of.terminated, n_rows, self.n_states),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @cached_property
    def matrix(self) -> Any:  # Any: scipy ships no annotations
        """``transitions`` as scipy's ``csr_array``"""
        return self.transitions.matrix()

    @property
    def has_ends(self) -> bool:
        """Whether an episode can terminate."""
        return len(self.transitions.column) < len(self.outcomes.row)

    def arrivals(self) -> Csr:
        """:return: [S * A, S] of all outcomes, those that terminate too: where one arrives"""
        return _csr(self.outcomes, np.ones(len(self.outcomes.row), bool), self.n_states * self.n_actions, self.n_states)

    def with_reward(self, reward: np.ndarray) -> TabularMDP:
        """
        :param reward: [S, A] of acting, whatever comes of it
        :return: the same process, paid in another way
        """
        reward = np.asarray(reward, float)
        check_reward(reward, self.n_states, self.n_actions)
        outcomes = self.outcomes._replace(reward=reward.ravel()[self.outcomes.row])
        return TabularMDP(outcomes, self.n_states, self.n_actions, self.start, self.gamma, self.horizon)

    @classmethod
    def from_env(cls, env: gym.Env[Any, Any] | str, gamma: float) -> TabularMDP:
        """
        States and actions are counted from 0, also where those of the environment's spaces start elsewhere. The
        horizon is that of its ``TimeLimit``.

        :param env: an environment that publishes its table ``P`` and ``initial_state_distrib``, or its id
        :param gamma: discount in [0, 1]
        :raises ValueError: where it has no table, or one that is not what it does
        """
        if not isinstance(env, str):
            return cls.from_table(*mdp_sources.published(env), gamma, mdp_sources.time_limit(env))
        made = gym.make(env)
        try:
            return cls.from_env(made, gamma)
        finally:
            made.close()

    @classmethod
    def from_table(
        cls,
        P: Mapping[int, Any] | Sequence[Any],
        start: np.ndarray,
        gamma: float,
        horizon: int | None = None,
    ) -> TabularMDP:
        """
        :param P: ``P[state][action]``: outcomes (probability, next state, reward, terminated). Its first key is state
            0, whatever its number
        :param start: [S] probabilities of the first state
        :param gamma: discount in [0, 1]
        :param horizon: steps after which an episode is truncated
        """
        columns, n_states, n_actions = mdp_sources.from_table(P)
        return cls(Outcomes(*columns), n_states, n_actions, start, gamma, horizon)

    @classmethod
    def from_arrays(
        cls,
        transitions: np.ndarray,
        reward: np.ndarray,
        terminal: np.ndarray,
        start: np.ndarray,
        gamma: float,
        horizon: int | None = None,
        states_first: bool | None = None,
    ) -> TabularMDP:
        """
        Arriving in a terminal state ends the episode and pays; what its own rows say is not read.

        :param transitions: [A, S, S] or [S, A, S] probabilities of the next state
        :param reward: [S, A], or [S, A, S] where it depends on the next state
        :param terminal: [S] bool
        :param start: [S] probabilities of the first state
        :param gamma: discount in [0, 1]
        :param horizon: steps after which an episode is truncated
        :param states_first: ``transitions`` is [S, A, S]; None = told by its shape, which cannot be where A = S
        """
        columns, n_states, n_actions = mdp_sources.from_arrays(transitions, reward, terminal, states_first)
        return cls(Outcomes(*columns), n_states, n_actions, start, gamma, horizon)

    @classmethod
    def from_counts(
        cls, counts: TransitionCounts, gamma: float, prior: float = 0.0, horizon: int | None = None
    ) -> TabularMDP:
        """
        The process in which everything happens as often as it did. An action that was never tried leaves the state as
        it is and pays nothing.

        :param counts: what was seen
        :param gamma: discount in [0, 1]
        :param prior: how often each action is taken to have led from each state to every other, beside what was seen,
            with the mean reward of that action there
        :param horizon: steps after which an episode is truncated
        """
        columns, start = mdp_sources.from_counts(counts, prior)
        return cls(Outcomes(*columns), counts.n_states, counts.n_actions, start, gamma, horizon)


def _in_order(of: Outcomes) -> Outcomes:
    """:return: what can happen, sorted by row; the same arrays where they are so already"""
    types = (np.int64, np.int64, np.float64, np.float64, np.bool_)
    of = Outcomes(*[np.asarray(column, kind) for column, kind in zip(of, types, strict=True)])
    possible = of.probability > 0.0
    if not possible.all():
        of = Outcomes(*[column[possible] for column in of])
    if np.all(of.row[1:] >= of.row[:-1]):
        return of
    order = np.argsort(of.row, kind="stable")
    return Outcomes(*[column[order] for column in of])


def _csr(of: Outcomes, which: np.ndarray, n_rows: int, n_columns: int) -> Csr:
    """:return: the probabilities of some outcomes"""
    if which.all():
        row, column, value = of.row, of.next, of.probability
    else:
        row, column, value = of.row[which], of.next[which], of.probability[which]
    index = np.int32 if max(len(row), n_columns) < 2**31 else np.int64  # what scipy would convert them to
    indptr = np.zeros(n_rows + 1, index)
    np.cumsum(np.bincount(row, minlength=n_rows), out=indptr[1:])
    return Csr(indptr, column.astype(index), value, n_columns)
