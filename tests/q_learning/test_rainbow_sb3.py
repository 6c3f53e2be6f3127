"""Rainbow and RainbowR beside the rest of SB3: files, callbacks, broken off training, wrong input, Optuna."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch as th
from gymnasium import spaces
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize
from support.checks import assert_same_weights
from support.q_models import (
    BOTH,
    OBS,
    Fails,
    Make,
    NormedTorso,
    assert_windows_are_contiguous,
    buffer_of,
    make_env,
    make_rainbow,
    make_rainbowr,
)
from support.q_models import make_model as make_r2d2
from support.worlds import SPACES, Interrupted, SpaceEnv, TaggedEnv, TaggedPictures

from sb3_ext import Rainbow, RainbowR
from sb3_ext.buffers import PrioritizedReplayBuffer, SequenceReplayBuffer
from sb3_ext.buffers.samplers import GreedyPriority, Proportional, RankBased, Uniform
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.networks.heads import C51
from sb3_ext.ops.exploration import Boltzmann, EpsilonLadder
from sb3_ext.ops.value_rescaling import ValueRescaling
from sb3_ext.q_learning import QLearning
from sb3_ext.r2d2 import R2D2Policy
from sb3_ext.rainbow.policies import CnnPolicy
from sb3_ext.zoo import register


def assert_items_are_whole(model: QLearning, lengths: tuple[int, ...] = (7, 1, 23, 12), slack: float = 0.0) -> None:
    """What can be drawn stays inside its episode, and rewards and ends are those of its steps. For `TaggedEnv`s."""
    if isinstance(model, RainbowR):
        assert_windows_are_contiguous(model)
        return
    assert isinstance(model, Rainbow)
    batch = buffer_of(model)._get_samples(buffer_of(model)._active_leaves())
    assert isinstance(batch.observations, th.Tensor) and isinstance(batch.next_observations, th.Tensor)
    assert len(batch.observations) > 0 and batch.discounts is not None
    before, after = batch.observations.numpy() * 16, batch.next_observations.numpy() * 16
    np.testing.assert_allclose(before[:, :2], after[:, :2], atol=slack)
    k = (after[:, 2] - before[:, 2]).round().astype(int)
    assert k.min() >= 1 and k.max() <= model.n_steps
    for i, steps in enumerate(k.tolist()):
        _, episode, t = (round(x) for x in before[i].tolist())
        rewards = sum(model.gamma**j * (t + j + 1) for j in range(steps))
        np.testing.assert_allclose(batch.rewards[i].item(), rewards, rtol=1e-5)
        np.testing.assert_allclose(batch.discounts[i].item(), model.gamma**steps, rtol=1e-5)
        over = t + steps == lengths[episode % len(lengths)] and episode % 2 == 0
        assert batch.dones[i].item() == float(over)


# ---------------------------------------------------------------------- seeds and files


@BOTH
def test_a_seed_repeats_a_run_to_the_last_bit(make: Make) -> None:
    runs = []
    for seed in (3, 3, 4):
        model = make(seed=seed)
        model.learn(200)
        assert model._n_updates > 0
        runs.append(model.get_parameters()["policy"])
    assert all(th.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert not all(th.equal(runs[0][key], runs[2][key]) for key in runs[0])


@pytest.mark.parametrize("sampler", [None, RankBased(staleness=0.3), GreedyPriority(), Uniform()])
@pytest.mark.parametrize("n_envs", [1, 3])
@BOTH
def test_stop_and_resume_gives_the_same_next_50_updates(make: Make, n_envs: int, sampler: Any, tmp_path: Path) -> None:
    keywords = {} if sampler is None else {"sampler": sampler}
    model = make(n_envs=n_envs, target_update_interval=7, gradient_steps=4, **keywords)
    model.learn(200)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = type(model).load(tmp_path / "model.zip", env=make_env(n_envs), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    resumed.set_logger(configure(None, []))
    before = resumed._n_updates
    for each in (model, resumed):
        np.random.seed(11)
        th.manual_seed(11)
        each.train(gradient_steps=50, batch_size=8)
    assert before > 0 and model._n_updates == resumed._n_updates == before + 50
    assert_same_weights(model, resumed)


@BOTH
def test_a_resumed_run_goes_on(make: Make, tmp_path: Path) -> None:
    model = make()
    model.learn(100)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    assert resumed.replay_buffer is not None and model.replay_buffer is not None
    kept = resumed.replay_buffer.sampler.n_active
    assert kept == model.replay_buffer.sampler.n_active
    resumed.learn(100, reset_num_timesteps=False)
    assert resumed.num_timesteps >= model.num_timesteps + 100 and resumed._n_updates > model._n_updates
    assert resumed.replay_buffer.sampler.n_active > kept
    assert_items_are_whole(resumed)


class Contrary:
    """An exploration strategy that we do not know: the worst action."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return q_values.argmin(axis=1)

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return 0.125


