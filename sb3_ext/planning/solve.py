"""Best and given policies of a `TabularMDP`, exactly. Every solution carries how far from the truth it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sb3_ext.planning.mdp import TabularMDP


class Sweep(NamedTuple):
    """One line of a solver's log."""

    v: np.ndarray
    """[S]"""
    bound: float
    """largest possible error of the values after it"""


class Solution(NamedTuple):
    """What a solver found."""

    v: np.ndarray
    """[S]"""
    q: np.ndarray
    """[S, A]"""
    policy: np.ndarray
    """[S] int64: a best action of each state"""
    bound: float
    """no value is further from the optimal one"""
    n_sweeps: int
    converged: bool
    """whether ``bound`` is what was asked for"""
    log: list[Sweep]


def backup(mdp: TabularMDP, v: np.ndarray) -> np.ndarray:
    """
    :param v: [S] values
    :return: [S, A] of acting once and then being worth ``v``
    """
    return mdp.reward + mdp.gamma * mdp.transitions.times(v).reshape(mdp.reward.shape)


def value_iteration(
    mdp: TabularMDP, tol: float = 1e-8, max_sweeps: int = 100_000, on_sweep: Callable[[Sweep], None] | None = None
) -> Solution:
    """
    :param tol: largest error of the values
    :param max_sweeps: give up after as many
    :param on_sweep: is told each of them
    """
    v, bound, n = np.zeros(mdp.n_states), np.inf, 0
    while bound > tol and n < max_sweeps:
        new = backup(mdp, v).max(axis=1)
        step = float(np.abs(new - v).max())
        v, n = new, n + 1
        bound = step * mdp.gamma / (1.0 - mdp.gamma) if mdp.gamma < 1.0 else step
        if on_sweep is not None:
            on_sweep(Sweep(v, bound))
    q = backup(mdp, v)
    return Solution(v, q, q.argmax(axis=1), bound, n, bound <= tol, [])


def solve(mdp: TabularMDP, tol: float = 1e-8) -> Solution:
    """
    :param tol: largest error of the values
    :return: by the method that suits the size
    """
    return value_iteration(mdp, tol)


def evaluate(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """
    :param policy: [S] actions or [S, A] probabilities
    :return: [S] exact values of acting by it for ever
    """
    table = as_table(mdp, policy)
    dense = np.zeros((mdp.n_states * mdp.n_actions, mdp.n_states))
    indptr, column, value, _ = mdp.transitions
    np.add.at(dense, (np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), column), value)
    under = np.einsum("sa,sat->st", table, dense.reshape(mdp.n_states, mdp.n_actions, -1))
    v: np.ndarray = np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * under, (table * mdp.reward).sum(axis=1))
    return v


def expected_return(mdp: TabularMDP, policy: np.ndarray, horizon: int | None = None) -> float:
    """
    What `evaluate_policy` estimates, exactly: undiscounted, cut at the limit of the environment.

    :param policy: [S] actions or [S, A] probabilities
    :param horizon: steps, by default ``mdp.horizon``
    """
    table = as_table(mdp, policy)
    v = np.zeros(mdp.n_states)
    for _ in range(_steps(mdp, horizon)):
        v = (table * (mdp.reward + mdp.transitions.times(v).reshape(mdp.reward.shape))).sum(axis=1)
    return float(mdp.start @ v)


def best_return(mdp: TabularMDP, horizon: int | None = None) -> float:
    """
    The best undiscounted return within the limit, by backward induction: of policies that know the time.

    :param horizon: steps, by default ``mdp.horizon``
    """
    v = np.zeros(mdp.n_states)
    for _ in range(_steps(mdp, horizon)):
        v = (mdp.reward + mdp.transitions.times(v).reshape(mdp.reward.shape)).max(axis=1)
    return float(mdp.start @ v)


def as_table(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """
    :param policy: [S] actions or [S, A] probabilities
    :return: [S, A] probabilities
    """
    if policy.ndim == 2:
        return policy
    table: np.ndarray = np.eye(mdp.n_actions)[policy]
    return table


def _steps(mdp: TabularMDP, horizon: int | None) -> int:
    horizon = mdp.horizon if horizon is None else horizon
    if horizon is None:
        raise ValueError("the environment has no limit of steps: give horizon")
    return horizon
