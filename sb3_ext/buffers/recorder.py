"""The actor's side of blocks: what is new in a small replay of its own, in the shape in which a learner stores it."""

from __future__ import annotations

import numpy as np
import torch as th

from sb3_ext import nested
from sb3_ext.buffers.acting_values import ActingValues, Priorities
from sb3_ext.buffers.block_walk import legs_of
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Array
from sb3_ext.buffers.lanes import LaneReplayBuffer

TOO_SHORT = "take blocks more often, or give each lane recorder_cells of the chunk"


class BlockRecorder:
    """
    Remembers from now on what is new in a replay. It may be added to by anyone, an algorithm's own loop too; its open
    trajectories are cut first, so that the first block continues nothing.

    :param replay: of the class and the settings of the learner's, with `recorder_cells` for each of its E lanes
    :param first_lane: the learner's lane that its lane 0 stands for
    :param priorities: of items that were acted by Q-values that `saw` was told; None = blocks bring none
    """

    def __init__(self, replay: LaneReplayBuffer, first_lane: int, priorities: Priorities | None = None) -> None:
        replay.cut()
        self._replay, self._first_lane = replay, first_lane
        self._journal = replay.keep_journal(first_lane)
        self._start = [0] * replay.n_envs
        self._priorities = priorities
        self._values = ActingValues(replay.n_envs, replay.buffer_size, replay.n_trained, replay.n_steps)
        self._mark()

    def _mark(self) -> None:
        """What comes next is new."""
        self._first, self._opened = self._journal.head.copy(), self._journal.is_open.copy()
        self._journal.clear()

    def saw(self, q_taken: Array, q_best: Array) -> None:
        """
        Note the Q-values that the next `add` was acted by.

        :param q_taken: [E] of the actions taken, as the network predicts them; NaN = not known, as in the warm-up
        :param q_best: [E] of the best actions
        """
        self._values.see(self._journal.n_steps, q_taken, q_best)

    def cut(self) -> None:
        """End all open trajectories: the next block does not continue the last one."""
        self._replay.cut()

    def take(self) -> LaneBlock:
        """
        :return: all steps since the last block; arrays of its own
        :raises ValueError: without such steps, or where some of them are overwritten already
        """
        journal, size = self._journal, self._replay.buffer_size
        if journal.n_steps == 0:
            raise ValueError("a block would be empty: nothing was added since the last one")
        first, opened = self._first, self._opened
        ends = [end for end in journal.ends if not (opened[end[0]] and end[1] == first[end[0]])]
        for lane, _ in set(journal.ends) - set(ends):  # cut before anything new came
            first[lane] += 1
            opened[lane] = False
        counts = journal.head + journal.is_open - first
        if counts.max() > size:
            raise ValueError(f"{counts.max()} cells of a lane are new, its ring holds {size}: {TOO_SHORT}")
        begin = np.cumsum(counts) - counts
        lane_of = np.repeat(np.arange(len(counts)), counts)
        at = lane_of * size + (np.arange(len(lane_of)) + (first - begin)[lane_of]) % size
        cells, columns = journal.cells.stretch(at)
        shift = (begin - first).tolist()
        states = sorted(((cell + shift[lane], state) for lane, cell, state in journal.states), key=lambda x: x[0])
        block = LaneBlock(
            n_steps=journal.n_steps,
            lanes=self._first_lane + np.arange(len(counts)),
            opened=opened,
            counts=counts,
            cells=cells,
            columns=columns,
            starts=_offsets(journal.starts, shift),
            ends=_offsets(ends, shift),
            state_at=np.array([at for at, _ in states], dtype=np.int64),
            states=nested.stack([state for _, state in states]) if states else None,
            priorities=None,
        )
        if self._priorities is not None:
            block = block._replace(priorities=self._priorities_of(block, first, self._priorities))
        self._mark()
        return block

    def _priorities_of(self, block: LaneBlock, first: Array, priorities: Priorities) -> Array:
        replay, lanes = self._replay, range(len(block.lanes))
        legs = legs_of(block.stretches(), list(lanes), block.counts.tolist(), first.tolist(), self._start)
        for leg in legs:
            self._start[leg.lane] = leg.start
        self._values.store(legs, block.n_steps)
        items = replay.items_of(legs)
        needed = (self._journal.head + self._journal.is_open)[items.lane] - items.first
        if needed.max(initial=0) > replay.buffer_size:
            raise ValueError(
                f"the priority of an item needs the last {needed.max()} cells of its lane, "
                f"its ring holds {replay.buffer_size}: {TOO_SHORT}"
            )
        acted = self._values.of_items(items, self._journal.cells.columns)
        with th.no_grad():
            values: np.ndarray = priorities(acted).numpy().astype(np.float32, copy=False)
        return values


def _offsets(found: list[tuple[int, int]], shift: list[int]) -> Array:
    return np.array(sorted(cell + shift[lane] for lane, cell in found), dtype=np.int64)
