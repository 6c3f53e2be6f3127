"""What Q-learning logs, refuses, saves and takes up between two calls of `learn`, for all three algorithms alike."""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from support.checks import assert_same_weights
from support.q_models import Make, QValueLog, make_env, make_model, make_rainbow, make_rainbowr

from sb3_ext import R2D2
from sb3_ext.buffers import Proportional, SumTree
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.networks import GRUCore
from sb3_ext.networks.head_table import HEADS
from sb3_ext.networks.heads import Scalar
from sb3_ext.ops.exploration import EpsilonGreedy, EpsilonLadder, Greedy
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling

ALL = pytest.mark.parametrize("make", [make_model, make_rainbow, make_rainbowr])


def filled(make: Make, **keywords: Any) -> DeepQLearning:
    """:return: with a replay, and not trained; its clock stands at the end, where R2D2's own learning rate is 0"""
    return make(gradient_steps=0, **{"learning_rate": 1e-3, **keywords}).learn(150, log_interval=10_000)


def seeded(work: Callable[[], None]) -> None:
    np.random.seed(0)
    th.manual_seed(0)
    work()


# ---------------------------------------------------------------------- train/q_mean


@pytest.mark.parametrize("name", ["scalar", "c51", "quantile"])
def test_expected_returns_are_means_of_returns(name: str) -> None:
    th.manual_seed(1)
    head, h = HEADS[name](), ValueRescaling(eps=0.1)
    out = 4 * head.network(6, 3, [8])(th.randn(5, 6)).detach()
    each = [th.full((5, 1), a) for a in range(3)]
    returns = th.stack([head.expected_returns(out, action, h) for action in each], dim=1)
    assert returns.shape == (5, 3)
    for i in range(5):
        for a in range(3):
            if name == "scalar":
                expected = float(h.invert(out[i, a]))
            elif name == "c51":
                atoms, mass = th.linspace(-15, 15, 51).tolist(), out[i, a].softmax(0).tolist()
                expected = sum(p * float(h.invert(th.tensor(z))) for z, p in zip(atoms, mass, strict=True))
            else:
                expected = sum(float(h.invert(q)) for q in out[i, a]) / 51
            assert float(returns[i, a]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    action = th.tensor([[0], [2], [1], [1], [0]])
    th.testing.assert_close(head.expected_returns(out, action, h), returns.gather(1, action).squeeze(1))
    same = head.q_values(out).gather(1, action).squeeze(1)
    th.testing.assert_close(head.expected_returns(out, action, IDENTITY), same)


@pytest.mark.parametrize("head", ["scalar", "c51", "quantile"])
@ALL
def test_q_mean_is_that_of_real_steps_taken_actions_and_rewards(make: Make, head: str) -> None:
    model = make(head=head, gradient_steps=0, value_rescaling=ValueRescaling(0.1))
    model.learn(200, log_interval=10_000)
    assert model.replay_buffer is not None
    np.random.seed(3)
    batch: Any = model.replay_buffer.sample(16)
    with th.no_grad():
        for p in model.q_net.parameters():
            p.mul_(2.0)  # far from the line where h is nearly 1
        if isinstance(model, R2D2):
            out = model.learner.unroll(model.q_net, batch)
            of_steps = model.head.expected_returns(out[:, : model.sequence_length], batch.actions, model.transform)
            values = [
                float(of_steps[i, t]) for i in range(16) for t in range(model.sequence_length) if batch.mask[i, t]
            ]
            assert len(values) < 16 * model.sequence_length, "nothing is padded"
        else:
            net: Any = model.q_net
            values = model.head.expected_returns(
                net.outputs(batch.observations), batch.actions, model.transform
            ).tolist()
    model.set_logger(Logger(None, []))
    np.random.seed(3)
    model.train(1, 16)
    assert model.logger.name_to_value["train/q_mean"] == pytest.approx(np.mean(values), rel=1e-4)


# ---------------------------------------------------------------------- what has gone wrong is said


@pytest.mark.parametrize("sampler", ["proportional", "uniform"])
@ALL
def test_a_network_that_diverges_stops_the_training(make: Make, sampler: str) -> None:
    model = make(learning_rate=1e30, max_grad_norm=float("inf"), sampler=sampler)
    with pytest.raises(ValueError, match="the network has diverged: lower learning_rate or max_grad_norm"):
        model.learn(400)
    assert 1 <= model._n_updates <= 10


@ALL
def test_train_takes_the_models_batch_size(make: Make) -> None:
    model, same = filled(make, batch_size=5), filled(make, batch_size=9)
    seeded(lambda: model.train(1))
    seeded(lambda: same.train(gradient_steps=1, batch_size=5))
    assert_same_weights(model, same)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("make", "core"),
    [(make_model, None), (make_model, GRUCore), (make_rainbow, None), (make_rainbowr, None), (make_rainbowr, GRUCore)],
)
def test_networks_and_policies_alone_are_saved(make: Make, core: Any, tmp_path: Path) -> None:
    """As SB3's own `test_save_load_q_net`."""
    keywords: dict[str, Any] = {}
    if core is not None:
        arch = dict(lstm_hidden_size=8, n_lstm_layers=2, core_class=core, net_arch=[7, 5], activation_fn=th.nn.Tanh)
        keywords = dict(policy_kwargs=arch, head={"quantile": {"n_quantiles": 7}})
    model = make(**keywords)
    model.learn(60)
    obs = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    for net in (model.q_net, model.q_net_target, model.policy):
        assert isinstance(net, BasePolicy)
        net.save(str(tmp_path / "net.pth"))
        loaded = type(net).load(str(tmp_path / "net.pth"), device="cpu")
        for ours, theirs in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True):
            th.testing.assert_close(ours, theirs, rtol=0, atol=0)
        np.testing.assert_array_equal(
            net.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
        )


