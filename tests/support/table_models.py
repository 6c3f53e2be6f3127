"""Worlds for tables: a corridor whose observation is its own place, shown in every way that tables take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Corridor(gym.Env[Any, Any]):
    """
    Action 1 goes right, 0 left; the right end pays 1 and ends.

    :param length: number of places
    :param space: of observations, None = Discrete(length)
    :param show: place -> observation
    :param limit: steps after which it is truncated, None = never
    :param reward: of each step, beside that of the end
    """

    def __init__(
        self,
        length: int = 4,
        space: spaces.Space[Any] | None = None,
        show: Callable[[int], Any] = int,
        limit: int | None = None,
        reward: float = 0.0,
    ) -> None:
        self.length, self.show, self.limit, self.reward = length, show, limit, reward
        self.observation_space = spaces.Discrete(length) if space is None else space
        self.action_space = spaces.Discrete(2)
        self.place = self.n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.n_steps = 0
        return self.show(self.place), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        self.place = max(self.place + (1 if action == 1 else -1), 0)
        terminated = self.place == self.length - 1
        truncated = self.limit is not None and self.n_steps >= self.limit
        return self.show(self.place), self.reward + float(terminated), terminated, truncated, {}


VIEWS: dict[str, tuple[spaces.Space[Any], Callable[[int], Any]]] = {
    "discrete": (spaces.Discrete(4), int),
    "discrete, numpy": (spaces.Discrete(4), np.int64),
    "discrete from 3 on": (spaces.Discrete(4, start=3), lambda place: place + 3),
    "discrete from -2 on": (spaces.Discrete(4, start=-2), lambda place: place - 2),
    "multi-discrete": (spaces.MultiDiscrete([2, 2]), lambda place: np.array(divmod(place, 2))),
    "multi-discrete, shifted": (
        spaces.MultiDiscrete([2, 2], start=[5, -1]),
        lambda place: np.array([place // 2 + 5, place % 2 - 1]),
    ),
    "tuple": (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), lambda place: divmod(place, 2)),
    "tuple, shifted": (
        spaces.Tuple([spaces.Discrete(2, start=1), spaces.Discrete(2)]),
        lambda place: (place // 2 + 1, place % 2),
    ),
}
"""four places: space and what is shown"""
