"""
Returns of whole episodes, and what they weigh where another policy than the learned one acted. Episodes lie one behind
another: N steps in the order in which they were made, the last one of each marked.
"""

from __future__ import annotations

import numpy as np


def discounted_returns(rewards: np.ndarray, is_last: np.ndarray, gamma: float) -> np.ndarray:
    """
    ``G_t = R_{t+1} + gamma G_{t+1}``, and 0 behind the last step (Sutton and Barto, 2nd ed., equation 3.9).

    :param rewards: [N] R_{t+1}
    :param is_last: [N] bool, of its episode
    :param gamma: discount
    :return: [N] float64
    """
    returns = np.empty(len(rewards))
    behind = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        behind = rewards[t] + (0.0 if is_last[t] else gamma * behind)
        returns[t] = behind
    return returns


def weights_behind(ratios: np.ndarray, is_last: np.ndarray) -> np.ndarray:
    """
    ``W_t``, the product of the ratios of the steps *behind* t. The return of a state weighs ``rho_{t:T-1}`` (Sutton
    and Barto, 2nd ed., equation 5.3); that of an action that is given does not count how likely it was: section 5.7
    updates Q(S_t, A_t) by W before it multiplies W by the ratio of A_t.

    :param ratios: [N] pi(A_t | S_t) / b(A_t | S_t), of the learned policy and of the one that acted
    :param is_last: [N] bool, of its episode
    :return: [N] float64, 1 for each last step
    """
    weights = np.empty(len(ratios))
    behind = 1.0
    for t in range(len(ratios) - 1, -1, -1):
        weights[t] = 1.0 if is_last[t] else behind
        behind = weights[t] * ratios[t]
    return weights


def first_visits(cells: np.ndarray, is_last: np.ndarray) -> np.ndarray:
    """
    :param cells: [N] numbers of what is visited, >= 0
    :param is_last: [N] bool, of its episode
    :return: [N] bool, whether it is the first visit of its episode to its cell (Sutton and Barto, section 5.1)
    """
    first = np.zeros(len(cells), bool)
    if len(cells):
        episode = np.concatenate([[0], np.cumsum(is_last)[:-1]])
        first[np.unique(episode * (cells.max() + 1) + cells, return_index=True)[1]] = True
    return first
