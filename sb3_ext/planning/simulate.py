"""
What a model gets, by simulation: an estimate with its standard error, for models that have no table. Every episode
counts once, whatever its length, and whoever trains the model notices nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_ext import nested
from sb3_ext.planning.model_states import Model, asked, check_actions, policy_of
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.simulator import Horizon, Simulator, steps_of
from sb3_ext.planning.views import Observe, Process, Shown, View, view_of
from sb3_ext.vec_envs import Observations


class SimulatedReturns(NamedTuple):
    """Of n episodes."""

    returns: np.ndarray
    """[n] float64, undiscounted"""
    discounted: np.ndarray
    """[n] float64, from the first step; without what would have come after the limit of steps"""
    lengths: np.ndarray
    """[n] int64"""
    truncated: np.ndarray
    """[n] bool: the limit of steps was reached before an end"""

    @property
    def mean(self) -> float:
        """:return: of the undiscounted returns"""
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float:
        """:return: of `mean`"""
        return float(self.returns.std(ddof=1) / math.sqrt(len(self.returns)))


def simulate_returns(
    model: Model,
    process: Process,
    n_episodes: int = 2000,
    seed: int = 0,
    observe: Observe | None = None,
    deterministic: bool = True,
    horizon: Horizon = "mdp",
) -> SimulatedReturns:
    """
    The first episode of each of ``n_episodes`` lanes that are stepped together; those that have ended are not asked any
    more. Generators of NumPy, PyTorch and the action space, and the modes of the network, are left as they were.

    Without ``deterministic`` SB3's DQN throws one coin for all lanes of a step: its episodes are not independent then,
    and the standard error is too small.

    :param model: an algorithm or a policy, recurrent or not; its `VecNormalize` is applied
    :param process: in which it acts
    :param n_episodes: 2 or more
    :param seed: of everything that is drawn
    :param observe: what the model is shown in a state; None = its number, or what a `TabularPOMDP` shows
    :param deterministic: as in `predict`
    :param horizon: steps after which an episode is cut; "mdp" = the process's own
    :raises ValueError: without a limit of steps, for fewer episodes, and where model and process do not fit
    """
    if n_episodes < 2:
        raise ValueError(f"n_episodes {n_episodes} must be 2 or more: one has no standard error")
    mdp = process.mdp if isinstance(process, TabularPOMDP) else process
    steps = steps_of(horizon, mdp)
    if steps is None:
        raise ValueError("the process has no limit of steps: give horizon")
    agent = _Agent(model, deterministic)
    check_actions(agent.policy.action_space, mdp)
    view = _view(agent, process, observe)

    simulator, rng = Simulator(mdp), np.random.default_rng(seed)
    returns, discounted, lengths = np.zeros(n_episodes), np.zeros(n_episodes), np.zeros(n_episodes, np.int64)
    lanes = np.arange(n_episodes)  # that go on
    states = simulator.start(n_episodes, rng)
    seen = view.first(states, rng)
    with _undisturbed(agent.policy, seed):
        for step in range(steps):
            actions = simulator.check_actions(agent.act(seen), len(lanes))
            moves = simulator.move(states, actions, rng)
            returns[lanes] += moves.reward
            discounted[lanes] += mdp.gamma**step * moves.reward
            lengths[lanes] += 1
            goes_on = np.flatnonzero(~moves.terminated)
            lanes, states = lanes[goes_on], moves.state[goes_on]
            if not len(lanes):
                break
            seen = view.after(actions[goes_on], states, rng)
            agent.keep(goes_on)
    truncated = np.zeros(n_episodes, bool)
    truncated[lanes] = True
    return SimulatedReturns(returns, discounted, lengths, truncated)


class _Agent:
    """A model that acts in lanes that become fewer."""

    def __init__(self, model: Model, deterministic: bool) -> None:
        self.model, self.deterministic = model, deterministic
        self.policy = policy_of(model)
        self._normalizer = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None
        # SB3-contrib's states are [layers, n, ...], all others begin with n.
        self._lane_axis = 1 if isinstance(self.policy, RecurrentActorCriticPolicy) else 0
        self._memory: Any = None  # Any: whatever `predict` returns
        self._begins = True

    def act(self, seen: Observations) -> np.ndarray:
        """
        :param seen: [n, ...]
        :return: n actions
        """
        shown: Any = (
            seen if self._normalizer is None else self._normalizer.normalize_obs(seen)
        )  # Any: as `predict` has it
        begins = np.full(nested.rows(seen), self._begins)
        actions, self._memory = self.model.predict(shown, self._memory, begins, self.deterministic)
        self._begins = False
        return actions

    def keep(self, lanes: np.ndarray) -> None:
        """
        :param lanes: [m] numbers, in the last call of `act`, of those that go on
        """
        self._memory = nested.map(partial(np.take, indices=lanes, axis=self._lane_axis), self._memory)


def _view(agent: _Agent, process: Process, observe: Observe | None) -> View:
    """
    :return: how the agent sees the states
    :raises ValueError: where it is one of another process
    """
    space = agent.policy.observation_space
    if observe is not None:
        return Shown(observe, space)
    # A model has pictures with their channels first: only numbers can be compared.
    has_numbers = isinstance(space, spaces.Discrete) or not isinstance(process, TabularPOMDP)
    return view_of(process, None, space if has_numbers else None)


@contextmanager
def _undisturbed(policy: BasePolicy, seed: int) -> Iterator[None]:
    """Draws within it follow from the seed, and draws after it are what they would have been without it."""
    own = policy.action_space.np_random.bit_generator
    before, of_numpy = own.state, np.random.get_state()
    devices = [policy.device] if policy.device.type == "cuda" else []
    with asked(policy), th.random.fork_rng(devices):
        th.manual_seed(seed)
        np.random.seed(seed)
        own.state = np.random.default_rng(seed).bit_generator.state
        try:
            yield
        finally:
            own.state = before
            np.random.set_state(of_numpy)
