"""
What a model makes of an observation: values, Q-values or the distribution of actions, the hidden state; and the same
as differentiable numbers, for attributions. A `Mind` knows one family of policies; nobody else looks into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

from sb3_ext import nested
from sb3_ext.networks.noisy import noise_for_acting
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.networks.streams import Streams
from sb3_ext.tabular.policy import QTablePolicy

State: TypeAlias = Any
"""Any: as `predict` takes and returns it, a tree of arrays [n, ...] that only the model's core looks into; or None"""


@dataclass(frozen=True)
class Insight:
    """Of B observations. What a family of models does not have is None."""

    value: np.ndarray | None = None
    """[B] expected return, in the units of the reward"""
    q_values: np.ndarray | None = None
    """[B, A] of each action, in the units of the reward"""
    probabilities: np.ndarray | None = None
    """[B, A] of each action"""
    mean: np.ndarray | None = None
    """[B, D] of a continuous action, in the units of the environment"""
    std: np.ndarray | None = None
    """[B, D] of a Gaussian policy"""
    hidden: np.ndarray | None = None
    """[B, H] output of the recurrent core at this step"""


class Mind:
    """
    Base of all, and what is known of a model of no known family: nothing.

    :param model: any model of SB3
    """

    streams: tuple[str, ...] = ()
    """what `score` can explain"""

    def __init__(self, model: BaseAlgorithm) -> None:
        self.policy: Any = model.policy  # Any: each subclass knows its own

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        """
        :param obs: [B, ...] of `policy.obs_to_tensor`
        :param state: before this step, as `predict` takes it
        :param starts: [B], true where a new episode begins
        """
        return Insight()

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        """
        Parameters as in `think`, ``stream`` one of `streams`.

        :return: [B] a number that the greedy decision hangs on, with gradient
        :raises ValueError: for another stream
        """
        raise ValueError(f"stream {stream!r} of {type(self.policy).__name__}: {self.streams or 'none'} are known")

    def torso(self, stream: str) -> nn.Module | None:
        """:return: the features extractor below a stream"""
        return None

    def _check(self, stream: str) -> None:
        if stream not in self.streams:
            raise ValueError(f"stream {stream!r} of {type(self.policy).__name__} must be one of {self.streams}")


