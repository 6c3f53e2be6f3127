"""
What demonstrations did in the states of a table. They are of the table, or refused: every step that is known must be
one that can happen there, and every end one that ends there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.demonstrations.data import Observations, kept_steps
from sb3_ext.planning import TabularMDP
from sb3_ext.planning.views import Observe
from sb3_ext.tabular.observations import StateNumbers


class StatesOfTable:
    """
    The numbers of states, from how they look.

    :param space: of observations
    :param n_states: S
    :param observe: from numbers of states [n] to observations [n, ...], as for `TabularEnv`; None = the number, of a
        MultiDiscrete that of its ``ravel``
    :raises ValueError: where the space is of another number of states, or states cannot be told apart
    """

    def __init__(self, space: spaces.Space[Any], n_states: int, observe: Observe | None) -> None:
        self.space, self.n_states = space, n_states
        self._state_of: dict[bytes, int] = {}
        self._numbers: StateNumbers | None = None
        if observe is not None:
            for state, look in enumerate(self._looks(observe(np.arange(n_states)))):
                same = self._state_of.setdefault(look, state)
                if same != state:
                    raise ValueError(
                        f"observe gives the same for states {same} and {state}: a table must see the state"
                    )
            return
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError(f"observations of {space} are no numbers of states: give observe=...")
        self._numbers = StateNumbers(space, "a reward")
        if self._numbers.n_states != n_states:
            raise ValueError(f"observations of {space}, the table has {n_states} states: it is of another environment")

    def numbers(self, observations: Observations) -> np.ndarray:
        """
        :param observations: [n, ...]; of Discrete also [n, 1]
        :return: [n] int64, -1 where it is no state's
        """
        if self._numbers is None:
            return np.array([self._state_of.get(look, -1) for look in self._looks(observations)], np.int64)
        assert isinstance(observations, np.ndarray)
        return self._numbers.numbers(observations)

    def _looks(self, observations: Observations) -> Iterator[bytes]:
        """:return: of each row its bytes in the dtypes of the space"""
        exact = nested.map(lambda part, x: np.asarray(x, part.dtype) + part.dtype.type(0), self.space, observations)
        leaves = list(nested.leaves(exact))  # + 0, because -0 is 0
        for i in range(nested.rows(exact)):
            yield b"".join(leaf[i].tobytes() for leaf in leaves)


class _Steps(NamedTuple):
    """All steps of all episodes, in order."""

    episode: np.ndarray
    """[N] int64, from 0"""
    step: np.ndarray
    """[N] int64, from 0"""
    state: np.ndarray
    """[N] int64"""
    action: np.ndarray
    """[N] int64"""
    next: np.ndarray
    """[N] int64; -1 where the final observation is unknown"""
    goes_on: np.ndarray
    """[N] bool: an outcome that terminates is impossible"""
    ends: np.ndarray
    """[N] bool: one that does not is"""
    kept: np.ndarray
    """[N] bool"""


def times_shown(mdp: TabularMDP, demonstrations: Demonstrations, observe: Observe | None) -> np.ndarray:
    """
    :param mdp: table
    :param demonstrations: of its environment
    :param observe: as for `StatesOfTable`
    :return: [S, A] how many of the kept steps took each action in each state
    :raises ValueError: where they are of another environment, naming the first step that cannot be
    """
    steps = _steps(mdp, demonstrations, observe)
    _check_possible(mdp, steps)
    if not steps.kept.any():
        raise ValueError(
            f"demonstrations: of {len(steps.step)} steps in {len(demonstrations)} episodes none is kept but absorbing "
            "ones; subsample less"
        )
    row = (steps.state * mdp.n_actions + steps.action)[steps.kept]
    return np.bincount(row, minlength=mdp.reward.size).reshape(mdp.reward.shape)


def _steps(mdp: TabularMDP, demonstrations: Demonstrations, observe: Observe | None) -> _Steps:
    space = demonstrations.action_space
    if not isinstance(space, spaces.Discrete) or int(space.n) != mdp.n_actions:
        raise ValueError(f"actions of {space}, the table has {mdp.n_actions}: it is of another environment")
    states = StatesOfTable(demonstrations.observation_space, mdp.n_states, observe)
    parts = []
    for e, episode in enumerate(demonstrations.episodes):
        n_steps = len(episode)
        numbers = states.numbers(episode.observations)
        for t in np.flatnonzero(numbers < 0)[:1]:
            raise ValueError(f"episode {e}, step {t}: observe gives what was seen for none of {mdp.n_states} states")
        kept = kept_steps(episode)
        is_kept = np.zeros(n_steps, bool)
        is_kept[kept[kept < n_steps]] = True
        last = np.arange(n_steps) == n_steps - 1
        following = np.append(numbers, -1)[1 : n_steps + 1]
        parts.append(
            _Steps(
                np.full(n_steps, e),
                np.arange(n_steps),
                numbers[:n_steps],
                episode.actions.reshape(-1).astype(np.int64) - int(space.start),
                following,
                ~last | (episode.terminated is False),
                last & (episode.terminated is True),
                is_kept,
            )
        )
    return _Steps(*[np.concatenate(columns) for columns in zip(*parts, strict=True)])


def _check_possible(mdp: TabularMDP, steps: _Steps) -> None:
    """:raises ValueError: naming the first step that has probability 0"""
    of, n_actions = mdp.outcomes, mdp.n_actions
    arrival = of.row * mdp.n_states + of.next
    shown = (steps.state * n_actions + steps.action) * mdp.n_states + steps.next
    can_go_on, can_end = (np.isin(shown, arrival[of.terminated == ends]) for ends in (False, True))
    possible = np.where(steps.ends, can_end, np.where(steps.goes_on, can_go_on, can_go_on | can_end))
    for i in np.flatnonzero(~possible & (steps.next >= 0))[:1]:
        where = f"episode {steps.episode[i]}, step {steps.step[i]}: "
        before = f"state {steps.state[i]}, action {steps.action[i]}"
        if not can_go_on[i] and not can_end[i]:
            raise ValueError(f"{where}state {steps.next[i]} cannot follow {before}")
        if steps.ends[i]:
            raise ValueError(f"{where}terminates, and in the table {before} does not end in state {steps.next[i]}")
        raise ValueError(f"{where}goes on, and in the table {before} ends in state {steps.next[i]}")