@ALL
def test_a_replay_is_loaded_where_there_is_none(make: Make, tmp_path: Path) -> None:
    """As SB3's own `test_save_load_replay_buffer`."""
    model = make(gradient_steps=0)
    model.learn(150, log_interval=10_000)
    old = copy.deepcopy(model.replay_buffer)
    assert old is not None
    model.save_replay_buffer(tmp_path / "replay.pkl")
    model.replay_buffer = None
    model.load_replay_buffer(tmp_path / "replay.pkl")
    new: Any = model.replay_buffer
    assert new.size() == old.size() > 0 and new.sampler.n_active == old.sampler.n_active > 0
    np.testing.assert_array_equal(new._cells.columns["reward"], old._cells.columns["reward"])
    np.testing.assert_array_equal(new._cells.observations[""], old._cells.observations[""])
    model.replay_buffer = None
    model.learn(150, log_interval=10_000)
    assert model.replay_buffer is not None and model.replay_buffer.size() > 0  # type: ignore[unreachable]


def test_a_replay_of_another_model_is_refused_where_there_is_none(tmp_path: Path) -> None:
    make_rainbow(gradient_steps=0).learn(30).save_replay_buffer(tmp_path / "replay.pkl")
    model = make_rainbow(n_envs=3)
    model.replay_buffer = None
    with pytest.raises(ValueError, match="n_envs 2, the model 3"):
        model.load_replay_buffer(tmp_path / "replay.pkl")


@pytest.mark.parametrize("make", [make_model, make_rainbowr])
def test_a_file_has_no_state_of_an_episode_under_way_so_it_ends(make: Make, tmp_path: Path) -> None:
    model = make(n_envs=1, gradient_steps=0)
    model.learn(12)  # episodes of 7, 1 and 4 of 23 steps
    model.save(tmp_path / "model.zip")
    env = model.get_env()
    loaded = type(model).load(tmp_path / "model.zip", env=env, force_reset=False, device="cpu")
    assert loaded._last_obs is not None
    log = QValueLog(loaded)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="the environments are reset: force_reset=False"):
        loaded.learn(12, reset_num_timesteps=False)
    first = next(iter(log.q))
    assert first[1:] == (3 / 16, 0), "not the first observation of the next episode"
    loaded.learn(12, reset_num_timesteps=False)  # without a warning: the state is there


# ---------------------------------------------------------------------- settings


