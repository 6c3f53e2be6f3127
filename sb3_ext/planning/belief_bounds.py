"""
Bounds on what a belief is worth, linear in it, that hold whatever is seen: from below by policies that need not look,
from above by policies that are told more than is seen.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from sb3_ext.planning.evaluation import value_and_error
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.solve import solve

ALMOST = 1e-12  # of a probability


class Bounds(NamedTuple):
    """Of all beliefs."""

    below: np.ndarray
    """[S, A]: acting so for ever, seen or not. A belief is worth no less than the best column's mean"""
    known: np.ndarray
    """[S] of a state that is known for sure and stays so whatever is done, else -inf"""
    known_action: np.ndarray
    """[S] the best one there"""
    above: np.ndarray
    """[S, A]: A belief is worth no more than the best column's mean"""
    n_steps: float
    """discounted steps of an episode, at most"""

    def lower(self, beliefs: Any) -> np.ndarray:
        """
        :param beliefs: [N, S], sparse
        :return: [N]
        """
        least: np.ndarray = (beliefs @ self.below).max(axis=1)
        sure = np.flatnonzero(np.diff(beliefs.indptr) == 1)
        least[sure] = np.maximum(least[sure], self.known[beliefs.indices[beliefs.indptr[sure]]])
        return least

    def upper(self, beliefs: Any) -> np.ndarray:
        """Parameters as in `lower`."""
        most: np.ndarray = (beliefs @ self.above).max(axis=1)
        return most

    def action(self, belief: np.ndarray) -> int:
        """
        :param belief: [S]
        :return: with which it is worth no less than `lower`
        """
        means = belief @ self.below
        (state,) = np.nonzero(belief)
        if len(state) == 1 and self.known[state[0]] >= means.max():
            return int(self.known_action[state[0]])
        return int(means.argmax())


def bounds(pomdp: TabularPOMDP, seen_next: Any, tol: float, deadline: float) -> Bounds:
    """
    :param pomdp: all of whose policies end, or whose gamma is below 1
    :param seen_next: [S * A * O, S], sparse
    :param tol: width of the interval that is wanted of the start
    :param deadline: by the monotonic clock, after which they are left as wide as they are
    """
    mdp = pomdp.mdp
    n_steps = most_steps(mdp)
    blind = [_worth(mdp, np.full(mdp.n_states, action)) for action in range(mdp.n_actions)]
    best = solve(mdp, tol / 100.0)
    known = np.where(_stay_known(pomdp, seen_next), _worth(mdp, best.policy), -np.inf)
    above = _fast_informed(pomdp, seen_next, best.q + best.bound, tol / (10.0 * n_steps), deadline)
    return Bounds(np.stack(blind, axis=1), known, best.policy, above, n_steps)


def most_steps(mdp: TabularMDP) -> float:
    """
    :return: discounted steps of an episode, at most
    :raises ValueError: with gamma 1, where there is a policy that never ends
    """
    if mdp.gamma < 1.0:
        return 1.0 / (1.0 - mdp.gamma)
    stays = _can_stay_for_ever(mdp)
    if stays.any():
        some = ", ".join(map(str, np.flatnonzero(stays)[:2]))
        raise ValueError(
            f"with gamma 1 a policy can go on for ever from {stays.sum()} states ({some}, ...): what is then best "
            "without seeing the state has no bounds; use gamma < 1"
        )
    longest = solve(mdp.with_reward(np.ones_like(mdp.reward)))
    return float(longest.v.max() + longest.bound)


def _can_stay_for_ever(mdp: TabularMDP) -> np.ndarray:
    """:return: [S] whether it can be reached, and some actions lead from there to such states alone"""
    matrix = mdp.transitions
    stays = reachable(mdp)
    before = -1
    while stays.sum() != before:
        before = stays.sum()
        surely = matrix.times(stays.astype(float)).reshape(mdp.reward.shape) > 1.0 - ALMOST
        stays = stays & surely.any(axis=1)
    return stays


def reachable(mdp: TabularMDP) -> np.ndarray:
    """:return: [S] whether it can be reached"""
    of = mdp.transitions
    source = np.repeat(np.arange(len(of.indptr) - 1), np.diff(of.indptr)) // mdp.n_actions
    reached = mdp.start > 0.0
    before = -1
    while reached.sum() != before:
        before = reached.sum()
        reached[of.column[reached[source]]] = True
    return reached


def _worth(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """:return: [S] values of a policy that sees the state, less what they can be wrong by"""
    v, error = value_and_error(mdp, policy)
    return v - error


def _stay_known(pomdp: TabularPOMDP, seen_next: Any) -> np.ndarray:
    """:return: [S] whether, once it is known, what is seen tells every later state, whatever is done"""
    n_states = pomdp.mdp.n_states
    tells = (np.diff(seen_next.indptr) <= 1).reshape(n_states, -1).all(axis=1)
    links = seen_next.tocoo().reshape((n_states, -1))
    source, after = links.row, links.col % n_states
    before = -1
    while tells.sum() != before:
        before = tells.sum()
        tells[source[~tells[after]]] = False
    known: np.ndarray = tells
    return known


def _fast_informed(pomdp: TabularPOMDP, seen_next: Any, q: np.ndarray, tol: float, deadline: float) -> np.ndarray:
    """
    The fast informed bound (Hauskrecht, Value-function approximations for partially observable Markov decision
    processes, JAIR 13, 2000): the state before the last action is known. Each sweep leaves an upper bound.

    :param q: [S, A] of knowing the state
    :return: [S, A]
    """
    mdp = pomdp.mdp
    change = np.inf
    while change > tol and time.monotonic() < deadline:
        informed = (seen_next @ q).max(axis=1).reshape(mdp.n_states, mdp.n_actions, -1).sum(axis=2)
        new = np.minimum(q, mdp.reward + mdp.gamma * informed)
        change, q = float((q - new).max()), new
    return q
