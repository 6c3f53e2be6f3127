"""
Several networks of one shape as one module: each layer holds the weights of all members and runs them in one batched
product. Inputs are [M, B, D] for the first M members, so that M = 1 asks the first alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch as th
from torch import nn
from torch.nn import functional as F


def _first(x: th.Tensor, n: int) -> th.Tensor:
    """``x[:n]``, whose gradient is a copy even where it is all of x."""
    return x if len(x) == n else x[:n]


class EnsembleLinear(nn.Module):
    """
    `nn.Linear` for every member, with its initial distribution.

    :param n_members: N
    :param in_features: width of the input
    :param out_features: width of the output
    """

    def __init__(self, n_members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = in_features**-0.5
        self.weight = nn.Parameter(th.empty(n_members, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(n_members, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """
        :param x: [M, B, in_features], M <= N
        :return: [M, B, out_features]
        """
        return th.baddbmm(_first(self.bias, len(x)), x, _first(self.weight, len(x)))

    def extra_repr(self) -> str:
        n_members, n_in, n_out = self.weight.shape
        return f"{n_in}, {n_out}, n_members={n_members}"


class EnsembleLayerNorm(nn.Module):
    """
    `nn.LayerNorm` over the last axis for every member.

    :param n_members: N
    :param width: of the last axis
    """

    def __init__(self, n_members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.ones(n_members, 1, width))
        self.bias = nn.Parameter(th.zeros(n_members, 1, width))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """:param x: [M, B, width], M <= N"""
        weights, biases = self.weight.flatten(1), self.bias.flatten(1)
        # One fused call for each member is half the work of a batched scale and shift after a batched norm.
        normalized = [F.layer_norm(one, one.shape[-1:], w, b) for one, w, b in zip(x, weights, biases, strict=False)]
        return th.stack(normalized) if len(x) > 1 else normalized[0].unsqueeze(0)


class ResidualBlock(nn.Module):
    """
    ``x + W2 relu(W1 LayerNorm(x))``, four times as wide inside (SimBa, Lee et al., 2025, equation 3).

    :param n_members: N
    :param width: of input and output
    """

    def __init__(self, n_members: int, width: int) -> None:
        super().__init__()
        self.norm = EnsembleLayerNorm(n_members, width)
        self.up = EnsembleLinear(n_members, width, 4 * width)
        self.down = EnsembleLinear(n_members, 4 * width, width)
        for layer in (self.up, self.down):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.weight.shape[1]))  # He et al. (2015)
            nn.init.zeros_(layer.bias)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """:param x: [M, B, width]"""
        out: th.Tensor = x + self.down(F.relu(self.up(self.norm(x))))
        return out


def layer_norm_mlp(
    n_members: int, n_in: int, n_out: int, net_arch: Sequence[int], activation_fn: type[nn.Module]
) -> nn.Sequential:
    """
    :param n_members: N
    :param n_in: width of the input
    :param n_out: width of the output
    :param net_arch: widths of the hidden layers, each of them normalised before its activation
    :param activation_fn: of the hidden layers
    :return: from [M, B, n_in] to [M, B, n_out]
    """
    layers: list[nn.Module] = []
    for width in net_arch:
        layers += [EnsembleLinear(n_members, n_in, width), EnsembleLayerNorm(n_members, width), activation_fn()]
        n_in = width
    return nn.Sequential(*layers, EnsembleLinear(n_members, n_in, n_out))


def simba(
    n_members: int, n_in: int, n_out: int, net_arch: Sequence[int], activation_fn: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """
    The network of SimBa (Lee et al., 2025, section 4) without its normalisation of observations.

    :param n_members: N
    :param n_in: width of the input
    :param n_out: width of the output
    :param net_arch: one width for each residual block, all equal
    :param activation_fn: ReLU, the paper's; no other
    :return: from [M, B, n_in] to [M, B, n_out]
    :raises ValueError: for no block, or blocks of different widths, or another activation
    """
    if not net_arch or len(set(net_arch)) != 1:
        raise ValueError(f"net_arch {list(net_arch)} must be one width for each residual block, all equal")
    if activation_fn is not nn.ReLU:
        raise ValueError(f"activation_fn {activation_fn.__name__} must be ReLU in residual blocks")
    width = net_arch[0]
    into, out = EnsembleLinear(n_members, n_in, width), EnsembleLinear(n_members, width, n_out)
    for layer in (into, out):
        for weight in layer.weight:
            nn.init.orthogonal_(weight)
        nn.init.zeros_(layer.bias)
    blocks = [ResidualBlock(n_members, width) for _ in net_arch]
    return nn.Sequential(into, *blocks, EnsembleLayerNorm(n_members, width), out)
