"""
What a trained model does in every state of a table, and what it believes of it, in the units of the environment. The
model is asked, nothing is simulated.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch as th
from sb3_contrib import QRDQN
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_ext import nested
from sb3_ext.algorithms import IMITATORS
from sb3_ext.networks.noisy import clear_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.model_states import Model, States, policy_of
from sb3_ext.planning.policy import PlannerPolicy
from sb3_ext.planning.views import Observe


@runtime_checkable
class QLearnerLike(Protocol):
    """What `DeepQLearning` says of itself; no algorithm is imported here."""

    evaluation_eps: float

    @property
    def transform(self) -> ValueTransform: ...


@runtime_checkable
class TableLike(Protocol):
    """A policy that is a table (`sb3_ext.tabular`)."""

    def action_values(self, obs: PyTorchObs) -> th.Tensor:
        """:return: [n, A] in units of the reward"""


@runtime_checkable
class TableLearnerLike(Protocol):
    """An algorithm that keeps one, and tells how it explores."""

    def action_probabilities(self, obs: PyTorchObs) -> th.Tensor:
        """:return: [n, A] of its exploration, as it is now"""


def policy_table(
    model: Model, mdp: TabularMDP, observe: Observe | None = None, deterministic: bool = True
) -> np.ndarray:
    """
    The policy that `predict` follows. Where actions are tied it is the one that the model takes: SB3's the first.

    :param model: an algorithm or a policy, with discrete actions
    :param mdp: of its environment
    :param observe: what the environment gives in a state; None = the state's number. Statistics of the model's
        `VecNormalize` are applied to it
    :param deterministic: as in `predict`. Else the exact probabilities: of an actor-critic those of its distribution,
        of Q-learning epsilon-greedy ones, with ``exploration_rate`` (SB3) or ``evaluation_eps`` (ours), of a table
        those of its exploration as it is now, where tied actions share
    :return: [S, A] float64 probabilities
    :raises ValueError: for a model of another environment, a recurrent one, one that needs action masks; and without
        ``deterministic`` for noisy layers and for policies that do not tell their probabilities
    """
    states, policy = States(model, mdp, observe), policy_of(model)
    if not deterministic and isinstance(policy, ActorCriticPolicy):
        return _sum_to_one(states.ask(lambda obs: _of_actor(policy, obs)))
    if not deterministic and isinstance(policy, PlannerPolicy):
        return states.ask(policy.action_probabilities)
    if not deterministic and isinstance(policy, TableLike) and isinstance(model, TableLearnerLike):
        return states.ask(model.action_probabilities)
    greedy: np.ndarray = np.eye(mdp.n_actions)[states.predicted()]
    if deterministic:
        return greedy
    epsilon = _epsilon(model)
    return (1.0 - epsilon) * greedy + epsilon / mdp.n_actions


def q_table(model: Model, mdp: TabularMDP, observe: Observe | None = None) -> np.ndarray | None:
    """
    Expected returns in units of the reward: of a distribution the mean, rescaling and `VecNormalize` of rewards undone
    (by its present statistics; what it clipped is lost). An agent with a distribution of rescaled returns acts by its
    rescaled mean, whose best action need not be the best one here.

    Parameters as in `policy_table`.

    :return: [S, A] float64; None for a model without Q-values
    :raises ValueError: as `policy_table`, and for one of our policies alone: its algorithm knows the units
    """
    policy = policy_of(model)
    if isinstance(policy, TableLike):
        return States(model, mdp, observe).ask(policy.action_values)
    if not isinstance(policy, DQNPolicy | QRDQNPolicy | QPolicy):
        return None
    states = States(model, mdp, observe)
    if isinstance(policy, QPolicy):
        if not isinstance(model, QLearnerLike):
            raise ValueError(
                f"{type(policy).__name__} alone does not know the units of its values: give the model that has it"
            )
        net, transform = policy.q_net, model.transform
        assert isinstance(net, QNetwork)
        return states.ask(lambda obs: _expected_returns(net, obs, transform)) * _reward_unit(model)
    if isinstance(policy, QRDQNPolicy):
        return states.ask(lambda obs: policy.quantile_net(obs).mean(dim=1)) * _reward_unit(model)
    return states.ask(policy.q_net) * _reward_unit(model)


def value_table(model: Model, mdp: TabularMDP, observe: Observe | None = None) -> np.ndarray | None:
    """
    What an actor-critic believes its own stochastic policy to be worth, in units of the reward as in `q_table`.

    Parameters as in `policy_table`.

    :return: [S] float64; None for a model without such values, and for one that imitates, whose values are of learned
        rewards
    :raises ValueError: as `policy_table`
    """
    policy = policy_of(model)
    imitates = not IMITATORS.isdisjoint(cls.__name__.lower() for cls in type(model).__mro__)
    if imitates or not isinstance(policy, ActorCriticPolicy):
        return None
    values = States(model, mdp, observe).ask(policy.predict_values)
    return values.reshape(mdp.n_states) * _reward_unit(model)


# ------------------------------------------------------------------ what each kind says


def _of_actor(policy: ActorCriticPolicy, obs: PyTorchObs) -> th.Tensor:
    """:return: [n, A] probabilities"""
    acting = policy.get_distribution(obs)
    assert isinstance(acting, CategoricalDistribution)
    probabilities: th.Tensor = acting.distribution.probs
    return probabilities


def _expected_returns(net: QNetwork, obs: PyTorchObs, transform: ValueTransform) -> th.Tensor:
    """:return: [n, A] in units of the reward, with the mean weights"""
    clear_noise(net)
    out = net.outputs(obs)
    n = nested.rows(obs)
    of_action = [
        net.head.expected_returns(out, th.full((n, 1), a, device=net.device), transform)
        for a in range(int(net.action_space.n))
    ]
    return th.stack(of_action, dim=1)


def _epsilon(model: Model) -> float:
    """
    :return: with which `predict` acts at random
    :raises ValueError: where that is not all that it draws
    """
    policy = policy_of(model)
    if isinstance(policy, QPolicy) and policy.is_noisy:
        raise ValueError(
            f"{type(model).__name__} draws its noisy layers when it is not deterministic: no table holds that, use "
            "deterministic=True"
        )
    if isinstance(model, DQN | QRDQN):
        return model.exploration_rate
    if isinstance(policy, QPolicy) and isinstance(model, QLearnerLike):
        return model.evaluation_eps
    if isinstance(policy, DQNPolicy | QRDQNPolicy | QPolicy | TableLike):
        return 0.0  # without their algorithms these are greedy in any case
    raise ValueError(f"{type(model).__name__} does not tell its probabilities: use deterministic=True")


def _reward_unit(model: Model) -> float:
    """:return: the environment's reward for 1 of those that the model is trained on"""
    normalizer = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None
    if normalizer is None or not normalizer.norm_reward:
        return 1.0
    return float(np.sqrt(normalizer.ret_rms.var + normalizer.epsilon))


def _sum_to_one(table: np.ndarray) -> np.ndarray:
    """:return: without what single precision left"""
    summed: np.ndarray = table / table.sum(axis=1, keepdims=True)
    return summed
