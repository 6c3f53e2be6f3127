"""The replay on the training device: every batch is made of what was stored, by a second formula."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.worlds import TaggedEnv

from sb3_ext.buffers.device import DeviceReplayBuffer

OBS = spaces.Box(-np.inf, np.inf, (2,), np.float64)
ACT = spaces.Box(-1, 1, (1,), np.float32)


def filled(n_added: int, capacity: int = 30, n_envs: int = 1, **keywords: Any) -> DeviceReplayBuffer:
    """Step t of environment e: observation (e, t), reward 1 + t + e / 10; ends at t % 5 == 4, the odd ones cut."""
    replay = DeviceReplayBuffer(capacity, OBS, ACT, "cpu", n_envs, **keywords)
    e = np.arange(n_envs)
    for t in range(n_added):
        obs = np.stack([e, np.full(n_envs, t)], axis=1).astype(np.float64)
        done = np.full(n_envs, t % 5 == 4)
        infos = [{"TimeLimit.truncated": t % 10 == 9} for _ in e]
        replay.add(obs, obs + np.array([0, 0.5]), np.full((n_envs, 1), t / 100), 1 + t + e / 10, done, infos)
    return replay


def every_item(replay: DeviceReplayBuffer) -> Any:
    n = replay.size()
    lanes = th.arange(replay.n_envs).repeat_interleave(n)
    return replay.gather(th.arange(n).repeat(replay.n_envs), lanes)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("n_added", [1, 7, 30, 47])
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_every_item_by_a_second_formula(n_envs: int, n_added: int, n_steps: int) -> None:
    gamma = 0.9
    replay = filled(n_added, 30 * n_envs, n_envs, n_steps=n_steps, gamma=gamma)
    batch = every_item(replay)
    assert replay.size() == min(n_added, 30) and len(batch.actions) == replay.size() * n_envs
    for i in range(len(batch.actions)):
        env, t = batch.observations[i].tolist()
        total, k, terminated = 0.0, 0, False
        for j in range(n_steps):
            if t + j >= n_added:
                break
            total += gamma**j * (1 + t + j + env / 10)
            k += 1
            if (t + j) % 5 == 4:
                terminated = (t + j) % 10 != 9
                break
        assert batch.next_observations[i].tolist() == [env, t + k - 1 + 0.5]
        assert batch.actions[i].item() == pytest.approx(t / 100)
        assert batch.rewards[i].item() == pytest.approx(total, rel=1e-6)
        assert bool(batch.dones[i]) == terminated
        if n_steps == 1:
            assert batch.discounts is None
        else:
            assert batch.discounts[i].item() == pytest.approx(gamma**k)
    oldest = max(n_added - 30, 0)
    assert sorted(set(batch.observations[:, 1].tolist())) == list(range(oldest, n_added))


def test_draws_are_uniform_over_what_is_stored() -> None:
    replay = filled(20, 60, 2)
    th.manual_seed(0)
    batch = replay.sample(40_000)
    cell = (batch.observations[:, 0] * 20 + batch.observations[:, 1]).long()
    drawn = np.bincount(cell.numpy(), minlength=40)
    assert drawn.min() > 0 and (np.abs(drawn - 1000) < 5 * np.sqrt(1000)).all()


def test_timeouts_are_terminations_where_that_is_asked_for() -> None:
    assert every_item(filled(10, handle_timeout_termination=False)).dones.sum() == 2
    assert every_item(filled(10)).dones.sum() == 1


@pytest.mark.parametrize("n_added", [1, 3, 31])
def test_no_sum_goes_on_over_a_cut(n_added: int) -> None:
    replay = filled(n_added, 60, 2, n_steps=3, gamma=0.5)
    replay.cut()
    for t in range(2):  # of another trajectory
        obs = np.full((2, 2), 100.0 + t)
        replay.add(obs, obs + 1, np.zeros((2, 1)), np.full(2, 1000.0), np.zeros(2, bool), [{}, {}])
    batch = every_item(replay)
    is_new = batch.observations[:, 0] >= 100
    assert int(is_new.sum()) == 4 and (batch.rewards[is_new] >= 1000).all()
    assert (batch.rewards[~is_new] < 100).all() and (batch.next_observations[~is_new][:, 0] < 2).all()
    DeviceReplayBuffer(10, OBS, ACT, "cpu").cut()  # of nothing


def test_a_pickled_replay_goes_on() -> None:
    replay = filled(37)
    copy = pickle.loads(pickle.dumps(replay))
    th.testing.assert_close(every_item(copy), every_item(replay))
    for one in (replay, copy):
        one.add(np.full((1, 2), -1.0), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1), np.zeros(1, bool), [{}])
    th.testing.assert_close(every_item(copy), every_item(replay))


def test_vec_normalize_sees_raw_values_and_rewards_before_they_are_summed() -> None:
    env = VecNormalize(DummyVecEnv([TaggedEnv]), clip_reward=1e9)
    env.observation_space = OBS
    statistics = RunningMeanStd(shape=(2,))
    statistics.mean, statistics.var = np.array([1.0, 2.0]), np.array([4.0, 9.0])
    env.obs_rms = statistics  # type: ignore[assignment]  # SB3 annotates that of dictionaries
    env.ret_rms.var = np.array(25.0)
    replay = filled(12, n_steps=2, gamma=0.5)
    age = lane = th.zeros(1, dtype=th.long)
    plain, normalized = replay.gather(age + 3, lane), replay.gather(age + 3, lane, env)
    expected = (plain.observations - th.tensor([1.0, 2.0])) / th.tensor([2.0, 3.0])
    th.testing.assert_close(normalized.observations, expected, rtol=1e-5, atol=1e-5)
    th.testing.assert_close(normalized.rewards, plain.rewards / 5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_steps": 0}, "n_steps 0 must be at least 1"),
        ({"n_steps": 2}, "gamma must be given with n_steps 2"),
        ({"optimize_memory_usage": True}, "optimize_memory_usage=True is for PrioritizedReplayBuffer"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceReplayBuffer(10, OBS, ACT, "cpu", **keywords)


def test_images_and_an_empty_replay_are_refused() -> None:
    with pytest.raises(ValueError, match="holds vectors, not"):
        DeviceReplayBuffer(10, spaces.Box(0, 255, (3, 4, 4), np.uint8), ACT, "cpu")
    with pytest.raises(ValueError, match="no transition is stored"):
        DeviceReplayBuffer(10, OBS, ACT, "cpu").sample(1)
