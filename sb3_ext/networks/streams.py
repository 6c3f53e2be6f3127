"""The network of most heads: one stream of advantages, and one of values where the head is dueling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_ext.networks.noisy import NoisyLinear

DuelingMode = Literal["avg", "max", "naive"]
DUELING: tuple[DuelingMode | None, ...] = ("avg", "max", "naive", None)


class Streams(nn.Module):
    """
    Both streams end without activation, so their outputs have any sign.

    Dueling is ``Q = V + A - baseline(A)`` (Wang et al., 2016, equations 7 to 9). A distributional head has N outputs
    per action and does the same for each of them alone (Rainbow, section 4), C51 on logits. So in every head the mean
    over actions is V's in mode "avg", and the maximum over actions is V's in mode "max". For one number and for
    quantiles no baseline changes which action is greedy. For logits "avg" and "max" may, as what is subtracted differs
    from atom to atom; a baseline that does not would vanish in the softmax. (To subtract all N advantages of the greedy
    action instead is no way out: then the output jumps where that action changes, and it often is greedy no more.)

    :param features_dim: H
    :param n_actions: A
    :param net_arch: widths of the hidden layers; all but the last one are shared by the streams
    :param activation_fn: between the layers
    :param dueling: baseline: "avg" = mean over actions (the paper's choice), "max" = maximum, "naive" = nothing;
        None = no value stream
    :param noise: sigma_0 of `NoisyLinear` for the layers of the streams; None = plain layers
    :param n_outputs: N, outputs per action; None = one, without an axis of its own
    """

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dueling: DuelingMode | None = "avg",
        noise: float | None = None,
        n_outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.n_actions = n_actions
        self.dueling = dueling
        self._outputs = () if n_outputs is None else (n_outputs,)  # axes behind that of the actions
        self._action_axis = -1 - len(self._outputs)
        width = math.prod(self._outputs)
        shared, own = net_arch[:-1], net_arch[-1:]
        self.trunk = nn.Sequential(*create_mlp(features_dim, -1, shared, activation_fn)) if shared else nn.Identity()
        below = shared[-1] if shared else features_dim
        self.advantage = _stream([below, *own, n_actions * width], activation_fn, noise)
        self.value = None if dueling is None else _stream([below, *own, width], activation_fn, noise)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        :param features: [..., H]
        :return: [..., A] or [..., A, N]
        """
        return self.merge(*self.split(features))

    def split(self, features: th.Tensor) -> tuple[th.Tensor | None, th.Tensor]:
        """
        :param features: [..., H]
        :return: V [..., 1] or [..., 1, N], None where the head is not dueling; and A, of `forward`'s shape
        """
        features = self.trunk(features)
        advantage = self.advantage(features).unflatten(-1, (self.n_actions, *self._outputs))
        if self.value is None:
            return None, advantage
        return self.value(features).unflatten(-1, (1, *self._outputs)), advantage

    def merge(self, value: th.Tensor | None, advantage: th.Tensor) -> th.Tensor:
        """
        :param value: of `split`
        :param advantage: of `split`
        :return: what `forward` returns
        """
        if value is None:
            return advantage
        if self.dueling == "avg":
            return value + advantage - advantage.mean(dim=self._action_axis, keepdim=True)
        if self.dueling == "max":
            return value + advantage - advantage.amax(dim=self._action_axis, keepdim=True)
        return value + advantage


def _stream(widths: list[int], activation_fn: type[nn.Module], noise: float | None) -> nn.Sequential:
    """:return: layers between those widths, the last one without activation"""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers.append(nn.Linear(n_in, n_out) if noise is None else NoisyLinear(n_in, n_out, noise))
        layers.append(activation_fn())
    return nn.Sequential(*layers[:-1])
