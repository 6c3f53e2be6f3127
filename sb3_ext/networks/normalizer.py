"""Running statistics of observations, as a part of a network: saved with it, and changed by `update` alone."""

from __future__ import annotations

import torch as th
from torch import nn

CLIP = 10.0  # standard deviations, as VecNormalize


class RunningNormalizer(nn.Module):
    """
    Standardises observations by the mean and variance of all that `update` has seen, which the state dict holds.

    :param shape: of one observation
    """

    mean: th.Tensor
    variance: th.Tensor
    count: th.Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(shape, dtype=th.float64))
        self.register_buffer("variance", th.ones(shape, dtype=th.float64))
        self.register_buffer("count", th.zeros((), dtype=th.float64))

    def update(self, batch: th.Tensor) -> None:
        """:param batch: [B, *shape]; merged as in Chan et al. (1979)"""
        batch = batch.double()
        n = len(batch)
        if n == 0:
            return
        total = self.count + n
        mean = batch.mean(dim=0)
        between = (mean - self.mean).square() * self.count * n / total
        variance = (self.variance * self.count + batch.var(dim=0, unbiased=False) * n + between) / total
        self.mean.add_((mean - self.mean) * n / total)
        self.variance.copy_(variance)
        self.count.copy_(total)

    def forward(self, x: th.Tensor) -> th.Tensor:
        scale = (self.variance + 1e-8).rsqrt()
        return ((x - self.mean) * scale).clamp(-CLIP, CLIP).float()