class QMind(Mind):
    """
    Of `Rainbow`, `R2D2` and `RainbowR`. "value" and "advantage" are the Q-value of the greedy action, as far as it
    comes through that stream of a dueling head; without one there is "q".
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__(model)
        self.net: QNetwork | RecurrentQNetwork = self.policy.q_net
        self.transform = model.transform  # type: ignore[attr-defined]  # of DeepQLearning
        streams = self.net.head_net
        is_dueling = isinstance(streams, Streams) and streams.dueling is not None
        self.streams = ("value", "advantage") if is_dueling else ("q",)

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        with th.no_grad():
            features = self._features(obs, state, starts)
            q_values = self.transform.invert(self.net.head.q_values(self.net.head_net(features))).cpu().numpy()
        hidden = features.cpu().numpy() if isinstance(self.net, RecurrentQNetwork) else None
        return Insight(value=q_values.max(axis=1), q_values=q_values, hidden=hidden)

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        self._check(stream)
        features, net = self._features(obs, state, starts), self.net.head_net
        if not isinstance(net, Streams) or stream == "q":
            return self.net.head.q_values(net(features)).amax(dim=1)
        value, advantage = net.split(features)
        assert value is not None
        if stream == "value":
            advantage = advantage.detach()
        else:
            value = value.detach()
        return self.net.head.q_values(net.merge(value, advantage)).amax(dim=1)

    def torso(self, stream: str) -> nn.Module | None:
        return self.net.features_extractor

    def _features(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> th.Tensor:
        """:return: [B, H] what the head sees"""
        net = self.net
        net.set_training_mode(False)
        noise_for_acting(net, nested.rows(obs), deterministic=True)
        assert isinstance(net.features_extractor, BaseFeaturesExtractor)
        features = net.extract_features(obs, net.features_extractor)
        if isinstance(net, QNetwork):
            return features
        now = net.initial_state(len(features)) if state is None else net.state_from_numpy(state, len(features))
        with th.backends.cudnn.flags(enabled=False):  # cuDNN has no gradient in evaluation mode
            return net.core.step(features, net.core.reset_where(now, starts))[0]


class TableMind(Mind):
    """Of the algorithms with tables: values by state and action. Nothing to explain: a cell hangs on itself alone."""

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        q_values = self.policy.action_values(obs).cpu().numpy()
        return Insight(value=q_values.max(axis=1), q_values=q_values)


class DqnMind(Mind):
    """Of SB3's DQN and sb3-contrib's QR-DQN: "q" is the Q-value of the greedy action."""

    streams = ("q",)

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        with th.no_grad():
            q_values = self._q_values(obs).cpu().numpy()
        return Insight(value=q_values.max(axis=1), q_values=q_values)

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        self._check(stream)
        return self._q_values(obs).amax(dim=1)

    def torso(self, stream: str) -> nn.Module | None:
        extractor: nn.Module | None = self._net().features_extractor
        return extractor

    def _net(self) -> Any:  # Any: of either
        return self.policy.q_net if isinstance(self.policy, DQNPolicy) else self.policy.quantile_net

    def _q_values(self, obs: PyTorchObs) -> th.Tensor:
        self.policy.set_training_mode(False)
        out = self._net()(obs)
        q_values: th.Tensor = out if out.ndim == 2 else out.mean(dim=1)  # quantiles are [B, N, A]
        return q_values


class ActorCriticMind(Mind):
    """
    Of PPO, A2C, TRPO and GAIL. "policy" is the log-probability of the likeliest action, for continuous actions the sum
    of their absolute values; "value" is the critic's.
    """

    streams = ("policy", "value")

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        self.policy.set_training_mode(False)
        with th.no_grad():
            value = self.policy.predict_values(obs).flatten().cpu().numpy()
            return _of_distribution(self.policy.get_distribution(obs), value, self.policy.action_space)

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        self._check(stream)
        self.policy.set_training_mode(False)
        if stream == "value":
            values: th.Tensor = self.policy.predict_values(obs).flatten()
            return values
        return _decision(self.policy.get_distribution(obs))

    def torso(self, stream: str) -> nn.Module | None:
        extractor: nn.Module | None = (
            self.policy.pi_features_extractor if stream == "policy" else self.policy.vf_features_extractor
        )
        return extractor


class RecurrentActorCriticMind(ActorCriticMind):
    """
    Of RecurrentPPO. `predict` returns the actor's state alone, so the critic's is kept here, from one `think` to the
    next: they must follow each other as the steps do, and `score` belongs to the latest one.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__(model)
        self._after: tuple[th.Tensor, th.Tensor] | None = None
        self._before: tuple[th.Tensor, th.Tensor] | None = None

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        self.policy.set_training_mode(False)
        self._before = self._after
        with th.no_grad():
            states, begins = self._states(state, starts)
            _, value, _, after = self.policy(obs, states, begins, deterministic=True)
            self._after = after.vf
            distribution, (hidden, _cell) = self.policy.get_distribution(obs, states.pi, begins)
            seen = _of_distribution(distribution, value.flatten().cpu().numpy(), self.policy.action_space)
        return Insight(seen.value, None, seen.probabilities, seen.mean, seen.std, hidden[-1].cpu().numpy())

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        self._check(stream)
        self.policy.set_training_mode(False)
        states, begins = self._states(state, starts)
        with th.backends.cudnn.flags(enabled=False):  # cuDNN has no gradient in evaluation mode
            if stream == "value":
                values: th.Tensor = self.policy.predict_values(obs, states.vf, begins).flatten()
                return values
            return _decision(self.policy.get_distribution(obs, states.pi, begins)[0])

    def _states(self, state: State, starts: np.ndarray) -> tuple[RNNStates, th.Tensor]:
        device = self.policy.device
        n_layers, _, n_hidden = self.policy.lstm_hidden_state_shape
        zeros = th.zeros(n_layers, len(starts), n_hidden, device=device)
        actor = (zeros, zeros) if state is None else tuple(th.as_tensor(s, device=device) for s in state)
        critic = (zeros, zeros) if self._before is None else self._before
        # The state is zeroed where an episode begins, by the policy.
        begins = th.as_tensor(starts, dtype=th.float32, device=device)
        return RNNStates(actor, critic), begins


