"""
Heads turn features into Q-values and know the loss that fits their output. The triple of `NStepReturns` serves every
head.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import ValueTransform

DuelingMode = Literal["avg", "max", "naive"]


class QHead(nn.Module):
    """Protocol of all heads. The last axis of ``forward``'s output may be more than one number per action."""

    @abstractmethod
    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        :param features: [..., H]
        :return: raw output [..., A] or [..., A, N]
        """

    @abstractmethod
    def q_values(self, out: th.Tensor) -> th.Tensor:
        """
        :return: [..., A] expected values, in the units in which the network predicts (rescaled if it is trained so)
        """

    @abstractmethod
    def loss(
        self,
        out: th.Tensor,
        action: th.Tensor,
        returns: NStepReturns,
        target_out: th.Tensor,
        next_action: th.Tensor,
        transform: ValueTransform,
    ) -> tuple[th.Tensor, th.Tensor]:
        """
        :param out: [B, M, A, ...] output of the online network at the trained steps
        :param action: [B, M, 1] int64, actions taken there
        :param returns: tensors [B, M]
        :param target_out: [B, M, A, ...] output of the target network at the bootstrap steps
        :param next_action: [B, M, 1] int64, actions to bootstrap with
        :param transform: between returns and what the network predicts
        :return: loss per step [B, M] and |td| per step [B, M], the latter without gradient
        """


class ScalarHead(QHead):
    """
    One number per action.

    :param features_dim: H
    :param n_actions: A
    :param net_arch: widths of the hidden layers
    :param activation_fn: between the layers
    """

    def __init__(
        self, features_dim: int, n_actions: int, net_arch: list[int], activation_fn: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        self.advantage = nn.Sequential(*create_mlp(features_dim, n_actions, net_arch, activation_fn))

    def forward(self, features: th.Tensor) -> th.Tensor:
        return self.advantage(features)

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out

    def loss(
        self,
        out: th.Tensor,
        action: th.Tensor,
        returns: NStepReturns,
        target_out: th.Tensor,
        next_action: th.Tensor,
        transform: ValueTransform,
    ) -> tuple[th.Tensor, th.Tensor]:
        """``y = h(R + discount h^-1(Q'(s', a')))``, loss ``(y - Q(s, a))^2 / 2`` (R2D2 paper, section 2.3)."""
        q = out.gather(-1, action).squeeze(-1)
        with th.no_grad():
            next_q = transform.invert(target_out.gather(-1, next_action).squeeze(-1))
            target = transform.apply(returns.reward_sum + returns.discount * next_q)
        td = target - q
        return 0.5 * td.square(), td.detach().abs()


class DuelingHead(ScalarHead):
    """
    ``Q = V + A - baseline(A)`` (Wang et al., 2016, equations 7 to 9). The value stream ends without activation, so V
    has any sign.

    :param mode: baseline: "avg" = mean over actions (the paper's choice), "max" = maximum, "naive" = nothing
    """

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        mode: DuelingMode = "avg",
    ) -> None:
        super().__init__(features_dim, n_actions, net_arch, activation_fn)
        if mode not in ("avg", "max", "naive"):
            raise ValueError(f"dueling mode {mode!r} must be 'avg', 'max' or 'naive'")
        self.mode = mode
        self.value = nn.Sequential(*create_mlp(features_dim, 1, net_arch, activation_fn))

    def forward(self, features: th.Tensor) -> th.Tensor:
        advantage, value = self.advantage(features), self.value(features)
        if self.mode == "avg":
            return value + advantage - advantage.mean(dim=-1, keepdim=True)
        if self.mode == "max":
            return value + advantage - advantage.amax(dim=-1, keepdim=True)
        return value + advantage
