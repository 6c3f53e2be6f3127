"""
Heads turn features into Q-values and know the loss that fits their output. The triple of `NStepReturns` serves every
head, and leading axes are arbitrary: [B, M] for sequences, [B] for single transitions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from itertools import pairwise
from typing import Literal

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks.noisy import NoisyLinear
from sb3_ext.ops.distributional import project_categorical, quantile_huber, quantile_midpoints
from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import ValueTransform

DuelingMode = Literal["avg", "max", "naive"]
ScalarLoss = Literal["mse", "huber"]
PriorityMode = Literal["loss", "td"]


class QHead(nn.Module):
    """
    Protocol of all heads, and their streams: one of advantages, and one of values where the head is dueling. Both end
    without activation, so their outputs have any sign.

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
    :param noisy_std: sigma_0 of `NoisyLinear` for the layers of the streams; None = plain layers
    :param n_outputs: N, outputs per action; None = one, without an axis of its own
    :raises ValueError: for an unknown ``dueling`` and for ``noisy_std`` <= 0
    """

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dueling: DuelingMode | None = "avg",
        noisy_std: float | None = None,
        n_outputs: int | None = None,
    ) -> None:
        _check_choice("dueling", dueling, ("avg", "max", "naive", None))
        super().__init__()
        self.n_actions = n_actions
        self.dueling = dueling
        self._outputs = () if n_outputs is None else (n_outputs,)  # axes behind that of the actions
        self._action_axis = -1 - len(self._outputs)
        width = math.prod(self._outputs)
        shared, own = net_arch[:-1], net_arch[-1:]
        self.trunk = nn.Sequential(*create_mlp(features_dim, -1, shared, activation_fn)) if shared else nn.Identity()
        below = shared[-1] if shared else features_dim
        self.advantage = _stream([below, *own, n_actions * width], activation_fn, noisy_std)
        self.value = None if dueling is None else _stream([below, *own, width], activation_fn, noisy_std)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        :param features: [..., H]
        :return: raw output [..., A] or [..., A, N]
        """
        return self.merge(*self.streams(features))

    def streams(self, features: th.Tensor) -> tuple[th.Tensor | None, th.Tensor]:
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
        :param value: of `streams`
        :param advantage: of `streams`
        :return: what `forward` returns
        """
        if value is None:
            return advantage
        if self.dueling == "avg":
            return value + advantage - advantage.mean(dim=self._action_axis, keepdim=True)
        if self.dueling == "max":
            return value + advantage - advantage.amax(dim=self._action_axis, keepdim=True)
        return value + advantage

    def of_action(self, out: th.Tensor, action: th.Tensor) -> th.Tensor:
        """
        :param out: [..., A] or [..., A, N]
        :param action: [..., 1] int64
        :return: [...] or [..., N]
        """
        index = action.view(*action.shape, *(1 for _ in self._outputs))
        return th.take_along_dim(out, index, dim=self._action_axis).squeeze(self._action_axis)

    @abstractmethod
    def q_values(self, out: th.Tensor) -> th.Tensor:
        """
        :return: [..., A] expected values, in the units in which the network predicts: if it is trained with rescaled
            values, the mean of the rescaled return
        """

    def expected_returns(self, out: th.Tensor, transform: ValueTransform) -> th.Tensor:
        """
        :param out: [..., A] or [..., A, N], or `of_action` of it
        :param transform: between returns and what the network predicts
        :return: [..., A] or [...] expected returns, in units of the reward: of a distribution its mean, which is not
            the inverse of a rescaled mean
        """
        return transform.invert(self.q_values(out))

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
        :param out: [..., A] or [..., A, N], output of the online network at the trained steps
        :param action: [..., 1] int64, actions taken there
        :param returns: tensors [...]
        :param target_out: as ``out``, output of the target network at the bootstrap steps
        :param next_action: [..., 1] int64, actions to bootstrap with
        :param transform: between returns and what the network predicts
        :return: loss per step [...], and what the priorities are made of [...], >= 0 and without gradient
        """


