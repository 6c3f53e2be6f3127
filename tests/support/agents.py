"""A small agent of every kind that can be written as files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from support.experts import demonstrations_of
from support.worlds import TaggedEnv

import sb3_ext
from sb3_ext.buffers import Proportional
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.ops.exploration import Boltzmann
from sb3_ext.td3 import Laddered, Scheduled

OFF: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 400, "seed": 0, "device": "cpu"}


ON: dict[str, Any] = {"n_steps": 16, "seed": 0, "device": "cpu"}


PENDULUM, CARTPOLE = "Pendulum-v1", "CartPole-v1"


def small() -> dict[str, Any]:
    """A new dictionary each time: SB3's constructors write into it."""
    return {"policy_kwargs": {"net_arch": [8, 8]}}


def scaled_noise() -> Scheduled:
    return Scheduled(Laddered(NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)), 1.0, 0.5), 0.1)


def makers() -> dict[str, Callable[[], BaseAlgorithm]]:
    arch = {"net_arch": [8], "activation_fn": th.nn.ELU, "optimizer_class": th.optim.AdamW}
    return {
        "ppo": lambda: sb3.PPO("MlpPolicy", CARTPOLE, batch_size=8, policy_kwargs=arch, **ON),
        "ppo dictionary": lambda: sb3.PPO("MultiInputPolicy", Dictionary(), batch_size=8, **ON),
        "a2c": lambda: sb3.A2C("MlpPolicy", CARTPOLE, **ON),
        "dqn": lambda: sb3.DQN("MlpPolicy", CARTPOLE, **OFF, **small()),
        "sac": lambda: sb3.SAC("MlpPolicy", PENDULUM, **OFF, **small()),
        "qrdqn": lambda: sb3_contrib.QRDQN("MlpPolicy", CARTPOLE, **OFF, **small()),
        "trpo": lambda: sb3_contrib.TRPO("MlpPolicy", CARTPOLE, batch_size=8, **ON),
        "recurrentppo": lambda: sb3_contrib.RecurrentPPO("MlpLstmPolicy", CARTPOLE, batch_size=8, **ON),
        "r2d2": lambda: sb3_ext.R2D2(
            "MlpLstmPolicy", MemoryChainEnv(length=5), learning_rate=lambda p: 1e-3 * p, **OFF
        ),
        "rainbow": lambda: sb3_ext.Rainbow("MlpPolicy", CARTPOLE, exploration=Boltzmann(2.0), **OFF, **small()),
        "rainbowr": lambda: sb3_ext.RainbowR("MlpLstmPolicy", CARTPOLE, head="quantile", **OFF),
        "td3": lambda: sb3_ext.TD3(
            "SimbaPolicy",
            PENDULUM,
            action_noise=scaled_noise(),
            sampler=Proportional(0.6),
            checkpoint_episodes=1,
            **OFF,
        ),
        "ddpg": lambda: sb3_ext.DDPG("LayerNormPolicy", PENDULUM, **OFF),
        "gail": lambda: sb3_ext.GAIL(
            "MlpPolicy",
            TaggedEnv(),
            demonstrations_of(TaggedEnv()),
            reward="airl",
            weight_decay=0.1,
            batch_size=8,
            **ON,
        ),
    }


class Dictionary(gym.Env):
    """A vector and an image."""

    observation_space = spaces.Dict(
        {"z": spaces.Box(-1, 1, (2,), np.float32), "image": spaces.Box(0, 255, (36, 36, 1), np.uint8)}
    )
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 1.0, False, False, {}


def actions_of(model: BaseAlgorithm) -> np.ndarray:
    """:return: of ten observations in a row, with the state that came before"""
    space = model.observation_space
    space.seed(5)
    actions, state = [], None
    for _ in range(10):
        obs: Any = space.sample()
        batch = {key: x[None] for key, x in obs.items()} if isinstance(obs, dict) else np.asarray(obs)[None]
        action, state = model.predict(batch, state, None, deterministic=True)
        actions.append(action)
    return np.array(actions)
