"""
The transition replay against its dumb twin, which keeps whole episodes in lists and sums their rewards in a loop.

Every number that goes in tells where it comes from (lane, trajectory, step), so no item can mix two places unseen.
"""

from __future__ import annotations

import pickle
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, VecTransposeImage
from support.checks import EverySampler, assert_frequencies

from sb3_ext.buffers import (
    Column,
    GreedyPriority,
    Handle,
    PrioritizedReplayBuffer,
    PrioritizedSamples,
    Proportional,
    RankBased,
    Sampler,
    Uniform,
)

GAMMA = 0.9
N_ACTIONS = 7
Parts = dict[str, np.ndarray]


# ---------------------------------------------------------------------- observations that say where they come from


class Place(NamedTuple):
    lane: int
    trajectory: int
    step: int


def as_vector(place: Place) -> np.ndarray:
    return np.array(place, dtype=np.float32)


def as_number(place: Place) -> np.ndarray:
    return np.array([place.lane + 8 * (place.step + 4096 * place.trajectory)])


def as_frame(place: Place, channels: int) -> np.ndarray:
    lane, trajectory, step = place
    digits = [lane, trajectory // 256, trajectory % 256, (step + 9) // 256, (step + 9) % 256, 9]
    return (
        np.array([digits] * channels, dtype=np.uint8).reshape(channels, 2, 3)
        + np.arange(channels, dtype=np.uint8)[:, None, None]
    )


def as_stack(place: Place, n_frames: int, channels: int) -> np.ndarray:
    """Newest last. The frames before an episode's first are its own: what a wrapper fills in does not matter."""
    steps = range(place.step - n_frames + 1, place.step + 1)
    return np.concatenate([as_frame(place._replace(step=step), channels) for step in steps])


VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
NUMBER = spaces.Discrete(2**40)
WRITERS: dict[str, Callable[[Place], np.ndarray]] = {
    "vector": as_vector,
    "number": as_number,
    "image": lambda place: as_stack(place, 1, 1),
    "stack": lambda place: as_stack(place, 4, 1),
    "colour": lambda place: as_stack(place, 2, 3),
}
SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "number": NUMBER,
    "image": spaces.Box(0, 255, (1, 2, 3), np.uint8),
    "stack": spaces.Box(0, 255, (4, 2, 3), np.uint8),
    "colour": spaces.Box(0, 255, (6, 2, 3), np.uint8),
}
DICT_KEYS = ("vector", "number", "stack", "image")
SPACES["dict"] = spaces.Dict({key: SPACES[key] for key in DICT_KEYS})
N_FRAMES = {"stack": 4, "colour": 2, "dict": 4}
CHANNELS = {"colour": 3}


def parts_of(kind: str, place: Place) -> Parts:
    """:return: one stored observation, per key ("" where the space is no Dict)"""
    if kind == "dict":
        return {key: WRITERS[key](place) for key in DICT_KEYS}
    return {"": WRITERS[kind](place)}


def from_vec_env(kind: str, places: list[Place]) -> Any:
    """:return: observations as a VecEnv returns them: [E, ...], a dict of such, [E] for Discrete"""
    stacked = {key: np.stack([parts_of(kind, place)[key] for place in places]) for key in parts_of(kind, places[0])}
    for key in stacked:
        if (key or kind) == "number":
            stacked[key] = stacked[key].reshape(len(places))
    return stacked if kind == "dict" else stacked[""]


def discrete_action(place: Place) -> np.ndarray:
    return np.array([(place.lane + 3 * place.trajectory + 5 * place.step) % N_ACTIONS])


def box_action(place: Place) -> np.ndarray:
    return np.array([place.step, place.trajectory], dtype=np.float32) / 1000


def reward_at(place: Place) -> float:
    return 1.0 + place.lane + 0.25 * place.step + 100.0 * place.trajectory


# ---------------------------------------------------------------------- the dumb twin


@dataclass
class Trajectory:
    number: int
    first_cell: int
    n_steps: int = 0
    closed: bool = False
    terminated: bool = False


@dataclass
class Lane:
    n_cells: int = 0
    trajectories: list[Trajectory] = field(default_factory=list)


class Item(NamedTuple):
    """What the buffer must return for one transition, without the batch axis."""

    observation: Parts
    action: np.ndarray
    next_observation: Parts
    done: float
    reward: float
    discount: float


