"""Saving, loading and resuming: nothing changes, nothing is lost, and what does not fit is refused with its name."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.logger import configure
from support.checks import assert_same_weights
from support.q_models import OBS, make_env, make_model
from support.worlds import TaggedEnv

from sb3_ext import nested
from sb3_ext.buffers import Proportional
from sb3_ext.networks import GRUCore
from sb3_ext.r2d2 import R2D2


@pytest.mark.parametrize(
    "policy_kwargs", [{"lstm_hidden_size": 16}, {"lstm_hidden_size": 8, "core_class": GRUCore, "net_arch": [5]}]
)
def test_a_loaded_model_predicts_the_same(tmp_path: Path, policy_kwargs: dict[str, Any]) -> None:
    model = make_model(policy_kwargs=policy_kwargs)
    model.learn(100)
    model.save(tmp_path / "model")
    loaded = R2D2.load(tmp_path / "model", device="cpu")
    assert_same_weights(model, loaded)
    actions, state = model.predict(OBS, deterministic=True)
    same_actions, same_state = loaded.predict(OBS, deterministic=True)
    np.testing.assert_array_equal(actions, same_actions)
    for ours, theirs in zip(nested.leaves(state), nested.leaves(same_state), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.burn_in == model.burn_in and loaded.n_steps == model.n_steps


def test_loading_to_act_takes_no_replay_memory(tmp_path: Path) -> None:
    model = make_model()
    model.save(tmp_path / "model.zip")
    loaded = R2D2.load(tmp_path / "model.zip", device="cpu", buffer_size=1)
    loaded.predict(OBS)
    assert loaded.replay_buffer is not None and not loaded.replay_buffer._cells.observations
    loaded.set_env(make_env(2))
    with pytest.raises(ValueError, match=r"buffer_size gives 1 cells .* needs 13 .* buffer_size >= 26"):
        loaded.learn(10)


def test_the_number_of_environments_may_change_on_loading(tmp_path: Path) -> None:
    make_model(n_envs=2).save(tmp_path / "model.zip")
    loaded = R2D2.load(tmp_path / "model.zip", env=make_env(4), device="cpu")
    assert loaded.replay_buffer is not None and loaded.replay_buffer.n_envs == 4
    loaded.learn(100)
    assert loaded._n_updates > 0


@pytest.mark.parametrize("n_envs", [1, 3])
def test_stop_and_resume_gives_the_same_next_100_updates(tmp_path: Path, n_envs: int) -> None:
    model = make_model(n_envs=n_envs, target_update_interval=7, sampler=Proportional(0.9, 0.6, 1.0))
    model.learn(300)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = R2D2.load(tmp_path / "model.zip", env=make_env(n_envs), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    resumed.set_logger(configure(None, []))
    for each in (model, resumed):
        np.random.seed(11)
        th.manual_seed(11)
        each.train(gradient_steps=100, batch_size=8)
    assert_same_weights(model, resumed)
    assert model._n_updates == resumed._n_updates


def test_training_goes_on_after_resuming(tmp_path: Path) -> None:
    model = make_model()
    model.learn(100)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = R2D2.load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    before = resumed._n_updates
    resumed.learn(100, reset_num_timesteps=False)
    assert resumed.num_timesteps == 200 and resumed._n_updates > before


def test_checkpoint_callback_writes_model_and_replay(tmp_path: Path) -> None:
    model = make_model()
    model.learn(60, callback=CheckpointCallback(10, str(tmp_path), save_replay_buffer=True))
    assert {p.name for p in tmp_path.iterdir()} >= {"rl_model_20_steps.zip", "rl_model_replay_buffer_20_steps.pkl"}
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("what", ["save", "save_replay_buffer"])
def test_a_kill_during_a_save_leaves_the_previous_file_whole(tmp_path: Path, what: str) -> None:
    model = make_model()
    model.learn(60)
    target = tmp_path / ("model.zip" if what == "save" else "replay.pkl")
    getattr(model, what)(target)
    before = target.read_bytes()
    model.learn(60, reset_num_timesteps=False)

    child = os.fork()
    if child == 0:  # dies by SIGKILL after the first bytes of the new file

        class Deadly:
            def __reduce__(self) -> Any:
                os.kill(os.getpid(), signal.SIGKILL)

        if what == "save":
            model.deadly = Deadly()  # type: ignore[attr-defined]
        else:
            model.replay_buffer.deadly = Deadly()  # type: ignore[union-attr]
        getattr(model, what)(target)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert target.read_bytes() == before


def test_a_failed_save_leaves_no_temporary_file(tmp_path: Path) -> None:
    class Unwilling:
        def __reduce__(self) -> Any:
            raise RuntimeError("no")

    model = make_model()
    model.learn(60)
    model.replay_buffer.unwilling = Unwilling()  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="no"):
        model.save_replay_buffer(tmp_path / "replay.pkl")
    assert list(tmp_path.iterdir()) == []


def test_the_zip_does_not_hold_the_replay_or_the_acting_state(tmp_path: Path) -> None:
    model = make_model()
    model.learn(400)
    model.save(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").stat().st_size < 200_000
    loaded = R2D2.load(tmp_path / "model.zip", device="cpu")
    assert loaded._state is None and loaded._next_state is None
    assert loaded.replay_buffer is not None and loaded.replay_buffer.n_drawable == 0


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"n_envs": 3}, "n_envs 3"),
        ({"burn_in": 5}, "burn_in 5"),
        ({"sequence_length": 9}, "sequence_length 9"),
        ({"n_steps": 4}, "n_steps 4"),
        ({"period": 2}, "period 2"),
        ({"sampler": "uniform"}, "sampler Uniform"),
        ({"sampler": Proportional(0.3)}, "sampler Proportional.alpha=0.3, "),
        ({"state_init": "zero"}, "recurrent states of shapes None"),
        ({"policy_kwargs": {"lstm_hidden_size": 7}}, "recurrent states of shapes"),
    ],
)
def test_a_replay_of_other_settings_is_refused_and_the_present_one_kept(
    tmp_path: Path, other: dict[str, Any], named: str
) -> None:
    stranger = make_model(**other)
    stranger.learn(60)
    stranger.save_replay_buffer(tmp_path / "replay.pkl")
    model = make_model()
    mine = model.replay_buffer
    with pytest.raises(ValueError, match=named):
        model.load_replay_buffer(tmp_path / "replay.pkl")
    assert model.replay_buffer is mine


def test_a_replay_of_another_space_or_kind_is_refused(tmp_path: Path) -> None:
    model = make_model()
    stranger = R2D2(
        "MlpLstmPolicy", "CartPole-v1", burn_in=4, sequence_length=6, period=3, n_steps=2, device="cpu", buffer_size=500
    )
    stranger.save_replay_buffer(tmp_path / "replay.pkl")
    with pytest.raises(ValueError, match="observation_space"):
        model.load_replay_buffer(tmp_path / "replay.pkl")
    flat = ReplayBuffer(10, TaggedEnv().observation_space, gym.spaces.Discrete(3))
    (tmp_path / "flat.pkl").write_bytes(pickle.dumps(flat))
    with pytest.raises(ValueError, match="holds a ReplayBuffer, not a SequenceReplayBuffer"):
        model.load_replay_buffer(tmp_path / "flat.pkl")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"period": 4}, "period 4 must divide sequence_length 6"),
        ({"burn_in": -1}, "burn_in -1 must be an integer >= 0"),
        ({"sequence_length": 0}, "sequence_length 0 must be an integer >= 1"),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"period": 0}, "period 0 must be an integer >= 1"),
        ({"state_init": "ones"}, "state_init 'ones' must be 'stored' or 'zero'"),
        ({"eta": 1.5}, r"eta 1.5 must lie in \[0.0, 1.0\]"),
        ({"sampler": {"proportional": {"alpha": -0.1}}}, "alpha -0.1"),
        ({"gamma": 1.2}, "gamma 1.2"),
        (
            {"buffer_size": 20},
            r"buffer_size gives 10 cells to each of 2 environments, but one window needs 13 .* >= 26",
        ),
        ({"head": {"scalar": {"dueling": "median"}}}, "dueling 'median' must be one of 'avg', 'max', 'naive', None"),
        ({"target_update_interval": 0}, "target_update_interval 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"exploration": {"epsilon_greedy": {"fraction": 0.0}}}, r"fraction 0.0 must lie in \(0, 1\]"),
    ],
)
def test_impossible_settings_are_refused_in_the_constructor(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**keywords)


def test_continuous_actions_get_sb3s_error() -> None:
    with pytest.raises(ValueError, match=r"has no actions Box.*: it takes Discrete;"):
        R2D2("MlpLstmPolicy", "Pendulum-v1")


@pytest.mark.parametrize("what", ["observation", "reward"])
def test_nan_from_the_environment_is_named_and_nothing_is_stored(what: str) -> None:
    class Breaks(TaggedEnv):
        def step(self, action: int) -> Any:
            obs, reward, *rest = super().step(action)
            if self.number == 1 and self.t == 5:
                if what == "reward":
                    reward = float("nan")
                else:
                    obs = obs * np.nan
            return obs, reward, *rest

    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv([lambda i=i: Breaks(i, lengths=(9,)) for i in range(2)])  # type: ignore[misc]
    model = R2D2("MlpLstmPolicy", env, burn_in=2, sequence_length=2, period=2, n_steps=1, device="cpu", buffer_size=500)
    with pytest.raises(ValueError, match=f"{what} of env 1 at step 4 of its episode is not finite"):
        model.learn(100)
    assert model.replay_buffer is not None
    assert model.replay_buffer._head.tolist() == [4, 4]
