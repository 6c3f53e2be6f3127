"""A process of two states, small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.planning import TabularMDP

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]

# Two states: 0 loops, or goes to 1; from 1 one ends or falls back.
SMALL: Table = {
    0: {0: [(1.0, 0, -0.5, False)], 1: [(0.75, 1, 0.0, False), (0.25, 0, 1.0, False)]},
    1: {0: [(0.5, 0, 2.0, True), (0.5, 0, 0.0, False)], 1: [(1.0, 1, 3.0, True)]},
}
START = np.array([0.9, 0.1])


def small(gamma: float = 0.9, horizon: int | None = None, **changed: Any) -> TabularMDP:
    return TabularMDP.from_table({**SMALL, **changed.get("rows", {})}, changed.get("start", START), gamma, horizon)


def dense(mdp: TabularMDP) -> np.ndarray:
    """:return: [S, A, S] of what goes on, by a loop"""
    found = np.zeros((mdp.n_states, mdp.n_actions, mdp.n_states))
    for row, following, probability, _, terminated in zip(*mdp.outcomes, strict=True):
        if not terminated:
            found[row // mdp.n_actions, row % mdp.n_actions, following] += probability
    return found
