"""A world that counts its steps, to be wrapped."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class CountingEnv(gym.Env[Any, Any]):
    """Observation t, reward 10 t + action at the t-th step (t = 1, 2, ...), an end after ``length`` steps."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, space: spaces.Space[Any], actions: spaces.Space[Any], length: int = 3) -> None:
        self.observation_space, self.action_space, self.length = space, actions, length

    def _observation(self) -> Any:
        return self._fill(self.observation_space)

    def _fill(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._fill(part) for key, part in space.spaces.items()}
        if isinstance(space, spaces.Discrete):
            return np.int64(self.t)
        assert space.shape is not None
        return np.full(space.shape, self.t, space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._observation(), 10.0 * self.t + float(action), self.t >= self.length, False, {}


def vector_env(low: float = -9.0, high: float = 9.0, n: int = 4) -> CountingEnv:
    return CountingEnv(spaces.Box(low, high, (n,), np.float32), spaces.Discrete(3))


def episode(env: gym.Env, actions: list[Any], seed: int) -> list[Any]:
    """What one seeded episode shows and pays, up to its end or the last of ``actions``."""
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            break
    return seen
