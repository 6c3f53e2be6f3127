"""
Heads turn features into Q-values and know the loss that fits their output. A head is one frozen dataclass: its fields
are its settings, its methods the equations, and it makes the network that it needs; what is learned is in there.

What a network of a head gives, ``out``, is any tree of tensors with leading axes that are arbitrary: [B, M] for
sequences, [B] for single transitions. Nobody but the head looks into it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks.backups import Backup, HeadOut, NextPolicy, OneAction, of_action
from sb3_ext.networks.streams import DUELING, DuelingMode, Streams
from sb3_ext.ops.distributional import project_categorical, quantile_huber, quantile_midpoints
from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import ValueTransform

TdLoss = Literal["mse", "huber"]
PriorityMode = Literal["loss", "td"]
_LARGEST = th.finfo(th.float32).max / 2  # of an atom: the distance of two is a number as well


@dataclass(frozen=True)
class Head(ABC):
    """Protocol of all heads. A subclass is a frozen dataclass; what it computes with besides its fields it is given."""

    needs_target_now: ClassVar[bool] = False
    """whether `Backup.target_now` is computed"""

    @property
    def has_own_range(self) -> bool:
        """Settings say what returns are like, so they are not brought to a unit found from the data."""
        return False

    @abstractmethod
    def network(
        self, features_dim: int, n_actions: int, net_arch: list[int], activation_fn: type[nn.Module] = nn.ReLU
    ) -> nn.Module:
        """
        :param features_dim: H
        :param n_actions: A
        :param net_arch: widths of the hidden layers
        :param activation_fn: between the layers
        :return: a new module that makes ``out`` of features [..., H]
        """

    def as_target(self, network: nn.Module) -> nn.Module:
        """
        :param network: of this head, which from now on is the target network's
        :return: the same; here that makes no difference
        """
        return network

    @abstractmethod
    def q_values(self, out: HeadOut) -> th.Tensor:
        """
        :return: [..., A] expected values, in the units in which the network predicts: if it is trained with rescaled
            values, the mean of the rescaled return
        """

    @abstractmethod
    def expected_returns(self, out: HeadOut, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        """
        :param out: of the network
        :param action: [..., 1] int64
        :param transform: between returns and what the network predicts
        :return: [...] expected returns of those actions, in units of the reward: of a distribution its mean, which is
            not the inverse of a rescaled mean
        """

    def next_policy(self, chooser_out: HeadOut, target_out: HeadOut) -> NextPolicy:
        """
        :param chooser_out: of the network that chooses, at the steps that are bootstrapped from: the online one with
            double Q-learning, else the target network
        :param target_out: of the target network there
        :return: what to bootstrap with; here the chooser's best action
        """
        return OneAction(self.q_values(chooser_out).argmax(dim=-1, keepdim=True))

    @abstractmethod
    def loss(self, out: HeadOut, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        """
        :param out: of the online network at the trained steps
        :param action: [..., 1] int64, actions taken there
        :param backup: what follows
        :return: loss per step [...], and what the priorities are made of [...], >= 0 and without gradient
        """


@dataclass(frozen=True)
class DuelingHead(Head):
    """
    Base of heads with `Streams` in their networks.

    :param dueling: "avg", "max", "naive" or None, see `Streams`
    :param noise: sigma_0 of noisy layers, which then explore in place of epsilon; None = plain ones
    :raises ValueError: for an unknown ``dueling`` and for ``noise`` <= 0
    """

    dueling: DuelingMode | None = field(default="avg", kw_only=True)
    noise: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_choice("dueling", self.dueling, DUELING)
        if self.noise is not None and not 0.0 < self.noise < math.inf:
            raise ValueError(f"noise {self.noise} must be > 0 and finite: None gives layers without noise")


@dataclass(frozen=True)
class StreamsHead(DuelingHead):
    """Base of heads whose network is `Streams`. Parameters as there."""

    @property
    @abstractmethod
    def n_outputs(self) -> int | None:
        """N, outputs per action; None = one, without an axis of its own"""

    def network(
        self, features_dim: int, n_actions: int, net_arch: list[int], activation_fn: type[nn.Module] = nn.ReLU
    ) -> Streams:
        """Of ``net_arch`` all widths but the last one are shared by the streams."""
        return Streams(features_dim, n_actions, net_arch, activation_fn, self.dueling, self.noise, self.n_outputs)


@dataclass(frozen=True)
class Scalar(StreamsHead):
    """
    One number per action; priorities are made of |td|.

    :param td_loss: "mse" = ``td^2 / 2`` (R2D2), "huber" = smooth L1, linear beyond an error of 1 (DQN)
    :param dueling: "avg", "max", "naive" or None, see `Streams`
    :param noise: sigma_0 of noisy layers, which then explore in place of epsilon; None = plain ones
    :raises ValueError: for an unknown ``td_loss`` or ``dueling``, and for ``noise`` <= 0
    """

    td_loss: TdLoss = "mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("td_loss", self.td_loss, ("mse", "huber"))

    @property
    def n_outputs(self) -> None:
        return None

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out

    def expected_returns(self, out: th.Tensor, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return transform.invert(of_action(out, action))

    def loss(self, out: th.Tensor, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        """``y = h(R + discount h^-1(Q'(s', a')))`` (R2D2 paper, section 2.3)."""
        q = of_action(out, action)
        with th.no_grad():
            next_return = backup.policy.of(backup.target_out, backup.transform.invert)
            target = backup.transform.apply(backup.returns.reward_sum + backup.returns.discount * next_return)
        td = target - q
        loss = 0.5 * td.square() if self.td_loss == "mse" else F.smooth_l1_loss(q, target, reduction="none")
        return loss, td.detach().abs()


@dataclass(frozen=True)
class C51(StreamsHead):
    """
    Probabilities on N fixed atoms, as logits (Bellemare et al., 2017). The loss is the cross-entropy with the projected
    target. Under value rescaling the atoms are rescaled returns, ``h(R + discount h^-1(z))``, and the range is too.

    :param n_atoms: N, >= 2
    :param v_min: first atom; the paper's range for Atari's clipped rewards is [-10, 10], and 15 is a rescaled return of
        about 240 (R2D2's h)
    :param v_max: last atom
    :param priority: what priorities are made of: "loss" = the divergence of the target from the prediction
        (Rainbow, section 4), which is the loss less the target's entropy; "td" = the distance of the two means
    :param dueling: "avg", "max", "naive" or None, see `Streams`
    :param noise: sigma_0 of noisy layers, which then explore in place of epsilon; None = plain ones
    :raises ValueError: for fewer atoms, an empty range, an unknown ``priority`` or ``dueling``, and ``noise`` <= 0
    """

    n_atoms: int = 51
    v_min: float = -15.0
    v_max: float = 15.0
    priority: PriorityMode = "loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_atoms", self.n_atoms, 2, "mass is shared by two neighbours")
        if not -_LARGEST <= self.v_min < self.v_max <= _LARGEST:
            raise ValueError(
                f"v_min {self.v_min} must be less than v_max {self.v_max}, and both must be finite in single precision"
            )
        check_choice("priority", self.priority, ("loss", "td"))

    @property
    def n_outputs(self) -> int:
        return self.n_atoms

    @property
    def has_own_range(self) -> bool:
        return (self.v_min, self.v_max) != (C51.v_min, C51.v_max)

    def support(self, like: th.Tensor) -> th.Tensor:
        """:return: [N] the atoms, on the device of ``like``"""
        return th.linspace(self.v_min, self.v_max, self.n_atoms, device=like.device)

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out.softmax(dim=-1) @ self.support(out)

    def expected_returns(self, out: th.Tensor, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return of_action(out, action).softmax(dim=-1) @ transform.invert(self.support(out))

    def loss(self, out: th.Tensor, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        """``m = projection of (h(R + discount h^-1(z)), p'(s', a'))``, loss ``-sum_i m_i log p_i(s, a)``."""
        log_p = of_action(out, action).log_softmax(dim=-1)  # [..., N]
        with th.no_grad():
            support = self.support(out)
            next_p = backup.policy.of(backup.target_out, lambda logits: logits.softmax(dim=-1))
            returns_of_atoms = _backed_up(backup.returns, backup.transform.invert(support))
            target = project_categorical(backup.transform.apply(returns_of_atoms), next_p, support)
        loss = -(target * log_p).sum(dim=-1)
        with th.no_grad():
            if self.priority == "loss":
                # Rounding may take a divergence of zero below it.
                return loss, (loss + th.xlogy(target, target).sum(dim=-1)).clamp(min=0.0)
            # The target after its projection: the part of an error that lies outside the range cannot be learned.
            return loss, ((target - log_p.exp()) @ support).abs()


@dataclass(frozen=True)
class Quantile(StreamsHead):
    """
    N equally likely returns per action (QR-DQN, Dabney et al., 2018). Under value rescaling they are rescaled returns,
    ``h(R + discount h^-1(theta))``.

    :param n_quantiles: N. The paper has 200, but the loss compares N^2 pairs per trained step, and a batch of sequences
        has thousands of steps
    :param kappa: error up to which the loss is quadratic; 0 = the plain quantile loss
    :param priority: what priorities are made of: "loss" = the loss, "td" = the distance of the two means
    :param dueling: "avg", "max", "naive" or None, see `Streams`
    :param noise: sigma_0 of noisy layers, which then explore in place of epsilon; None = plain ones
    :raises ValueError: for ``n_quantiles`` < 1, ``kappa`` < 0, an unknown ``priority`` or ``dueling``, ``noise`` <= 0
    """

    n_quantiles: int = 51
    kappa: float = 1.0
    priority: PriorityMode = "loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_quantiles", self.n_quantiles, 1, "the mean is made of them")
        if not 0 <= self.kappa < math.inf:
            raise ValueError(f"kappa {self.kappa} must be >= 0 and finite: 0 is the plain quantile loss")
        check_choice("priority", self.priority, ("loss", "td"))

    @property
    def n_outputs(self) -> int:
        return self.n_quantiles

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out.mean(dim=-1)

    def expected_returns(self, out: th.Tensor, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return transform.invert(of_action(out, action)).mean(dim=-1)

    def loss(self, out: th.Tensor, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        """
        Quantile Huber loss with the targets ``h(R + discount h^-1(theta'_j(s', a')))``. Of a mixture of actions each
        quantile is the mean over actions (as in Munchausen-IQN, Vieillard et al., 2020).
        """
        taus = quantile_midpoints(self.n_quantiles, out.device)
        return quantile_loss(of_action(out, action), taus, backup.target_out, backup, self.kappa, self.priority)


def quantile_loss(
    quantiles: th.Tensor, taus: th.Tensor, next_values: th.Tensor, backup: Backup, kappa: float, priority: PriorityMode
) -> tuple[th.Tensor, th.Tensor]:
    """
    :param quantiles: [..., N] of the return of the actions taken
    :param taus: [N] or [..., N], what they are the quantiles for
    :param next_values: [..., A, N'], those of the target network at the steps that are bootstrapped from
    :param backup: what follows
    :param kappa: error up to which the loss is quadratic
    :param priority: "loss" or "td"
    :return: as `Head.loss`
    """
    with th.no_grad():
        next_returns = backup.policy.of(next_values, backup.transform.invert)
        targets = backup.transform.apply(_backed_up(backup.returns, next_returns))
    loss = quantile_huber(quantiles, targets, taus, kappa)
    if priority == "loss":
        return loss, loss.detach()
    return loss, (targets.mean(dim=-1) - quantiles.detach().mean(dim=-1)).abs()


def _backed_up(returns: NStepReturns, values: th.Tensor) -> th.Tensor:
    """
    :param values: [..., N], or [N] for all steps
    :return: [..., N] ``R + discount * value``
    """
    return returns.reward_sum.unsqueeze(-1) + returns.discount.unsqueeze(-1) * values


def check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    """:raises ValueError: for another value of this setting"""
    if value not in choices:
        raise ValueError(f"{name} {value!r} must be one of {', '.join(map(repr, choices))}")


def check_count(name: str, value: object, least: int, why: str) -> None:
    """:raises ValueError: for what is no whole number from ``least`` on"""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} {value!r} must be an integer >= {least}: {why}")