class World:
    """
    Random episodes on several lanes, and the n-step transitions that a buffer must hold of them.

    :param lane_cells: length of a lane's ring
    :param n_frames: frames that an episode's first observation takes, 1 = observations are stored whole
    """

    def __init__(
        self,
        kind: str,
        n_envs: int,
        n_steps: int,
        lane_cells: int,
        seed: int = 0,
        n_frames: int = 1,
        box_actions: bool = False,
        lengths: tuple[float, ...] = (1.3, 6.0, 40.0),
    ) -> None:
        self.kind, self.n_envs, self.n_steps = kind, n_envs, n_steps
        self.lane_cells, self.n_frames = lane_cells, n_frames
        self.action = box_action if box_actions else discrete_action
        self.rng = np.random.default_rng(seed)
        self.lengths, self.mean_length = lengths, lengths[-1]
        self.lanes = [Lane() for _ in range(n_envs)]

    def current(self, lane: int) -> Trajectory:
        trajectories = self.lanes[lane].trajectories
        if not trajectories or trajectories[-1].closed:
            trajectories.append(Trajectory(len(trajectories), self.lanes[lane].n_cells))
            self.lanes[lane].n_cells += self.n_frames
        return trajectories[-1]

    def transition(self, ends: dict[int, str] | None = None) -> dict[str, Any]:
        """
        One step of every lane.

        :param ends: lane -> "terminated" or "truncated"; None = at random
        :return: arguments of ``add``
        """
        if ends is None:
            if self.rng.random() < 0.03:
                self.mean_length = float(self.rng.choice(self.lengths))
            lanes = [lane for lane in range(self.n_envs) if self.rng.random() < 1 / self.mean_length]
            ends = {lane: str(self.rng.choice(["terminated", "truncated"])) for lane in lanes}
        before, after, infos = [], [], []
        for lane in range(self.n_envs):
            trajectory = self.current(lane)
            before.append(Place(lane, trajectory.number, trajectory.n_steps))
            after.append(Place(lane, trajectory.number, trajectory.n_steps + 1))
            trajectory.n_steps += 1
            self.lanes[lane].n_cells += 1
            trajectory.closed = lane in ends
            trajectory.terminated = ends.get(lane) == "terminated"
            infos.append({"TimeLimit.truncated": ends[lane] == "truncated"} if lane in ends else {})
        return {
            "obs": from_vec_env(self.kind, before),
            "next_obs": from_vec_env(self.kind, after),
            "action": np.stack([self.action(place) for place in before]),
            "reward": np.array([reward_at(place) for place in before]),
            "done": np.array([lane in ends for lane in range(self.n_envs)]),
            "infos": infos,
        }

    def can_be_broken(self) -> bool:
        return all(lane.trajectories and lane.trajectories[-1].n_steps > 1 for lane in self.lanes)

    def cut(self) -> None:
        for lane in self.lanes:
            if lane.trajectories:
                lane.trajectories[-1].closed = True

    def items(self) -> dict[Place, Item]:
        """All items that can be drawn now, by the place of their observation."""
        items = {}
        for e, lane in enumerate(self.lanes):
            for trajectory in lane.trajectories[-self.lane_cells :]:
                for step in range(trajectory.n_steps):
                    complete = trajectory.closed or step + self.n_steps <= trajectory.n_steps
                    # The oldest frame of the observation is its number's cell, counted from the trajectory's first.
                    intact = trajectory.first_cell + step >= lane.n_cells - self.lane_cells
                    if complete and intact:
                        items[Place(e, trajectory.number, step)] = self.item(
                            trajectory, Place(e, trajectory.number, step)
                        )
        return items

    def item(self, trajectory: Trajectory, place: Place) -> Item:
        total, discount, step = 0.0, 1.0, place.step
        while step < trajectory.n_steps and step < place.step + self.n_steps:
            total += discount * reward_at(place._replace(step=step))
            discount *= GAMMA
            step += 1
        return Item(
            parts_of(self.kind, place),
            self.action(place),
            parts_of(self.kind, place._replace(step=step)),
            float(trajectory.terminated and step == trajectory.n_steps),
            total,
            discount,
        )


def make_buffer(world: World, sampler: Sampler | None = None, **kwargs: Any) -> PrioritizedReplayBuffer:
    actions: spaces.Space[Any] = spaces.Discrete(N_ACTIONS)
    if world.action is box_action:
        actions = spaces.Box(-10, 10, (2,), np.float32)
    keywords: dict[str, Any] = {"n_steps": world.n_steps, "gamma": GAMMA, **kwargs}
    if world.n_frames > 1:
        keywords |= {"optimize_memory_usage": True, "frame_channels": CHANNELS.get(world.kind, 1)}
    return PrioritizedReplayBuffer(
        world.lane_cells * world.n_envs,
        SPACES[world.kind],
        actions,
        "cpu",
        n_envs=world.n_envs,
        sampler=EverySampler() if sampler is None else sampler,
        **keywords,
    )


def numpy_parts(observations: Any) -> Parts:
    parts = observations if isinstance(observations, dict) else {"": observations}
    return {key: x.numpy() for key, x in parts.items()}


def places_of(samples: PrioritizedSamples, known: dict[Place, Item]) -> list[Place]:
    """Which item each row is, read from its observation."""
    by_bytes = {b"".join(x.tobytes() for x in item.observation.values()): place for place, item in known.items()}
    found = numpy_parts(samples.observations)
    keys = list(next(iter(known.values())).observation)
    return [by_bytes[b"".join(found[key][row].tobytes() for key in keys)] for row in range(len(samples.weights))]


def assert_holds(buffer: PrioritizedReplayBuffer, world: World) -> None:
    """The buffer's items are exactly the world's: none missing, none too many, every field of every one equal."""
    expected = world.items()
    assert buffer.n_drawable == len(expected)
    if not expected:
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)
        return
    samples = buffer.sample(len(expected))
    places = places_of(samples, expected)
    assert sorted(places) == sorted(expected)
    assert_equal(samples, [expected[place] for place in places])


def assert_equal(samples: PrioritizedSamples, items: list[Item]) -> None:
    for name in ("observation", "next_observation"):
        for key, x in numpy_parts(getattr(samples, f"{name}s")).items():
            one_by_one = np.stack([getattr(item, name)[key] for item in items])
            assert x.dtype == one_by_one.dtype
            np.testing.assert_array_equal(x, one_by_one)
    np.testing.assert_array_equal(samples.actions.numpy(), np.stack([item.action for item in items]))
    assert samples.actions.dtype in (th.int64, th.float32)
    assert samples.discounts is not None
    for tensor, values in (
        (samples.dones, [item.done for item in items]),
        (samples.rewards, [item.reward for item in items]),
        (samples.discounts, [item.discount for item in items]),
    ):
        assert (tensor.shape, tensor.dtype) == ((len(items), 1), th.float32)
        np.testing.assert_allclose(tensor.numpy()[:, 0], values, rtol=1e-6)


