"""The transition replay forgets, is saved and goes on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from stable_baselines3.common.utils import set_random_seed
from support.checks import EverySampler
from support.transitions import (
    World,
    assert_holds,
    assert_same_samples,
    make_buffer,
)

from sb3_ext.buffers import (
    SAMPLERS,
    Column,
    PrioritizedReplayBuffer,
    PrioritizedSamples,
    Proportional,
    RankBased,
    Sampler,
)


@pytest.mark.parametrize("n_adds", [0, 7, 40, 200])
@pytest.mark.parametrize("sampler", SAMPLERS.values())
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


@pytest.mark.parametrize("sampler", SAMPLERS.values())
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
