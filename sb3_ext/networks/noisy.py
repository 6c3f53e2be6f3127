"""
Noisy layers (Fortunato et al., 2018). A layer keeps the noise it was given until it is given another; without any it
uses its mean weights. Training and evaluation mode make no difference.

Noisy layers stand in heads only, behind the recurrent core. So the recurrent state never depends on the noise, and a
stored state can be reproduced whatever the noise was when it was stored.
"""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

MANY_ROWS = 16  # from here on one matrix product and the making of its matrix cost less than two products


class NoisyLinear(nn.Module):
    """
    A linear layer whose weights are ``mu + sigma * eps`` with factorised noise ``eps_ij = f(eps_i) f(eps_j)``, ``f(x) =
    sign(x) sqrt|x|`` (section 3, equations 10 and 11). Where each sample may have its own noise no weight matrix is
    built: ``y = W_mu x + b_mu + f(eps_out) (W_sigma (x f(eps_in)) + b_sigma)``. One draw for many rows makes the matrix
    instead, which is half the work.

    The noise is no parameter and no buffer: it is in no state_dict and no file, and a copy of the layer has none.

    :param in_features: width of the input
    :param out_features: width of the output
    :param std: sigma_0, initial standard deviation of the noise times ``sqrt(in_features)``; 0.5 is the paper's
    """

    def __init__(self, in_features: int, out_features: int, std: float = 0.5) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std {std} must be > 0")
        self.in_features = in_features
        self.out_features = out_features
        bound = in_features**-0.5  # section 3.2
        self.weight_mu = nn.Parameter(th.empty(out_features, in_features).uniform_(-bound, bound))
        self.bias_mu = nn.Parameter(th.empty(out_features).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(th.full((out_features, in_features), std * bound))
        self.bias_sigma = nn.Parameter(th.full((out_features,), std * bound))
        self.noise: tuple[th.Tensor, th.Tensor] | None = None
        """f(eps_in) [..., in_features] and f(eps_out) [..., out_features]"""
        self.n_inner = 0
        """axes of the input, in front of its features, that share one noise: of the fractions of `IQN`"""

    def sample_noise(self, shape: tuple[int, ...] = ()) -> None:
        """
        :param shape: as in the function `sample_noise`
        """
        sample_noise(self, shape)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """
        :param x: [..., in_features]
        :return: [..., out_features]
        :raises ValueError: when the noise was drawn for inputs of other leading axes
        """
        if self.noise is None:
            return F.linear(x, self.weight_mu, self.bias_mu)
        eps_in, eps_out = self.noise
        drawn, given = tuple(eps_in.shape[:-1]), tuple(x.shape[: x.ndim - 1 - self.n_inner])
        # Broadcasting alone would take [E] noise for one value per step of [B, T], or make one environment into E.
        if drawn and (len(drawn) != len(given) or any(n not in (1, m) for n, m in zip(drawn, given, strict=True))):
            raise ValueError(f"noise {drawn} does not fit inputs {given}: call sample_noise or clear_noise before")
        if eps_in.numel() == self.in_features and x.numel() >= MANY_ROWS * self.in_features:
            eps_in, eps_out = eps_in.flatten(), eps_out.flatten()
            weight = th.addcmul(self.weight_mu, self.weight_sigma, th.outer(eps_out, eps_in))
            return F.linear(x, weight, th.addcmul(self.bias_mu, self.bias_sigma, eps_out))
        if drawn and self.n_inner:
            eps_in, eps_out = (eps.view(*drawn, *[1] * self.n_inner, -1) for eps in (eps_in, eps_out))
        y = F.linear(x, self.weight_mu, self.bias_mu)
        return y + eps_out * F.linear(x * eps_in, self.weight_sigma, self.bias_sigma)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "noise": None}

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def sample_noise(module: nn.Module, shape: tuple[int, ...] = ()) -> None:
    """
    Draws new noise for every noisy layer of a module, by torch's global generator (which SB3 seeds) on the layer's
    device.

    :param module: a network; another network, such as its target, keeps the noise that it has
    :param shape: leading axes, each 1 or that of the input: () = one draw for everything, (E,) = one per environment
        for acting on [E, H], (B, 1) = one per sequence of [B, T, H]
    """
    layers = [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]
    if not layers:
        return
    sizes = [n for layer in layers for n in (layer.in_features, layer.out_features)]
    like = layers[0].weight_mu
    # One draw for all layers: small tensors cost their calls.
    eps = th.randn(*shape, sum(sizes), dtype=like.dtype, device=like.device)
    parts = (eps.sign() * eps.abs().sqrt()).split(sizes, dim=-1)
    for i, layer in enumerate(layers):
        layer.noise = parts[2 * i], parts[2 * i + 1]


def has_noise(module: nn.Module) -> bool:
    """:return: the module has noisy layers"""
    return any(isinstance(layer, NoisyLinear) for layer in module.modules())


def noise_for_acting(module: nn.Module, n: int, deterministic: bool) -> None:
    """
    :param module: a network that acts next
    :param n: number of observations
    :param deterministic: mean weights, or a draw for each observation
    """
    if deterministic:
        clear_noise(module)
    else:
        sample_noise(module, (n,))


def clear_noise(module: nn.Module) -> None:
    """:param module: a network that computes with its mean weights from now on"""
    for layer in module.modules():
        if isinstance(layer, NoisyLinear):
            layer.noise = None