@ALL
def test_what_may_be_changed_later_counts(make: Make) -> None:
    model = filled(make, head="scalar")
    model.learning_rate, model.train_freq, model.exploration = 1e-2, 2, Greedy()
    model.learn(50, reset_num_timesteps=False, log_interval=10_000)
    model.train(1)
    assert model.policy.optimizer.param_groups[0]["lr"] == 1e-2
    assert model.train_freq.frequency == 2 and model.exploration == Greedy()  # type: ignore[attr-defined]
    assert model.logger.name_to_value["rollout/exploration_rate"] == 0


@pytest.mark.parametrize("name", ["tau", "max_grad_norm", "target_update_interval"])
@ALL
def test_what_is_read_at_every_update_counts_at_once(make: Make, name: str) -> None:
    values = {"tau": 0.3, "max_grad_norm": 1e-3, "target_update_interval": 1}
    changed, other = filled(make, target_update_interval=2), filled(make, target_update_interval=2)
    setattr(changed, name, values[name])
    for each in (changed, other):
        seeded(lambda model=each: model.train(5))  # type: ignore[misc]
    pairs = zip(changed.policy.state_dict().values(), other.policy.state_dict().values(), strict=True)
    assert not all(th.equal(a, b) for a, b in pairs)


@ALL
def test_a_changed_gamma_is_that_of_a_model_made_with_it(make: Make) -> None:
    changed, made, other = (filled(make, gamma=gamma, normalize_reward=False) for gamma in (0.99, 0.5, 0.99))
    changed.gamma = 0.5
    for each in (changed, made, other):
        seeded(lambda model=each: model.train(3))  # type: ignore[misc]
    assert_same_weights(changed, made)
    assert not all(th.equal(a, b) for a, b in zip(changed.q_net.parameters(), other.q_net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_steps", 4), ("sampler", Proportional(0.1)), ("head", Scalar(dueling=None)), ("buffer_size", 99)],
)
@ALL
def test_what_is_built_in_is_refused_when_it_is_changed(make: Make, name: str, value: Any, tmp_path: Path) -> None:
    model = make(gradient_steps=0)
    setattr(model, name, value)
    with pytest.raises(
        ValueError, match=rf"{name} is now {re.escape(str(value))}, but the networks and the replay were built with"
    ):
        model.learn(20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": "c52"},
        {"sampler": {"proportional": {"alpha": 2}}},
        {"exploration": 0.1},
        {"policy_kwargs": {"widths": [3]}},
        {"replay_buffer_kwargs": {"sampler": "rank"}},
        {"gamma": 2.0},
    ],
    ids=str,
)
@ALL
def test_a_failed_construction_leaves_the_model_as_it_was(make: Make, wrong: dict[str, Any]) -> None:
    model = make(gradient_steps=0)
    model.replay_buffer = None
    for name, value in wrong.items():
        setattr(model, name, value)
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError)):
        model._setup_model()
    after = vars(model)
    assert {name for name in before | after if before.get(name) is not after.get(name)} <= {"lr_schedule"}


def test_the_default_exploration_follows_the_number_of_environments(tmp_path: Path) -> None:
    many, one = make_model(3), make_model(1)
    assert many.exploration == EpsilonLadder() and one.exploration == EpsilonGreedy(1.0, 0.01, 0.1)
    many.save(tmp_path / "many.zip")
    assert R2D2.load(tmp_path / "many.zip", env=make_env(1), device="cpu").exploration == one.exploration
    assert R2D2.load(tmp_path / "many.zip", exploration="greedy", device="cpu").exploration == Greedy()
    told = R2D2.load(tmp_path / "many.zip", env=make_env(1), exploration=EpsilonLadder(), device="cpu")
    assert told.exploration == EpsilonLadder()  # which would have been chosen for many, too
    many.exploration = None  # type: ignore[assignment]  # as in the constructor
    many.learn(3)
    assert many.exploration == EpsilonLadder()
    make_model(3, exploration=EpsilonLadder(0.3)).save(tmp_path / "mine.zip")
    assert R2D2.load(tmp_path / "mine.zip", env=make_env(1), device="cpu").exploration == EpsilonLadder(0.3)