# ---------------------------------------------------------------------- random episodes, every item checked

CASES = [
    # observations; E; n; cells of a lane (None: as few as can be); frames stored once; Box actions; adds
    ("vector", 1, 1, 30, False, False, 700),
    ("vector", 1, 3, 30, False, True, 700),
    ("vector", 2, 5, 40, False, False, 500),
    ("vector", 3, 4, None, False, True, 700),
    ("vector", 4, 2, None, False, False, 500),
    ("number", 3, 3, 17, False, False, 500),
    ("image", 2, 2, 25, False, False, 500),
    ("dict", 2, 3, 30, False, True, 400),
    ("stack", 2, 2, 30, False, False, 400),
    ("stack", 1, 1, 30, True, False, 700),
    ("stack", 1, 3, None, True, False, 900),
    ("stack", 3, 3, 40, True, False, 400),
    ("stack", 4, 5, 23, True, False, 400),
    ("colour", 2, 2, None, True, True, 700),
    ("colour", 1, 4, 30, True, False, 700),
    ("dict", 1, 1, None, True, False, 600),
    ("dict", 3, 2, 29, True, False, 300),
]


@pytest.mark.parametrize(("kind", "n_envs", "n_steps", "cells", "once", "box_actions", "n_adds"), CASES)
def test_every_item_equals_its_episode(
    kind: str, n_envs: int, n_steps: int, cells: int | None, once: bool, box_actions: bool, n_adds: int
) -> None:
    """
    Random episodes (length 1 upwards), terminations, truncations, cuts and resets that nobody announces, the ring
    wrapping around many times. In between the buffer is pickled and gets priorities of items that are gone.
    """
    n_frames = N_FRAMES.get(kind, 1) if once else 1
    lane_cells = n_steps + n_frames if cells is None else cells
    world = World(kind, n_envs, n_steps, lane_cells, n_adds + n_steps, n_frames, box_actions)
    buffer = make_buffer(world)
    rng = np.random.default_rng(n_adds)
    handle: Handle | None = None
    handle_places: list[Place] = []
    for i in range(n_adds):
        if rng.random() < 0.02 and world.can_be_broken():
            world.cut()
            if rng.random() < 0.5:  # otherwise the buffer finds out by itself
                buffer.cut()
                assert_holds(buffer, world)
        buffer.add(**world.transition())
        if i % 100 == 50:
            buffer = pickle.loads(pickle.dumps(buffer))
        if cells is None or rng.random() < 0.2:
            assert_holds(buffer, world)
        if i % 20 == 0 and buffer.n_drawable:
            samples = buffer.sample(1)
            handle, handle_places = samples.handle, places_of(samples, world.items())
        if i % 20 == 9 and handle is not None:
            buffer.update_priorities(handle, np.full(len(handle.leaves), 5.0))
            left = [leaf for leaf, place in zip(handle.leaves, handle_places, strict=True) if place in world.items()]
            assert isinstance(buffer.sampler, EverySampler)
            assert buffer.sampler.updated == left
    assert_holds(buffer, world)
    assert min(lane.n_cells for lane in world.lanes) > 8 * lane_cells


def test_the_random_episodes_are_many_and_varied() -> None:
    assert sum(case[1] * case[-1] for case in CASES) >= 15_000
    world = World("vector", 4, 3, 100)
    for _ in range(2000):
        world.transition()
    lengths = [t.n_steps for lane in world.lanes for t in lane.trajectories if t.closed]
    ends = [t.terminated for lane in world.lanes for t in lane.trajectories if t.closed]
    assert lengths.count(1) > 100
    assert max(lengths) > 50
    assert 0.4 < np.mean(ends) < 0.6


# ---------------------------------------------------------------------- n-step returns, small enough to read


def played(
    length: int, end: str | None, n_steps: int = 3, lane_cells: int = 50, kind: str = "vector", **kwargs: Any
) -> PrioritizedReplayBuffer:
    """One lane with one episode of this length; observation [0, 0, step], reward 1 + step / 4."""
    world = World(kind, 1, n_steps, lane_cells)
    buffer = make_buffer(world, **kwargs)
    for step in range(length):
        buffer.add(**world.transition({0: end} if end is not None and step == length - 1 else {}))
    return buffer


def by_step(buffer: PrioritizedReplayBuffer) -> dict[int, tuple[Any, ...]]:  # Any: pytest's approx
    """step -> (step of the next observation, reward, done, discount)"""
    s = buffer.sample(1)
    assert isinstance(s.observations, th.Tensor)
    assert isinstance(s.next_observations, th.Tensor)
    assert s.discounts is not None
    return {
        int(s.observations[row, 2]): (
            int(s.next_observations[row, 2]),
            pytest.approx(s.rewards[row, 0].item()),
            int(s.dones[row, 0]),
            pytest.approx(s.discounts[row, 0].item()),
        )
        for row in range(len(s.weights))
    }


TAIL = {3: (5, 1.75 + 0.9 * 2.0, 0, 0.81), 4: (5, 2.0, 0, 0.9)}


def test_trap_03_a_truncation_only_shortens_and_a_termination_ends_the_bootstrap() -> None:
    whole = {
        0: (3, 1 + 0.9 * 1.25 + 0.81 * 1.5, 0, 0.729),
        1: (4, 1.25 + 0.9 * 1.5 + 0.81 * 1.75, 0, 0.729),
        2: (5, 1.5 + 0.9 * 1.75 + 0.81 * 2.0, 0, 0.729),
    }
    assert by_step(played(5, None)) == whole
    assert by_step(played(5, "truncated")) == whole | TAIL
    cut = played(5, None)
    cut.cut()
    assert by_step(cut) == whole | TAIL
    terminated = by_step(played(5, "terminated"))
    assert terminated == {t: (*item[:2], int(t >= 2), item[3]) for t, item in (whole | TAIL).items()}


