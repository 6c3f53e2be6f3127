"""A replay that is filled by blocks is the one that `add` makes of the same steps, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import transitions, windows
from support.blocks import COLUMNS, BlockActor, assert_same_replay, extras_of
from support.checks import EverySampler
from support.lanes import Lanes
from support.places import N_FRAMES
from support.windows import Geometry

from sb3_ext.buffers import (
    GreedyPriority,
    LaneReplayBuffer,
    PrioritizedReplayBuffer,
    Proportional,
    RankBased,
    Sampler,
    SequenceReplayBuffer,
    Uniform,
)

SAMPLERS: list[Callable[[], Sampler]] = [EverySampler, Uniform, Proportional, RankBased, GreedyPriority]
LENGTHS: list[tuple[float, ...]] = [(1.2, 6.0, 60.0), (1.1,), (30.0,), (1.2, 300.0)]
# Of a Dict with stacks: cells of older frames hold whatever was there in keys that are stored whole.
UNREAD = frozenset({"observations"})


def with_columns(world: Lanes) -> None:
    """Have a world give values for `COLUMNS` too."""
    more = world.more
    world.more = lambda before: {**more(before), "extras": extras_of(before)}  # type: ignore[method-assign]


def without_states(transition: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in transition.items() if name != "states"}


def assert_draws_equal(one: Any, other: Any, seed: int) -> None:
    """Two buffers with priorities of their own draw the same, and take the same update."""
    drawn = []
    for buffer in (one, other):
        np.random.seed(seed)
        samples = buffer.sample(8)
        buffer.update_priorities(samples.handle, np.arange(len(samples.handle.leaves)) / 3)
        drawn.append(samples)
    assert_same_replay(tuple(drawn[0]), tuple(drawn[1]), name="samples")


def fill_both(
    rng: np.random.Generator,
    world: Lanes,
    by_steps: LaneReplayBuffer,
    by_blocks: LaneReplayBuffer,
    actor: BlockActor,
    n_blocks: int,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    uncompared: frozenset[str],
) -> None:
    for i in range(n_blocks):
        for _ in range(rng.integers(1, actor.chunk + 1)):
            transition = change(world.transition())
            by_steps.add(**copy.deepcopy(transition))
            actor.add(transition)
        by_blocks.add_block(actor.take())
        assert_same_replay(by_steps, by_blocks, uncompared)
        if by_steps.n_drawable:
            assert_draws_equal(by_steps, by_blocks, seed=i)
            assert_same_replay(by_steps, by_blocks, uncompared)
        how = rng.random()
        if how < 0.3:
            world.cut()
            if how < 0.2:  # the learner's side cuts some lanes or all, else the next block does
                lanes = None if how < 0.1 else np.flatnonzero(rng.random(world.n_envs) < 0.5).tolist()
                by_steps.cut(lanes)
                by_blocks.cut(lanes)
            by_steps.cut()
            if rng.random() < 0.5:
                actor.restart()
            else:
                actor.recorder.cut()


@pytest.mark.parametrize("seed", range(30))
def test_windows_of_blocks_equal_those_of_steps(seed: int) -> None:
    """
    Random geometries, lanes, block sizes, ends, samplers, observations; with stored states or none, with further
    columns or none; now and then the lanes are cut, or the actor begins anew. The ring wraps around many times.
    """
    rng = np.random.default_rng(seed)
    period, n_envs, chunk = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(1, 40))
    geometry = Geometry(int(rng.integers(0, 9)), period * int(rng.integers(1, 4)), int(rng.integers(1, 6)), period)
    kind = str(rng.choice(["vector", "number", "image", "dict"]))
    room = 0 if seed % 3 == 0 else int(rng.integers(chunk, 120))
    world = windows.World(kind, n_envs, geometry, geometry.cells + room, seed, lengths=LENGTHS[seed % 4])
    sampler, has_states, has_columns = SAMPLERS[seed % 5], seed % 7 > 0, seed % 2 > 0
    if has_columns:
        with_columns(world)

    def make(n_lanes: int, lane_cells: int) -> SequenceReplayBuffer:
        columns = COLUMNS if has_columns else None
        return windows.make_buffer(kind, n_lanes, geometry, lane_cells, sampler(), columns=columns)

    by_steps, by_blocks = make(n_envs, world.lane_cells), make(n_envs, world.lane_cells)
    actor = BlockActor(make, range(n_envs), chunk)
    change = dict if has_states else without_states
    fill_both(rng, world, by_steps, by_blocks, actor, 240 // chunk + 8, change, frozenset())
    assert by_blocks.full


@pytest.mark.parametrize("seed", range(30))
def test_transitions_of_blocks_equal_those_of_steps(seed: int) -> None:
    """As above, with frames of stacks stored once in half of the cases."""
    rng = np.random.default_rng(1000 + seed)
    n_steps, n_envs, chunk = int(rng.integers(1, 6)), int(rng.integers(1, 5)), int(rng.integers(1, 40))
    kind = str(rng.choice(["stack", "colour", "dict"] if seed % 2 else ["vector", "number", "image", "stack", "dict"]))
    n_frames = N_FRAMES[kind] if seed % 2 else 1
    room = 0 if seed % 3 == 0 else int(rng.integers(chunk, 120))
    world = transitions.World(
        kind,
        n_envs,
        n_steps,
        n_steps + n_frames + room,
        seed,
        n_frames,
        box_actions=seed % 4 == 0,
        lengths=LENGTHS[seed % 4],
    )
    sampler, has_columns = SAMPLERS[seed % 5], seed % 3 > 0
    if has_columns:
        with_columns(world)

    def make(n_lanes: int, lane_cells: int) -> PrioritizedReplayBuffer:
        of_lanes = copy.copy(world)
        of_lanes.n_envs, of_lanes.lane_cells = n_lanes, lane_cells
        return transitions.make_buffer(of_lanes, sampler(), columns=COLUMNS if has_columns else None)

    by_steps, by_blocks = make(n_envs, world.lane_cells), make(n_envs, world.lane_cells)
    actor = BlockActor(make, range(n_envs), chunk)
    unread = UNREAD if kind == "dict" else frozenset()
    fill_both(rng, world, by_steps, by_blocks, actor, 240 // chunk + 8, dict, unread)
    assert by_blocks.full
