"""
Tasks whose episodes end both ways, and who shows how they are done: for both_ends.py and gail_peer.py, which may not
import anything of ours. Importing this file registers the tasks with gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

GOAL, FAILURE = 1.0, -1.0


class Bridge(gym.Env):
    """
    A bridge, 9 cells long and 3 wide, in gusts: every tenth step the wind blows to a side. Its far end is the goal, and
    falling off a side ends the episode too, sooner. Observation: how far along and to the side, in [-1, 1].
    """

    LENGTH = 9
    GUSTS = 0.1
    MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.action_space = spaces.Discrete(len(self.MOVES))

    def _observation(self) -> np.ndarray:
        return np.array([2.0 * self.along / (self.LENGTH - 1) - 1.0, self.aside], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.along, self.aside = 0, int(self.np_random.integers(-1, 2))
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        along, aside = self.MOVES[int(action)]
        if self.np_random.random() < self.GUSTS:
            aside += int(self.np_random.choice((-1, 1)))
        self.along, self.aside = max(self.along + along, 0), self.aside + aside
        fell, arrived = abs(self.aside) > 1, self.along == self.LENGTH - 1
        reward = FAILURE if fell else GOAL if arrived else 0.0
        return self._observation(), reward, fell or arrived, False, {}


def crosses(env: gym.Env, observation: np.ndarray) -> int:
    """Back to the middle, then onwards."""
    aside = int(observation[1])
    return 0 if aside == 0 else 3 if aside > 0 else 2


class Docking(gym.Env):
    """
    A mass in the plane whose thrust is the action: it has to touch the dock in the middle slowly. Touching it fast is a
    crash, and leaving the unit disc is one. Observation: position and velocity.
    """

    DOCK = 0.15
    SLOW = 0.25
    TICK = 0.1

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.position, self.velocity]).astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        angle = self.np_random.uniform(-np.pi, np.pi)
        self.position = self.np_random.uniform(0.5, 0.8) * np.array([np.cos(angle), np.sin(angle)])
        self.velocity = self.np_random.normal(0.0, 0.1, 2)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.velocity = self.velocity + self.TICK * np.clip(action, -1.0, 1.0)
        self.position = self.position + self.TICK * self.velocity
        distance, speed = np.linalg.norm(self.position), np.linalg.norm(self.velocity)
        touched = bool(distance < self.DOCK)
        crashed = bool(distance > 1.0) or (touched and bool(speed > self.SLOW))
        reward = FAILURE if crashed else GOAL if touched else 0.0
        return self._observation(), reward, crashed or touched, False, {}


def docks(env: gym.Env, observation: np.ndarray) -> np.ndarray:
    """A damped spring."""
    return np.clip(-1.5 * observation[:2] - 2.5 * observation[2:], -1.0, 1.0).astype(np.float32)


def lands(env: gym.Env, observation: np.ndarray) -> int:
    """gymnasium's own."""
    from gymnasium.envs.box2d.lunar_lander import heuristic

    return int(heuristic(env.unwrapped, observation))


class Ends(NamedTuple):
    """Of some episodes."""

    mean: float
    """return"""
    std: float
    """of the returns"""
    goals: int
    failures: int


def ends_of(act: Callable[[gym.Env, np.ndarray], Any], env_id: str, n_episodes: int, seed: int) -> Ends:
    """
    :param act: action for an observation
    :param seed: of the first episode
    :return: how n episodes ended: the last reward of one that terminates says which end it was, +-100 in LunarLander
    """
    env = gym.make(env_id)
    returns, goals, failures = [], 0, 0
    for i in range(n_episodes):
        observation, _ = env.reset(seed=seed + i)
        total, last, over = 0.0, 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(env, observation))
            last = float(reward)
            total += last
            over = terminated or truncated
        returns.append(total)
        goals += terminated and last >= GOAL
        failures += terminated and last <= FAILURE
    return Ends(float(np.mean(returns)), float(np.std(returns)), goals, failures)


EXPERTS: dict[str, Callable[[gym.Env, np.ndarray], Any]] = {
    "Bridge-v0": crosses,
    "Docking-v0": docks,
    "LunarLander-v3": lands,
}
gym.register("Bridge-v0", f"{__name__}:Bridge", max_episode_steps=100)
gym.register("Docking-v0", f"{__name__}:Docking", max_episode_steps=200)
