"""DAgger's tests: an expert whose answer can be read off the state, and a lake with a shaky hand."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from support.worlds import TaggedEnv

from sb3_ext import DAgger
from sb3_ext.planning import PlannerPolicy, TabularMDP, evaluate, policy_table

LAKE = "FrozenLake8x8-v1"
NOISE = 0.1
TINY: dict[str, Any] = {"n_steps": 8, "n_epochs": 1, "seed": 0, "device": "cpu"}


def tagged(n_envs: int = 3) -> VecEnv:
    """Observation = (env, episode, step) / 16; ends alternate between terminations and truncations."""
    return DummyVecEnv([lambda i=i: TaggedEnv(i, lengths=(5, 2, 7, 3)) for i in range(n_envs)])  # type: ignore[misc]


def by_tags(observations: np.ndarray) -> np.ndarray:
    """:return: [E] what the expert of `TaggedEnv` does: another action at every step, episode and environment"""
    actions: np.ndarray = np.rint(observations * 16).astype(np.int64).sum(axis=1) % 3
    return actions


class Logged(BaseCallback):
    """What each round logs before its labels are fitted, by the last part of the name."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[dict[str, float]] = []

    def _on_rollout_end(self) -> None:
        values = self.model.logger.name_to_value
        self.rounds.append({key.split("/")[1]: x for key, x in values.items() if key.startswith("dagger/")})

    def _on_step(self) -> bool:
        return True


class Shaky(gym.ActionWrapper[Any, Any, Any]):
    """Executes any action in place of the one that is given, with probability `NOISE`."""

    def action(self, action: Any) -> int:
        is_any = self.np_random.random() < NOISE
        return int(self.np_random.integers(4)) if is_any else int(action)


def lake(is_slippery: bool = False) -> gym.Env[Any, Any]:
    return gym.make(LAKE, is_slippery=is_slippery)


def shaky_lake() -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Shaky(lake().unwrapped), 100)


def worth(model: DAgger | PlannerPolicy, mdp: TabularMDP, noise: float = NOISE) -> float:
    """:return: exact value at the start of acting by the model's probabilities, of which a part is any action"""
    table = policy_table(model, mdp, deterministic=False)
    return float(mdp.start @ evaluate(mdp, (1.0 - noise) * table + noise / mdp.n_actions))
