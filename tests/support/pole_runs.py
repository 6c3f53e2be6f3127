"""Runs of `sb3-ext train` of one second, on a pole without velocities."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium import spaces

from sb3_ext.cli import main as cli
from sb3_ext.zoo import register

register()
ENV = "CartPoleNoVel-v1"


# Windows and updates small enough for a run of one second.
TINY = ["n_envs:2", "learning_starts:100", "batch_size:8", "gradient_steps:1", "buffer_size:2000"]


def train(*arguments: str, env: str = ENV, steps: int = 300) -> int:
    return cli.main(["train", "--algo", "r2d2", "--env", env, "-n", str(steps), *arguments, "-params", *TINY])


def spaces_of(env_id: str) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    env = gym.make(env_id)
    env.close()
    return env.observation_space, env.action_space