class ScalarHead(QHead):
    """
    One number per action; priorities are made of |td|.

    :param features_dim: H
    :param n_actions: A
    :param net_arch: widths of the hidden layers; all but the last one are shared by the streams
    :param activation_fn: between the layers
    :param dueling: "avg", "max", "naive" or None, see `QHead`
    :param noisy_std: sigma_0 of noisy layers, None = plain ones
    :param loss: "mse" = ``td^2 / 2`` (R2D2), "huber" = smooth L1, linear beyond an error of 1 (DQN)
    :raises ValueError: for an unknown ``loss``, and as `QHead`
    """

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dueling: DuelingMode | None = "avg",
        noisy_std: float | None = None,
        loss: ScalarLoss = "mse",
    ) -> None:
        _check_choice("loss", loss, ("mse", "huber"))
        super().__init__(features_dim, n_actions, net_arch, activation_fn, dueling, noisy_std)
        self.loss_kind = loss

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
        """``y = h(R + discount h^-1(Q'(s', a')))`` (R2D2 paper, section 2.3)."""
        q = self.of_action(out, action)
        with th.no_grad():
            next_q = transform.invert(self.of_action(target_out, next_action))
            target = transform.apply(returns.reward_sum + returns.discount * next_q)
        td = target - q
        loss = 0.5 * td.square() if self.loss_kind == "mse" else F.smooth_l1_loss(q, target, reduction="none")
        return loss, td.detach().abs()


