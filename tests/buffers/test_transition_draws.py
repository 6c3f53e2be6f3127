"""Which transition is drawn, its weight, and priorities that come late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import set_random_seed
from support.checks import EverySampler, assert_frequencies
from support.places import (
    Place,
)
from support.transitions import (
    World,
    make_buffer,
    places_of,
)

from sb3_ext.buffers import (
    GreedyPriority,
    Handle,
    PrioritizedReplayBuffer,
    Proportional,
    RankBased,
    Sampler,
    Uniform,
)

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
