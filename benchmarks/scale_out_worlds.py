"""Environments of the scale-out benchmarks. Actors import this file, which therefore imports little."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.envs import MaskObservation


class Busy(gym.Wrapper[Any, Any, Any, Any]):
    """
    :param env: whose steps take longer
    :param seconds: of CPU time, that each takes more
    """

    def __init__(self, env: gym.Env[Any, Any], seconds: float) -> None:
        super().__init__(env)
        self.seconds = seconds

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return self.env.step(action)


class Frames(gym.Env[np.ndarray, np.int64]):
    """Noise of 84 x 84, in episodes of 500 steps."""

    observation_space = spaces.Box(0, 255, (84, 84, 1), np.uint8)
    action_space = spaces.Discrete(6)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_steps = 0
        return self._frame(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return self._frame(), 1.0, False, self.n_steps >= 500, {}

    def _frame(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (84, 84, 1), dtype=np.uint8)


def _pole_without_velocities(busy: float) -> gym.Env[Any, Any]:
    """CartPoleNoVel-v1, without rl-zoo3, which registers it."""
    env: gym.Env[Any, Any] = MaskObservation(gym.make("CartPole-v1"), [1, 3])
    return Busy(env, busy) if busy else env


def poles(n_envs: int, busy: float = 0.0) -> VecEnv:
    """
    :param n_envs: how many
    :param busy: CPU seconds that a step takes more
    """
    return make_vec_env(_pole_without_velocities, n_envs, env_kwargs={"busy": busy})


def frames(n_envs: int) -> VecEnv:
    """:param n_envs: how many"""
    return make_vec_env(Frames, n_envs)


def of_the_zoo(n_envs: int, env_id: str, env_kwargs: dict[str, Any]) -> VecEnv:
    """
    :param n_envs: how many
    :param env_id: environment
    :param env_kwargs: its keywords
    :return: with the wrappers of its block of zoo_configs/r2d2.yml
    """
    import rl_zoo3.import_envs  # noqa: F401 - registers environments; heavy, and only some of these need it
    from rl_zoo3.utils import get_wrapper_class

    from sb3_ext.zoo.configs import read_block

    block = read_block("r2d2", env_id)
    return make_vec_env(env_id, n_envs, env_kwargs=env_kwargs, wrapper_class=get_wrapper_class(block))
