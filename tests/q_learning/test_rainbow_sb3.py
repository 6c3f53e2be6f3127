"""Rainbow and RainbowR beside the rest of SB3: its callbacks and tools, and training that is broken off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize
from support.q_models import (
    BOTH,
    OBS,
    Make,
    NormedTorso,
    assert_items_are_whole,
    buffer_of,
    learn_broken_off,
    make_env,
    make_rainbow,
)
from support.worlds import TaggedEnv, TaggedPictures

from sb3_ext import RainbowR

# ---------------------------------------------------------------------- broken off training


@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_callback_stop_loses_one_step_resets_and_cuts(n_envs: int) -> None:
    """Each run stores the first four steps of a fresh episode; the fifth, in which it is stopped, is nowhere."""
    model = make_rainbow(env=make_env(n_envs, lengths=(50,)), gradient_steps=0)

    class StopAtFive(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 5

    for _ in range(6):
        model.learn(200, callback=StopAtFive(), reset_num_timesteps=False)
    buffer = buffer_of(model)
    buffer.cut()
    batch = buffer._get_samples(buffer._active_leaves())
    assert isinstance(batch.observations, th.Tensor)
    stored = [tuple(row) for row in (batch.observations * 16).round().int().tolist()]
    assert sorted(stored) == [(lane, run, t) for lane in range(n_envs) for run in range(6) for t in range(4)]
    assert_items_are_whole(model, lengths=(50,))
    model.learn(20, reset_num_timesteps=False)
    assert_items_are_whole(model, lengths=(50,))


@pytest.mark.parametrize("where", ["env", "callback", "train"])
@BOTH
def test_training_goes_on_after_an_exception(make: Make, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    learn_broken_off(model, where, monkeypatch)
    assert_items_are_whole(model)


@BOTH
def test_learning_again_and_set_env_break_nothing(make: Make) -> None:
    model = make(gradient_steps=0)
    model.learn(31)
    model.learn(31)  # resets the env in mid-episode
    model.learn(31, reset_num_timesteps=False)  # goes on in mid-episode
    model.set_env(make_env(2))
    model.learn(60, reset_num_timesteps=False)
    assert_items_are_whole(model)


def test_learning_again_with_frames_stored_once_gives_no_advice_to_store_them_whole() -> None:
    """SB3 warns that the last trajectory is truncated and to set optimize_memory_usage=False. It is cut in any case."""
    env = VecFrameStack(DummyVecEnv([lambda: Monitor(TaggedPictures())] * 2), 4)
    model = make_rainbow(
        env=env, policy="CnnPolicy", optimize_memory_usage=True, buffer_size=400, gradient_steps=0,
        policy_kwargs=dict(net_arch=[8], features_extractor_kwargs=dict(features_dim=8)),
    )  # fmt: skip
    for _ in range(3):
        model.learn(26)
    batch = buffer_of(model)._get_samples(buffer_of(model)._active_leaves())
    assert isinstance(batch.observations, th.Tensor) and isinstance(batch.next_observations, th.Tensor)
    first, last = (x[:, :, 0, 0].int() for x in (batch.observations, batch.next_observations))  # step of the episode
    for stack in (first, last):
        assert th.equal(stack, (stack[:, -1:] + th.arange(-3, 1)).clamp(min=0))
    assert set((last - first)[:, -1].tolist()) == {1, 2, 3}


def test_episodes_as_the_unit_of_training() -> None:
    model = make_rainbow(1, train_freq=(1, "episode"), gradient_steps=-1, learning_starts=0)
    model.learn(43)  # 7, 1, 23 and 12 steps
    assert model._n_updates == 43
    assert_items_are_whole(model)


# ---------------------------------------------------------------------- SB3's tools


@pytest.mark.filterwarnings("ignore")  # the progress bar is not ours to keep free of deprecations
@BOTH
def test_callbacks_checkpoints_and_progress_bar_of_a_normalised_run(make: Make, tmp_path: Path) -> None:
    env = VecNormalize(make_env(4))
    model = make(env=env)
    checkpoints = CheckpointCallback(20, str(tmp_path / "steps"), save_replay_buffer=True, save_vecnormalize=True)
    best = EvalCallback(
        VecNormalize(make_env(1), training=False), eval_freq=15, n_eval_episodes=2, verbose=0,
        best_model_save_path=str(tmp_path / "best"),
    )  # fmt: skip
    model.learn(200, callback=CallbackList([checkpoints, best]), progress_bar=True)
    assert model._n_updates > 0 and best.best_mean_reward > 0
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(16, env)
    raw = model.replay_buffer._get_samples(model.replay_buffer._active_leaves())
    assert float(batch.rewards.abs().max()) < float(raw.rewards.abs().max()), "normalised when drawn, stored raw"
    assert {path.name for path in (tmp_path / "steps").iterdir()} >= {
        "rl_model_80_steps.zip",
        "rl_model_replay_buffer_80_steps.pkl",
        "rl_model_vecnormalize_80_steps.pkl",
    }
    normalised = VecNormalize.load(str(tmp_path / "steps" / "rl_model_vecnormalize_80_steps.pkl"), make_env(4))
    resumed = type(model).load(tmp_path / "steps" / "rl_model_80_steps", env=normalised, device="cpu")
    resumed.load_replay_buffer(tmp_path / "steps" / "rl_model_replay_buffer_80_steps.pkl")
    resumed.learn(40, reset_num_timesteps=False)
    assert resumed.num_timesteps in (120, 128)  # whole rounds of `train_freq`
    assert not list((tmp_path / "steps").glob("*.tmp"))
    type(model).load(tmp_path / "best" / "best_model")


@BOTH
def test_what_is_logged(make: Make) -> None:
    model = make()
    model.learn(100, log_interval=10_000)
    logged = model.logger.name_to_value
    for name in ("train/loss", "train/priority", "train/q_mean", "train/learning_rate", "rollout/exploration_rate"):
        assert np.isfinite(logged[name]), name
    assert logged["train/n_updates"] == model._n_updates
    assert logged["train/n_drawable"] > 0


@BOTH
def test_evaluate_policy_and_single_observations(make: Make) -> None:
    model = make()
    mean, _ = evaluate_policy(model, make_env(1, lengths=(4,)), n_eval_episodes=2)
    assert mean == 1 + 2 + 3 + 4
    batch, state = model.predict(OBS, deterministic=True)
    assert batch.shape == (6,) and (state is not None) == isinstance(model, RainbowR)
    assert all(model.predict(obs, deterministic=True)[0] == action for obs, action in zip(OBS, batch, strict=True))
    assert model.predict(OBS[0], deterministic=False)[0].shape == ()


def test_environments_in_other_processes() -> None:
    env = SubprocVecEnv([lambda i=i: Monitor(TaggedEnv(i)) for i in range(2)])  # type: ignore[misc]
    try:
        model = make_rainbow(env=env)
        model.learn(100)
        assert model._n_updates > 0
        assert_items_are_whole(model)
    finally:
        env.close()


def test_batch_norm_and_dropout_rest_while_acting_and_reach_the_target() -> None:
    torso = dict(net_arch=[8], features_extractor_class=NormedTorso)
    model = make_rainbow(policy_kwargs=torso, target_update_interval=1)
    model.learn(100)
    counted = dict(model.q_net.named_buffers())
    assert int(counted["features_extractor.layers.1.num_batches_tracked"]) > 0
    for name, theirs in model.q_net_target.named_buffers():
        assert th.equal(counted[name], theirs)
    assert not any(module.training for module in model.q_net_target.modules())
    first, second = (model.predict(np.tile(OBS, (20, 1)), deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
