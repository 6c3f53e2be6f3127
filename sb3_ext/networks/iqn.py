"""Implicit quantiles: a head whose network is given the fractions at which it tells the quantiles of the return."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch as th
from torch import nn

from sb3_ext.networks.backups import Backup, of_action
from sb3_ext.networks.heads import DuelingHead, PriorityMode, check_choice, check_count, quantile_loss
from sb3_ext.networks.noisy import NoisyLinear
from sb3_ext.networks.streams import Streams
from sb3_ext.ops.distributional import quantile_midpoints
from sb3_ext.ops.value_rescaling import ValueTransform


class Quantiles(NamedTuple):
    """Of the return of each action."""

    values: th.Tensor
    """[..., A, N]"""
    taus: th.Tensor
    """[..., N] the fractions that they are the quantiles of, in (0, 1), in any order"""


class ImplicitQuantiles(nn.Module):
    """
    ``Z_tau = f(psi * phi(tau))`` (Dabney et al., 2018, section 3 and equation 4): features psi, times an embedding of
    a fraction, through the streams f. ``phi_j(tau) = ReLU(sum_i cos(pi i tau) w_ij + b_j)`` with i from 0 on.

    The online network draws its fractions while it trains, anew for each of its features. The target network always
    does. Where an agent acts they are the midpoints of equal parts: the paper draws these too, but then what an agent
    does would depend on more than what it sees.

    :param streams: f, of features [..., H]
    :param features_dim: H
    :param n_cosines: of a fraction
    :param n_drawn: fractions
    :param n_acting: the same where an agent acts
    """

    def __init__(self, streams: Streams, features_dim: int, n_cosines: int, n_drawn: int, n_acting: int) -> None:
        super().__init__()
        self.streams = streams
        for layer in streams.modules():
            if isinstance(layer, NoisyLinear):
                layer.n_inner = 1  # all fractions of a step see the same weights
        self.embedding = nn.Sequential(nn.Linear(n_cosines, features_dim), nn.ReLU())
        self.n_cosines, self.n_drawn, self.n_acting = n_cosines, n_drawn, n_acting
        self.is_target = False

    def forward(self, features: th.Tensor) -> Quantiles:
        """
        :param features: [..., H]
        :return: with leading axes [...]
        """
        leading = features.shape[:-1]
        if self.training or self.is_target:
            taus = th.rand(*leading, self.n_drawn, device=features.device)
        else:
            taus = quantile_midpoints(self.n_acting, features.device).expand(*leading, -1)
        numbers = th.arange(self.n_cosines, device=features.device)
        cosines = th.cos(math.pi * numbers * taus.unsqueeze(-1))  # [..., N, n_cosines]
        values: th.Tensor = self.streams(features.unsqueeze(-2) * self.embedding(cosines))  # [..., N, A]
        return Quantiles(values.transpose(-1, -2), taus)


@dataclass(frozen=True)
class IQN(DuelingHead):
    """
    Quantiles of the return at any fraction (IQN, Dabney et al., 2018). Under value rescaling they are rescaled returns,
    ``h(R + discount h^-1(Z'_tau'))``.

    :param n_quantiles: N, fractions at which a trained step is compared with its targets. The paper has 64, and 8 with
        little loss; each is a pass through the hidden layers, and a batch of sequences has thousands of steps
    :param n_target: N', fractions of the target network
    :param n_acting: K, fractions whose mean an agent acts by
    :param n_cosines: in the embedding of a fraction
    :param kappa: error up to which the loss is quadratic; 0 = the plain quantile loss
    :param priority: what priorities are made of: "loss" = the loss, "td" = the distance of the two means
    :param dueling: "avg", "max", "naive" or None, see `Streams`
    :param noise: sigma_0 of noisy layers, which then explore in place of epsilon; None = plain ones
    :raises ValueError: for numbers < 1, ``kappa`` < 0, an unknown ``priority`` or ``dueling``, and ``noise`` <= 0
    """

    n_quantiles: int = 8
    n_target: int = 8
    n_acting: int = 32
    n_cosines: int = 64
    kappa: float = 1.0
    priority: PriorityMode = "loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_quantiles", "n_target", "n_acting", "n_cosines"):
            check_count(name, getattr(self, name), 1, "the mean is made of them")
        if not 0 <= self.kappa < math.inf:
            raise ValueError(f"kappa {self.kappa} must be >= 0 and finite: 0 is the plain quantile loss")
        check_choice("priority", self.priority, ("loss", "td"))

    def network(
        self, features_dim: int, n_actions: int, net_arch: list[int], activation_fn: type[nn.Module] = nn.ReLU
    ) -> ImplicitQuantiles:
        streams = Streams(features_dim, n_actions, net_arch, activation_fn, self.dueling, self.noise)
        return ImplicitQuantiles(streams, features_dim, self.n_cosines, self.n_quantiles, self.n_acting)

    def as_target(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, ImplicitQuantiles)
        network.is_target, network.n_drawn = True, self.n_target
        return network

    def q_values(self, out: Quantiles) -> th.Tensor:
        return out.values.mean(dim=-1)

    def expected_returns(self, out: Quantiles, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return transform.invert(of_action(out.values, action)).mean(dim=-1)

    def loss(self, out: Quantiles, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        """Quantile Huber loss at the drawn fractions, with the targets ``h(R + discount h^-1(Z'_tau'(s', a')))``."""
        taken = of_action(out.values, action)
        return quantile_loss(taken, out.taus, backup.target_out.values, backup, self.kappa, self.priority)
