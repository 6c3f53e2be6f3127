"""R2D2 beside the rest of SB3: every observation space, its callbacks, its files, and errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import (
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from support.checks import assert_same_weights
from support.q_models import (
    OBS,
    NormedTorso,
    assert_windows_are_contiguous,
    learn_broken_off,
    make_env,
    make_model,
)
from support.worlds import SPACES, SpaceEnv, TaggedEnv

from sb3_ext.envs import PreviousActionReward
from sb3_ext.networks.heads import Scalar
from sb3_ext.r2d2 import R2D2
from sb3_ext.zoo import config_path, register


def make_small(policy: str | type[BasePolicy], env: VecEnv | gym.Env, **kwargs: Any) -> R2D2:
    defaults: dict[str, Any] = dict(
        burn_in=2, sequence_length=4, period=2, n_steps=2, learning_starts=20, batch_size=4, train_freq=4, seed=0,
        buffer_size=400, policy_kwargs=dict(lstm_hidden_size=8), device="cpu", learning_rate=1e-4,
    )  # fmt: skip
    return R2D2(policy, env, **{**defaults, **kwargs})  # type: ignore[arg-type]


@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("name", list(SPACES))
def test_every_observation_space_trains_evaluates_and_resumes(name: str, with_previous: bool, tmp_path: Path) -> None:
    space = SPACES[name]

    def make() -> gym.Env:
        return Monitor(PreviousActionReward(SpaceEnv(space)) if with_previous else SpaceEnv(space))

    policy = "CnnLstmPolicy" if name == "image" else "MlpLstmPolicy"
    if with_previous or name == "dict":
        policy = "MultiInputLstmPolicy"
    model = make_small(policy, DummyVecEnv([make] * 2)).learn(80)
    assert model._n_updates > 0
    evaluate_policy(model, DummyVecEnv([make]), n_eval_episodes=2, warn=False)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = R2D2.load(tmp_path / "model.zip", env=DummyVecEnv([make] * 2), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    resumed.learn(40, reset_num_timesteps=False)
    assert resumed._n_updates > model._n_updates
    env = model.get_env()
    assert env is not None
    single, batch = env.observation_space.sample(), env.reset()
    assert isinstance(batch, dict | np.ndarray)
    assert model.predict(single, deterministic=True)[0].shape == ()
    assert model.predict(batch, deterministic=True)[0].shape == (2,)


def test_batch_norm_and_dropout_rest_while_acting_and_reach_the_target() -> None:
    model = make_model(
        policy_kwargs=dict(lstm_hidden_size=8, features_extractor_class=NormedTorso), target_update_interval=1
    )
    model.learn(100)
    assert model._n_updates > 0
    counted = dict(model.q_net.named_buffers())
    assert int(counted["features_extractor.layers.1.num_batches_tracked"]) > 0
    for name, theirs in model.q_net_target.named_buffers():
        assert th.equal(counted[name], theirs)
    assert not any(module.training for module in model.q_net_target.modules())
    first, second = model.predict(OBS, deterministic=True)[1], model.predict(OBS, deterministic=True)[1]
    for one, other in zip(first or (), second or (), strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------- callbacks and broken off training


def test_trap_03_an_evaluation_in_mid_step_changes_nothing() -> None:
    alone = make_model(seed=5)
    alone.learn(200)
    watched = make_model(seed=5)
    watched.learn(200, callback=EvalCallback(make_env(1), eval_freq=7, n_eval_episodes=2, verbose=0))
    assert_same_weights(alone, watched)


@pytest.mark.parametrize("where", ["env", "callback", "train"])
def test_trap_05_training_goes_on_after_an_exception(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(2)
    learn_broken_off(model, where, monkeypatch)
    assert_windows_are_contiguous(model)


def test_a_reward_threshold_stops_and_training_goes_on() -> None:
    model = make_model(2)
    stop = EvalCallback(
        make_env(1), eval_freq=10, verbose=0, callback_on_new_best=StopTrainingOnRewardThreshold(-1e9, verbose=0)
    )
    model.learn(400, callback=stop)
    assert model.num_timesteps == 20
    model.learn(100, reset_num_timesteps=False)
    assert model.num_timesteps == 120
    assert_windows_are_contiguous(model)


@pytest.mark.filterwarnings("ignore")  # the progress bar and tensorboard are not ours to keep free of deprecations
def test_trap_12_logs_progress_bar_and_checkpoints_of_a_normalised_run(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    env = VecNormalize(make_env(2))
    model = make_small("MlpLstmPolicy", env, tensorboard_log=str(tmp_path / "tb"))
    checkpoints = CheckpointCallback(40, str(tmp_path / "steps"), save_replay_buffer=True, save_vecnormalize=True)
    best = EvalCallback(
        VecNormalize(make_env(1), training=False), eval_freq=30, n_eval_episodes=2, verbose=0,
        best_model_save_path=str(tmp_path / "best"),
    )  # fmt: skip
    model.learn(200, callback=CallbackList([checkpoints, best]), progress_bar=True)
    assert {path.name for path in (tmp_path / "steps").iterdir()} >= {
        "rl_model_80_steps.zip",
        "rl_model_replay_buffer_80_steps.pkl",
        "rl_model_vecnormalize_80_steps.pkl",
    }
    (events,) = (tmp_path / "tb").iterdir()
    assert events.name == "R2D2_1"
    accumulator = event_accumulator.EventAccumulator(str(events))
    accumulator.Reload()
    sb3_keys = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/exploration_rate", "time/fps", "train/loss"}
    assert set(accumulator.Tags()["scalars"]) >= sb3_keys | {"train/learning_rate", "eval/mean_reward"}
    assert model.logger.name_to_value["train/n_updates"] == model._n_updates

    normalised = VecNormalize.load(str(tmp_path / "steps" / "rl_model_vecnormalize_80_steps.pkl"), make_env(2))
    resumed = R2D2.load(tmp_path / "steps" / "rl_model_80_steps", env=normalised, device="cpu")
    resumed.load_replay_buffer(tmp_path / "steps" / "rl_model_replay_buffer_80_steps.pkl")
    resumed.learn(40, reset_num_timesteps=False)
    assert resumed.num_timesteps == 120
    R2D2.load(tmp_path / "best" / "best_model")


def test_environments_in_other_processes() -> None:
    env = SubprocVecEnv([lambda i=i: Monitor(TaggedEnv(i)) for i in range(2)])  # type: ignore[misc]
    try:
        model = make_small("MlpLstmPolicy", env).learn(100)
        assert_windows_are_contiguous(model)
    finally:
        env.close()


# ---------------------------------------------------------------------- construction and files


def test_trap_02_the_replay_alone_sums_rewards_and_sb3_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make_model(n_steps=3)
    assert model.replay_buffer is not None and type(model.replay_buffer) is model.replay_base
    assert model.replay_buffer.n_steps == model.n_steps == 3
    assert model.replay_buffer_kwargs == {}


def test_trap_08_no_atari_setting_ends_episodes_at_a_lost_life() -> None:
    block = yaml.safe_load(config_path("r2d2").read_text())["atari"]
    (wrapper,) = (w for w in block["env_wrapper"] if "AtariWrapper" in str(w))
    ((_, keywords),) = wrapper.items()
    assert keywords["terminal_on_life_loss"] is False and keywords["clip_reward"] is False


def test_the_users_policy_kwargs_stay_as_they_were_and_load_accepts_them_again(tmp_path: Path) -> None:
    given = dict(lstm_hidden_size=8)
    model = make_model(policy_kwargs=given, head=Scalar(dueling=None))
    assert given == dict(lstm_hidden_size=8)
    model.save(tmp_path / "model.zip")
    loaded = R2D2.load(tmp_path / "model.zip", policy_kwargs=dict(lstm_hidden_size=8), device="cpu")
    assert_same_weights(model, loaded)
    with pytest.raises(ValueError, match="policy kwargs do not equal the stored"):
        R2D2.load(tmp_path / "model.zip", policy_kwargs=dict(lstm_hidden_size=9))


def test_trap_11_another_network_is_named_and_not_taken(tmp_path: Path) -> None:
    make_model().save(tmp_path / "model.zip")
    with pytest.raises(RuntimeError, match=r"q_net\.head_net\.value"):
        R2D2.load(tmp_path / "model.zip", head=Scalar(dueling=None))
    with pytest.raises(RuntimeError, match=r"size mismatch for q_net\.core"):
        make_model(policy_kwargs=dict(lstm_hidden_size=9)).set_parameters(str(tmp_path / "model.zip"))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_trap_11_a_policy_alone_is_saved_with_the_sizes_of_its_core(n_layers: int, tmp_path: Path) -> None:
    sizes = dict(lstm_hidden_size=8, n_lstm_layers=n_layers, net_arch=[5], core_kwargs=dict(forget_bias=0.5))
    model = make_model(policy_kwargs=sizes)
    model.policy.save(str(tmp_path / "policy.zip"))
    loaded = type(model.policy).load(str(tmp_path / "policy.zip"), device="cpu")
    (ours, our_state), (theirs, their_state) = model.policy.predict(OBS), loaded.predict(OBS)
    np.testing.assert_array_equal(ours, theirs)
    for one, other in zip(our_state or (), their_state or (), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parameters_go_to_another_model() -> None:
    model, other = make_model(seed=0), make_model(seed=1)
    model.learn(60)
    other.set_parameters(model.get_parameters())  # type: ignore[arg-type] # SB3 annotates what it returns otherwise
    assert_same_weights(model, other)
    other.learn(60)


def test_another_optimizer_and_a_schedule_of_its_rate(tmp_path: Path) -> None:
    optimizer = dict(lstm_hidden_size=8, optimizer_class=th.optim.RMSprop, optimizer_kwargs=dict(alpha=0.9))
    model = make_model(policy_kwargs=optimizer, learning_rate=lambda progress: 1e-3 * progress)
    model.learn(200)
    assert isinstance(model.policy.optimizer, th.optim.RMSprop)
    assert model.policy.optimizer.param_groups[0]["alpha"] == 0.9
    assert model.policy.optimizer.param_groups[0]["lr"] < 1e-4
    model.save(tmp_path / "model.zip")
    assert isinstance(R2D2.load(tmp_path / "model.zip", device="cpu").policy.optimizer, th.optim.RMSprop)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"replay_buffer_class": HerReplayBuffer}, "replay_buffer_class HerReplayBuffer must be SequenceReplayBuffer"),
        ({"max_grad_norm": -1.0}, "max_grad_norm -1.0 must be > 0"),
        (
            {"replay_buffer_kwargs": {"burn_in": 3}},
            "replay_buffer_kwargs 'burn_in' is a keyword of R2D2 itself: burn_in=3",
        ),
        ({"batch_size": 2.5}, "batch_size 2.5 must be an integer >= 1"),
        ({"buffer_size": 1e5}, "buffer_size 100000.0 must be an integer >= 1"),
        ({"gradient_steps": 1.5}, "gradient_steps 1.5 must be an integer >= -1"),
        ({"train_freq": 0}, "train_freq 0 must count at least 1 step or episode"),
        ({"value_rescaling": "yes"}, "value_rescaling 'yes' must be True, False or a ValueTransform"),
    ],
)
def test_more_impossible_settings(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**keywords)


def test_load_checks_the_settings_it_is_given(tmp_path: Path) -> None:
    make_model().save(tmp_path / "model.zip")
    for setting in ({"gamma": 1.5}, {"period": 4}, {"train_freq": (0, "step")}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            R2D2.load(tmp_path / "model.zip", device="cpu", **setting)


def test_a_policy_that_does_not_fit_the_observations_names_the_one_that_does() -> None:
    for policy in ("MlpLstmPolicy", "CnnLstmPolicy"):
        with pytest.raises(ValueError, match="Dict observations need MultiInputLstmPolicy"):
            R2D2(policy, SpaceEnv(SPACES["dict"]))
    with pytest.raises(ValueError, match=r"MultiInputLstmPolicy needs a Dict, got Box.* use MlpLstmPolicy"):
        R2D2("MultiInputLstmPolicy", SpaceEnv(SPACES["box"]))


@pytest.mark.parametrize("actions", [spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2), spaces.Box(-1.0, 1.0, (1,))])
def test_other_actions_than_discrete_ones_get_sb3s_error(actions: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"has no actions.*: it takes Discrete;"):
        R2D2("MlpLstmPolicy", SpaceEnv(SPACES["box"], actions))


def test_actions_that_do_not_begin_at_zero_are_refused() -> None:
    """SB3 would send 0 to an environment that knows 1 to 3 only."""
    with pytest.raises(ValueError, match=r"action space Discrete\(3, start=1\) must begin at 0"):
        R2D2("MlpLstmPolicy", SpaceEnv(SPACES["box"], spaces.Discrete(3, start=1)))


@pytest.mark.parametrize("missing", ["yaml", "rl_zoo3"])
def test_without_the_zoo_extra_the_command_and_register_name_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: `sb3_ext.zoo` must be importable without the extra."""
    code = f"import sys; sys.modules[{missing!r}] = None; from sb3_ext.cli.main import main; sys.exit(main(['train']))"
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.strip().splitlines()[-1] == 'sb3-ext train needs the zoo extra: pip install "sb3-ext[zoo]"'
    monkeypatch.setitem(sys.modules, "rl_zoo3.utils", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs the zoo extra: pip install "sb3-ext\[zoo\]"'):
        register()
