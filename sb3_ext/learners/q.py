"""
Updates of deep Q-learning, of R2D2's windows (Kapturowski et al., 2019) and of Rainbow's single transitions (Hessel et
al., 2018): batch -> outputs of both networks -> targets -> loss -> optimizer -> priorities -> (every so often) target.

Tensors in and out, fixed shapes, and nothing waits for the device: an update can be captured as one CUDA graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, TypeVar

import torch as th
from torch import nn

from sb3_ext import nested
from sb3_ext.buffers.prioritized import PrioritizedSamples
from sb3_ext.buffers.windows import SequenceSamples
from sb3_ext.networks.backups import Backup, HeadOut
from sb3_ext.networks.noisy import has_noise, sample_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.ops.priorities import mix_priorities
from sb3_ext.ops.returns import NStepReturns, n_step_returns
from sb3_ext.ops.value_rescaling import ValueTransform

Network = TypeVar("Network", QNetwork, RecurrentQNetwork)
Batch = TypeVar("Batch", PrioritizedSamples, SequenceSamples)


class Update(NamedTuple):
    """What one update tells."""

    priorities: th.Tensor
    """[B], of what it was trained on"""
    log: th.Tensor
    """[3]: the loss; the mean over real steps of what priorities are made of, |td| or the loss of a distribution; and
    that of the expected returns of the actions taken, in units of the reward"""


class Settings(NamedTuple):
    """Numbers of the update, which may change between two of them."""

    gamma: float
    """discount per step, of windows; transitions bring their discounts"""
    tau: float
    """share of the network that the target network takes over"""
    double_q: bool
    """the online network chooses the actions to bootstrap from"""
    max_grad_norm: float
    transform: ValueTransform
    """between returns in units of the reward and what the network predicts"""
    eta: float
    """share of the maximum in a window's priority"""


class Windows(NamedTuple):
    """Geometry of the windows in a batch, in steps."""

    sequence_length: int
    """M, trained"""
    n_steps: int
    """to bootstrap over"""
    burn_in_offsets: tuple[int, ...]
    """lengths that a burn-in may have"""


class QLearner(ABC, Generic[Network, Batch]):
    """
    :param q_net: the network that is trained
    :param q_net_target: one of the same kind, which follows it
    :param optimizer: of the parameters of ``q_net``
    :param settings: may be replaced between two updates
    """

    q_net: Network
    q_net_target: Network

    def __init__(
        self, q_net: Network, q_net_target: Network, optimizer: th.optim.Optimizer, settings: Settings
    ) -> None:
        self.q_net, self.q_net_target = q_net, q_net_target
        self.head = q_net.head
        self.is_noisy = has_noise(q_net.head_net)
        self.optimizer = optimizer
        self.settings = settings

    @abstractmethod
    def update(self, batch: Batch, with_target: bool) -> Update:
        """
        :param batch: of the replay
        :param with_target: the target network follows
        """

    def _step(self, loss: th.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.settings.max_grad_norm)
        self.optimizer.step()

    def update_target(self) -> None:
        """``target <- (1 - tau) target + tau network``; what a network has beside its parameters is copied."""
        ours: list[th.Tensor] = list(self.q_net.parameters())
        theirs: list[th.Tensor] = list(self.q_net_target.parameters())
        with th.no_grad():
            th._foreach_mul_(theirs, 1 - self.settings.tau)
            th._foreach_add_(theirs, ours, alpha=self.settings.tau)
            for mine, other in zip(self.q_net.buffers(), self.q_net_target.buffers(), strict=True):
                other.copy_(mine)

    # ------------------------------------------------------------------ as a whole

    @property
    def optimizers(self) -> tuple[th.optim.Optimizer, ...]:
        """All that an update steps."""
        return (self.optimizer,)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All that an update reads or writes, by name."""
        return {"q_net": self.q_net, "q_net_target": self.q_net_target}

    def set_training_mode(self, mode: bool) -> None:
        """:param mode: of the network that is trained; the target network stays as it is"""
        self.q_net.set_training_mode(mode)

    def state_dict(self) -> dict[str, Any]:
        """:return: of networks and optimizer"""
        networks = {name: network.state_dict() for name, network in self.networks.items()}
        return {**networks, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """:param state: of `state_dict`, which is copied"""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])


class TransitionLearner(QLearner[QNetwork, PrioritizedSamples]):
    """Of feed-forward networks and single transitions, n-step ones too. Parameters as `QLearner`'s."""

    def update(self, batch: PrioritizedSamples, with_target: bool) -> Update:
        assert batch.discounts is not None
        head, transform = self.head, self.settings.transform
        if self.is_noisy:
            sample_noise(self.q_net.head_net)
            sample_noise(self.q_net_target.head_net)
        out = self.q_net.outputs(batch.observations)  # leading axis B
        with th.no_grad():
            next_out = self.q_net_target.outputs(batch.next_observations)
            chooser_out = self.q_net.outputs(batch.next_observations) if self.settings.double_q else next_out
            returns = NStepReturns(
                reward_sum=batch.rewards.squeeze(1),
                discount=(batch.discounts * (1.0 - batch.dones)).squeeze(1),
                bootstrap_index=th.zeros_like(batch.actions.squeeze(1)),  # that observation has been gathered already
            )
            policy = head.next_policy(chooser_out, next_out)
            target_now = self.q_net_target.outputs(batch.observations) if head.needs_target_now else None

        step_loss, surprise = head.loss(out, batch.actions, Backup(returns, next_out, policy, transform, target_now))
        loss = (batch.weights * step_loss).mean()
        self._step(loss)
        with th.no_grad():
            q_values = head.expected_returns(out, batch.actions, transform)
        if with_target:
            self.update_target()
        return Update(surprise, th.stack((loss.detach(), surprise.mean(), q_values.mean())))


