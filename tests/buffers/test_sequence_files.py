"""The sequence replay forgets, is saved and goes on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import set_random_seed
from support.windows import (
    SMALL,
    Geometry,
    World,
    assert_holds,
    make_buffer,
)

from sb3_ext.buffers import (
    SAMPLERS,
    Sampler,
    SequenceReplayBuffer,
    SequenceSamples,
)


def test_reset_forgets_everything() -> None:
    geometry = Geometry(2, 4, 2, 2)
    buffer = make_buffer("vector", 2, geometry, 30)
    for seed in range(3):
        world = World("vector", 2, geometry, 30, seed)
        for _ in range(40 + 50 * seed):
            buffer.add(**world.transition())
        assert_holds(buffer, world)
        buffer.reset()
        assert (buffer.size(), buffer.n_drawable) == (0, 0)
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)


def test_reset_of_an_empty_buffer_and_a_change_of_states() -> None:
    buffer = make_buffer("vector", 1, SMALL, 30)
    buffer.reset()
    world = World("vector", 1, SMALL, 30, 0)
    buffer.add(**world.transition({0: "terminated"}))
    assert buffer.state_shapes == ((2, 3), (2, 3))
    buffer.reset()
    buffer.add(**{**World("vector", 1, SMALL, 30, 0).transition({0: "terminated"}), "states": None})
    assert [buffer.state_shapes, buffer.sample(1).states] == [None, None]


def assert_same_samples(one: SequenceSamples, other: SequenceSamples) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, dict):
            assert isinstance(b, dict)
            for key in a:
                assert th.equal(a[key], b[key])
        elif isinstance(a, tuple):
            assert isinstance(b, tuple)
            for x, y in zip(a, b, strict=True):
                assert np.array_equal(np.asarray(x), np.asarray(y))
        else:
            assert isinstance(a, th.Tensor)
            assert isinstance(b, th.Tensor)
            assert th.equal(a, b)


@pytest.mark.parametrize("n_adds", [0, 7, 40, 300])
@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_a_reloaded_buffer_goes_on_as_if_nothing_had_happened(n_adds: int, sampler: type[Sampler]) -> None:
    """Pickled in the middle of a trajectory, before and after the ring is full, with priorities set in between."""
    geometry, n_envs = Geometry(3, 6, 2, 3), 2
    world = World("dict", n_envs, geometry, 50, seed=n_adds, lengths=(20,))
    buffer = make_buffer("dict", n_envs, geometry, 50, sampler())
    for _ in range(n_adds):
        buffer.add(**world.transition())
    if n_adds:
        buffer.add(**world.transition({}))
    copy: SequenceReplayBuffer = pickle.loads(pickle.dumps(buffer))
    stream = [world.transition() for _ in range(120)]
    results: list[list[SequenceSamples]] = []
    for each in (buffer, copy):
        set_random_seed(1)
        results.append([])
        for i, transition in enumerate(stream):
            each.add(**transition)
            if i % 10 == 0 and each.n_drawable:
                samples = each.sample(8, progress_remaining=0.5)
                each.update_priorities(samples.handle, np.random.default_rng(i).exponential(size=8))
                results[-1].append(samples)
        assert each.size() == buffer.size()
    assert len(results[0]) > 5
    for one, other in zip(*results, strict=True):
        assert_same_samples(one, other)


def test_a_file_holds_only_cells_that_were_written() -> None:
    buffer, world = make_buffer("vector", 1, SMALL, 200_000), World("vector", 1, SMALL, 200_000, 0)
    for _ in range(20):
        buffer.add(**world.transition({}))
    assert len(pickle.dumps(make_buffer("vector", 1, SMALL, 200_000))) < 20_000
    copy: SequenceReplayBuffer = pickle.loads(pickle.dumps(buffer))
    assert copy.size() == 21
    for _ in range(30):
        copy.add(**world.transition())
    assert_holds(copy, world)


def test_memory_is_taken_at_the_first_add() -> None:
    """A terabyte of cells, which no machine of ours has."""
    huge = make_buffer("image", 1, SMALL, 10**12)
    assert (huge.size(), huge.n_drawable) == (0, 0)
