"""Priorities of sequences and the weights that undo their bias."""

from __future__ import annotations

import numpy as np
import torch as th

from sb3_ext.ops.returns import n_step_returns
from sb3_ext.ops.value_rescaling import ValueTransform


def mix_priorities(abs_td: th.Tensor, mask: th.Tensor, eta: float) -> th.Tensor:
    """
    ``p = eta max_i |delta_i| + (1 - eta) mean_i |delta_i|`` over the trained steps of a sequence (R2D2 paper, section
    2.3).

    The exponent of prioritization is the sampler's and is applied after this mix.

    :param abs_td: [B, M], magnitudes of the n-step errors (already without sign), >= 0
    :param mask: [B, M], 1 = real step; padding enters neither the maximum nor the mean
    :param eta: share of the maximum, in [0, 1]
    :return: [B]
    """
    masked = abs_td * mask
    mean = masked.sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
    return eta * masked.amax(dim=1) + (1.0 - eta) * mean


def acting_td(
    q_taken: th.Tensor,
    q_best: th.Tensor,
    rewards: th.Tensor,
    terminated: th.Tensor,
    mask: th.Tensor,
    gamma: float,
    n: int,
    transform: ValueTransform,
) -> th.Tensor:
    """
    ``|h(sum_k gamma^k r_{t+k} + gamma^n h^-1(max_a Q(s_{t+n}, a))) - Q(s_t, a_t)|`` with the Q-values that were there
    when it was acted, so that an actor knows the priorities of what it sends (Horgan et al., 2018, appendix D). The
    learner's own errors have a target network.

    :param q_taken: [B, M] of the actions taken, transformed values as a network predicts them
    :param q_best: [B, T + 1] of the best actions; read where a step bootstraps
    :param rewards: [B, T], reward of the step that leaves observation t
    :param terminated: [B, T], 1 where that step ended the episode for good
    :param mask: [B, T], 1 = real step, 0 = padding; real steps come first
    :param gamma: discount per step
    :param n: longest horizon in steps
    :param transform: of values
    :return: [B, M], 0 in the padding, NaN where a Q-value that is needed is NaN
    """
    trained = q_taken.shape[1]
    returns = n_step_returns(rewards, terminated, mask, gamma, n, trained)
    bootstrap = transform.invert(q_best.gather(1, returns.bootstrap_index))
    future = th.where(returns.discount > 0, returns.discount * bootstrap, 0.0)
    errors = (transform.apply(returns.reward_sum + future) - q_taken).abs()
    return th.where(mask[:, :trained] > 0, errors, 0.0)


def importance_weights(probabilities: np.ndarray, population: int, beta: float) -> np.ndarray:
    """
    ``w_i = (N P(i))^-beta / max_j w_j`` (Schaul et al., 2016, section 3.4), the maximum over the batch.

    :param probabilities: [B], P(i) > 0 of each drawn item
    :param population: N, number of items that could have been drawn
    :param beta: 0 = no correction, 1 = full correction
    :return: [B] float32 in (0, 1]
    """
    weights = (population * probabilities) ** -beta
    scaled: np.ndarray = (weights / weights.max()).astype(np.float32)
    return scaled


def linear_anneal(start: float, end: float, progress_remaining: float) -> float:
    """
    :param progress_remaining: SB3's clock, from 1 (start of training) to 0 (end)
    :return: the value on the straight line from ``start`` to ``end``
    """
    return end + (start - end) * progress_remaining