class SequenceLearner(QLearner[RecurrentQNetwork, SequenceSamples]):
    """
    Of recurrent networks and windows. The other parameters are `QLearner`'s.

    :param windows: their geometry
    """

    def __init__(
        self,
        q_net: RecurrentQNetwork,
        q_net_target: RecurrentQNetwork,
        optimizer: th.optim.Optimizer,
        settings: Settings,
        windows: Windows,
    ) -> None:
        super().__init__(q_net, q_net_target, optimizer, settings)
        self.windows = windows

    def update(self, batch: SequenceSamples, with_target: bool) -> Update:
        head, trained, transform = self.head, self.windows.sequence_length, self.settings.transform
        mask = batch.mask[:, :trained]  # [B, M]
        if self.is_noisy:
            for net in (self.q_net, self.q_net_target):
                sample_noise(net.head_net, (len(mask), 1))  # one draw per sequence
        out = self.unroll(self.q_net, batch)  # leading axes [B, M + n + 1]
        with th.no_grad():
            target_out = self.unroll(self.q_net_target, batch)
            returns = n_step_returns(
                batch.rewards, batch.terminated, batch.mask, self.settings.gamma, self.windows.n_steps, trained
            )
            next_out = _at_steps(target_out, returns.bootstrap_index)
            chooser_out = _at_steps(out, returns.bootstrap_index) if self.settings.double_q else next_out
            policy = head.next_policy(chooser_out, next_out)
            target_now = _first_steps(target_out, trained) if head.needs_target_now else None

        out = _first_steps(out, trained)
        step_loss, surprise = head.loss(out, batch.actions, Backup(returns, next_out, policy, transform, target_now))
        # As in Ape-X and R2D2: sum over the window's real steps, weighted mean over windows.
        loss = (batch.weights * (step_loss * mask).sum(dim=1)).mean()
        self._step(loss)
        with th.no_grad():
            q_values = head.expected_returns(out, batch.actions, transform)
            means = ((x * mask).sum() / mask.sum() for x in (surprise, q_values))
            log = th.stack((loss.detach(), *means))
            priorities = mix_priorities(surprise, mask, self.settings.eta)
        if with_target:
            self.update_target()
        return Update(priorities, log)

    def unroll(self, net: RecurrentQNetwork, batch: SequenceSamples) -> HeadOut:
        """
        Each network refreshes the stored state with its own weights.

        :param net: one of the two
        :param batch: B windows
        :return: of the head's network, leading axes [B, M + n + 1]
        """
        state = net.initial_state(len(batch.weights)) if batch.states is None else batch.states
        state = net.burn_in(batch.burn_in_observations, state, batch.burn_in_lengths, self.windows.burn_in_offsets)
        return net.unroll(batch.observations, state)[0]


def _at_steps(out: HeadOut, index: th.Tensor) -> HeadOut:
    """
    :param out: leaves [B, T, ...]
    :param index: [B, M] int64 into T
    :return: leaves [B, M, ...]
    """
    rows = th.arange(len(index), device=index.device).unsqueeze(1)
    return nested.map(lambda x: x[rows, index], out)


def _first_steps(out: HeadOut, n: int) -> HeadOut:
    """:return: leaves [B, n, ...] of ``out``, leaves [B, T, ...]"""
    return nested.map(lambda x: x[:, :n], out)
