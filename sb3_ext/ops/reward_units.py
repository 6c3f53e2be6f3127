"""The unit of the rewards, found from the data, so that learning does not depend on it."""

from __future__ import annotations

import numpy as np

from sb3_ext.ops.value_rescaling import ValueTransform

FITTED_VALUE = 5.0
"""What the network predicts for the largest return when the scale is fitted. Under R2D2's h it is a return of 35; C51's
range of +-15 leaves room for returns 7 times as large, and its 51 atoms still tell a 35th of it from nothing."""
REFIT_AT = 2.0 * FITTED_VALUE
LEAST_RETURN = 1e-30
"""Smaller ones count as 0: the tail of a Gaussian would ask for a scale that float32 does not hold."""


class LargestReturn:
    """
    The largest size of a discounted return met so far. It only grows, so that the targets of a network which follow it
    stand still once the returns do, and one rare reward counts as much as a frequent one.

    Like the scale of SB3's `VecNormalize` it is made of sums from the start of an episode on, which need no future.

    :param n_envs: E
    """

    def __init__(self, n_envs: int) -> None:
        self.value = 0.0
        self._sums = np.zeros(n_envs)

    def add(self, rewards: np.ndarray, dones: np.ndarray, gamma: float) -> None:
        """
        :param rewards: [E] of one step, finite
        :param dones: [E] where it ended an episode
        :param gamma: discount per step
        """
        self._sums = gamma * self._sums + rewards
        self.value = max(self.value, float(np.abs(self._sums).max()))
        self._sums[np.asarray(dones, dtype=bool)] = 0.0

    def add_steps(self, rewards: np.ndarray, dones: np.ndarray, gamma: float, lanes: np.ndarray) -> None:
        """
        Many steps of some environments, as step by step.

        :param rewards: [K, N] finite
        :param dones: [K, N] where they ended an episode
        :param gamma: discount per step
        :param lanes: [N] numbers of the environments
        """
        # Of numbers, not of arrays: ten times as fast for the few environments of an actor, and the same to the bit.
        for lane, its_rewards, ends in zip(lanes.tolist(), rewards.T.tolist(), dones.T.tolist(), strict=True):
            total = float(self._sums[lane])
            for reward, ended in zip(its_rewards, ends, strict=True):
                total = gamma * total + reward
                self.value = max(self.value, abs(total))
                total = 0.0 if ended else total
            self._sums[lane] = total

    def restart(self, lanes: np.ndarray | slice = slice(None)) -> None:
        """:param lanes: numbers of environments that begin an episode; all"""
        self._sums[lanes] = 0.0


def fitted_scale(inner: ValueTransform, scale: float, largest_return: float) -> float:
    """
    :param inner: transform of scaled returns
    :param scale: present factor of returns, 0 = not fitted yet
    :param largest_return: >= 0
    :return: the factor with which the network predicts `FITTED_VALUE` for the largest return; the present one while it
        predicts less than `REFIT_AT` for it, since each change takes the network's targets away from what it has
        learned
    """
    if largest_return < LEAST_RETURN or (scale > 0.0 and inner.apply(np.array(scale * largest_return)) < REFIT_AT):
        return scale
    return float(inner.invert(np.array(FITTED_VALUE))) / largest_return
