"""
TD3's update (Fujimoto et al., 2018), of which DDPG's is a special case: batch -> targets -> critics -> (every so often)
actor -> (every so often) target networks. Nothing in it waits for the device: it can be captured as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_ext.nested import Nested


class Batch(NamedTuple):
    """Transitions, n-step ones too."""

    observations: Nested[th.Tensor]
    """[B, ...]"""
    actions: th.Tensor
    """[B, A], scaled to [-1, 1]"""
    next_observations: Nested[th.Tensor]
    """[B, ...], those to bootstrap from"""
    dones: th.Tensor
    """[B, 1], 1 = terminated, and never for a timeout"""
    rewards: th.Tensor
    """[B, 1]"""
    discounts: th.Tensor | None
    """[B, 1]; None = gamma"""


class Update(NamedTuple):
    """What one update tells."""

    priorities: th.Tensor | None
    """[B], ``max(|td|, 1)`` of the worst critic (Fujimoto et al., 2020); None where nobody asks"""


class Settings(NamedTuple):
    """Numbers of the update, which may change between two of them."""

    gamma: float
    tau: float
    """share of the networks that the target networks take over"""
    target_policy_noise: float
    target_noise_clip: float
    is_prioritized: bool
    """Huber's loss in place of the square, and priorities (LAP: Fujimoto et al., 2020)"""


class Sums(NamedTuple):
    """Sums since they were last set to zero, and of how many updates."""

    critic_loss: th.Tensor
    n_critic: th.Tensor
    actor_loss: th.Tensor
    n_actor: th.Tensor
    q_value: th.Tensor
    """mean of the first critic's, as often as the critics' loss"""

    def means(self) -> dict[str, float]:
        """:return: per update, of what was updated at all; the host waits for the device once"""
        critic_loss, n_critic, actor_loss, n_actor, q_value = th.stack(self).tolist()
        means = {"critic_loss": critic_loss / n_critic, "q_mean": q_value / n_critic} if n_critic > 0 else {}
        return {**means, "actor_loss": actor_loss / n_actor} if n_actor > 0 else means

    def reset(self) -> None:
        """Begin anew."""
        for x in self:
            x.zero_()


class TD3Learner:
    """
    :param actor: observations -> actions [B, A]
    :param actor_target: the same
    :param critic: (observations, actions) -> Q-values [B, 1] of each critic
    :param critic_target: the same
    :param q1: (observations, actions) -> Q-values [B, 1] of the first critic
    :param actor_optimizer: of the actor's parameters
    :param critic_optimizer: of the critics'
    :param settings: may be replaced between two updates
    """

    def __init__(
        self,
        actor: nn.Module,
        actor_target: nn.Module,
        critic: nn.Module,
        critic_target: nn.Module,
        q1: Callable[[Any, th.Tensor], th.Tensor],  # Any: a tree of tensors, in the network's own words
        actor_optimizer: th.optim.Optimizer,
        critic_optimizer: th.optim.Optimizer,
        settings: Settings,
    ) -> None:
        self.actor, self.actor_target = actor, actor_target
        self.critic, self.critic_target, self.q1 = critic, critic_target, q1
        self.actor_optimizer, self.critic_optimizer = actor_optimizer, critic_optimizer
        self.settings = settings
        device = next(critic.parameters()).device
        dtype = th.float32 if device.type == "mps" else th.float64
        self.sums = Sums(*(th.zeros((), dtype=dtype, device=device) for _ in Sums._fields))

    # ------------------------------------------------------------------ one update

    def update(self, batch: Batch, with_actor: bool, with_targets: bool) -> Update:
        """
        :param batch: B transitions
        :param with_actor: the actor is updated too
        :param with_targets: so are the target networks
        """
        targets = self.targets(batch)
        q_values = self.critic(batch.observations, batch.actions)
        loss_of = F.huber_loss if self.settings.is_prioritized else F.mse_loss
        critic_loss = sum(loss_of(q, targets) for q in q_values)
        assert isinstance(critic_loss, th.Tensor)
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()
        self.sums.critic_loss.add_(critic_loss.detach())
        self.sums.n_critic.add_(1)
        self.sums.q_value.add_(q_values[0].detach().mean())
        if with_actor:
            self._update_actor(batch.observations)
        if with_targets:
            self.update_targets()
        if not self.settings.is_prioritized:
            return Update(None)
        with th.no_grad():
            return Update((th.cat(q_values, dim=1) - targets).abs().amax(dim=1).clamp(min=1.0))

    def targets(self, batch: Batch) -> th.Tensor:
        """
        ``r + discount (1 - terminated) min_i Q'_i(s', clip(mu'(s') + clip(noise)))`` (Fujimoto et al., 2018, section
        5.3).

        :return: [B, 1]
        """
        discounts = self.settings.gamma if batch.discounts is None else batch.discounts
        clip = self.settings.target_noise_clip
        with th.no_grad():
            noise = batch.actions.clone().normal_(0, self.settings.target_policy_noise).clamp(-clip, clip)
            next_actions = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
            next_q = th.cat(self.critic_target(batch.next_observations, next_actions), dim=1).amin(dim=1, keepdim=True)
            return batch.rewards + (1 - batch.dones) * discounts * next_q

    def _update_actor(self, observations: Nested[th.Tensor]) -> None:
        """``- mean Q_1(s, mu(s))``"""
        actor_loss = -self.q1(observations, self.actor(observations)).mean()
        self.actor_optimizer.zero_grad()
        # Gradients of Q_1's weights would be thrown away.
        actor_loss.backward(inputs=[x for x in self.actor.parameters() if x.requires_grad])
        self.actor_optimizer.step()
        self.sums.actor_loss.add_(actor_loss.detach())
        self.sums.n_actor.add_(1)

    def update_targets(self) -> None:
        """``target <- (1 - tau) target + tau network``; running statistics of BatchNorm are copied."""
        for net, target in ((self.critic, self.critic_target), (self.actor, self.actor_target)):
            ours: list[th.Tensor] = list(net.parameters())
            theirs: list[th.Tensor] = list(target.parameters())
            with th.no_grad():
                th._foreach_mul_(theirs, 1 - self.settings.tau)
                th._foreach_add_(theirs, ours, alpha=self.settings.tau)
                for mine, other in zip(_statistics(net), _statistics(target), strict=True):
                    other.copy_(mine)

    # ------------------------------------------------------------------ as a whole

    @property
    def optimizers(self) -> tuple[th.optim.Optimizer, ...]:
        """All that an update steps."""
        return self.actor_optimizer, self.critic_optimizer

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All that an update reads or writes, by name."""
        names = ("actor", "actor_target", "critic", "critic_target")
        return {name: getattr(self, name) for name in names}

    def set_training_mode(self, mode: bool) -> None:
        """:param mode: of actor and critics; the target networks stay as they are"""
        self.actor.train(mode)
        self.critic.train(mode)

    def state_dict(self) -> dict[str, Any]:
        """:return: of networks, optimizers and sums"""
        return {
            **{name: network.state_dict() for name, network in self.networks.items()},
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "sums": self.sums._asdict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """:param state: of `state_dict`, which is copied"""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        for name, x in self.sums._asdict().items():
            x.copy_(state["sums"][name])


def _statistics(net: nn.Module) -> Iterable[th.Tensor]:
    return (x for name, x in net.named_buffers() if "running_" in name)
