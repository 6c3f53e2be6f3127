"""
What a trained model does in every state of a table, and what it believes of it, in the units of the environment. The
model is asked, nothing is simulated: it draws nothing, and no mode of it is another one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import QRDQN
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_ext import nested
from sb3_ext.algorithms import IMITATORS
from sb3_ext.networks.noisy import clear_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.vec_envs import Observations

Model: TypeAlias = BaseAlgorithm | BasePolicy
Observe: TypeAlias = Callable[[np.ndarray], Observations]
"""Numbers of states [n] -> what the environment gives in them, [n, ...] or a dictionary of such"""

MOST_ROWS = 4096
MOST_NUMBERS = 2**22
"""of observations that a network is given at once, so that a million states fit into memory"""


@runtime_checkable
class QLearnerLike(Protocol):
    """What `DeepQLearning` says of itself; no algorithm is imported here."""

    evaluation_eps: float

    @property
    def transform(self) -> ValueTransform: ...


def is_recurrent(model: Model) -> bool:
    """:return: it acts by more than what it sees: such models have no table"""
    policy = _policy_of(model)
    has_core = isinstance(policy, QPolicy) and isinstance(policy.q_net, RecurrentQNetwork)
    return has_core or isinstance(policy, RecurrentActorCriticPolicy)


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
        of Q-learning epsilon-greedy ones, with ``exploration_rate`` (SB3) or ``evaluation_eps`` (ours)
    :return: [S, A] float64 probabilities
    :raises ValueError: for a model of another environment, a recurrent one, one that needs action masks; and without
        ``deterministic`` for noisy layers and for policies that do not tell their probabilities
    """
    states, policy = _States(model, mdp, observe), _policy_of(model)
    if not deterministic and isinstance(policy, ActorCriticPolicy):
        return _sum_to_one(states.ask(lambda obs: _of_actor(policy, obs)))
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
    policy = _policy_of(model)
    if not isinstance(policy, DQNPolicy | QRDQNPolicy | QPolicy):
        return None
    states = _States(model, mdp, observe)
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
    policy = _policy_of(model)
    imitates = not IMITATORS.isdisjoint(cls.__name__.lower() for cls in type(model).__mro__)
    if imitates or not isinstance(policy, ActorCriticPolicy):
        return None
    values = _States(model, mdp, observe).ask(policy.predict_values)
    return values.reshape(mdp.n_states) * _reward_unit(model)


# ------------------------------------------------------------------ asking


class _States:
    """
    All states of a table, as a model sees them. Parameters as in `policy_table`.

    :raises ValueError: where model and table are of different environments
    """

    def __init__(self, model: Model, mdp: TabularMDP, observe: Observe | None) -> None:
        self.model, self.policy, self.mdp = model, _policy_of(model), mdp
        self.space: spaces.Space[Any] = self.policy.observation_space
        name = type(model).__name__
        if is_recurrent(model):
            raise ValueError(f"{name} is recurrent: what it does depends on more than the state, so it has no table")
        if isinstance(self.policy, MaskableActorCriticPolicy):
            raise ValueError(f"{name} acts by action masks, which a table of states does not have")
        _check_actions(self.policy.action_space, mdp)
        self.observe = _numbers(self.space, mdp) if observe is None else observe
        self.normalizer = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None

    def predicted(self) -> np.ndarray:
        """:return: [S] int64 actions"""
        found = []
        with _asked(self.policy):
            for observations, n in self._chunks():
                actions, state = self.model.predict(observations, deterministic=True)
                if state is not None:
                    raise ValueError(f"{type(self.model).__name__} keeps a state while it acts, so it has no table")
                found.append(np.asarray(actions, np.int64).reshape(n))
        return np.concatenate(found)

    def ask(self, network: Callable[[PyTorchObs], th.Tensor]) -> np.ndarray:
        """
        :param network: observations [n, ...] -> [n, ...]
        :return: [S, ...] float64
        """
        with _asked(self.policy), th.no_grad():
            found = [
                network(self.policy.obs_to_tensor(observations)[0]).double().cpu().numpy()
                for observations, _ in self._chunks()
            ]
        return np.concatenate(found)

    def _chunks(self) -> Iterator[tuple[Observations, int]]:
        """:return: observations [n, ...], normalised, and n"""
        n_rows = min(MOST_ROWS, max(1, MOST_NUMBERS // max(1, spaces.utils.flatdim(self.space))))
        for begin in range(0, self.mdp.n_states, n_rows):
            numbers = np.arange(begin, min(begin + n_rows, self.mdp.n_states))
            seen = self.observe(numbers)
            if self.normalizer is not None:
                seen = self.normalizer.normalize_obs(seen)
            yield nested.map(partial(_fitting, states=numbers), self.space, seen), len(numbers)


def _numbers(space: spaces.Space[Any], mdp: TabularMDP) -> Observe:
    """:return: state number -> observation of an environment that shows it"""
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"the model observes {space}, not the number of a state: give observe=...")
    if int(space.n) != mdp.n_states:
        raise ValueError(f"the model has {space.n} states, the table {mdp.n_states}: it is of another environment")
    first = int(space.start)
    return lambda states: states + first


def _fitting(space: spaces.Space[Any], seen: Any, states: np.ndarray) -> np.ndarray:  # Any: what `observe` gave
    """
    :return: [n, ...], of Discrete [n]: environments and buffers give [n, 1], too
    :raises ValueError: where it is none of the space
    """
    given: np.ndarray = np.asarray(seen)
    if not isinstance(space, spaces.Discrete):
        # Sorted: pictures may have their channels first or last, as for `predict`.
        if given.shape[:1] != states.shape or sorted(given.shape[1:]) != sorted(space.shape or ()):
            raise ValueError(f"observe gave shape {given.shape} for {len(states)} states: the model observes {space}")
        return given
    if given.size != len(states):
        raise ValueError(f"observe gave {given.size} observations for {len(states)} states")
    given = given.reshape(-1)
    outside = (given < space.start) | (given >= space.start + space.n)
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"observe gave {given[i]} for state {states[i]}: the model observes {space}")
    return given


def _check_actions(space: spaces.Space[Any], mdp: TabularMDP) -> None:
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"the model acts in {space}: a table needs Discrete actions")
    if int(space.n) != mdp.n_actions:
        raise ValueError(f"the model has {space.n} actions, the table {mdp.n_actions}: it is of another environment")
    if int(space.start) != 0:
        raise ValueError(f"action space {space} must begin at 0: shift the actions in a wrapper")


@contextmanager
def _asked(policy: BasePolicy) -> Iterator[None]:
    """In evaluation mode; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in policy.modules()]
    policy.set_training_mode(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


# ------------------------------------------------------------------ what each kind says


def _policy_of(model: Model) -> BasePolicy:
    return model.policy if isinstance(model, BaseAlgorithm) else model


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
    policy = _policy_of(model)
    if isinstance(policy, QPolicy) and policy.is_noisy:
        raise ValueError(
            f"{type(model).__name__} draws its noisy layers when it is not deterministic: no table holds that, use "
            "deterministic=True"
        )
    if isinstance(model, DQN | QRDQN):
        return model.exploration_rate
    if isinstance(policy, QPolicy) and isinstance(model, QLearnerLike):
        return model.evaluation_eps
    if isinstance(policy, DQNPolicy | QRDQNPolicy | QPolicy):
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
