"""Rainbow and RainbowR learn, with noisy layers alone to explore."""

from __future__ import annotations

import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.ops.exploration import Greedy


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    th.set_num_threads(1)  # small networks


def mean_return(model: DeepQLearning, env: VecEnv, n_episodes: int) -> float:
    mean, _ = evaluate_policy(model, env, n_episodes, deterministic=True)
    assert isinstance(mean, float)
    return mean


def test_rainbow_balances_a_pole() -> None:
    """A random agent gets 22. Seeds 0, 1 and 2 reach 174 to 413."""
    model = Rainbow(
        "MlpPolicy", make_vec_env("CartPole-v1", seed=0), learning_rate=5e-4, batch_size=64, train_freq=2, n_steps=3,
        learning_starts=1_000, target_update_interval=200, gamma=0.99, seed=0, device="cpu",
    )  # fmt: skip
    assert model.exploration == Greedy()
    model.learn(5_000)
    assert mean_return(model, make_vec_env("CartPole-v1", seed=1), 20) > 100


def test_rainbowr_remembers_a_cue_to_the_end_of_the_episode() -> None:
    """MemoryChain: without memory the mean return is 0, with it 1."""
    env = make_vec_env("sb3_ext/MemoryChain-v0", n_envs=16, seed=0, env_kwargs={"length": 6})
    model = RainbowR(
        "MlpLstmPolicy", env, learning_rate=2e-3, burn_in=4, sequence_length=12, period=6, gamma=0.9, train_freq=1,
        learning_starts=500, target_update_interval=20, batch_size=32, seed=0, device="cpu",
        policy_kwargs=dict(lstm_hidden_size=32),
    )  # fmt: skip
    assert model.exploration == Greedy()
    model.learn(12_000)
    assert mean_return(model, env, 50) > 0.9  # 50 coin flips reach this with probability 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_defaults_learn_cartpole(seed: int) -> None:
    """No keyword at all. A random agent gets 22."""
    model = Rainbow("MlpPolicy", "CartPole-v1", seed=seed, device="cpu").learn(50_000)
    env = model.get_env()
    assert env is not None
    assert mean_return(model, env, 20) > 150
