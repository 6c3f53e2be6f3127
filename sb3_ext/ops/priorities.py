"""Priorities of sequences and the weights that undo their bias."""

from __future__ import annotations

import numpy as np
import torch as th


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
