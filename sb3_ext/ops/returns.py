"""
N-step returns inside windows. A termination ends the sum and the bootstrap; the end of the data only shortens the sum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch as th


class NStepReturns(NamedTuple):
    """What every head needs to build its target: ``reward_sum + discount * value(observation[bootstrap_index])``."""

    reward_sum: th.Tensor
    """[B, M] ``sum_k gamma^k r_{t+k}`` over the steps that remain"""
    discount: th.Tensor
    """[B, M] ``gamma^k`` with k the steps summed, 0 behind a termination"""
    bootstrap_index: th.Tensor
    """[B, M] int64, time index of the observation to bootstrap from: t + k"""


def n_step_returns(
    rewards: th.Tensor, terminated: th.Tensor, mask: th.Tensor, gamma: float | th.Tensor, n: int, trained: int
) -> NStepReturns:
    """
    n-step returns of the first ``trained`` steps of each window.

    The paper is silent on the end of an episode; here the horizon shrinks to what is left: step t sums ``k = min(n,
    steps until the mask ends)`` rewards and bootstraps at ``t + k``, so that a truncation bootstraps from the true
    final observation. The discount counts distance from t, never position in the window.

    :param rewards: [B, T], reward of the step that leaves observation t
    :param terminated: [B, T], 1 where that step ended the episode for good (a truncation is 0)
    :param mask: [B, T], 1 = real step, 0 = padding; real steps come first
    :param gamma: discount per step, a number or [B]
    :param n: longest horizon in steps, >= 1
    :param trained: M, number of leading steps to compute, ``M + n <= T + 1`` is not required: the end shortens
    :return: tensors of shape [B, M]
    """
    if n < 1:
        raise ValueError(f"n {n} must be >= 1")
    if isinstance(gamma, th.Tensor):
        gamma = gamma.unsqueeze(1)
    pad = max(trained + n - 1 - rewards.shape[1], 0)
    if pad:
        rewards, terminated, mask = (th.nn.functional.pad(x, (0, pad)) for x in (rewards, terminated, mask))
    reward_sum = th.zeros_like(rewards[:, :trained])
    steps = th.zeros_like(reward_sum)
    alive = mask[:, :trained]  # 1 while the sum of step t may still grow
    ended = th.zeros_like(reward_sum)
    for k in range(n):
        alive = alive * mask[:, k : k + trained]
        reward_sum = reward_sum + (gamma**k) * alive * rewards[:, k : k + trained]
        steps = steps + alive
        ends_here = alive * terminated[:, k : k + trained]
        ended = ended + ends_here
        alive = alive - ends_here
    index = th.arange(trained, device=rewards.device).unsqueeze(0) + steps.long()
    return NStepReturns(reward_sum, th.pow(gamma, steps) * (1.0 - ended), index)
