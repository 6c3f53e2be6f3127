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


class TaggedPictures(TaggedEnv):
    """`TaggedEnv` whose observation is a picture of its step's brightness."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def _obs(self) -> np.ndarray:
        return np.full((36, 36, 1), self.t, dtype=np.uint8)


class SpaceEnv(gym.Env):
    """Random observations of a space; episodes of 9 steps, every second one truncated."""

    def __init__(self, space: spaces.Space[Any], action_space: spaces.Space[Any] | None = None) -> None:
        self.observation_space = space
        self.action_space = spaces.Discrete(3) if action_space is None else action_space
        self.episode = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(int(action))
        self.t += 1
        over = self.t == 9
        return self.observation_space.sample(), 1.0, over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}


PARTS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(5),
    "multi_discrete": spaces.MultiDiscrete([3, 4]),
    "multi_binary": spaces.MultiBinary(3),
    "box": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "image": spaces.Box(0, 255, (36, 36, 1), np.uint8),
}


SPACES = {**PARTS, "dict": spaces.Dict(PARTS)}


class Interrupted(TaggedEnv):
    """Ctrl-C in the step in which all environments together reach ``at`` steps."""

    n_steps = 0
    at = -1

    def step(self, action: int) -> Any:
        Interrupted.n_steps += 1
        if Interrupted.n_steps == Interrupted.at:
            raise KeyboardInterrupt
        return super().step(action)


LENGTH = 7


class Outliers(gym.Env):
    """Steps 1 to 6 are small numbers; the last one of an episode is far off, as a fall is. ``kind`` of observation."""

    def __init__(self, kind: str = "box", reuses: bool = False, length: int = LENGTH) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        kinds: dict[str, spaces.Space[Any]] = {
            "box": box,
            "bytes": spaces.Box(0, 255, (2,), np.uint8),
            "ints": spaces.Box(-1000, 1000, (2,), np.int32),
            "picture": spaces.Box(0, 255, (36, 40, 3), np.uint8),
            "dict": spaces.Dict({"a": box, "b": spaces.Box(0, 255, (1,), np.uint8)}),
            "mixed": spaces.Dict({"a": box, "b": spaces.Box(0, 255, (36, 40, 3), np.uint8)}),
        }
        self.observation_space = kinds[kind]
        self.action_space = spaces.Discrete(2)
        self.reuses, self.length = reuses, length
        self.buffer = self._zeros()
        self.episode = 0

    def _zeros(self) -> Any:
        space = self.observation_space
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        zeros = {key: np.zeros(part.shape or (), part.dtype) for key, part in parts.items()}
        return zeros if isinstance(space, spaces.Dict) else zeros[""]

    def _obs(self) -> Any:
        obs = self.buffer if self.reuses else self._zeros()
        value = 200 + self.episode % 50 if self.t == self.length else self.t
        for x in obs.values() if isinstance(obs, dict) else [obs]:
            x[...] = value
        return obs

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self._obs(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t == self.length
        return self._obs(), 1.0, over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}