class ActorQMind(Mind):
    """
    Of TD3, DDPG, SAC, TQC and those on top of them. "policy" is the sum of the absolute values of the action, "value"
    the mean of the critics at the actor's action, which is held.
    """

    streams = ("policy", "value")

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__(model)
        self.reward_size: float = getattr(model, "reward_size", 1.0)  # of our TD3's `scale_reward`

    def think(self, obs: PyTorchObs, state: State, starts: np.ndarray) -> Insight:
        with th.no_grad():
            action = self._action(obs)
            value = self._value(obs, action).cpu().numpy() * self.reward_size
        return Insight(value=value, mean=self.policy.unscale_action(action.cpu().numpy()))

    def score(self, obs: PyTorchObs, state: State, starts: np.ndarray, stream: str) -> th.Tensor:
        self._check(stream)
        action = self._action(obs)
        return action.abs().sum(dim=1) if stream == "policy" else self._value(obs, action.detach())

    def torso(self, stream: str) -> nn.Module | None:
        net = self.policy.actor if stream == "policy" else self.policy.critic
        extractor: nn.Module | None = net.features_extractor
        return extractor

    def _action(self, obs: PyTorchObs) -> th.Tensor:
        """:return: [B, D] in -1 .. 1"""
        self.policy.set_training_mode(False)
        actions: th.Tensor = self.policy.actor._predict(obs, deterministic=True)
        return actions

    def _value(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        out = self.policy.critic(obs, action)
        stacked = th.stack(list(out)) if isinstance(out, Sequence) else out.movedim(0, 1)  # TQC: [B, critics, N]
        return stacked.flatten(2).mean(dim=(0, 2))


def mind_of(model: BaseAlgorithm) -> Mind:
    """:return: that of the model's family, or a `Mind` that knows nothing"""
    policy = model.policy
    if isinstance(policy, QPolicy):
        return QMind(model)
    if isinstance(policy, QTablePolicy):
        return TableMind(model)
    if isinstance(model, DQN | QRDQN):
        return DqnMind(model)
    if isinstance(policy, RecurrentActorCriticPolicy):
        return RecurrentActorCriticMind(model)
    if isinstance(policy, ActorCriticPolicy):
        return ActorCriticMind(model)
    if isinstance(model, TD3 | SAC | TQC):
        return ActorQMind(model)
    return Mind(model)


def _of_distribution(distribution: Distribution, value: np.ndarray, space: spaces.Space[Any]) -> Insight:
    if isinstance(distribution, CategoricalDistribution):
        return Insight(value, probabilities=distribution.distribution.probs.cpu().numpy())
    if isinstance(distribution, BernoulliDistribution):
        return Insight(value, mean=distribution.distribution.probs.cpu().numpy())
    if isinstance(distribution, DiagGaussianDistribution):
        mean = distribution.distribution.mean.cpu().numpy()
        assert isinstance(space, spaces.Box)
        clipped = np.clip(mean, space.low.flatten(), space.high.flatten())
        return Insight(value, mean=clipped, std=distribution.distribution.stddev.cpu().numpy())
    return Insight(value)


def _decision(distribution: Distribution) -> th.Tensor:
    """:return: [B]"""
    mode = distribution.mode()
    if isinstance(distribution, DiagGaussianDistribution):
        return mode.abs().sum(dim=1)
    return distribution.log_prob(mode)