@BOTH
def test_objects_are_saved_with_the_model(make: Make, tmp_path: Path) -> None:
    for exploration in (Boltzmann(0.7, 0.1), EpsilonLadder(0.5, 2.0)):
        model = make(exploration=exploration, value_rescaling=ValueRescaling(eps=1e-2))
        model.save(tmp_path / "model.zip")
        loaded = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
        assert loaded.exploration == exploration
        assert loaded.transform == ValueRescaling(eps=1e-2)
        loaded.learn(20)
    model = make(exploration=Contrary(), sampler=RankBased(alpha=0.25))
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    loaded.learn(20, log_interval=10_000)
    assert loaded.logger.name_to_value["rollout/exploration_rate"] == 0.125
    assert loaded.replay_buffer is not None and repr(loaded.replay_buffer.sampler) == repr(RankBased(alpha=0.25))


@BOTH
def test_loading_to_act_takes_no_replay_memory(make: Make, tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", device="cpu", buffer_size=1)
    np.testing.assert_array_equal(loaded.predict(OBS, deterministic=True)[0], model.predict(OBS, deterministic=True)[0])
    assert loaded.replay_buffer is not None and not loaded.replay_buffer._cells.observations
    loaded.set_env(make_env(2))
    with pytest.raises(ValueError, match=r"buffer_size gives 1 cells to each of 2 environments, .* set buffer_size >="):
        loaded.learn(10)


@BOTH
def test_the_number_of_environments_may_change_on_loading(make: Make, tmp_path: Path) -> None:
    model = make(n_envs=2)
    model.learn(60)
    model.save(tmp_path / "model.zip")
    for n_envs in (1, 4):
        loaded = type(model).load(tmp_path / "model.zip", env=make_env(n_envs), device="cpu")
        assert loaded.replay_buffer is not None and loaded.replay_buffer.n_envs == n_envs
        loaded.learn(120)
        assert loaded._n_updates > model._n_updates
        assert_items_are_whole(loaded)


def test_a_zip_holds_no_replay_and_an_open_file_is_fine(tmp_path: Path) -> None:
    model = make_rainbow(buffer_size=100_000)
    model.learn(2000, log_interval=10_000)
    file = io.BytesIO()
    model.save(file)
    assert len(file.getvalue()) < 250_000
    file.seek(0)
    loaded = Rainbow.load(file, device="cpu")
    assert_same_weights(model, loaded)
    assert buffer_of(loaded).n_drawable == 0


@BOTH
def test_a_policy_alone_is_saved(make: Make, tmp_path: Path) -> None:
    model = make(head=C51(n_atoms=7, dueling="max"))
    model.learn(40)
    model.policy.save(str(tmp_path / "policy.zip"))
    loaded = type(model.policy).load(str(tmp_path / "policy.zip"), device="cpu")
    for ours, theirs in zip(model.policy.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert th.equal(ours, theirs)
    np.testing.assert_array_equal(loaded.predict(OBS, deterministic=True)[0], model.predict(OBS, deterministic=True)[0])


@BOTH
def test_parameters_go_to_another_model(make: Make) -> None:
    model, other = make(seed=0), make(seed=1)
    model.learn(60)
    other.set_parameters(model.get_parameters())  # type: ignore[arg-type] # SB3 annotates what it returns otherwise
    assert_same_weights(model, other)


@BOTH
def test_the_users_keywords_stay_as_they_were(make: Make, tmp_path: Path) -> None:
    policy_kwargs, head, sampler = dict(net_arch=[8]), {"c51": {"n_atoms": 5}}, Uniform()
    replay_kwargs = dict(handle_timeout_termination=True)
    model = make(policy_kwargs=policy_kwargs, head=head, sampler=sampler, replay_buffer_kwargs=replay_kwargs)
    model.learn(60)
    assert policy_kwargs == dict(net_arch=[8]) and head == {"c51": {"n_atoms": 5}}
    assert replay_kwargs == dict(handle_timeout_termination=True) and sampler.n_active == 0
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", policy_kwargs=dict(net_arch=[8]), device="cpu")
    assert_same_weights(model, loaded)
    with pytest.raises(ValueError, match="policy kwargs do not equal the stored"):
        type(model).load(tmp_path / "model.zip", policy_kwargs=dict(net_arch=[9]))


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
    Interrupted.n_steps, Interrupted.at = 0, 26 if where == "env" else -1  # 26: after the other env has stepped
    env = DummyVecEnv([lambda i=i: Monitor(Interrupted(i), allow_early_resets=True) for i in range(2)])  # type: ignore[misc]
    model = make(env=env)

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "train":
            patch.setattr(model, "train", interrupted)
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            model.learn(200, callback=Fails() if where == "callback" else None)
    model.learn(100, reset_num_timesteps=False)
    assert model._n_updates > 0
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


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"head": {"c51": {"n_atoms": 1}}}, "n_atoms 1 must be an integer >= 2"),
        ({"head": {"c51": {"v_max": -20.0}}}, "v_min -15.0 must be less than v_max -20.0"),
        ({"head": {"c51": {"n_quantiles": 8}}}, "head 'c51' has no keyword 'n_quantiles': .*n_atoms"),
        ({"head": {"c51": {"noise": -0.5}}}, "noise -0.5 must be > 0"),
        ({"head": "c52"}, "head 'c52' is none of 'scalar', 'c51', 'quantile'"),
        ({"head": None}, "head None is none of 'scalar', 'c51', 'quantile'"),
        ({"head": C51}, "head C51 is a class: give an object"),
        ({"sampler": {"proportional": {"alpha": 1.5}}}, r"alpha 1.5 must lie in \[0, 1\]"),
        ({"sampler": None}, "sampler None is none of 'uniform'"),
        ({"policy_kwargs": {"head": C51()}}, r"policy_kwargs 'head' is a keyword of Rainbow.* itself: head=C51\("),
        ({"policy_kwargs": {"head_kwargs": {}}}, r"head_kwargs is now head=C51\("),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
        ({"gamma": 1.5}, r"gamma 1.5 must lie in \[0.0, 1.0\]"),
        ({"batch_size": 0}, "batch_size 0 must be an integer >= 1"),
        ({"buffer_size": 2}, r"buffer_size gives 1 cells to each of 2 environments, but .* set buffer_size >= "),
        ({"target_update_interval": 0}, "target_update_interval 0 must be an integer >= 1"),
        ({"train_freq": 0}, "train_freq 0 must count at least 1 step or episode"),
        ({"max_grad_norm": 0.0}, "max_grad_norm 0.0 must be > 0"),
        ({"exploration": 0.1}, r"exploration 0.1 is none of 'epsilon_greedy'"),
        ({"exploration": Boltzmann}, "exploration Boltzmann is a class: give an object"),
        ({"value_rescaling": "yes"}, "value_rescaling 'yes' must be True, False or a ValueTransform"),
        ({"sampler": "best"}, "sampler 'best' is none of 'uniform', 'proportional'"),
        (
            {"replay_buffer_kwargs": {"sampler": "rank"}},
            "replay_buffer_kwargs 'sampler' is a keyword of Rainbow.* itself: sampler='rank'",
        ),
        (
            {"replay_buffer_kwargs": {"n_steps": 3}},
            "replay_buffer_kwargs 'n_steps' is a keyword of Rainbow.* n_steps=3",
        ),
        (
            {"replay_buffer_class": ReplayBuffer},
            "replay_buffer_class ReplayBuffer must be .*ReplayBuffer or a subclass",
        ),
        ({"replay_buffer_class": HerReplayBuffer}, "replay_buffer_class HerReplayBuffer must be"),
    ],
)
@BOTH
def test_impossible_settings_are_refused_in_the_constructor(make: Make, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(**keywords)
    assert "\n" not in str(error.value)


def test_each_algorithm_wants_its_own_replay() -> None:
    with pytest.raises(ValueError, match="class SequenceReplayBuffer must be PrioritizedReplayBuffer or a subclass"):
        make_rainbow(replay_buffer_class=SequenceReplayBuffer)
    with pytest.raises(ValueError, match="class PrioritizedReplayBuffer must be SequenceReplayBuffer or a subclass"):
        make_rainbowr(replay_buffer_class=PrioritizedReplayBuffer)


@BOTH
def test_load_checks_the_settings_it_is_given(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "model.zip")
    cls = type(make())
    for setting in ({"gamma": 1.5}, {"n_steps": 0}, {"train_freq": (0, "step")}, {"head": "c52"}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            cls.load(tmp_path / "model.zip", device="cpu", **setting)
    with pytest.raises(RuntimeError, match=r"q_net\.head_net\.value"):
        cls.load(tmp_path / "model.zip", device="cpu", head={"c51": {"noise": 0.5, "dueling": None}})


@BOTH
def test_other_actions_than_discrete_ones_get_sb3s_error(make: Make) -> None:
    with pytest.raises(AssertionError, match=r"only supports .*Discrete.* as action spaces but Box"):
        make(env=DummyVecEnv([lambda: Monitor(SpaceEnv(SPACES["box"], spaces.Box(-1.0, 1.0, (1,))))]))
    with pytest.raises(ValueError, match=r"action space Discrete\(3, start=1\) must begin at 0"):
        make(env=DummyVecEnv([lambda: Monitor(SpaceEnv(SPACES["box"], spaces.Discrete(3, start=1)))]))


def test_a_policy_that_does_not_fit_the_observations_names_the_one_that_does() -> None:
    with pytest.raises(ValueError, match="must use `MultiInputPolicy` when working with dict observation"):  # SB3's
        Rainbow("MlpPolicy", SpaceEnv(SPACES["dict"]))
    with pytest.raises(ValueError, match="Dict observations need MultiInputPolicy, not MlpPolicy or CnnPolicy"):
        Rainbow(CnnPolicy, SpaceEnv(SPACES["dict"]))
    with pytest.raises(ValueError, match=r"MultiInputPolicy needs a Dict, got Box.* use MlpPolicy or CnnPolicy"):
        Rainbow("MultiInputPolicy", SpaceEnv(SPACES["box"]))


def test_another_algorithms_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="Policy MlpLstmPolicy unknown"):
        make_rainbow(policy="MlpLstmPolicy")
    with pytest.raises(ValueError, match="Policy MlpPolicy unknown"):
        make_rainbowr(policy="MlpPolicy")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"n_envs": 3}, "has n_envs 3, the model 2"),
        ({"n_steps": 4}, "has n_steps 4, the model"),
        ({"sampler": "uniform"}, "has sampler Uniform"),
        ({"sampler": Proportional(0.3)}, r"has sampler Proportional\(alpha=0.3, "),
        ({"sampler": RankBased()}, r"has sampler RankBased\("),
    ],
)
@BOTH
def test_a_replay_of_other_settings_is_refused_and_the_present_one_kept(
    make: Make, other: dict[str, Any], named: str, tmp_path: Path
) -> None:
    stranger = make(**other)
    stranger.learn(60)
    stranger.save_replay_buffer(tmp_path / "replay.pkl")
    model = make()
    mine = model.replay_buffer
    with pytest.raises(ValueError, match=named):
        model.load_replay_buffer(tmp_path / "replay.pkl")
    assert model.replay_buffer is mine


