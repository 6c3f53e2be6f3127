"""What a batch of windows holds, and priorities that come late."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.checks import EverySampler
from support.places import (
    IMAGE,
    N_ACTIONS,
    VECTOR,
)
from support.windows import (
    SMALL,
    Geometry,
    World,
    assert_holds,
    by_beginning,
    make_buffer,
    played,
)

from sb3_ext import nested
from sb3_ext.buffers import (
    Proportional,
    Sampler,
    SequenceReplayBuffer,
)


def lane_of_short_episodes(sampler: Sampler) -> tuple[SequenceReplayBuffer, World]:
    world, buffer = World("vector", 1, SMALL, 24, 0), make_buffer("vector", 1, SMALL, 24, sampler)
    for _ in range(6):
        play(buffer, world, 3)
    return buffer, world


def proportional(buffer: SequenceReplayBuffer) -> Proportional:
    assert isinstance(buffer.sampler, Proportional)
    return buffer.sampler


def play(buffer: SequenceReplayBuffer, world: World, length: int) -> None:
    for step in range(length):
        buffer.add(**world.transition({0: "terminated"} if step == length - 1 else {}))


def test_late_priorities_do_not_revive_overwritten_windows() -> None:
    set_random_seed(0)
    buffer, world = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    handle = buffer.sample(64).handle
    assert len(set(handle.leaves.tolist())) == 6
    for _ in range(8):  # all six are overwritten, their leaves serve other windows
        play(buffer, world, 3)
    before = sampler.masses(np.arange(64))
    buffer.update_priorities(handle, np.full(64, 1000.0))
    np.testing.assert_array_equal(sampler.masses(np.arange(64)), before)
    assert sampler.max_priority == 1.0
    fresh = buffer.sample(64).handle
    buffer.update_priorities(fresh, np.full(64, 3.0))
    assert set(sampler.masses(fresh.leaves).tolist()) == {3.0}


def test_priorities_of_windows_of_which_some_are_gone() -> None:
    set_random_seed(0)
    buffer, world = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    samples = buffer.sample(64)
    assert isinstance(samples.observations, th.Tensor)
    trajectories = samples.observations[:, 0, 1].numpy()
    play(buffer, world, 3)  # overwrites the first episode
    buffer.update_priorities(samples.handle, 10.0 + trajectories)
    later = buffer.sample(64)
    assert isinstance(later.observations, th.Tensor)
    number = later.observations[:, 0, 1].numpy()
    assert set(number.tolist()) == {1, 2, 3, 4, 5, 6}
    # The newest window came in at the highest priority of its time, 1.
    np.testing.assert_array_equal(sampler.masses(later.handle.leaves), np.where(number < 6, 10.0 + number, 1.0))


def test_priorities_from_before_a_reset_are_dropped() -> None:
    set_random_seed(0)
    buffer, _ = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    handle = buffer.sample(64).handle
    buffer.reset()
    buffer.update_priorities(handle, np.full(64, 1000.0))
    world = World("vector", 1, SMALL, 24, 0)
    buffer.add(**world.transition({}))  # leaves are in use again, but no window is complete
    buffer.update_priorities(handle, np.full(64, 1000.0))
    assert buffer.n_drawable == 0
    assert not sampler.masses(np.arange(64)).any()


class Blank(gym.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(N_ACTIONS)


def test_vec_normalize_is_applied_when_sampling() -> None:
    """Cells stay raw: newer statistics give other samples of the same windows. Padding has reward 0 all the same."""
    buffer = played(7)
    env = VecNormalize(DummyVecEnv([lambda: Blank(VECTOR)]), clip_obs=1e9, clip_reward=1e9)
    raw = buffer.sample(1)
    for mean, var in ((0.0, 1.0), (3.0, 4.0)):
        statistics: Any = env.obs_rms  # SB3 declares it a dict
        statistics.mean, statistics.var = np.full(3, mean), np.full(3, var)
        env.ret_rms.var = np.array(var * 25)
        samples = buffer.sample(1, env)
        for name in ("observations", "burn_in_observations"):
            expected = (getattr(raw, name).numpy() - mean) / np.sqrt(var + env.epsilon)
            np.testing.assert_allclose(getattr(samples, name).numpy(), expected, rtol=1e-5, atol=1e-6)
            assert getattr(samples, name).dtype == th.float32
        np.testing.assert_allclose(samples.rewards.numpy(), raw.rewards.numpy() / np.sqrt(25 * var), rtol=1e-5)
        for name in ("mask", "terminated", "actions", "burn_in_lengths"):
            assert th.equal(getattr(samples, name), getattr(raw, name))
    assert th.equal(buffer.sample(1).rewards, raw.rewards)


def test_vec_normalize_of_some_keys() -> None:
    space = spaces.Dict({"vector": VECTOR, "image": IMAGE})
    world = World("dict", 1, SMALL, 50, 0)
    buffer = SequenceReplayBuffer(
        50, space, spaces.Discrete(N_ACTIONS), "cpu", sampler=EverySampler(), **SMALL._asdict()
    )
    for step in range(6):
        buffer.add(**world.transition({0: "truncated"} if step == 5 else {}))
    env = VecNormalize(DummyVecEnv([lambda: Blank(space)]), norm_obs_keys=["vector"], clip_obs=1e9)
    env.obs_rms["vector"].mean = np.full(3, 2.0)
    raw, samples = buffer.sample(1), buffer.sample(1, env)
    assert isinstance(raw.observations, dict)
    assert isinstance(samples.observations, dict)
    expected = (raw.observations["vector"].numpy() - 2.0) / np.sqrt(1 + env.epsilon)
    np.testing.assert_allclose(samples.observations["vector"].numpy(), expected, rtol=1e-5)
    assert th.equal(samples.observations["image"], raw.observations["image"])
    assert samples.observations["image"].dtype == th.uint8


def test_float64_observations_become_float32() -> None:
    """Also where the number has no exact float32: the next observation is still recognised as the one given before."""
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    buffer = SequenceReplayBuffer(50, space, spaces.Discrete(2), "cpu", sampler=EverySampler(), **SMALL._asdict())
    observations = np.random.default_rng(0).normal(size=(8, 1, 2))
    for t in range(7):
        end = np.array([t == 6])
        buffer.add(observations[t], observations[t + 1], np.zeros(1), np.array([t], dtype=np.int64), end, [{}])
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert samples.observations.dtype == th.float32
    assert samples.rewards.dtype == th.float32
    np.testing.assert_array_equal(samples.observations[0, :, 0].numpy(), observations[:7, 0, 0].astype(np.float32))


def test_what_was_added_and_what_was_drawn_are_copies() -> None:
    """A VecEnv may write into its arrays, a caller into a batch: the cells do not change."""
    buffer, world = make_buffer("vector", 1, SMALL, 50), World("vector", 1, SMALL, 50, 0)
    for step in range(6):
        given = world.transition({0: "terminated"} if step == 5 else {})
        buffer.add(**given)
        for x in (given["obs"], given["next_obs"], given["reward"], *given["states"]):
            x += 1000
    assert_holds(buffer, world)
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    states = list(nested.leaves(samples.states))
    for tensor in (samples.observations, samples.rewards, *states, samples.burn_in_lengths, samples.mask):
        tensor += 1000
    samples.handle.generations[:] = -7
    assert_holds(buffer, world)


def test_importance_weights_come_with_the_sample() -> None:
    set_random_seed(0)
    buffer, _ = lane_of_short_episodes(Proportional(alpha=1.0, beta=0.5, beta_final=1.0))
    handle = buffer.sample(64).handle
    buffer.update_priorities(handle, 1.0 + handle.leaves % 4)
    for progress_remaining, beta in ((1.0, 0.5), (0.0, 1.0)):
        samples = buffer.sample(32, progress_remaining=progress_remaining)
        raw = (1.0 + samples.handle.leaves % 4) ** -beta
        np.testing.assert_allclose(samples.weights.numpy(), raw / raw.max(), rtol=1e-6)


def test_burn_in_offsets_are_the_lengths_that_occur() -> None:
    for geometry in (SMALL, Geometry(5, 4, 1, 2), Geometry(0, 4, 1, 2), Geometry(7, 3, 1, 1), Geometry(3, 8, 1, 8)):
        buffer = played(40, geometry=geometry)
        assert buffer.burn_in_offsets == tuple(sorted({w["burn_in_length"] for w in by_beginning(buffer).values()}))
