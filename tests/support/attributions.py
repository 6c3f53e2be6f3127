"""A model's observation as its network sees it, and what an attribution says of it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.viz.attribution import Attribution
from sb3_ext.viz.insight import State, mind_of

START, WITHIN = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)


IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)


VECTOR = spaces.Box(-1, 1, (4,), np.float32)


class Anything(gym.Env):
    """Observations and rewards are noise."""

    def __init__(
        self, observation_space: spaces.Space[Any] = IMAGE, action_space: spaces.Space[Any] | None = None
    ) -> None:
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(3) if action_space is None else action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), float(self.np_random.normal()), False, False, {}


def given_to(model: BaseAlgorithm, seed: int = 0) -> Any:
    """An observation as the network sees it."""
    assert model.observation_space is not None
    model.observation_space.seed(seed)
    sample = model.observation_space.sample()
    batch = {key: x[None] for key, x in sample.items()} if isinstance(sample, dict) else sample[None]
    return model.policy.obs_to_tensor(batch)[0]


def explained(how: Attribution, model: BaseAlgorithm, state: State = None, starts: np.ndarray = START) -> Any:
    return how(mind_of(model), model, given_to(model), state, starts)