def test_a_replay_of_another_kind_is_refused(tmp_path: Path) -> None:
    sequences, transitions, stored_once = make_r2d2(2), make_rainbow(), make_rainbow(optimize_memory_usage=True)
    sequences.save_replay_buffer(tmp_path / "sequences.pkl")
    transitions.save_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match="holds a SequenceReplayBuffer, not a PrioritizedReplayBuffer"):
        transitions.load_replay_buffer(tmp_path / "sequences.pkl")
    with pytest.raises(ValueError, match="holds a PrioritizedReplayBuffer, not a SequenceReplayBuffer"):
        make_rainbowr().load_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match=r"has sampler Proportional\(alpha=0.9"):
        make_rainbowr().load_replay_buffer(tmp_path / "sequences.pkl")  # R2D2's exponents
    with pytest.raises(ValueError, match=r"has gamma 0.99, the model 0.5"):  # rewards of sequences are summed later
        make_rainbow(gamma=0.5).load_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match="has frame_channels None, the model 1"):
        stored_once.load_replay_buffer(tmp_path / "transitions.pkl")


@pytest.mark.parametrize("what", ["observation", "reward"])
@BOTH
def test_nan_from_the_environment_is_named_and_nothing_is_stored(make: Make, what: str) -> None:
    class Breaks(TaggedEnv):
        def step(self, action: int) -> Any:
            obs, reward, *rest = super().step(action)
            if self.number == 1 and self.t == 5:
                return (obs * np.nan, reward, *rest) if what == "observation" else (obs, float("nan"), *rest)
            return obs, reward, *rest

    model = make(env=DummyVecEnv([lambda i=i: Monitor(Breaks(i, lengths=(9,))) for i in range(2)]))  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"{what} of env 1 at step 4 of its episode is not finite"):
        model.learn(100)
    assert model.replay_buffer is not None
    assert model.replay_buffer._head.tolist() == [4, 4]


