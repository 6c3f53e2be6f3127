"""
What acts, as one function of tensors: the greedy action of a policy, in the units of its environment. Noisy layers
compute with their mean weights. A module of here owns a copy of the networks, so nothing of it changes the model.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import sb3_contrib.qrdqn.policies as qrdqn
import sb3_contrib.tqc.policies as tqc
import stable_baselines3.dqn.policies as dqn
import stable_baselines3.sac.policies as sac
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from sb3_ext import nested
from sb3_ext.networks.noisy import clear_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.planning import PlannerPolicy
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.td3.best_policy import BestPolicyMixin


class ActingGraph(nn.Module, ABC):
    """Base of those without a state."""

    values_name: str | None = None
    """of what the action is the best of, [B, A]"""

    def initial_state(self) -> Any:  # Any: a tree of tensors
        """:return: of one sequence, [1, ...] each; None = there is none"""
        return None

    @abstractmethod
    def forward(
        self, obs: PyTorchObs, state: Sequence[th.Tensor], episode_start: th.Tensor | None
    ) -> tuple[th.Tensor, ...]:
        """
        :param obs: [B, ...] as the policy takes it
        :param state: leaves of the state, [B, ...] each
        :param episode_start: [B] bool, there the state is made new; None without a state
        :return: action, then the values where there are some, then the leaves of the next state
        """


class GreedyGraph(ActingGraph):
    """
    The best of the values of all actions.

    :param values: from observations to [B, A]
    :param name: of the values
    """

    def __init__(self, values: nn.Module, name: str = "q_values") -> None:
        super().__init__()
        self.values = values
        self.values_name = name

    def forward(
        self, obs: PyTorchObs, state: Sequence[th.Tensor], episode_start: th.Tensor | None
    ) -> tuple[th.Tensor, ...]:
        values = self.values(obs)
        return values.argmax(dim=1), values


class RecurrentGraph(ActingGraph):
    """
    The same with a recurrent state.

    :param network: of `R2D2` or `RainbowR`
    """

    values_name = "q_values"

    def __init__(self, network: RecurrentQNetwork) -> None:
        super().__init__()
        self.network = network

    def initial_state(self) -> Any:  # Any: as its core says
        return self.network.initial_state(1)

    def forward(
        self, obs: PyTorchObs, state: Sequence[th.Tensor], episode_start: th.Tensor | None
    ) -> tuple[th.Tensor, ...]:
        fresh, leaves = self.initial_state(), iter(state)
        now = nested.map(lambda _: next(leaves), fresh)
        assert episode_start is not None
        values, after = self.network.step(obs, nested.where(episode_start, fresh, now))
        return values.argmax(dim=1), values, *nested.leaves(after)


class VectorGraph(ActingGraph):
    """
    Actions that are vectors, in the environment's units.

    :param action: from observations to [B, ...], in [-1, 1] where it is squashed
    :param space: of the actions
    :param is_squashed: scale them to the bounds; False = clip them
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(self, action: nn.Module, space: spaces.Box, is_squashed: bool) -> None:
        super().__init__()
        self.action = action
        self.shape = space.shape
        self.is_squashed = is_squashed
        self.register_buffer("low", th.as_tensor(space.low))
        self.register_buffer("high", th.as_tensor(space.high))

    def forward(
        self, obs: PyTorchObs, state: Sequence[th.Tensor], episode_start: th.Tensor | None
    ) -> tuple[th.Tensor, ...]:
        action = self.action(obs).reshape(-1, *self.shape)
        if self.is_squashed:
            return (self.low + 0.5 * (action + 1.0) * (self.high - self.low),)
        return (action.clamp(self.low, self.high),)


