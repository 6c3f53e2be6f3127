"""R2D2 on a real Atari game with everything that SB3 offers around it."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage

from sb3_ext.r2d2 import R2D2

ale_py = pytest.importorskip("ale_py", reason="the atari extra is not installed")
gym.register_envs(ale_py)

SMALL = dict(
    burn_in=4, sequence_length=8, period=4, n_steps=3, batch_size=4, learning_starts=60, train_freq=8, buffer_size=500,
    seed=0, device="cpu", policy_kwargs=dict(lstm_hidden_size=32),
)  # fmt: skip


def pong(n_envs: int, seed: int) -> VecEnv:
    wrappers = {"terminal_on_life_loss": False, "clip_reward": False}
    return VecTransposeImage(make_atari_env("ALE/Pong-v5", n_envs=n_envs, seed=seed, wrapper_kwargs=wrappers))


def test_pong_by_its_id() -> None:
    th.set_num_threads(1)
    model = R2D2("CnnLstmPolicy", "ALE/Pong-v5", **{**SMALL, "batch_size": 2, "buffer_size": 100})  # type: ignore[arg-type]
    model.learn(64)
    assert model._n_updates == 1
    assert model.replay_buffer is not None
    assert model.replay_buffer._cells.observations[""].shape == (100, 3, 210, 160)  # the screen as it is, once


@pytest.mark.filterwarnings("ignore:rich is experimental")  # of tqdm, about its own rich bar
def test_pong_with_callbacks_normalisation_progress_bar_and_continued_learning(tmp_path: Path) -> None:
    th.set_num_threads(1)
    env = VecNormalize(pong(2, seed=0), norm_obs=False)
    evaluation = VecNormalize(pong(1, seed=1), norm_obs=False, norm_reward=False, training=False)
    model = R2D2("CnnLstmPolicy", env, **SMALL)  # type: ignore[arg-type]
    callbacks = [
        EvalCallback(evaluation, n_eval_episodes=1, eval_freq=70, best_model_save_path=str(tmp_path), verbose=0),
        CheckpointCallback(50, str(tmp_path), save_replay_buffer=True, save_vecnormalize=True),
    ]
    model.learn(160, callback=callbacks, progress_bar=True)
    assert model._n_updates > 0
    assert {p.name for p in tmp_path.iterdir()} >= {
        "best_model.zip",
        "rl_model_100_steps.zip",
        "rl_model_replay_buffer_100_steps.pkl",
        "rl_model_vecnormalize_100_steps.pkl",
    }
    model.save(tmp_path / "pong")
    model.save_replay_buffer(tmp_path / "replay")

    loaded = R2D2.load(tmp_path / "pong", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay.pkl")
    obs = np.random.default_rng(0).integers(0, 256, size=(2, 1, 84, 84), dtype=np.uint8)
    np.testing.assert_array_equal(model.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0])
    updates = loaded._n_updates
    loaded.learn(80, reset_num_timesteps=False)
    assert loaded._n_updates > updates
    assert loaded.num_timesteps == 240