def test_without_timeout_handling_every_end_is_a_termination() -> None:
    assert by_step(played(2, "truncated", handle_timeout_termination=False))[1] == (2, 1.25, 1, 0.9)


def test_an_item_can_be_drawn_when_its_last_observation_is_stored() -> None:
    assert sorted(by_step(played(3, None))) == [0]
    with pytest.raises(ValueError, match=r"nothing can be drawn yet: .* 3 n_steps: set learning_starts >= 3"):
        played(2, None).sample(1)
    assert sorted(by_step(played(2, "truncated"))) == [0, 1]


def test_an_item_goes_before_its_cell_is_overwritten() -> None:
    """n + 1 cells: each item can be drawn after exactly one step."""
    assert [sorted(by_step(played(length, None, lane_cells=4))) for length in range(3, 9)] == [[t] for t in range(6)]
    assert sorted(by_step(played(8, None, lane_cells=6))) == [3, 4, 5]


def test_the_first_observation_of_the_next_episode_is_never_the_last_of_this() -> None:
    world = World("vector", 1, 3, 50)
    buffer = make_buffer(world)
    for end in ({}, {}, {0: "truncated"}, {}, {}, {}):
        buffer.add(**world.transition(end))
    samples = buffer.sample(1)
    assert isinstance(samples.next_observations, th.Tensor)
    assert samples.next_observations[:, 1:].tolist() == [[0, 3], [0, 3], [0, 3], [1, 3]]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_gamma(gamma: float) -> None:
    item = by_step(played(3, None, gamma=gamma))[0]
    assert item == (3, 1 + gamma * 1.25 + gamma**2 * 1.5, 0, gamma**3)


# ---------------------------------------------------------------------- against SB3's own buffers


def as_numpy(samples: ReplayBufferSamples | DictReplayBufferSamples | PrioritizedSamples) -> dict[str, np.ndarray]:
    arrays = {f"obs {key}": x for key, x in numpy_parts(samples.observations).items()}
    arrays |= {f"next {key}": x for key, x in numpy_parts(samples.next_observations).items()}
    return arrays | {name: getattr(samples, name).numpy() for name in ("actions", "dones", "rewards")}


