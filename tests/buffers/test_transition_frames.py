"""Frames of a stack that are stored once give the same batches, and take the memory of once."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecTransposeImage
from support.checks import EverySampler
from support.places import (
    N_ACTIONS,
    N_FRAMES,
    SPACES,
)
from support.transitions import (
    World,
    assert_holds,
    assert_same_samples,
    make_buffer,
)

from sb3_ext.buffers import (
    PrioritizedReplayBuffer,
    PrioritizedSamples,
    Uniform,
)


@pytest.mark.parametrize("kind", ["stack", "colour", "dict"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_frames_stored_once_give_the_same_batches(kind: str, n_envs: int) -> None:
    results: list[list[PrioritizedSamples]] = []
    for n_frames in (1, N_FRAMES[kind]):
        set_random_seed(0)
        world = World(kind, n_envs, 3, 2000, seed=1, n_frames=n_frames)
        buffer = make_buffer(world, Uniform())
        results.append([])
        for i in range(300):
            buffer.add(**world.transition())
            if i > 10:
                results[-1].append(buffer.sample(16))
    for whole, once in zip(*results, strict=True):
        assert_same_samples(whole, once, leaves=False)


def atari_like(cells: int, once: bool) -> tuple[PrioritizedReplayBuffer, int]:
    """Episodes of 200 steps of 4 stacked 84x84 frames, as many as fill the ring and more."""
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    buffer = PrioritizedReplayBuffer(cells, space, spaces.Discrete(18), "cpu", 1, once, n_steps=3, gamma=0.99)
    rng = np.random.default_rng(0)
    n_adds = int(cells * 1.2)
    for t in range(n_adds):
        if t % 200 == 0:
            obs = rng.integers(0, 256, size=(1, *space.shape), dtype=np.uint8)
        after = np.concatenate((obs[:, 1:], rng.integers(0, 256, size=(1, 1, 84, 84), dtype=np.uint8)), axis=1)
        buffer.add(obs, after, np.zeros(1), np.zeros(1), np.array([t % 200 == 199]), [{}])
        obs = after
    return buffer, n_adds


@pytest.mark.parametrize(("once", "most"), [(True, 7_300), (False, 28_700)])
def test_bytes_of_an_atari_step(once: bool, most: int) -> None:
    """Everything that stays allocated, by the transitions that can be drawn. SB3's buffer takes 56 448 and more."""
    atari_like(50, once)  # loads numba, where it is installed, before memory is looked at
    tracemalloc.start()
    buffer, _ = atari_like(2000, once)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    per_step = taken / buffer.n_drawable
    print(f"{per_step:.0f} bytes per Atari step, frames stored once: {once}")
    assert 7_056 * (1 if once else 4) < per_step < most


class Frames(gym.Env[Any, Any]):
    """Counts its steps on a small screen, channels last; ends after 9, 1, 5, 14 steps, every second time by a limit."""

    def __init__(self, number: int, channels: int) -> None:
        self.observation_space = spaces.Box(0, 255, (40, 36, channels), np.uint8)
        self.action_space: spaces.Space[Any] = spaces.Discrete(2)
        self.number, self.episode = number, -1

    def _obs(self) -> np.ndarray:
        assert self.observation_space.shape is not None
        x = np.full(self.observation_space.shape, self.number, dtype=np.uint8)
        x[0, 0], x[0, 1] = self.episode, self.t
        return x

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t >= (9, 1, 5, 14)[self.episode % 4]
        return self._obs(), 1.0, over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}


def stacked_by_vec_env(channels: int) -> VecEnv:
    return VecTransposeImage(VecFrameStack(DummyVecEnv([partial(Frames, n, channels) for n in range(2)]), 4))


def stacked_by_gymnasium(channels: int) -> VecEnv:
    def make(number: int) -> gym.Env:
        grey = gym.wrappers.TransformObservation(
            Frames(number, 1), lambda x: x[..., 0], spaces.Box(0, 255, (40, 36), np.uint8)
        )
        return gym.wrappers.FrameStackObservation(grey, 4)

    return DummyVecEnv([partial(make, n) for n in range(2)])


@pytest.mark.parametrize(
    ("make", "channels"), [(stacked_by_vec_env, 1), (stacked_by_vec_env, 3), (stacked_by_gymnasium, 1)]
)
def test_the_stacks_of_real_wrappers_are_understood(make: Callable[[int], VecEnv], channels: int) -> None:
    """Through DQN, a second ``learn`` included, which resets the environments in the middle of their episodes."""
    written: list[tuple[bytes, bytes, float]] = []

    class Watching(PrioritizedReplayBuffer):
        def add(self, *args: Any, **kwargs: Any) -> None:
            obs, next_obs, _, reward, *_ = args
            written.extend((o.tobytes(), n.tobytes(), float(r)) for o, n, r in zip(obs, next_obs, reward, strict=True))
            super().add(*args, **kwargs)

    model = DQN(
        "CnnPolicy",
        make(channels),
        policy_kwargs={"net_arch": [8], "features_extractor_kwargs": {"features_dim": 8}},
        buffer_size=1000,
        learning_starts=40,
        train_freq=20,
        batch_size=8,
        replay_buffer_class=Watching,
        replay_buffer_kwargs={"frame_channels": channels, "sampler": EverySampler()},
        optimize_memory_usage=True,
    )
    model.learn(100)
    with pytest.warns(UserWarning, match="last trajectory in the replay buffer will be truncated"):
        model.learn(60)
    assert isinstance(model.replay_buffer, PrioritizedReplayBuffer)
    assert model.replay_buffer.frame_channels == channels
    samples = model.replay_buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert isinstance(samples.next_observations, th.Tensor)
    found = [
        (o.numpy().tobytes(), n.numpy().tobytes(), r.item())
        for o, n, r in zip(samples.observations, samples.next_observations, samples.rewards, strict=True)
    ]
    assert sorted(found) == sorted(written)
    assert len(found) == model.num_timesteps + 120


def test_a_stack_that_is_not_moved_on_by_one_frame_is_refused() -> None:
    world = World("stack", 3, 1, 50, n_frames=4)
    buffer = make_buffer(world)
    for _ in range(3):
        buffer.add(**world.transition({}))
    before, good = pickle.dumps(buffer), world.transition({})
    bad = {**good, "next_obs": good["next_obs"].copy()}
    bad["next_obs"][1, 1, 0, 0] += 1
    message = r"next_obs of env 1 is not its obs moved on .*frame_channels 1.*optimize_memory_usage=False"
    with pytest.raises(ValueError, match=message) as error:
        buffer.add(**bad)
    assert "\n" not in str(error.value)
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


def test_two_channels_a_frame_where_there_are_three_is_refused_at_the_first_step() -> None:
    buffer = PrioritizedReplayBuffer(
        50, SPACES["colour"], spaces.Discrete(N_ACTIONS), "cpu", 1, True, frame_channels=2, sampler=EverySampler()
    )
    with pytest.raises(ValueError, match="set frame_channels to the channels of one frame"):
        buffer.add(**World("colour", 1, 1, 50).transition({}))


def test_vectors_with_optimized_memory_are_stored_whole() -> None:
    world = World("vector", 2, 3, 50)
    buffer = make_buffer(world, optimize_memory_usage=True, frame_channels=5)
    for _ in range(100):
        buffer.add(**world.transition())
    assert_holds(buffer, world)
