"""
The beliefs that can be reached from the start, and what leads from one to which others. A belief is kept once: those
that agree in every probability to 1e-9 are one, and how far they lay apart is kept with the step that led there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp import Csr
from sb3_ext.planning.pomdp import TabularPOMDP, ranges, seen_with

STEP = 1e-9  # probabilities are rounded to multiples of it where beliefs are compared
ROUNDING = 16 * np.finfo(float).eps  # of a belief in one step, summed over its states


class Ragged(NamedTuple):
    """Several beliefs: the states and probabilities of number i lie at ``indptr[i]`` to ``indptr[i + 1]``."""

    indptr: np.ndarray
    state: np.ndarray
    probability: np.ndarray

    def take(self, which: np.ndarray) -> Ragged:
        """:return: some of them, in this order"""
        begin, end = self.indptr[which], self.indptr[which + 1]
        _, index = ranges(begin, end)
        indptr = np.concatenate([[0], np.cumsum(end - begin)])
        return Ragged(indptr, self.state[index], self.probability[index])

    def join(self, other: Ragged) -> Ragged:
        """:return: these, and then those"""
        return Ragged(
            np.concatenate([self.indptr, self.indptr[-1] + other.indptr[1:]]),
            np.concatenate([self.state, other.state]),
            np.concatenate([self.probability, other.probability]),
        )

    def matrix(self, n_states: int) -> Any:  # Any: scipy ships no annotations
        """:return: [beliefs, S], sparse"""
        return Csr(self.indptr, self.state, self.probability, n_states).matrix()


class Steps(NamedTuple):
    """What follows some beliefs, each with every action: those of row ``belief * A + action`` lie as in `Ragged`."""

    indptr: np.ndarray
    child: np.ndarray
    """number of the belief it leads to"""
    probability: np.ndarray
    """of that; what is missing to 1 ends the episode"""
    distance: np.ndarray
    """largest sum of absolute differences between the belief it leads to and the one that is kept for it"""


class BeliefTree:
    """
    :param pomdp: whose beliefs
    """

    def __init__(self, pomdp: TabularPOMDP) -> None:
        self._pomdp = pomdp
        self._number: dict[bytes, int] = {}
        self.beliefs = Ragged(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))
        n_states, n_rows = pomdp.mdp.n_states, pomdp.mdp.n_actions * pomdp.n_observations
        self.seen_next = seen_next(pomdp)
        # [S, A * O * S]: from a state, with an action, seeing o, to a state
        self._joint = self.seen_next.tocoo().reshape((n_states, n_rows * n_states)).tocsr()
        first = pomdp.first_observation
        both = pomdp.mdp.start[None] * (np.ones((1, n_states)) if first is None else first.T)  # [O, S]
        seen, state = np.nonzero(both)
        self.first, self.first_probability, _ = self._known(seen, state, both[seen, state])

    def __len__(self) -> int:
        return len(self._number)

    def number_of(self, belief: np.ndarray) -> int | None:
        """
        :param belief: [S]
        :return: its number; None = it was not reached
        """
        (state,) = np.nonzero(belief)
        return self._number.get(_memory(state, belief[state]))

    def expand(self, beliefs: np.ndarray) -> Steps:
        """
        :param beliefs: numbers
        :return: what follows them; beliefs that are new have the next numbers
        """
        n_states, n_seen, n_actions = self._pomdp.mdp.n_states, self._pomdp.n_observations, self._pomdp.mdp.n_actions
        joint = self.beliefs.take(beliefs).matrix(n_states) @ self._joint
        joint.sort_indices()
        column = joint.indices.astype(np.int64)
        row = np.repeat(np.arange(len(beliefs)), np.diff(joint.indptr))
        group = row * (n_actions * n_seen) + column // n_states
        child, probability, distance = self._known(group, column % n_states, joint.data)
        acted = group[np.flatnonzero(np.diff(group, prepend=-1))] // n_seen  # [children]: belief * A + action
        indptr = np.searchsorted(acted, np.arange(len(beliefs) * n_actions + 1))
        return Steps(indptr, child, probability, distance)

    def _known(
        self, group: np.ndarray, state: np.ndarray, probability: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        Of each group of entries, the number of the belief that they are but for a factor.

        :param group: ascending; equal where entries belong together
        :param state: ascending in a group
        :param probability: not normalised
        :return: per group: number, sum, distance to what is kept under that number
        """
        begin = np.flatnonzero(np.diff(group, prepend=-1))
        indptr = np.append(begin, len(group))
        mass = np.add.reduceat(probability, begin) if len(begin) else np.empty(0)
        found = Ragged(indptr, state, probability / np.repeat(mass, np.diff(indptr)))
        memory, width = _memory(state, found.probability), 16
        number = np.empty(len(begin), np.int64)
        new = []
        for i, (first, end) in enumerate(zip((width * begin).tolist(), (width * indptr[1:]).tolist(), strict=True)):
            n_known = len(self._number)
            number[i] = self._number.setdefault(memory[first:end], n_known)
            if number[i] == n_known:
                new.append(i)
        self.beliefs = self.beliefs.join(found.take(np.array(new, np.int64)))
        apart = np.abs(found.probability - self.beliefs.take(number).probability)
        return number, mass, (np.add.reduceat(apart, begin) if len(begin) else np.empty(0)) + ROUNDING


def seen_next(pomdp: TabularPOMDP) -> Any:  # Any: scipy ships no annotations
    """:return: [S * A * O, S], sparse: from a state, with an action: probability of seeing o and being in a state"""
    moves, n_actions, n_seen = pomdp.mdp.transitions, pomdp.mdp.n_actions, pomdp.n_observations
    row = np.repeat(np.arange(len(moves.indptr) - 1), np.diff(moves.indptr))
    step, seen, probability = seen_with(pomdp.observation, row % n_actions, moves.column)
    entries = (moves.value[step] * probability, (row[step] * n_seen + seen, moves.column[step]))
    return scipy_module("scipy.sparse").csr_array(entries, shape=((len(moves.indptr) - 1) * n_seen, moves.n_columns))


def _memory(state: np.ndarray, probability: np.ndarray) -> bytes:
    """:return: 16 bytes an entry, equal for equal beliefs"""
    return np.stack([state, np.rint(probability / STEP)], axis=1).astype(np.int64).tobytes()
