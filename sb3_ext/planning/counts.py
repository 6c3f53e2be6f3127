"""
How often what followed what. Steps that led to one state in one way share a cell: arriving and ending there are two,
and each keeps the rewards that came with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """All cells, sorted by row, next state and end."""

    row: np.ndarray
    """[K] int64: state * A + action"""
    next: np.ndarray
    """[K] int64"""
    terminated: np.ndarray
    """[K] bool"""
    times: np.ndarray
    """[K] int64, at least 1"""
    reward_sum: np.ndarray
    """[K] float64"""


class TransitionCounts:
    """
    :param n_states: S
    :param n_actions: A
    """

    def __init__(self, n_states: int, n_actions: int) -> None:
        for name, number in (("n_states", n_states), ("n_actions", n_actions)):
            if number < 1:
                raise ValueError(f"{name} {number} must be at least 1")
        if 2 * n_states**2 * n_actions >= 2**63:
            raise ValueError(f"{n_states} states x {n_actions} actions are too many to number their transitions")
        self.n_states, self.n_actions = n_states, n_actions
        self.starts = np.zeros(n_states, np.int64)
        """[S] how many episodes began there"""
        self._key = np.zeros(0, np.int64)  # (row * S + next) * 2 + terminated, in rising order
        self._times = np.zeros(0, np.int64)
        self._reward_sum = np.zeros(0)

    def add_starts(self, states: np.ndarray | int) -> None:
        """:param states: the first ones of any number of episodes"""
        np.add.at(self.starts, self._numbers(states, self.n_states, "state"), 1)

    def add(
        self,
        states: np.ndarray | int,
        actions: np.ndarray | int,
        rewards: np.ndarray | float,
        next_states: np.ndarray | int,
        terminated: np.ndarray | bool,
    ) -> None:
        """
        Count any number of steps, [N] or [N, 1] each. A truncated step goes on: ``terminated`` is False, and
        ``next_states`` holds the state that it led to rather than the first one of the next episode.
        """
        s, a, following = (
            self._numbers(states, self.n_states, "state"),
            self._numbers(actions, self.n_actions, "action"),
            self._numbers(next_states, self.n_states, "next state"),
        )
        paid, ends = np.asarray(rewards, float).reshape(-1), np.asarray(terminated, bool).reshape(-1)
        if len({len(s), len(a), len(following), len(paid), len(ends)}) > 1:
            lengths = (len(s), len(a), len(paid), len(following), len(ends))
            raise ValueError(f"states, actions, rewards, next_states and terminated differ in length: {lengths}")
        if not np.isfinite(paid).all():
            raise ValueError(f"reward {paid[~np.isfinite(paid)][0]} must be a finite number")
        key, place, times = np.unique(
            ((s * self.n_actions + a) * self.n_states + following) * 2 + ends, return_inverse=True, return_counts=True
        )
        fresh = np.setdiff1d(key, self._key, assume_unique=True)
        if len(fresh):
            at = np.searchsorted(self._key, fresh)
            self._key = np.insert(self._key, at, fresh)
            self._times = np.insert(self._times, at, 0)
            self._reward_sum = np.insert(self._reward_sum, at, 0.0)
        cells = np.searchsorted(self._key, key)
        self._times[cells] += times
        self._reward_sum[cells] += np.bincount(place, paid, minlength=len(key))

    def seen(self) -> Seen:
        """:return: every cell"""
        arrival, terminated = self._key // 2, self._key % 2 == 1
        return Seen(
            arrival // self.n_states, arrival % self.n_states, terminated, self._times.copy(), self._reward_sum.copy()
        )

    @staticmethod
    def _numbers(given: np.ndarray | int, n: int, what: str) -> np.ndarray:
        """:return: [N] int64, of which none lies outside of [0, n)"""
        numbers = np.asarray(given).reshape(-1)
        if not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(f"{what} must be a number without fraction, not {numbers.dtype}")
        for wrong in numbers[(numbers < 0) | (numbers >= n)][:1]:
            raise ValueError(f"{what} {wrong} must lie in [0, {n})")
        return numbers.astype(np.int64)