class Blank(gym.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(N_ACTIONS)


def normalizing(kind: str) -> VecNormalize:
    keys = ["vector"] if kind == "dict" else None
    env = VecNormalize(DummyVecEnv([lambda: Blank(SPACES[kind])]), norm_obs_keys=keys, clip_obs=50.0, clip_reward=20.0)
    statistics: Any = env.obs_rms
    one = statistics["vector"] if keys else statistics
    one.mean, one.var = np.full(3, 2.0), np.full(3, 4.0)
    env.ret_rms.var = np.array(9.0)
    return env


@pytest.mark.parametrize(
    ("kind", "normalize"),
    [("vector", False), ("vector", True), ("number", False), ("image", False), ("dict", False), ("dict", True)],
)
@pytest.mark.parametrize("box_actions", [False, True])
def test_fields_are_those_of_sb3s_buffer(kind: str, normalize: bool, box_actions: bool) -> None:
    """n_steps = 1, one environment, every transition: values, shapes and dtypes."""
    world = World(kind, 1, 1, 1000, box_actions=box_actions)
    ours = make_buffer(world, gamma=None)
    cls = DictReplayBuffer if kind == "dict" else ReplayBuffer
    theirs = cls(500, ours.observation_space, ours.action_space, "cpu")  # type: ignore[arg-type]
    for _ in range(300):
        transition = world.transition()
        ours.add(**transition)
        theirs.add(**transition)
    env = normalizing(kind) if normalize else None
    samples = ours.sample(1, env)
    assert samples._fields[:6] == ReplayBufferSamples._fields
    assert samples.discounts is None  # as theirs: the algorithm uses its own gamma
    expected = as_numpy(theirs._get_samples(np.arange(300), env))
    for name, x in as_numpy(samples).items():
        assert (x.dtype, x.shape) == (expected[name].dtype, expected[name].shape), name
        np.testing.assert_array_equal(x, expected[name])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n_steps", [2, 3, 5])
def test_returns_are_those_of_sb3s_n_step_buffer(n_steps: int, normalize: bool) -> None:
    """Where both have the item: SB3's also gives those at the end of the data, cut short there."""
    world = World("vector", 1, n_steps, 1000)
    ours = make_buffer(world)
    theirs = NStepReplayBuffer(500, VECTOR, ours.action_space, "cpu", n_steps=n_steps, gamma=GAMMA)
    for _ in range(300):
        transition = world.transition()
        ours.add(**transition)
        theirs.add(**transition)
    env = normalizing("vector") if normalize else None
    samples = ours.sample(1, env)
    n_items = len(samples.weights)
    assert 300 - n_steps < n_items <= 300
    sb3 = theirs._get_samples(np.arange(n_items), env)
    assert samples.discounts is not None
    assert sb3.discounts is not None
    np.testing.assert_allclose(samples.discounts.numpy(), sb3.discounts.numpy(), rtol=1e-6)
    expected = as_numpy(sb3)
    for name, x in as_numpy(samples).items():
        assert (x.dtype, x.shape) == (expected[name].dtype, expected[name].shape), name
        np.testing.assert_allclose(x, expected[name], rtol=1e-5, err_msg=name)


def test_vec_normalize_clips_each_reward_before_they_are_summed() -> None:
    buffer, env = played(3, None, gamma=1.0), normalizing("vector")
    env.ret_rms.var, env.clip_reward = np.array(1.0), 1.2
    assert buffer.sample(1, env).rewards.item() == pytest.approx(1.0 + 1.2 + 1.2)
    assert buffer.sample(1).rewards.item() == pytest.approx(1.0 + 1.25 + 1.5)  # the cells stay raw


# ---------------------------------------------------------------------- frames stored once


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


# ---------------------------------------------------------------------- who is drawn, and its weight

SAMPLERS: list[Callable[[], Sampler]] = [
    Uniform,
    lambda: Proportional(alpha=0.6),
    lambda: RankBased(alpha=0.8, staleness=0.0),
]


def filled(
    n_envs: int, sampler: Sampler, n_steps: int = 3, n_adds: int = 90, **kwargs: Any
) -> tuple[PrioritizedReplayBuffer, World]:
    world = World("vector", n_envs, n_steps, 30, seed=n_envs)
    buffer = make_buffer(world, sampler, **kwargs)
    for _ in range(n_adds):
        buffer.add(**world.transition())
    return buffer, world


def proportional(buffer: PrioritizedReplayBuffer) -> Proportional:
    assert isinstance(buffer.sampler, Proportional)
    return buffer.sampler


def leaf_of(world: World, place: Place) -> int:
    trajectory = world.lanes[place.lane].trajectories[place.trajectory]
    return place.lane * world.lane_cells + (trajectory.first_cell + place.step) % world.lane_cells


@pytest.mark.parametrize("n_envs", [1, 2, 3, 4])
@pytest.mark.parametrize("which", range(len(SAMPLERS)))
def test_frequencies_over_all_environments(n_envs: int, which: int) -> None:
    """One tree over all lanes: an item's chance depends on its priority and not on its environment."""
    set_random_seed(n_envs)
    buffer, world = filled(n_envs, SAMPLERS[which]())
    items = world.items()
    leaves = np.array([leaf_of(world, place) for place in items])
    priorities = np.random.default_rng(n_envs).exponential(size=len(leaves))
    buffer.update_priorities(Handle(leaves, buffer._generation[leaves]), priorities)
    ranks = (-priorities).argsort().argsort() + 1.0
    shares = [np.ones(len(leaves)), priorities**0.6, ranks**-0.8][which]
    number = {place: i for i, place in enumerate(items)}
    drawn = [number[place] for _ in range(250) for place in places_of(buffer.sample(64), items)]
    assert_frequencies(np.bincount(drawn, minlength=len(items)), shares)


def test_a_leaf_is_lane_times_cells_plus_cell() -> None:
    buffer, world = filled(3, EverySampler())
    samples = buffer.sample(1)
    expected = [leaf_of(world, place) for place in places_of(samples, world.items())]
    assert samples.handle.leaves.tolist() == expected


def test_greedy_draws_are_the_highest_errors() -> None:
    buffer, world = filled(2, GreedyPriority())
    leaves = np.array([leaf_of(world, place) for place in world.items()])
    priorities = np.random.default_rng(0).exponential(size=len(leaves))
    buffer.update_priorities(Handle(leaves, buffer._generation[leaves]), priorities)
    best = leaves[np.argsort(-priorities)]
    first = buffer.sample(8)
    assert first.handle.leaves.tolist() == best[:8].tolist()
    assert first.weights.tolist() == [1.0] * 8
    buffer.update_priorities(first.handle, np.array([0, 0, 9, 0, 0, 0, 8, 0], dtype=np.float32))
    assert buffer.sample(4).handle.leaves.tolist() == [best[2], best[6], best[8], best[9]]


def test_new_transitions_come_first_with_the_highest_priority() -> None:
    set_random_seed(0)
    buffer, world = filled(1, Proportional(alpha=1.0), n_steps=1)
    sampler = proportional(buffer)
    handle = buffer.sample(64).handle
    buffer.update_priorities(handle, np.full(64, 7.0))
    buffer.add(**world.transition({}))
    trajectory = world.lanes[0].trajectories[-1]
    newest = leaf_of(world, Place(0, trajectory.number, trajectory.n_steps - 1))
    assert sampler.masses(np.array([newest])).tolist() == [7.0]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_importance_weights(beta: float) -> None:
    set_random_seed(0)
    buffer, world = filled(2, Proportional(alpha=1.0, beta=beta, beta_final=1.0))
    priorities = {leaf_of(world, place): 1.0 + place.step % 4 for place in world.items()}
    leaves = np.array(list(priorities))
    buffer.update_priorities(Handle(leaves, buffer._generation[leaves]), np.array(list(priorities.values())))
    total, n = sum(priorities.values()), len(priorities)
    for progress_remaining, used in ((1.0, beta), (0.0, 1.0)):
        samples = buffer.sample(32, progress_remaining=progress_remaining)
        raw = [(n * priorities[leaf] / total) ** -used for leaf in samples.handle.leaves.tolist()]
        np.testing.assert_allclose(samples.weights.numpy(), [w / max(raw) for w in raw], rtol=1e-5)
        assert (samples.weights.dtype, samples.weights.shape) == (th.float32, (32,))
    assert buffer._get_samples(samples.handle.leaves).weights.tolist() == [1.0] * 32


@pytest.mark.parametrize("optimize", [False, True])
def test_late_priorities_do_not_reach_what_has_replaced_their_transition(optimize: bool) -> None:
    set_random_seed(0)
    world = World("stack", 2, 3, 24, n_frames=4 if optimize else 1)
    buffer = make_buffer(world, Proportional(alpha=1.0))
    sampler = proportional(buffer)
    for _ in range(30):
        buffer.add(**world.transition())
    handle = buffer.sample(256).handle
    drawn = set(handle.leaves.tolist())
    assert len(drawn) == buffer.n_drawable
    for i in range(1, 80):
        buffer.add(**world.transition())
        masses = sampler.masses(np.arange(48))
        buffer.update_priorities(handle, np.full(256, 5.0))
        changed = np.flatnonzero(sampler.masses(np.arange(48)) != masses)
        if i > 1:
            assert len(changed) == 0  # those still there have 5.0 already, the others nothing
    assert sampler.masses(np.arange(48)).max() == 5.0  # new ones begin with the highest seen
    fresh = buffer.sample(256).handle
    buffer.update_priorities(fresh, np.full(256, 3.0))
    assert set(sampler.masses(fresh.leaves).tolist()) == {3.0}


# ---------------------------------------------------------------------- reset, files


def assert_same_samples(one: PrioritizedSamples, other: PrioritizedSamples, leaves: bool = True) -> None:
    a, b = as_numpy(one), as_numpy(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_array_equal(one.weights.numpy(), other.weights.numpy())
    assert one.discounts is not None
    assert other.discounts is not None
    np.testing.assert_array_equal(one.discounts.numpy(), other.discounts.numpy())
    if leaves:
        np.testing.assert_array_equal(one.handle.leaves, other.handle.leaves)
        np.testing.assert_array_equal(one.handle.generations, other.handle.generations)


@pytest.mark.parametrize("n_adds", [0, 7, 40, 200])
@pytest.mark.parametrize("sampler", [Proportional, Uniform, RankBased, GreedyPriority])
def test_a_reloaded_buffer_goes_on_as_if_nothing_had_happened(n_adds: int, sampler: type[Sampler]) -> None:
    """Pickled in the middle of a trajectory, before and after the ring is full, with priorities set in between."""
    world = World("dict", 2, 3, 50, seed=n_adds, n_frames=4)
    buffer = make_buffer(world, sampler())
    for i in range(n_adds):
        buffer.add(**world.transition())
        if i > 10:
            handle = buffer.sample(8).handle
            buffer.update_priorities(handle, np.random.default_rng(i).exponential(size=8))
    if n_adds:
        buffer.add(**world.transition({}))
    copy: PrioritizedReplayBuffer = pickle.loads(pickle.dumps(buffer))
    stream = [world.transition() for _ in range(100)]
    results: list[list[PrioritizedSamples]] = []
    for each in (buffer, copy):
        set_random_seed(1)
        results.append([])
        for i, transition in enumerate(stream):
            each.add(**transition)
            if i % 5 == 0 and each.n_drawable:
                samples = each.sample(8, progress_remaining=0.5)
                each.update_priorities(samples.handle, np.random.default_rng(i).exponential(size=8))
                results[-1].append(samples)
        assert each.size() == buffer.size()
    assert len(results[0]) > 10
    for one, other in zip(*results, strict=True):
        assert_same_samples(one, other)


@pytest.mark.parametrize("sampler", [Proportional, Uniform, RankBased, GreedyPriority])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_file_holds_only_cells_that_were_written(sampler: type[Sampler], n_envs: int) -> None:
    world = World("vector", n_envs, 3, 200_000)
    buffer = make_buffer(world, sampler())
    for _ in range(20):
        buffer.add(**world.transition({}))
    content = pickle.dumps(buffer)
    assert len(content) < 20_000
    copy: PrioritizedReplayBuffer = pickle.loads(content)
    assert copy.size() == 21
    copy.sampler = EverySampler()
    copy.sampler.resize(copy.n_envs * copy.buffer_size)
    copy.sampler.activate(copy._active_leaves())
    for _ in range(30):
        copy.add(**world.transition())
    assert_holds(copy, world)


def test_memory_is_taken_at_the_first_add() -> None:
    """A terabyte of cells, which no machine of ours has."""
    buffer = make_buffer(World("stack", 1, 3, 10**12))
    assert (buffer.size(), buffer.n_drawable) == (0, 0)


@pytest.mark.parametrize("n_frames", [1, 4])
def test_reset_forgets_everything(n_frames: int) -> None:
    world = World("stack", 2, 3, 30, n_frames=n_frames)
    buffer = make_buffer(world)
    buffer.reset()
    handles = []
    for seed in range(3):
        world = World("stack", 2, 3, 30, seed, n_frames)
        for _ in range(20 + 50 * seed):
            buffer.add(**world.transition())
        assert_holds(buffer, world)
        handles.append(buffer.sample(1).handle)
        buffer.reset()
        assert (buffer.size(), buffer.n_drawable, buffer.pos, buffer.full) == (0, 0, 0, False)
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)
    world = World("stack", 2, 3, 30, 9, n_frames)
    for _ in range(20):
        buffer.add(**world.transition())
    for handle in handles:
        buffer.update_priorities(handle, np.ones(len(handle.leaves)))
        assert isinstance(buffer.sampler, EverySampler)
        assert buffer.sampler.updated == []


def test_the_layout_names_what_differs() -> None:
    base = make_buffer(World("stack", 2, 3, 50), Proportional())
    changes: dict[str, PrioritizedReplayBuffer] = {
        "observation_space": make_buffer(World("vector", 2, 3, 50), Proportional()),
        "action_space": make_buffer(World("stack", 2, 3, 50, box_actions=True), Proportional()),
        "n_envs": make_buffer(World("stack", 1, 3, 50), Proportional()),
        "n_steps": make_buffer(World("stack", 2, 2, 50), Proportional()),
        "gamma": make_buffer(World("stack", 2, 3, 50), Proportional(), gamma=0.5),
        "sampler": make_buffer(World("stack", 2, 3, 50), RankBased()),
        "columns": make_buffer(World("stack", 2, 3, 50), Proportional(), columns={"log_prob": Column()}),
        "frame_channels": make_buffer(World("stack", 2, 3, 50, n_frames=4), Proportional()),
    }
    assert set(changes) == set(base.layout())
    for name, other in changes.items():
        assert [key for key, value in base.layout().items() if other.layout()[key] != value] == [name]
    assert make_buffer(World("stack", 2, 3, 90), Proportional()).layout() == base.layout()


# ---------------------------------------------------------------------- what goes in


def test_what_was_added_and_what_was_drawn_are_copies() -> None:
    """A VecEnv may write into its arrays, a caller into a batch: the cells do not change."""
    world = World("vector", 1, 2, 50)
    buffer = make_buffer(world)
    for _ in range(6):
        given = world.transition({})
        buffer.add(**given)
        for x in (given["obs"], given["next_obs"], given["reward"], given["action"]):
            x += 1000
    assert_holds(buffer, world)
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert samples.discounts is not None
    for tensor in (samples.observations, samples.rewards, samples.actions, samples.dones, samples.discounts):
        tensor += 1000
    samples.handle.generations[:] = -7
    assert_holds(buffer, world)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "word"), [("obs", "observation"), ("next_obs", "observation"), ("reward", "reward")])
