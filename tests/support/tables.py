"""Episodes of a published table, without any code of the package."""

from __future__ import annotations

from typing import Any

import numpy as np


def simulated(
    table: Any, start: np.ndarray, policy: np.ndarray, gamma: float, limit: int, n: int, most: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """
    :param table: ``P[state][action]``, outcomes (probability, next state, reward, terminated)
    :param start: [S]
    :param policy: [S, A] probabilities
    :param gamma: discount
    :param limit: steps that the undiscounted returns are cut at
    :param n: episodes
    :param most: steps after which nothing is added to the discounted returns either
    :return: [n] discounted returns, [n] undiscounted ones
    """
    rng = np.random.default_rng(0)
    n_actions, width = len(table[0]), max(len(row) for of_state in table.values() for row in of_state.values())
    outcomes = np.zeros((len(table), n_actions, width, 4))
    for s, of_state in table.items():
        for a, row in of_state.items():
            outcomes[s, a, : len(row)] = row
    chances, choices = outcomes[..., 0].cumsum(axis=-1), policy.cumsum(axis=-1)
    lanes, state = np.arange(n), rng.choice(len(start), n, p=start)
    discounted, limited = np.zeros(n), np.zeros(n)
    for step in range(most):
        action = (rng.random(len(lanes))[:, None] > choices[state]).sum(axis=1).clip(max=n_actions - 1)
        drawn = (rng.random(len(lanes))[:, None] > chances[state, action]).sum(axis=1).clip(max=width - 1)
        _, after, reward, terminated = outcomes[state, action, drawn].T
        discounted[lanes] += gamma**step * reward
        if step < limit:
            limited[lanes] += reward
        lanes, state = lanes[terminated == 0.0], after[terminated == 0.0].astype(np.int64)
    return discounted, limited