# ---------------------------------------------------------------------- Optuna


@pytest.mark.filterwarnings("ignore")  # rl-zoo3 and optuna are not ours to keep free of deprecations
@pytest.mark.parametrize("n_envs", [1, 16])
@pytest.mark.parametrize("cls", [Rainbow, RainbowR])
def test_a_trial_builds_a_model_and_the_converter_repeats_it(cls: type[QLearning], n_envs: int) -> None:
    register()
    algo, policy = cls.__name__.lower(), next(iter(cls.policy_aliases))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn: dict[str, set[Any]] = {}
    for _ in range(20):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER[algo](trial, 0, n_envs, {})
        assert keywords == HYPERPARAMS_CONVERTER[algo](trial.params)
        check_keywords(keywords, keywords_of(cls), "keyword")
        check_keywords(keywords["policy_kwargs"], keywords_of(cls.policy_aliases[policy]), "keyword")
        ((head, of_head),) = keywords["head"].items()
        for name, value in (("head", head), ("noise", of_head["noise"]), ("n_steps", keywords["n_steps"])):
            drawn.setdefault(name, set()).add(value)
        assert "net_arch" in keywords["policy_kwargs"]
        assert ("lstm_hidden_size" in keywords["policy_kwargs"]) == (cls is RainbowR)
        model = cls(policy, "CartPole-v1", **keywords)
        assert len(model.policy.net_arch) == (2 if cls is Rainbow else 1)
    assert drawn["head"] == {"c51", "quantile"}
    assert len(drawn["noise"]) == 20 and drawn["n_steps"] >= {1, 5}


def test_a_policy_or_a_file_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    make_rainbowr().save(tmp_path / "recurrent.zip")
    with pytest.raises(ValueError, match=r"RainbowRPolicy is not for Rainbow: use MlpPolicy or .* load the file with"):
        Rainbow.load(tmp_path / "recurrent.zip", device="cpu")
    make_rainbow().save(tmp_path / "flat.zip")
    with pytest.raises(ValueError, match="RainbowPolicy is not for RainbowR: use MlpLstmPolicy or"):
        RainbowR.load(tmp_path / "flat.zip", device="cpu")
    with pytest.raises(ValueError, match="R2D2Policy is not for Rainbow"):
        Rainbow(R2D2Policy, make_env(1))  # type: ignore[arg-type]
