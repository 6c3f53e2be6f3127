"""The transition replay against its dumb twin, over random episodes and in worlds small enough to read."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from support.checks import EverySampler
from support.places import (
    N_FRAMES,
    Place,
)
from support.transitions import (
    World,
    assert_holds,
    make_buffer,
    places_of,
    played,
)

from sb3_ext.buffers import (
    Handle,
    PrioritizedReplayBuffer,
)

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