@pytest.mark.parametrize(("name", "value"), [("period", 2), ("state_init", "zero"), ("sequence_length", 12)])
def test_the_windows_are_built_in(name: str, value: Any) -> None:
    model = make_model(gradient_steps=0)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=f"{name} is now {value}"):
        model.learn(20)


@ALL
def test_a_setting_out_of_range_is_refused_when_it_is_changed_too(make: Make) -> None:
    model = make(gradient_steps=0)
    model.gamma = 1.5
    with pytest.raises(ValueError, match=r"gamma 1.5 must lie in \[0.0, 1.0\]"):
        model.learn(20)


@ALL
def test_sb3s_keywords_of_its_own_tests_are_taken(make: Make) -> None:
    model = make(optimize_memory_usage=False)
    assert not model.optimize_memory_usage


@pytest.mark.parametrize("make", [make_model, make_rainbowr])
def test_windows_store_every_observation_once_in_any_case(make: Make) -> None:
    model = make(optimize_memory_usage=True)
    model.learn(60)
    model.learn(60)  # SB3 writes into its own replay here
    assert model._n_updates > 0


# ---------------------------------------------------------------------- frames


class FloatFrames(gym.Env):
    """Frames of numbers, the channel last."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (6, 5, 1), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.t = 0
        return self._obs(), {}

    def _obs(self) -> np.ndarray:
        return np.full((6, 5, 1), self.t / 10, dtype=np.float32)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._obs(), 1.0, self.t == 9, False, {}


def test_channel_last_frames_of_floats_are_told_which_wrapper_goes_where() -> None:
    stacked = VecFrameStack(DummyVecEnv([FloatFrames]), 4)
    advice = r"\(6, 5, 4\): wrap each environment in gymnasium's TransformObservation .*channels_order=\"first\""
    with pytest.raises(ValueError, match=advice):
        make_rainbow(env=stacked, optimize_memory_usage=True)

    def channel_first() -> gym.Env:
        space = spaces.Box(0, 1, (1, 6, 5), np.float32)
        return gym.wrappers.TransformObservation(FloatFrames(), lambda frame: np.moveaxis(frame, -1, 0), space)

    stacked = VecFrameStack(DummyVecEnv([channel_first]), 4, channels_order="first")
    model = make_rainbow(env=stacked, optimize_memory_usage=True)
    model.learn(60)
    assert model.replay_buffer is not None and model._n_updates > 0
    assert model.replay_buffer._cells.observations[""].shape[1:] == (1, 6, 5)


# ---------------------------------------------------------------------- compiled code


def test_compiled_loops_are_loaded_when_the_tree_is_made() -> None:
    pytest.importorskip("numba")
    from sb3_ext.buffers import _sum_tree_numba

    loops = importlib.reload(_sum_tree_numba)
    loaded = len(loops.set_masses.signatures), len(loops.find_leaves.signatures)
    assert loaded == (1, 1)
    tree = SumTree(2000, "numba")
    assert tree._kernels is loops
    tree.set(np.arange(5), np.arange(5.0))
    tree.find(np.random.random(4))
    assert (len(loops.set_masses.signatures), len(loops.find_leaves.signatures)) == loaded, "loaded for other types"


@pytest.mark.parametrize(
    ("n_envs", "settings", "line"),
    [
        (4, dict(train_freq=2, verbose=1), "One update to 8 steps of 4 environments together; gradient_steps=4 makes"),
        (4, dict(train_freq=2, verbose=0), ""),
        (4, dict(train_freq=2, gradient_steps=4, verbose=1), ""),
        (1, dict(train_freq=2, verbose=1), ""),
    ],
)
def test_fewer_updates_of_many_environments_are_said(
    n_envs: int, settings: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_rainbow(n_envs, **{"gradient_steps": 1, **settings})
    said = [text for text in capsys.readouterr().out.splitlines() if "update" in text]
    assert len(said) == bool(line) and "".join(said).startswith(line)
    if line:
        before = model.learn(model.learning_starts + 8)._n_updates
        assert model.learn(160, reset_num_timesteps=False)._n_updates - before == 160 // 8
        model.save(tmp_path / "model")
        capsys.readouterr()
        type(model).load(tmp_path / "model", env=model.get_env())
        assert "One update" not in capsys.readouterr().out, "once is enough"
