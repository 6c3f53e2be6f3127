"""Small worlds whose every observation says where it comes from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class TaggedEnv(gym.Env):
    """
    Observation = (env number, episode number, step) / 16; reward = step. Episode lengths cycle through ``lengths``.

    :param number: of this environment
    :param lengths: steps of the episodes
    :param truncates: episodes end by truncation, every second one where "alternate"
    """

    def __init__(
        self, number: int = 0, lengths: tuple[int, ...] = (7, 1, 23, 12), truncates: bool | str = "alternate"
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.number, self.lengths, self.truncates = number, lengths, truncates
        self.episode = -1

    def _obs(self) -> np.ndarray:
        return np.array([self.number, self.episode, self.t], dtype=np.float32) / 16

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t >= self.lengths[self.episode % len(self.lengths)]
        cut = self.episode % 2 == 1 if self.truncates == "alternate" else bool(self.truncates)
        return self._obs(), float(self.t), over and not cut, over and cut, {}


class ConstantReward(gym.Env):
    """Reward 1 at every step whatever is done; observation = time left as a fraction, or a constant.

    :param length: steps of an episode, None = it never ends
    :param truncates: its end is a truncation
    """

    def __init__(self, length: int | None = None, truncates: bool = False) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length, self.truncates = length, truncates

    def _obs(self) -> np.ndarray:
        # A truncation must not be visible: the value does not depend on it.
        left = 1.0 if self.length is None or self.truncates else 1.0 - self.t / self.length
        return np.array([left], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.length is not None and self.t >= self.length
        return self._obs(), 1.0, over and not self.truncates, over and self.truncates, {}
