"""Distributions of returns: the projection of C51 and the loss of quantile regression, over any leading axes."""

from __future__ import annotations

import torch as th
from torch.nn import functional as F


def project_categorical(atoms_shifted: th.Tensor, probabilities: th.Tensor, support: th.Tensor) -> th.Tensor:
    """
    Puts shifted atoms back on the support: each gives its mass to the two neighbours, in proportion to nearness, and
    all of it to the last atom where it lies outside (Bellemare et al., 2017, algorithm 1).

    The algorithm as printed loses the mass of an atom that falls on the support exactly (there l = u and both weights
    are 0). Here the lower neighbour is at most the last but one and the upper is the one above it, so the two weights
    add up to 1 everywhere.

    :param atoms_shifted: [..., N], where the mass lies now
    :param probabilities: [..., N], the mass
    :param support: [N], evenly spaced and increasing, N >= 2
    :return: [..., N] mass on the support
    """
    n_atoms = len(support)
    step = (support[-1] - support[0]) / (n_atoms - 1)
    position = ((atoms_shifted - support[0]) / step).clamp(0, n_atoms - 1)
    lower = position.floor().clamp(max=n_atoms - 2)
    share_of_upper = position - lower
    index = lower.long()
    projected = th.zeros_like(probabilities)
    projected = projected.scatter_add(-1, index, probabilities * (1.0 - share_of_upper))
    return projected.scatter_add(-1, index + 1, probabilities * share_of_upper)


def quantile_midpoints(n: int, device: th.device | str = "cpu") -> th.Tensor:
    """:return: [N] ``(2 i + 1) / (2 N)``, the levels whose quantiles are closest to a distribution (lemma 2 below)"""
    return (th.arange(n, device=device) + 0.5) / n


def quantile_huber(quantiles: th.Tensor, targets: th.Tensor, taus: th.Tensor, kappa: float) -> th.Tensor:
    """
    ``sum_i mean_j |tau_i - 1{u_ij < 0}| L_kappa(u_ij) / kappa`` with ``u_ij = target_j - quantile_i`` and L_kappa the
    Huber loss (Dabney et al., 2018, equations 9, 10 and algorithm 1).

    The division by kappa is the one of the paper on implicit quantiles (equation 3 there): without it small kappas
    would shrink the loss, with it they approach the plain quantile loss, which kappa = 0 is.

    :param quantiles: [..., N], estimates
    :param targets: [..., N'], equally likely
    :param taus: [N], level of each estimate
    :param kappa: error up to which the loss is quadratic, >= 0
    :return: [...]
    """
    u = targets.unsqueeze(-2) - quantiles.unsqueeze(-1)  # [..., N, N'], millions for sequences: few passes over it
    level = taus.unsqueeze(-1)
    with th.no_grad():
        divisor = targets.shape[-1] * (kappa if kappa > 0 else 1.0)
        weight = th.where(u < 0, (1.0 - level) / divisor, level / divisor)
    zero = u.new_zeros(()).expand_as(u)
    size = F.huber_loss(u, zero, reduction="none", delta=kappa) if kappa > 0 else u.abs()
    loss: th.Tensor = th.linalg.vecdot(weight, size).sum(dim=-1)
    return loss
