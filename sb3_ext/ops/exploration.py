"""Epsilon of epsilon-greedy exploration, one value per environment."""

from __future__ import annotations

import numpy as np


def epsilon_ladder(n_envs: int, base: float = 0.4, alpha: float = 7.0) -> np.ndarray:
    """
    ``epsilon_i = base^(1 + alpha i / (N - 1))`` (Ape-X, Horgan et al., 2018, section 4.1; used unchanged by R2D2).

    :param n_envs: N; one environment gets ``base``
    :param base: epsilon of environment 0
    :param alpha: spread; the last environment gets ``base^(1 + alpha)``
    :return: [N] float64
    """
    if n_envs < 1:
        raise ValueError(f"n_envs {n_envs} must be >= 1")
    rungs = np.arange(n_envs) / max(n_envs - 1, 1)
    return base ** (1.0 + alpha * rungs)


def epsilon_greedy(greedy: np.ndarray, epsilon: np.ndarray, n_actions: int) -> np.ndarray:
    """
    Each environment tosses its own coin (NumPy's global generator, which SB3 seeds).

    :param greedy: [E] int, greedy actions
    :param epsilon: [E], probability of a uniformly random action
    :param n_actions: number of discrete actions
    :return: [E] int, ``greedy`` with the random ones put in
    """
    explore = np.random.random(len(greedy)) < epsilon
    return np.where(explore, np.random.randint(n_actions, size=len(greedy)), greedy)
