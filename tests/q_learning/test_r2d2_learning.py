"""R2D2 learns. A pack that does not learn is broken, whatever its other tests say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.networks import GRUCore, LSTMCore, RecurrentCore
from sb3_ext.r2d2 import R2D2


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    th.set_num_threads(1)  # small networks


def mean_return(model: R2D2, env: VecEnv, n_episodes: int) -> float:
    returns, _ = evaluate_policy(model, env, n_episodes, deterministic=True, return_episode_rewards=True)
    return float(np.mean(returns))


@pytest.mark.parametrize("core", [LSTMCore, GRUCore])
def test_a_cue_is_remembered_to_the_end_of_the_episode(core: type[RecurrentCore[Any]]) -> None:
    """MemoryChain: without memory the mean return is 0, with it 1."""
    env = make_vec_env("sb3_ext/MemoryChain-v0", n_envs=16, seed=0, env_kwargs={"length": 6})
    model = R2D2(
        "MlpLstmPolicy", env, learning_rate=2e-3, burn_in=4, sequence_length=12, period=6, gamma=0.9, train_freq=1,
        learning_starts=500, target_update_interval=20, batch_size=32, seed=0, device="cpu",
        policy_kwargs=dict(lstm_hidden_size=32, core_class=core),
    )  # fmt: skip
    model.learn(12_000)
    assert mean_return(model, env, 50) > 0.9  # 50 coin flips reach this with probability 1e-12


def test_prioritized_windows_learn_as_well() -> None:
    env = make_vec_env("sb3_ext/MemoryChain-v0", n_envs=16, seed=1, env_kwargs={"length": 6})
    model = R2D2(
        "MlpLstmPolicy", env, learning_rate=2e-3, burn_in=4, sequence_length=4, period=2, gamma=0.9, train_freq=1,
        learning_starts=500, target_update_interval=20, batch_size=32, seed=1, device="cpu",
        policy_kwargs=dict(lstm_hidden_size=32),
    )  # fmt: skip
    model.learn(2_000)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(64)
    assert float(batch.weights.min()) < 1.0  # priorities have spread
    assert np.isfinite(batch.weights.numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_defaults_learn_cartpole(seed: int) -> None:
    """No keyword at all. A random agent gets 22."""
    model = R2D2("MlpLstmPolicy", "CartPole-v1", seed=seed, device="cpu").learn(100_000)
    env = model.get_env()
    assert env is not None
    assert mean_return(model, env, 20) >= 475
