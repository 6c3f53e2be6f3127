"""TD3 and DDPG learn to swing up a pendulum with the settings that `sb3-ext train` gives them."""

from __future__ import annotations

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
import yaml
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise

from sb3_ext import DDPG, TD3
from sb3_ext.zoo import config_path

ENV_ID = "Pendulum-v1"


def mean_return(cls: type[sb3.TD3], seed: int, n_episodes: int) -> float:
    """Of greedy episodes after the steps of the block."""
    th.set_num_threads(1)  # small networks
    block = yaml.safe_load(config_path(cls.__name__.lower()).read_text())[ENV_ID]
    assert block.pop("noise_type") == "normal"
    noise = NormalActionNoise(np.zeros(1), block.pop("noise_std") * np.ones(1))
    n_steps = int(block.pop("n_timesteps"))
    env = make_vec_env(ENV_ID, seed=seed)
    model = cls(env=env, action_noise=noise, seed=seed, device="cpu", **block).learn(n_steps)
    mean, _ = evaluate_policy(model, make_vec_env(ENV_ID, 10, seed=seed + 100_000), n_episodes, deterministic=True)
    assert isinstance(mean, float)
    return mean


def test_a_pendulum_is_swung_up() -> None:
    """A random agent gets -1200; 20 episodes of a trained one scatter by 20 around -155. DDPG, a case of TD3, below."""
    assert mean_return(TD3, seed=0, n_episodes=20) > -250


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("cls", [TD3, DDPG])
def test_a_pendulum_is_swung_up_whatever_the_seed(cls: type[sb3.TD3], seed: int) -> None:
    assert mean_return(cls, seed, n_episodes=100) > -180
