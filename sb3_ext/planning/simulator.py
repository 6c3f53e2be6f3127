"""
A process that moves: first states and outcomes are drawn for all lanes at once. Reward, next state and end are those of
one outcome and never drawn apart, so an end that was not seen yet has not been paid for either.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from sb3_ext.planning.drawing import RowDraws
from sb3_ext.planning.mdp import TabularMDP

Horizon: TypeAlias = int | Literal["mdp"] | None


class Moves(NamedTuple):
    """One step of n lanes."""

    state: np.ndarray
    """[n] int64, after it"""
    reward: np.ndarray
    """[n] float64"""
    terminated: np.ndarray
    """[n] bool"""


class Simulator:
    """
    :param mdp: whose outcomes are drawn
    """

    def __init__(self, mdp: TabularMDP) -> None:
        self.mdp = mdp
        of = mdp.outcomes
        self._outcomes = RowDraws(of.row, of.probability, mdp.n_states * mdp.n_actions)
        self._starts = RowDraws(np.zeros(mdp.n_states, np.int64), mdp.start, 1)

    def start(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """:return: [n] states in which episodes begin"""
        return self._starts.draw(np.zeros(n, np.int64), rng.random(n))

    def move(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Moves:
        """
        :param state: [n]
        :param action: [n], checked by `check_actions`
        """
        of = self.mdp.outcomes
        drawn = self._outcomes.draw(state * self.mdp.n_actions + action, rng.random(len(state)))
        return Moves(of.next[drawn], of.reward[drawn], of.terminated[drawn])

    def check_actions(self, actions: Any, n: int) -> np.ndarray:  # Any: whatever a model gives
        """
        :param actions: n of them, in any shape
        :return: [n] int64
        :raises ValueError: where they are no actions of the process
        """
        flat = np.asarray(actions).reshape(-1)
        if len(flat) != n or flat.dtype.kind not in "iu":
            raise ValueError(f"actions: {n} whole numbers are needed, got {flat.dtype} {np.shape(actions)}")
        wrong = (flat < 0) | (flat >= self.mdp.n_actions)
        if wrong.any():
            raise ValueError(f"action {flat[wrong][0]} must lie in 0 to {self.mdp.n_actions - 1}")
        return flat.astype(np.int64)

    def state_of(self, options: dict[str, Any] | None) -> int | None:  # Any: gymnasium's options
        """
        :param options: of a reset: ``{"state": s}`` begins there
        :return: None where they say nothing
        :raises ValueError: for others, or no such state
        """
        if not options:
            return None
        if set(options) != {"state"}:
            raise ValueError(f'options {options}: the only one is "state", to begin in')
        return self.check_state(options["state"])

    def check_state(self, state: Any) -> int:  # Any: a user's
        """
        :return: its number
        :raises ValueError: where there is no such state
        """
        if not isinstance(state, int | np.integer) or not 0 <= state < self.mdp.n_states:
            raise ValueError(f"state {state!r} must lie in 0 to {self.mdp.n_states - 1}")
        return int(state)


def steps_of(horizon: Horizon, mdp: TabularMDP) -> int | None:
    """
    :param horizon: "mdp" = that of the process
    :return: steps after which an episode is truncated, None = never
    :raises ValueError: for less than one
    """
    steps = mdp.horizon if horizon == "mdp" else horizon
    if steps is not None and steps < 1:
        raise ValueError(f"horizon {steps} must be 1 or more, or None for no limit")
    return steps
