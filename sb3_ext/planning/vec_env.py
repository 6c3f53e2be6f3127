"""
Many copies of a process as one VecEnv: a step of all of them is a handful of array operations. What it returns is what
SB3's DummyVecEnv of Monitor-wrapped environments would: the same shapes, dtypes, infos and ends; all arrays are fresh.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from sb3_ext import nested
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.simulator import Horizon
from sb3_ext.planning.tabular_env import TabularEnv
from sb3_ext.planning.views import Observe, Process
from sb3_ext.vec_envs import FreshArrays, Observations

OF_A_LANE = ("state", "elapsed_steps")


class TabularVecEnv(FreshArrays, VecEnv):
    """
    Quicker than DummyVecEnv from four lanes on. Lanes share one random generator: a trajectory follows from the seed
    *and* their number. ``set_options`` with ``{"state": s}`` makes them begin in state s at the next reset.

    To `get_attr`, `set_attr` and `env_method` a lane is a `TabularEnv`, of which only ``state`` and ``elapsed_steps``
    are its own. `env_is_wrapped` says that it is in a Monitor, whose ``episode`` infos it gives.

    :param process: what is simulated
    :param n_envs: lanes
    :param horizon: steps after which an episode is truncated; "mdp" = the process's own, None = never
    :param observe: what is seen, from numbers of states [n] to observations [n, ...]; None = the number itself, or what
        a `TabularPOMDP` shows
    :param seed: as a call of ``seed(seed)``: it counts from the next reset on
    :param observation_space: of what is seen, as ``observe`` needs it; a ``Discrete(S, start=...)`` shifts the numbers
    :param render_mode: None, "ansi" or "rgb_array", as `TabularEnv`'s
    :raises ValueError: where they do not fit
    """

    def __init__(
        self,
        process: Process,
        n_envs: int,
        horizon: Horizon = "mdp",
        observe: Observe | None = None,
        seed: int | None = None,
        observation_space: spaces.Space[Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs {n_envs} must be 1 or more")
        self._one = TabularEnv(process, horizon, observe, observation_space, render_mode)
        self._simulator, self._view = self._one.simulator, self._one.view
        self._rng = np.random.default_rng()
        self._begun = time.time()
        self._state = np.zeros(n_envs, np.int64)
        self._elapsed = np.zeros(n_envs, np.int64)
        self._return = np.zeros(n_envs)
        self._actions: np.ndarray | None = None  # those of the step that `step_async` began
        self._needs_reset = True
        self.num_envs = n_envs  # VecEnv's constructor asks the lanes for an attribute
        super().__init__(n_envs, self._one.observation_space, self._one.action_space)
        if seed is not None:
            self.seed(seed)

    @property
    def process(self) -> Process:
        """:return: what is simulated"""
        return self._one.process

    @property
    def mdp(self) -> TabularMDP:
        """:return: the process by its states"""
        return self._one.mdp

    @property
    def observe(self) -> Observe | None:
        """:return: what is seen; None = the number of the state, or what the process shows"""
        return self._one.observe

    @property
    def horizon(self) -> int | None:
        """:return: steps after which an episode is truncated"""
        return self._one.horizon

    def reset(self) -> Observations:
        """Seeds and options are used once, as by every VecEnv."""
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0])
        states = self._simulator.start(self.num_envs, self._rng)
        for lane, options in enumerate(self._options):
            given = self._simulator.state_of(options)
            states[lane] = states[lane] if given is None else given
        self._state, self._needs_reset = states, False
        self._elapsed[:] = 0
        self._return[:] = 0.0
        self._reset_seeds()
        self._reset_options()
        return self._view.first(states, self._rng)

    def step_async(self, actions: np.ndarray) -> None:
        """
        :param actions: [E] or [E, 1]
        :raises ValueError: for others than 0 to A - 1
        :raises gymnasium.error.ResetNeeded: before the first `reset`
        """
        if self._needs_reset:
            raise gym.error.ResetNeeded("reset() comes before step()")
        self._actions = self._simulator.check_actions(actions, self.num_envs)

    def step_wait(self) -> VecEnvStepReturn:
        """:return: observations, rewards [E] float32, dones [E] bool, infos"""
        actions, self._actions = self._actions, None
        assert actions is not None, "step_async comes first"
        moves = self._simulator.move(self._state, actions, self._rng)
        self._state = moves.state
        self._elapsed += 1
        self._return += moves.reward
        observations = self._view.after(actions, moves.state, self._rng)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        dones = moves.terminated.copy()
        if self.horizon is not None:
            dones |= self._elapsed >= self.horizon
        ended = np.flatnonzero(dones)
        if len(ended):
            self._end(ended, moves.terminated[ended], observations, infos)
        return observations, moves.reward.astype(np.float32), dones, infos

    def _end(
        self, ended: np.ndarray, terminated: np.ndarray, observations: Observations, infos: list[dict[str, Any]]
    ) -> None:
        """
        Tell of the episodes of these lanes, and begin their next ones.

        :param ended: [n] lanes
        :param terminated: [n] bool; the others were truncated
        :param observations: of all lanes; those that ended are given their first one
        :param infos: of all lanes; those that ended are told
        """
        final = nested.take(observations, ended)
        rows = list(final) if isinstance(final, np.ndarray) else [nested.take(final, i) for i in range(len(ended))]
        seconds = round(time.time() - self._begun, 6)
        totals, lengths = np.round(self._return[ended], 6).tolist(), self._elapsed[ended].tolist()
        told = zip(ended.tolist(), (~terminated).tolist(), totals, lengths, rows, strict=True)
        for lane, cut, total, length, row in told:
            infos[lane] = {
                "TimeLimit.truncated": cut,
                "episode": {"r": total, "l": length, "t": seconds},
                "terminal_observation": row,
            }
        states = self._simulator.start(len(ended), self._rng)
        self._state[ended], self._elapsed[ended], self._return[ended] = states, 0, 0.0
        nested.put(observations, ended, self._view.first(states, self._rng))

    def close(self) -> None:
        """There is nothing to close."""

    def get_images(self) -> Sequence[np.ndarray | None]:
        """:return: a picture of each lane where the render mode is "rgb_array" """
        return self.env_method("render")

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """
        :param attr_name: "state", "elapsed_steps", or any of `TabularEnv`
        :param indices: of lanes, None = all
        """
        if attr_name in OF_A_LANE:
            return [getattr(self._lane(i), attr_name) for i in self._get_indices(indices)]
        value = getattr(self._one, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """
        :param attr_name: "state" or "elapsed_steps" of single lanes; others are all lanes' own
        :param indices: of lanes, None = all
        :raises ValueError: for no such state, and where others than these two are set in some lanes only
        """
        lanes = list(self._get_indices(indices))
        if attr_name == "state":
            self._state[lanes] = self._simulator.check_state(value)
        elif attr_name == "elapsed_steps":
            self._elapsed[lanes] = value
        elif set(lanes) != set(range(self.num_envs)):
            raise ValueError(f"{attr_name} is one for all {self.num_envs} lanes: leave indices out")
        else:
            setattr(self._one, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """
        :param method_name: of `TabularEnv`; it is called for each lane
        :param indices: of lanes, None = all
        :raises ValueError: for one that would move a single lane
        """
        if method_name in ("reset", "step"):
            raise ValueError(f"{method_name} of a lane: lanes are moved together; set_options chooses their states")
        lanes = self._get_indices(indices)
        return [getattr(self._lane(i), method_name)(*method_args, **method_kwargs) for i in lanes]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """:return: whether it is Monitor, for each lane"""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def _lane(self, i: int) -> TabularEnv:
        """:return: the one environment, where this lane is, until the next call"""
        self._one.state = None if self._needs_reset else int(self._state[i])
        self._one.elapsed_steps = int(self._elapsed[i])
        return self._one