class ChoiceGraph(ActingGraph):
    """
    Actions that are numbers.

    :param action: from observations to [B, ...] int64
    :param shape: of one action
    """

    def __init__(self, action: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.action = action
        self.shape = shape

    def forward(
        self, obs: PyTorchObs, state: Sequence[th.Tensor], episode_start: th.Tensor | None
    ) -> tuple[th.Tensor, ...]:
        return (self.action(obs).reshape(-1, *self.shape),)


class _QuantileMeans(nn.Module):
    def __init__(self, network: qrdqn.QuantileNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        means: th.Tensor = self.network(obs).mean(dim=1)
        return means


class _Squashed(nn.Module):
    """The mode of SAC's actor."""

    def __init__(self, actor: sac.Actor | tqc.Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        mean = self.actor.get_action_dist_params(obs)[0]
        return mean.tanh()


class _Parameters(nn.Module):
    """Of the distribution of PPO, A2C and their like: logits, or means."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        policy = self.policy
        features = BasePolicy.extract_features(policy, obs, policy.pi_features_extractor)
        parameters: th.Tensor = policy.action_net(policy.mlp_extractor.forward_actor(features))
        return parameters.tanh() if policy.squash_output else parameters


class _Choices(nn.Module):
    """
    The mode of several choices at once.

    :param logits: from observations to [B, sum of sizes]
    :param sizes: of the choices; None = each of them is yes or no
    """

    def __init__(self, logits: nn.Module, sizes: list[int] | None) -> None:
        super().__init__()
        self.logits = logits
        self.sizes = sizes

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        logits: th.Tensor = self.logits(obs)
        if self.sizes is None:
            return (logits > 0).to(th.float32)
        return th.stack([each.argmax(dim=1) for each in logits.split(self.sizes, dim=1)], dim=1)


class _Table(nn.Module):
    """
    Rows of a table by what is observed.

    :param rows: [S, A]
    :param sizes: of the numbers that are observed
    :param starts: first one of each
    """

    rows: th.Tensor
    starts: th.Tensor

    def __init__(self, rows: th.Tensor, sizes: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("rows", rows.clone())
        self.register_buffer("starts", th.as_tensor(list(starts)))
        self.sizes = tuple(sizes)

    def forward(self, obs: th.Tensor) -> th.Tensor:
        """:param obs: [B] or [B, k]"""
        each = obs.reshape(-1, len(self.sizes)).long() - self.starts
        number = each[:, 0]
        for i, size in enumerate(self.sizes[1:], start=1):
            number = number * size + each[:, i]
        return self.rows[number]


def acting_policy(model: BaseAlgorithm | BasePolicy) -> BasePolicy:
    """:return: that ``predict(deterministic=True)`` asks"""
    if isinstance(model, BasePolicy):
        return model
    if isinstance(model, BestPolicyMixin) and model.checkpoint_episodes > 0:
        return model.best_actor
    return model.policy


def acting_graph(policy: BasePolicy) -> ActingGraph:
    """
    :param policy: of ours, or of SB3 and sb3-contrib; on the CPU
    :return: what it does greedily
    :raises ValueError: for a policy of another kind
    """
    graph = _values_of(policy) or _actions_of(policy)
    if graph is None:
        raise ValueError(
            f"{type(policy).__name__} has no graph to export: there are those of R2D2, RainbowR, Rainbow, TD3, DDPG, "
            "tables, SB3's PPO, A2C, DQN and SAC, and whatever has their policies"
        )
    graph = copy.deepcopy(graph).requires_grad_(False)
    clear_noise(graph)
    return graph.eval()


def _values_of(policy: BasePolicy) -> ActingGraph | None:
    if isinstance(policy, QPolicy):
        network = policy.q_net
        return GreedyGraph(network) if isinstance(network, QNetwork) else RecurrentGraph(network)
    if isinstance(policy, dqn.DQNPolicy):
        return GreedyGraph(policy.q_net)
    if isinstance(policy, qrdqn.QRDQNPolicy):
        return GreedyGraph(_QuantileMeans(policy.quantile_net))
    if isinstance(policy, QTablePolicy):
        rows = policy.q.mean(dim=0) if policy.n_tables > 1 else policy.q
        return GreedyGraph(_Table(rows, policy.states.sizes, policy.states.starts.tolist()))
    if isinstance(policy, PlannerPolicy):
        space = policy.observation_space
        table = _Table(policy.probabilities, [int(space.n)], [int(space.start)])
        return GreedyGraph(table, "probabilities")
    if isinstance(policy, ActorCriticPolicy) and isinstance(policy.action_dist, CategoricalDistribution):
        return None if isinstance(policy, RecurrentActorCriticPolicy) else GreedyGraph(_Parameters(policy), "logits")
    return None


def _actions_of(policy: BasePolicy) -> ActingGraph | None:
    space = policy.action_space
    action: nn.Module
    if isinstance(policy, TD3Policy):
        action = policy.actor
    elif isinstance(policy, Actor):
        action = policy
    elif isinstance(policy, sac.SACPolicy | tqc.TQCPolicy):
        action = _Squashed(policy.actor)
    elif isinstance(policy, ActorCriticPolicy) and not isinstance(policy, RecurrentActorCriticPolicy):
        action = _Parameters(policy)
    else:
        return None
    if isinstance(space, spaces.Box):
        return VectorGraph(action, space, policy.squash_output)
    sizes = [int(n) for n in space.nvec] if isinstance(space, spaces.MultiDiscrete) else None
    assert space.shape is not None
    return ChoiceGraph(_Choices(action, sizes), space.shape)