class C51Head(QHead):
    """
    Probabilities on N fixed atoms, as logits (Bellemare et al., 2017). The loss is the cross-entropy with the projected
    target. Under value rescaling the atoms are rescaled returns, ``h(R + discount h^-1(z))``, and the range is too.

    :param features_dim: H
    :param n_actions: A
    :param net_arch: widths of the hidden layers; all but the last one are shared by the streams
    :param activation_fn: between the layers
    :param dueling: "avg", "max", "naive" or None, see `QHead`
    :param noisy_std: sigma_0 of noisy layers, None = plain ones
    :param n_atoms: N, >= 2
    :param v_min: first atom; the paper's range for Atari's clipped rewards is [-10, 10], and 15 is a rescaled return of
        about 240 (R2D2's h)
    :param v_max: last atom
    :param priority: what priorities are made of: "loss" = the divergence of the target from the prediction
        (Rainbow, section 4), which is the loss less the target's entropy; "td" = the distance of the two means
    :raises ValueError: for fewer atoms, an empty range or an unknown ``priority``, and as `QHead`
    """

    support: th.Tensor  # [N]

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dueling: DuelingMode | None = "avg",
        noisy_std: float | None = None,
        n_atoms: int = 51,
        v_min: float = -15.0,
        v_max: float = 15.0,
        priority: PriorityMode = "loss",
    ) -> None:
        if n_atoms < 2:
            raise ValueError(f"n_atoms {n_atoms} must be >= 2: mass is shared by two neighbours")
        if not -math.inf < v_min < v_max < math.inf:
            raise ValueError(f"v_min {v_min} must be less than v_max {v_max}, and both must be finite")
        _check_choice("priority", priority, ("loss", "td"))
        super().__init__(features_dim, n_actions, net_arch, activation_fn, dueling, noisy_std, n_atoms)
        self.priority = priority
        self.register_buffer("support", th.linspace(v_min, v_max, n_atoms), persistent=False)

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out.softmax(dim=-1) @ self.support

    def expected_returns(self, out: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return out.softmax(dim=-1) @ transform.invert(self.support)

    def loss(
        self,
        out: th.Tensor,
        action: th.Tensor,
        returns: NStepReturns,
        target_out: th.Tensor,
        next_action: th.Tensor,
        transform: ValueTransform,
    ) -> tuple[th.Tensor, th.Tensor]:
        """``m = projection of (h(R + discount h^-1(z)), p'(s', a'))``, loss ``-sum_i m_i log p_i(s, a)``."""
        log_p = self.of_action(out, action).log_softmax(dim=-1)  # [..., N]
        with th.no_grad():
            next_p = self.of_action(target_out, next_action).softmax(dim=-1)
            returns_of_atoms = _backup(returns, transform.invert(self.support))
            target = project_categorical(transform.apply(returns_of_atoms), next_p, self.support)
        loss = -(target * log_p).sum(dim=-1)
        with th.no_grad():
            if self.priority == "loss":
                # Rounding may take a divergence of zero below it.
                return loss, (loss + th.xlogy(target, target).sum(dim=-1)).clamp(min=0.0)
            # The target after its projection: the part of an error that lies outside the range cannot be learned.
            return loss, ((target - log_p.exp()) @ self.support).abs()


class QuantileHead(QHead):
    """
    N equally likely returns per action (QR-DQN, Dabney et al., 2018). Under value rescaling they are rescaled returns,
    ``h(R + discount h^-1(theta))``.

    :param features_dim: H
    :param n_actions: A
    :param net_arch: widths of the hidden layers; all but the last one are shared by the streams
    :param activation_fn: between the layers
    :param dueling: "avg", "max", "naive" or None, see `QHead`
    :param noisy_std: sigma_0 of noisy layers, None = plain ones
    :param n_quantiles: N. The paper has 200, but the loss compares N^2 pairs per trained step, and a batch of sequences
        has thousands of steps
    :param kappa: error up to which the loss is quadratic; 0 = the plain quantile loss
    :param priority: what priorities are made of: "loss" = the loss, "td" = the distance of the two means
    :raises ValueError: for ``n_quantiles`` < 1, ``kappa`` < 0 or an unknown ``priority``, and as `QHead`
    """

    taus: th.Tensor  # [N]

    def __init__(
        self,
        features_dim: int,
        n_actions: int,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dueling: DuelingMode | None = "avg",
        noisy_std: float | None = None,
        n_quantiles: int = 51,
        kappa: float = 1.0,
        priority: PriorityMode = "loss",
    ) -> None:
        if n_quantiles < 1:
            raise ValueError(f"n_quantiles {n_quantiles} must be >= 1")
        if not kappa >= 0:
            raise ValueError(f"kappa {kappa} must be >= 0: 0 is the plain quantile loss")
        _check_choice("priority", priority, ("loss", "td"))
        super().__init__(features_dim, n_actions, net_arch, activation_fn, dueling, noisy_std, n_quantiles)
        self.kappa = kappa
        self.priority = priority
        self.register_buffer("taus", quantile_midpoints(n_quantiles), persistent=False)

    def q_values(self, out: th.Tensor) -> th.Tensor:
        return out.mean(dim=-1)

    def expected_returns(self, out: th.Tensor, transform: ValueTransform) -> th.Tensor:
        return transform.invert(out).mean(dim=-1)

    def loss(
        self,
        out: th.Tensor,
        action: th.Tensor,
        returns: NStepReturns,
        target_out: th.Tensor,
        next_action: th.Tensor,
        transform: ValueTransform,
    ) -> tuple[th.Tensor, th.Tensor]:
        """Quantile Huber loss with the targets ``h(R + discount h^-1(theta'_j(s', a')))``."""
        quantiles = self.of_action(out, action)  # [..., N]
        with th.no_grad():
            next_quantiles = transform.invert(self.of_action(target_out, next_action))
            targets = transform.apply(_backup(returns, next_quantiles))
        loss = quantile_huber(quantiles, targets, self.taus, self.kappa)
        if self.priority == "loss":
            return loss, loss.detach()
        return loss, (targets.mean(dim=-1) - quantiles.detach().mean(dim=-1)).abs()


def _backup(returns: NStepReturns, values: th.Tensor) -> th.Tensor:
    """
    :param values: [..., N], or [N] for all steps
    :return: [..., N] ``R + discount * value``
    """
    return returns.reward_sum.unsqueeze(-1) + returns.discount.unsqueeze(-1) * values


def _stream(widths: list[int], activation_fn: type[nn.Module], noisy_std: float | None) -> nn.Sequential:
    """:return: layers between those widths, the last one without activation"""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers.append(nn.Linear(n_in, n_out) if noisy_std is None else NoisyLinear(n_in, n_out, noisy_std))
        layers.append(activation_fn())
    return nn.Sequential(*layers[:-1])


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} {value!r} must be one of {', '.join(map(repr, choices))}")
