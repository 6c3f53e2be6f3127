"""
The states of a table as a model sees them, and how it is asked about them: nothing is drawn, and no mode of the model
is another one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_ext import nested
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.policy import PlannerPolicy
from sb3_ext.planning.views import Observe
from sb3_ext.vec_envs import Observations

Model: TypeAlias = BaseAlgorithm | BasePolicy
"""an algorithm or a policy of Stable-Baselines3"""

MOST_ROWS = 4096
MOST_NUMBERS = 2**22
"""of observations that a network is given at once, so that a million states fit into memory"""


def policy_of(model: Model) -> BasePolicy:
    """:return: the model's, or the model itself where it is one"""
    return model.policy if isinstance(model, BaseAlgorithm) else model


def is_recurrent(model: Model) -> bool:
    """:return: it acts by more than what it sees: such models have no table"""
    policy = policy_of(model)
    has_core = isinstance(policy, QPolicy) and isinstance(policy.q_net, RecurrentQNetwork)
    return has_core or isinstance(policy, RecurrentActorCriticPolicy)


class States:
    """
    All states of a table, as a model sees them. Parameters as in `policy_table`.

    :raises ValueError: where model and table are of different environments
    """

    def __init__(self, model: Model, mdp: TabularMDP, observe: Observe | None) -> None:
        self.model, self.policy, self.mdp = model, policy_of(model), mdp
        self.space: spaces.Space[Any] = self.policy.observation_space
        name = type(model).__name__
        if is_recurrent(model):
            raise ValueError(f"{name} is recurrent: what it does depends on more than the state, so it has no table")
        if isinstance(self.policy, MaskableActorCriticPolicy):
            raise ValueError(f"{name} acts by action masks, which a table of states does not have")
        check_actions(self.policy.action_space, mdp)
        self.observe = _numbers(self.space, mdp) if observe is None else observe
        self.normalizer = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None

    def predicted(self) -> np.ndarray:
        """:return: [S] int64 actions"""
        found = []
        with asked(self.policy):
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
        with asked(self.policy), th.no_grad():
            found = [
                network(self.policy.obs_to_tensor(observations)[0]).double().cpu().numpy()
                for observations, _ in self._chunks()
            ]
        return np.concatenate(found)

    def _chunks(self) -> Iterator[tuple[Observations, int]]:
        """:return: observations [n, ...], normalised, and n"""
        # A network is given a one-hot vector of S numbers for the number of a state, a table the number.
        is_table = isinstance(self.policy, PlannerPolicy) or hasattr(self.policy, "action_values")
        width = 1 if is_table else max(1, spaces.utils.flatdim(self.space))
        n_rows = min(MOST_ROWS, max(1, MOST_NUMBERS // width))
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
        raise ValueError(
            f"the model has {space.n} states, the table {mdp.n_states}: it is of another environment; or sees a "
            "part of the state, then give observe=..."
        )
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


def check_actions(space: spaces.Space[Any], mdp: TabularMDP) -> None:
    """
    :param space: of a model's actions
    :param mdp: table
    :raises ValueError: where they are not the table's
    """
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"the model acts in {space}: a table needs Discrete actions")
    if int(space.n) != mdp.n_actions:
        raise ValueError(f"the model has {space.n} actions, the table {mdp.n_actions}: it is of another environment")
    if int(space.start) != 0:
        raise ValueError(f"action space {space} must begin at 0: shift the actions in a wrapper")


@contextmanager
def asked(policy: BasePolicy) -> Iterator[None]:
    """
    :param policy: in evaluation mode for a while; afterwards each of its modules is in the mode that it was in
    """
    trained = [module for module in policy.modules() if module.training]
    if trained:  # a policy that collects is in evaluation mode already, and to set it again takes as long as to ask it
        policy.set_training_mode(False)
    try:
        yield
    finally:
        for module in trained:
            module.training = True
