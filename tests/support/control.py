"""A small task of continuous control, and TD3 and DDPG on it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples

SMALL: dict[str, Any] = {"learning_starts": 30, "batch_size": 16, "buffer_size": 500, "seed": 1, "device": "cpu"}


class Reach(gym.Env):
    """float64 observations, asymmetric bounds; episodes of 7 steps that end by both ends in turns."""

    def __init__(self, ends: str = "alternate") -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([3.0, 0.5], np.float32))
        self.ends, self.episode = ends, -1
        self.actions: list[np.ndarray] = []

    def _obs(self) -> np.ndarray:
        return np.array([self.x, self.t / 7, 10.0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.normal()), 0
        self.episode += 1
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.actions.append(action)
        self.t += 1
        self.x += float(action[0] - 1) * 0.1
        over, cut = self.t == 7, self.episode % 2 == 1
        return self._obs(), -abs(self.x), over and not cut, over and cut, {}


def arch(*widths: int) -> dict[str, Any]:
    """A new dictionary each time: SB3's constructors write into it."""
    return {"policy_kwargs": {"net_arch": list(widths) or [16, 16]}}


def noise(scale: float = 0.1) -> NormalActionNoise:
    return NormalActionNoise(np.zeros(2), scale * np.ones(2))


def trained(cls: type[OffPolicyAlgorithm], env: Any = None, total: int = 120, **keywords: Any) -> Any:
    given = {"action_noise": noise(), **SMALL, **arch(), **keywords}
    return cls(given.pop("policy", "MlpPolicy"), Reach() if env is None else env, **given).learn(total)


def batch_of(replay: Any, n: int = 40) -> ReplayBufferSamples:
    samples: ReplayBufferSamples = replay._get_samples(np.arange(n))
    return samples