def test_nan_names_env_and_step_and_nothing_is_stored(name: str, word: str, value: float) -> None:
    world = World("vector", 3, 2, 30)
    buffer = make_buffer(world)
    for _ in range(5):
        buffer.add(**world.transition({1: "terminated"} if world.current(1).n_steps == 1 else {}))
    before, good = pickle.dumps(buffer), world.transition({})
    broken = {**good, name: good[name].copy()}
    broken[name][1] = value
    with pytest.raises(ValueError, match=rf"^{word} of env 1 at step 1 of its episode is not finite \({value}\)"):
        buffer.add(**broken)
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


def test_numbers_too_large_to_be_squared_are_finite() -> None:
    buffer = PrioritizedReplayBuffer(9, VECTOR, spaces.Discrete(2), "cpu", sampler=EverySampler())
    x = np.full((1, 3), 3e38, dtype=np.float32)
    buffer.add(x, -x, np.zeros(1), np.array([3e38]), np.array([False]), [{}])
    buffer.add(-x, x, np.zeros(1), np.array([3e38]), np.array([False]), [{}])
    assert buffer.n_drawable == 2


def test_minus_zero_continues_zero() -> None:
    buffer = PrioritizedReplayBuffer(9, VECTOR, spaces.Discrete(2), "cpu", n_steps=2, gamma=1.0, sampler=EverySampler())
    x = np.zeros((1, 3), dtype=np.float32)
    for obs, after in ((x, x), (-x, x), (x, -x)):
        buffer.add(obs, after, np.zeros(1), np.ones(1), np.array([False]), [{}])
    assert buffer.sample(1).rewards.tolist() == [[2.0], [2.0]]


