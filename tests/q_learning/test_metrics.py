"""Numbers about the learner, each by a second formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from support.worlds import TaggedEnv

from sb3_ext import R2D2, Rainbow
from sb3_ext.buffers import PrioritizedReplayBuffer, SequenceReplayBuffer
from sb3_ext.metrics import LearnerMetrics, _names
from sb3_ext.ops.exploration import EpsilonLadder, epsilon_ladder

SMALL: dict[str, Any] = {"learning_starts": 60, "batch_size": 8, "seed": 0, "device": "cpu"}


def logged(model: Any, n_steps: int, every: int = 50) -> dict[str, Any]:
    model.set_logger(Logger(None, []))
    model.learn(n_steps, callback=LearnerMetrics(every), log_interval=None)
    return dict(model.logger.name_to_value)


def tagged(n_envs: int = 2) -> Any:
    return make_vec_env(TaggedEnv, n_envs, seed=0)


def test_speed_and_fill_of_any_algorithm() -> None:
    dqn = logged(sb3.DQN("MlpPolicy", tagged(), buffer_size=400, **SMALL), 200)
    assert dqn["replay/fill"] == pytest.approx(0.5, abs=0.01) and dqn["replay/age"] == pytest.approx(100, abs=2)
    assert dqn["speed/env_steps_per_s"] > 0 and dqn["speed/updates_per_s"] > 0
    ppo = logged(sb3.PPO("MlpPolicy", tagged(), n_steps=16, batch_size=8, device="cpu"), 200)
    assert ppo["speed/updates_per_s"] > 0 and "replay/fill" not in ppo


def test_age_and_spread_of_transitions() -> None:
    model = Rainbow("MlpPolicy", tagged(), buffer_size=120, **SMALL)
    values = logged(model, 400)
    replay = model.replay_buffer
    assert isinstance(replay, PrioritizedReplayBuffer) and values["replay/fill"] == 1.0
    leaves = replay._active_leaves()
    masses = replay.sampler.masses(leaves)
    ages = []
    for leaf in leaves.tolist():
        lane, cell = divmod(leaf, replay.buffer_size)
        newest = int(replay._head[lane])
        ages.append(
            next(age for age in range(1, replay.buffer_size + 1) if (newest - age) % replay.buffer_size == cell)
        )
    _, age, spread = replay.statistics()
    assert age == pytest.approx(2 * np.average(ages, weights=masses))
    assert min(ages) > 0 and max(ages) < replay.buffer_size
    assert spread == pytest.approx(np.quantile(masses, 0.95) / np.median(masses)) and spread > 1


def test_age_of_windows_and_returns_by_epsilon() -> None:
    model = R2D2("MlpLstmPolicy", tagged(3), buffer_size=600, sampler="uniform", **SMALL)
    values = logged(model, 400)
    replay = model.replay_buffer
    assert isinstance(replay, SequenceReplayBuffer)
    leaves = replay._active_leaves()
    ages = [int(replay._head[replay._lane[i]] - replay._first[i]) for i in leaves]
    assert replay.statistics().age == pytest.approx(3 * np.mean(ages)) and replay.statistics().spread == 1.0
    assert 0 < replay.statistics().fill == replay.size() / 200
    returns = {name: value for name, value in values.items() if name.startswith("rollout/return_eps_")}
    assert set(returns) == {"rollout/return_eps_0.4", "rollout/return_eps_0.016", "rollout/return_eps_0.00066"}
    # Episodes of 7, 1, 23 and 12 steps, whose rewards are 1, 2, 3, ...
    assert all(1 <= value <= 23 * 24 / 2 for value in returns.values())


def test_an_empty_replay_and_an_impossible_interval() -> None:
    replay = Rainbow("MlpPolicy", tagged(), buffer_size=120, **SMALL).replay_buffer
    assert isinstance(replay, PrioritizedReplayBuffer)
    assert replay.statistics().fill == 0 and np.isnan(replay.statistics().age)
    with pytest.raises(ValueError, match="every 0 must be at least 1"):
        LearnerMetrics(0)


@pytest.mark.parametrize("n_envs", [1, 3, 16])
@pytest.mark.parametrize("alpha", [7.0, 0.5, 0.0])
def test_each_epsilon_of_the_ladder_has_a_name_of_its_own(n_envs: int, alpha: float) -> None:
    epsilons = epsilon_ladder(n_envs, 0.4, alpha)
    names = _names(epsilons)
    assert len(names) == n_envs and len(set(names)) == len(set(epsilons))
    np.testing.assert_allclose([float(name) for name in names], epsilons, rtol=0.05)
    assert names[0] == "0.4"


@pytest.mark.parametrize("n_envs", [17, 100, 256])
@pytest.mark.parametrize("alpha", [7.0, 0.001, 0.0])
def test_many_epsilons_are_eight_groups_of_neighbours_named_by_their_middle(n_envs: int, alpha: float) -> None:
    epsilons = epsilon_ladder(n_envs, 0.4, alpha)
    names = _names(epsilons)
    members: dict[str, list[int]] = {}
    for lane, name in enumerate(names):
        members.setdefault(name, []).append(lane)
    assert len(names) == n_envs and len(members) == (8 if alpha else 1)
    n_met = 0
    for name, lanes in members.items():
        assert lanes == list(range(n_met, n_met + len(lanes))) and len(lanes) in (n_envs // 8, n_envs // 8 + 1, n_envs)
        assert epsilons[lanes[-1]] <= float(name) * 1.005 and float(name) <= epsilons[lanes[0]] * 1.005
        n_met += len(lanes)


def test_at_256_environments_no_return_is_lost() -> None:
    model = R2D2("MlpLstmPolicy", tagged(256), buffer_size=256 * 200, **{**SMALL, "learning_starts": 10**6})
    callback = LearnerMetrics(10**6)
    model.set_logger(Logger(None, []))
    model.learn(256, callback=callback)
    callback._returns.clear()
    for env in range(256):
        callback._returns[env].append(float(env))
    callback._record()
    returns = {name: value for name, value in model.logger.name_to_value.items() if "return_eps_" in name}
    middles = [31 / 2 + 32 * group for group in range(8)]
    assert sorted(returns.values()) == middles
    assert f"rollout/return_eps_{np.median(epsilon_ladder(256, 0.4, 7.0)[:32]):.3g}" in returns


def test_environments_of_one_epsilon_share_a_curve_and_others_do_not() -> None:
    model = R2D2(
        "MlpLstmPolicy",
        make_vec_env(TaggedEnv, 4, seed=0),
        exploration=EpsilonLadder(alpha=0.0),
        buffer_size=800,
        **SMALL,
    )
    callback = LearnerMetrics(10_000)
    model.set_logger(Logger(None, []))
    model.learn(8, callback=callback)
    callback._returns.clear()
    for env in range(4):
        callback._returns[env].append(10.0 * env)
    callback._record()
    assert model.logger.name_to_value["rollout/return_eps_0.4"] == 15
    model.exploration = EpsilonLadder(alpha=0.01)  # 0.4, 0.39878, 0.39756, 0.39635: alike with two digits
    callback._record()
    returns = {name: value for name, value in model.logger.name_to_value.items() if "return_eps_" in name}
    assert [returns.pop(f"rollout/return_eps_{name}") for name in ("0.4", "0.399", "0.398", "0.396")] == [0, 10, 20, 30]
    assert not returns
