"""Blocks: what they hold, what the learner's replay refuses, and several actors in one replay."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from support import transitions, windows
from support.blocks import BlockActor, assert_same_replay
from support.windows import SMALL, Geometry

from sb3_ext import nested
from sb3_ext.buffers import BlockRecorder, LaneBlock, LaneReplayBuffer, PrioritizedReplayBuffer, SequenceReplayBuffer


def windows_of(n_lanes: int, lane_cells: int) -> SequenceReplayBuffer:
    return windows.make_buffer("vector", n_lanes, SMALL, lane_cells)


def stacks_of(n_lanes: int, lane_cells: int) -> PrioritizedReplayBuffer:
    return transitions.make_buffer(transitions.World("stack", n_lanes, 3, lane_cells, n_frames=4))


def recorded(
    make: Callable[[int, int], LaneReplayBuffer], world: Any, ends: list[dict[int, str]], lanes: range = range(2)
) -> LaneBlock:
    """:return: a block of as many steps as there are ``ends``"""
    actor = BlockActor(make, lanes, len(ends))
    for end in ends:
        actor.add(world.transition(end))
    return actor.take()


ENDS: list[dict[int, str]] = [{}, {1: "terminated"}, {0: "truncated", 1: "truncated"}, {}]


def test_a_block_holds_each_observation_once() -> None:
    """
    Lane 0: o0 o1 o2 o3 | o0 o1, lane 1: o0 o1 o2 | o0 o1 | o0 o1; observations are (lane, trajectory, step).
    """
    block = recorded(windows_of, windows.World("vector", 2, SMALL, 50, 0), ENDS)
    assert (block.n_steps, block.lanes.tolist(), block.opened.tolist()) == (4, [0, 1], [False, False])
    assert block.counts.tolist() == [6, 7]
    steps = block.cells[""].astype(int)
    assert steps[:, 2].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 1, 0, 1]
    assert steps[:, 1].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 2, 2]
    assert (block.starts.tolist(), block.ends.tolist()) == ([0, 4, 6, 9, 11], [3, 8, 10])
    assert block.by_step("terminated").T.tolist() == [[False] * 4, [False, True, False, False]]
    assert block.ended_by_step().T.tolist() == [[False, False, True, False], [False, True, True, False]]
    assert block.offsets().tolist() == [[0, 1, 2, 4], [6, 7, 9, 11]]
    assert block.state_at.tolist() == [0, 2, 4, 6, 9, 11]  # steps 0, 2, 4, ... of trajectories: (t + 2) % 2 == 0
    assert isinstance(block.states, tuple)
    np.testing.assert_array_equal(block.states[0][:, 0], block.cells[""][block.state_at])


def test_a_block_that_goes_on_begins_with_the_head_once_more() -> None:
    world, actor = windows.World("vector", 1, SMALL, 50, 0), BlockActor(windows_of, range(1), 3)
    blocks = []
    for _ in range(3):
        for _ in range(3):
            actor.add(world.transition({}))
        blocks.append(actor.take())
    assert [block.opened.tolist() for block in blocks] == [[False], [True], [True]]
    assert [block.cells[""][:, 2].astype(int).tolist() for block in blocks] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, 9],
    ]
    assert [block.starts.tolist() for block in blocks] == [[0], [], []]


def test_frames_travel_once_and_older_ones_with_first_stacks_alone() -> None:
    world, actor = transitions.World("stack", 1, 3, 50, n_frames=4), BlockActor(stacks_of, range(1), 3)
    ends = [{}, {}, {0: "terminated"}, {}, {}, {}]
    blocks = []
    for i, end in enumerate(ends):
        actor.add(world.transition(end))
        if i % 3 == 2:
            blocks.append(actor.take())
    assert [block.counts.tolist() for block in blocks] == [[3 + 4], [3 + 4]]
    assert [block.starts.tolist() for block in blocks] == [[3], [3]]
    actor.add(world.transition({}))
    block = actor.take()
    assert (block.counts.tolist(), block.starts.tolist(), block.opened.tolist()) == ([2], [], [True])
    assert block.cells[""].shape == (2, 1, 2, 3)


@pytest.mark.parametrize("kind", ["windows", "stacks"])
def test_two_actors_fill_their_lanes_of_one_replay(kind: str) -> None:
    """Blocks of different lengths, in turns, one actor restarted now and then: what is held is what the world says."""
    rng, chunk = np.random.default_rng(0), 12
    world: Any = windows.World("dict", 3, Geometry(3, 6, 2, 2), 60, 0)
    make: Any = lambda n, cells: windows.make_buffer("dict", n, Geometry(3, 6, 2, 2), cells)  # noqa: E731
    assert_holds: Any = windows.assert_holds
    if kind == "stacks":
        world, make = transitions.World("stack", 3, 3, 60, n_frames=4), stacks_of
        assert_holds = transitions.assert_holds
    learner = make(3, 60)
    actors = [BlockActor(make, range(1), chunk), BlockActor(make, range(1, 3), chunk)]
    for _ in range(40):
        for step in range(chunk):
            transition = world.transition()
            for actor in actors:
                actor.add(transition)
                if rng.random() < 0.1 and step < chunk - 1:
                    learner.add_block(actor.take())
        for i in rng.permutation(2):
            learner.add_block(actors[i].take())
        assert_holds(learner, world)
        learner = pickle.loads(pickle.dumps(learner))
        if rng.random() < 0.3:
            lost = actors[int(rng.integers(2))]
            lost.restart()
            for lane in lost.lanes:
                world.lanes[lane].trajectories[-1].closed = True
            for actor in actors:  # blocks go on where the lanes stand
                for lane in actor.lanes:
                    assert actor is lost or learner._open[lane] == (not world.lanes[lane].trajectories[-1].closed)
            learner.cut(lost.lanes)
            assert_holds(learner, world)


def test_steps_and_blocks_take_turns() -> None:
    geometry = Geometry(3, 6, 2, 3)
    world = windows.World("vector", 2, geometry, 50, 1)

    def make(n_lanes: int, lane_cells: int) -> SequenceReplayBuffer:
        return windows.make_buffer("vector", n_lanes, geometry, lane_cells)

    buffer, actor = make(2, 50), BlockActor(make, range(2), 9)
    for _ in range(20):
        for _ in range(9):
            actor.add(world.transition())
        buffer.add_block(actor.take())
        for _ in range(5):
            transition = world.transition()
            buffer.add(**transition)
            actor.add(transition)
        actor.take()
        windows.assert_holds(buffer, world)


# ---------------------------------------------------------------------- what is refused


def with_cells(block: LaneBlock, change: Callable[[np.ndarray], np.ndarray]) -> LaneBlock:
    return block._replace(cells={"": change(block.cells[""])})


def with_a_cell_of_nothing(block: LaneBlock) -> LaneBlock:
    """Before the first of them."""
    return block._replace(
        counts=np.add(block.counts, [1, 0]),
        cells={key: np.concatenate((x[:1], x)) for key, x in block.cells.items()},
        columns={name: np.concatenate((x[:1], x)) for name, x in block.columns.items()},
        starts=block.starts + 1,
        ends=block.ends + 1,
        state_at=block.state_at + 1,
    )


WRONG: dict[str, tuple[Callable[[LaneBlock], LaneBlock], str]] = {
    "a lane that is not there": (lambda b: b._replace(lanes=b.lanes + 1), r"lanes \[2, 3\].*lanes 0 to 2"),
    "a lane twice": (lambda b: b._replace(lanes=np.array([1, 1])), r"lanes \[1, 1\].*each comes once"),
    "no lane": (lambda b: b._replace(lanes=b.lanes[:0]), r"lanes \[\]"),
    "counts of other lanes": (lambda b: b._replace(counts=b.counts[:1]), r"lanes \[1, 2\] has counts of 1"),
    "another dtype": (lambda b: with_cells(b, lambda x: x.astype(np.float64)), r"cells '' of .*float64.*float32"),
    "another shape": (lambda b: with_cells(b, lambda x: x[:, :2]), r"cells '' of shape \(\d+, 2\)"),
    "a cell too few": (lambda b: with_cells(b, lambda x: x[1:]), r"cells '' of shape"),
    "another key": (lambda b: b._replace(cells={"image": b.cells[""]}), r"cells \['image'\], the replay \[''\]"),
    "no rewards": (lambda b: b._replace(columns={}), r"columns \[\], the replay \['action', 'reward', 'terminated'\]"),
    "an end too many": (lambda b: b._replace(ends=np.append(b.ends[0] - 1, b.ends)), "lane 1 has starts and ends"),
    "a start too many": (lambda b: b._replace(starts=np.append(b.starts, b.starts[-1] + 1)), "lane 2 has starts and"),
    "other steps": (lambda b: b._replace(n_steps=3), "lane 1 has starts and ends that do not make 3 steps"),
    "no steps": (lambda b: b._replace(n_steps=0), "lane 1 has starts and ends that do not make 0 steps"),
    "cells of another lane": (lambda b: b._replace(counts=np.add(b.counts, [1, -1])), "lane 1 has starts and ends"),
    "a cell of nothing": (with_a_cell_of_nothing, "lane 1 has cells that are no part of its trajectories"),
    "a lane that is not open": (
        lambda b: b._replace(opened=np.array([True, False]), starts=b.starts[1:]),
        "continues lane 1, where no trajectory is under way",
    ),
    "no states": (
        lambda b: b._replace(states=None, state_at=b.state_at[:0]),
        r"lanes \[1, 2\] has \{0\} recurrent states",
    ),
    "states elsewhere": (lambda b: b._replace(state_at=b.state_at + 1), r"recurrent states, of cells"),
    "states of another shape": (
        lambda b: b._replace(states=nested.map(lambda s: s[:, :1], b.states)),
        r"recurrent states of \(\(3, 1, 3\), \(3, 1, 3\)\) where",
    ),
    "priorities of other items": (lambda b: b._replace(priorities=np.ones(1, np.float32)), r"completes \d+ items"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_block_is_refused_and_leaves_the_replay_as_it_was(wrong: str) -> None:
    change, message = WRONG[wrong]
    world = windows.World("vector", 3, SMALL, 50, 0)
    buffer = windows_of(3, 50)
    for ends in ({}, {}, {1: "terminated", 2: "truncated"}):
        buffer.add(**world.transition(ends))
    block = recorded(windows_of, world, [{}, {1: "terminated"}, {1: "truncated", 2: "truncated"}, {}], range(1, 3))
    before = copy.deepcopy(buffer)
    with pytest.raises(ValueError, match=message) as error:
        buffer.add_block(change(block))
    assert "\n" not in str(error.value)
    assert_same_replay(before, buffer)
    buffer.add_block(block)


def test_a_block_after_a_missing_one_is_refused() -> None:
    world, buffer, actor = (
        windows.World("vector", 2, SMALL, 50, 0),
        windows_of(2, 50),
        BlockActor(windows_of, range(2), 3),
    )
    for i in range(3):
        for _ in range(3):
            actor.add(world.transition({}))
        block = actor.take()
        if i == 0:
            buffer.add_block(block)
    before = copy.deepcopy(buffer)
    with pytest.raises(ValueError, match="continues lane 0 from another observation than its last"):
        buffer.add_block(block)
    assert_same_replay(before, buffer)
    buffer.cut([1])
    assert buffer._open.tolist() == [True, False]


def test_a_first_block_of_a_wrong_kind_takes_no_memory() -> None:
    world, buffer = windows.World("vector", 2, SMALL, 50, 0), windows_of(2, 3)
    block = recorded(windows_of, world, ENDS)
    with pytest.raises(ValueError, match="buffer_size gives 3 cells"):
        buffer.add_block(block)
    assert buffer._cells.observations == {}


@pytest.mark.parametrize(("make", "cells"), [(windows_of, 2 + 4 + 2 + 1), (stacks_of, 3 + 4)])
def test_a_lane_holds_an_item_and_a_block(make: Callable[[int, int], LaneReplayBuffer], cells: int) -> None:
    make(2, cells).check_size()
    make(2, cells + 10).check_size(chunk=10)
    with pytest.raises(
        ValueError, match=rf"gives {cells + 9} cells .* chunk 10.* buffer_size >= {2 * (cells + 10)}"
    ) as e:
        make(2, cells + 9).check_size(chunk=10)
    assert "\n" not in str(e.value)


def test_a_recorder_without_new_steps_has_no_block() -> None:
    recorder = BlockRecorder(windows_of(1, 50), 0)
    with pytest.raises(ValueError, match="nothing was added since"):
        recorder.take()


def test_a_recorder_whose_ring_was_too_short_says_so() -> None:
    world, buffer = windows.World("vector", 1, SMALL, 50, 0), windows_of(1, 12)
    recorder = BlockRecorder(buffer, 0)
    for _ in range(12):
        buffer.add(**world.transition({}))
    with pytest.raises(ValueError, match="13 cells of a lane are new, its ring holds 12"):
        recorder.take()


def test_a_recorder_begins_where_it_is_made() -> None:
    """Also on a replay that has an open trajectory, which is cut."""
    world, buffer = windows.World("vector", 1, SMALL, 50, 0), windows_of(1, 50)
    buffer.add(**world.transition({}))
    world.cut()
    recorder = BlockRecorder(buffer, 5)
    buffer.add(**world.transition({}))
    block = recorder.take()
    assert (block.lanes.tolist(), block.opened.tolist(), block.counts.tolist()) == ([5], [False], [2])


def test_states_stay_in_the_blocks_they_were_recorded_in() -> None:
    """A block is a copy: what the actor does afterwards changes nothing in it."""
    world, actor = windows.World("vector", 1, SMALL, 50, 0), BlockActor(windows_of, range(1), 4)
    transition = world.transition({})
    states: tuple[th.Tensor, ...] = transition["states"]
    actor.add(transition)
    block = actor.take()
    kept = copy.deepcopy(block)
    for state in states:
        state.zero_()
    for _ in range(60):
        actor.add(world.transition())
        actor.take()
    assert_same_replay(tuple(block), tuple(kept))