def test_lanes_that_break_at_every_step_are_reported() -> None:
    """As when a VecEnv writes into arrays that it has returned: every n-step return would be one step long."""
    buffer = PrioritizedReplayBuffer(90, VECTOR, spaces.Discrete(2), "cpu", 2, n_steps=2, gamma=1.0)

    def add(value: float) -> None:
        x = np.array([[0.0] * 3, [value] * 3], dtype=np.float32)
        buffer.add(x, np.zeros((2, 3)), np.zeros(2), np.ones(2), np.zeros(2, dtype=bool), [{}, {}])

    add(1.0)
    add(2.0)  # a second learn() may do this
    with pytest.warns(UserWarning, match="env 1 broke off two trajectories after one step each"):
        add(3.0)


@pytest.mark.parametrize("name", ["action", "reward", "obs", "next_obs", "done"])
def test_arrays_of_another_number_of_environments_are_refused(name: str) -> None:
    world = World("vector", 2, 2, 30)
    buffer = make_buffer(world)
    for _ in range(3):
        buffer.add(**world.transition({}))
    before, good = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="shape"):
        buffer.add(**{**good, name: np.repeat(good[name], 2, axis=0)})
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(("kind", "n_frames", "least"), [("vector", 1, 4), ("stack", 4, 7)])
def test_a_lane_must_hold_one_item(n_envs: int, kind: str, n_frames: int, least: int) -> None:
    world = World(kind, n_envs, 3, least - 1, n_frames=n_frames)
    buffer = make_buffer(world)
    message = f"gives {least - 1} cells to each of {n_envs} .* needs {least} .* set buffer_size >= {least * n_envs}"
    with pytest.raises(ValueError, match=message):
        buffer.check_size()
    with pytest.raises(ValueError, match=message):
        buffer.add(**world.transition({}))
    make_buffer(World(kind, n_envs, 3, least, n_frames=n_frames)).check_size()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
        ({"n_steps": -1}, "n_steps -1 must be an integer >= 1"),
        ({"n_steps": float("nan")}, "n_steps nan must be an integer >= 1"),
        ({"n_steps": 2, "gamma": None}, "gamma must be given with n_steps 2"),
        ({"gamma": 1.1}, "gamma 1.1 must lie in [0, 1]"),
        ({"gamma": -0.1}, "gamma -0.1 must lie in [0, 1]"),
        ({"gamma": float("nan")}, "gamma nan must lie in [0, 1]"),
        ({"frame_channels": 0}, "frame_channels 0 must be an integer >= 1"),
        ({"frame_channels": 3, "optimize_memory_usage": True}, "frame_channels 3 must divide the 4 channels"),
        (
            {"optimize_memory_usage": True, "space": spaces.Box(0, 255, (84, 84, 4), np.uint8)},
            "optimize_memory_usage=True stores frames of channel-first stacks once, but the observation has shape "
            "(84, 84, 4): wrap the environment in VecTransposeImage",
        ),
    ],
)
def test_constructor_errors_name_the_number(changes: dict[str, Any], message: str) -> None:
    keywords: dict[str, Any] = {"gamma": 0.9, **changes}
    space = keywords.pop("space", SPACES["stack"])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        PrioritizedReplayBuffer(100, space, spaces.Discrete(2), "cpu", **keywords)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------- as the buffer of SB3's algorithms


