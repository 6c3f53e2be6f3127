"""A reward that is a table, as an environment's: train any model on what was recovered, drawn or made up."""

from __future__ import annotations

import os
from typing import Any, TypeAlias, overload

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ext import nested
from sb3_ext.imitation.max_ent_reward import MaxEntReward
from sb3_ext.imitation.table_steps import StatesOfTable
from sb3_ext.planning.views import Observe
from sb3_ext.vec_envs import keep_final_observations

Reward: TypeAlias = np.ndarray | MaxEntReward | str | os.PathLike[str]
"""[S, A] of acting; [S] of arriving, ends too; what `max_ent_irl` found, or the file of it: its [S, A]"""


class RewardTable:
    """
    Pays the reward of a table in place of the environment's, which goes to ``info["env_reward"]``. Around a `VecEnv` it
    is a `VecEnvWrapper`, around an environment of gymnasium a wrapper of gymnasium; in a yml ``env_wrapper``.

    A `Monitor` below it, as `make_vec_env` and rl-zoo3 put one, goes on telling the environment's own returns. With a
    discount the best policy under an [S] table, and under its expectation [S, A], are the same.

    :param env: which shows its states; put VecNormalize around this wrapper, not inside it
    :param reward: [S, A], [S], a `MaxEntReward`, or its file
    :param observe: from numbers of states [n] to observations [n, ...], where those are no numbers of states
    :raises ValueError: for a table of another environment, or one that holds something else than numbers
    """

    @overload
    def __new__(cls, env: VecEnv, reward: Reward, observe: Observe | None = None) -> VecRewardTable: ...
    @overload
    def __new__(cls, env: gym.Env[Any, Any], reward: Reward, observe: Observe | None = None) -> EnvRewardTable: ...
    def __new__(cls, env: Any = None, *_: Any, **__: Any) -> RewardTable:  # Any: copies are made without arguments
        if cls is RewardTable:
            cls = VecRewardTable if isinstance(env, VecEnv) else EnvRewardTable
        return object.__new__(cls)


class EnvRewardTable(RewardTable, gym.Wrapper[Any, Any, Any, Any]):
    """`RewardTable` around an environment of gymnasium."""

    def __init__(self, env: gym.Env[Any, Any], reward: Reward, observe: Observe | None = None) -> None:
        super().__init__(env)
        self._payment = _Payment(reward, env.observation_space, env.action_space, observe)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._current = observation
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        before, after = (nested.map(lambda x: np.asarray(x)[None], seen) for seen in (self._current, observation))
        reward = self._payment.of(before, np.asarray(action).reshape(1), after)
        self._current = observation
        return observation, float(reward[0]), terminated, truncated, {**info, "env_reward": float(env_reward)}


class VecRewardTable(RewardTable, VecEnvWrapper):
    """`RewardTable` around a `VecEnv`."""

    def __init__(self, env: VecEnv, reward: Reward, observe: Observe | None = None) -> None:
        super().__init__(env)
        below: VecEnv = env
        while isinstance(below, VecEnvWrapper):
            if isinstance(below, VecNormalize) and below.norm_obs:
                raise ValueError("RewardTable reads raw observations: VecNormalize(RewardTable(env, ...), ...)")
            below = below.venv
        keep_final_observations(env)
        self._payment = _Payment(reward, env.observation_space, env.action_space, observe)

    def reset(self) -> VecEnvObs:
        self._current: Any = self.venv.reset()  # Any: an array or a dictionary of arrays
        return self._current

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        following, env_rewards, dones, infos = self.venv.step_wait()
        final: Any = nested.map(np.copy, following)  # Any: as above
        for i in np.flatnonzero(dones):
            nested.put(final, i, infos[i]["terminal_observation"])
        rewards = self._payment.of(self._current, np.asarray(self._actions).reshape(-1), final)
        for info, reward in zip(infos, env_rewards, strict=True):
            info["env_reward"] = float(reward)
        self._current = following
        return following, rewards.astype(np.float32), dones, infos


class _Payment:
    """
    The table, and how its states are known.

    :raises ValueError: where it is of another environment
    """

    def __init__(
        self,
        reward: Reward,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        observe: Observe | None,
    ) -> None:
        if isinstance(reward, str | os.PathLike):
            reward = MaxEntReward.load(reward)
        self.table = np.array(reward.reward if isinstance(reward, MaxEntReward) else reward, float)
        if self.table.ndim not in (1, 2) or self.table.size == 0:
            raise ValueError(f"reward has shape {self.table.shape}, not (S, A) of acting or (S,) of arriving")
        for place in np.argwhere(~np.isfinite(self.table))[:1]:
            raise ValueError(f"reward {self.table[tuple(place)]} at {place.tolist()} must be a finite number")
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"RewardTable needs Discrete actions, got {action_space}")
        if self.table.ndim == 2 and self.table.shape[1] != int(action_space.n):
            raise ValueError(f"reward has {self.table.shape[1]} actions, the environment {action_space}")
        self.first_action = int(action_space.start)
        self.states = StatesOfTable(observation_space, len(self.table), observe)

    def of(self, before: Any, actions: np.ndarray, after: Any) -> np.ndarray:  # Any: observations [n, ...]
        """
        :param before: observations [n, ...] that were acted in
        :param actions: [n]
        :param after: observations [n, ...] arrived at, those of ends too
        :return: [n] float64
        """
        if self.table.ndim == 1:
            paid: np.ndarray = self.table[self._known(after)]
        else:
            paid = self.table[self._known(before), actions.astype(np.int64) - self.first_action]
        return paid

    def _known(self, observations: Any) -> np.ndarray:  # Any: as above
        states = self.states.numbers(observations)
        for i in np.flatnonzero(states < 0)[:1]:
            seen = nested.take(observations, i)
            raise ValueError(f"observation {seen} is none of the {len(self.table)} states of the reward")
        return states