class Small(gym.Env[Any, Any]):
    """Reward 1 for the action 1 (or near 1); Dict observations where asked for; limited to 20 steps."""

    def __init__(self, box_actions: bool, dict_observations: bool) -> None:
        box = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = spaces.Dict({"a": box, "b": spaces.Discrete(5)}) if dict_observations else box
        self.action_space = spaces.Box(-1, 1, (1,), np.float32) if box_actions else spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def _obs(self) -> Any:
        x = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return {"a": x, "b": self.t % 5} if isinstance(self.observation_space, spaces.Dict) else x

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._obs(), 1.0 - abs(1.0 - float(np.asarray(action).item())), False, self.t >= 20, {}


def stock(cls: type[OffPolicyAlgorithm], n_envs: int, dict_observations: bool, **kwargs: Any) -> OffPolicyAlgorithm:
    env = DummyVecEnv([lambda: Small(cls is not DQN, dict_observations) for _ in range(n_envs)])
    if cls is DQN:
        kwargs |= {"exploration_final_eps": 0.2, "target_update_interval": 50}
    if cls is SAC:
        kwargs |= {"ent_coef": 0.01}
    return cls(
        "MultiInputPolicy" if dict_observations else "MlpPolicy",
        env,
        **{
            "policy_kwargs": {"net_arch": [16]},
            "learning_rate": 3e-3,
            "buffer_size": 200,
            "learning_starts": 40,
            "batch_size": 32,
            "gamma": 0.5,
            "train_freq": 1,
            "gradient_steps": -1,
            "replay_buffer_class": PrioritizedReplayBuffer,
            "seed": 0,
            "device": "cpu",
            **kwargs,
        },
    )


@pytest.mark.parametrize("cls", [DQN, TD3, SAC])
@pytest.mark.parametrize(
    ("n_envs", "dict_observations", "kwargs"),
    [
        (1, False, {}),
        (3, False, {"replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.5}}),
        (1, True, {"replay_buffer_kwargs": {"n_steps": 2, "gamma": 0.5, "sampler": Uniform()}}),
        (3, True, {}),
    ],
)
def test_stock_algorithms_learn_with_it(
    cls: type[OffPolicyAlgorithm], n_envs: int, dict_observations: bool, kwargs: dict[str, Any]
) -> None:
    """Beyond the ring's end, with a second ``learn`` that resets the environments."""
    model = stock(cls, n_envs, dict_observations, **kwargs)
    model.learn(150)
    model.learn(250)
    buffer = model.replay_buffer
    assert isinstance(buffer, PrioritizedReplayBuffer)
    assert buffer.full
    env = model.get_env()
    assert env is not None
    observation: Any = env.reset()
    actions, _ = model.predict(observation, deterministic=True)
    assert np.mean(actions) > 0.5  # at random: 0.5 or 0


def test_stock_algorithms_keep_their_gamma_where_the_buffer_has_none() -> None:
    """A discount in the batch would replace that of the model."""
    cases: list[tuple[dict[str, Any], float | None]] = [
        ({}, None), ({"gamma": 0.7}, 0.7), ({"n_steps": 2, "gamma": 0.5}, 0.25)
    ]  # fmt: skip
    for keywords, expected in cases:
        model = stock(DQN, 1, False, replay_buffer_kwargs=keywords, learning_starts=1000)
        model.learn(10)
        assert model.replay_buffer is not None
        discounts = model.replay_buffer.sample(4).discounts
        assert (discounts is None) == (expected is None)
        if discounts is not None and expected is not None:
            np.testing.assert_allclose(discounts.numpy(), expected, rtol=1e-6)


def test_a_stock_algorithm_saves_and_loads_it(tmp_path: Any) -> None:
    """The sampler among the keywords is saved with the model, and must not bring its leaves back."""
    keywords = {"n_steps": 3, "gamma": 0.5, "sampler": Uniform()}
    model = stock(SAC, 2, False, replay_buffer_kwargs=keywords)
    model.learn(100)
    model.save_replay_buffer(tmp_path / "replay.pkl")
    model.save(tmp_path / "model.zip")
    resumed = SAC.load(tmp_path / "model.zip", env=model.get_env())
    assert isinstance(resumed.replay_buffer, PrioritizedReplayBuffer)
    assert resumed.replay_buffer.n_drawable == 0
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    one, other = model.replay_buffer, resumed.replay_buffer
    assert isinstance(one, PrioritizedReplayBuffer)
    assert isinstance(other, PrioritizedReplayBuffer)
    assert one.n_drawable == other.n_drawable > 80
    draws = []
    for each in (one, other):
        set_random_seed(0)
        draws.append(each.sample(16))
    assert_same_samples(draws[0], draws[1])
    resumed.learn(50)
    assert other.n_drawable > one.n_drawable
    acting_only = SAC.load(tmp_path / "model.zip", buffer_size=1)
    assert acting_only.replay_buffer is not None
    assert acting_only.replay_buffer.size() == 0
