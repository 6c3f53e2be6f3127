"""
Blocks into lanes: the cells of a block are copied in a few strokes, and what `add` would have done step by step is done
in the same order, so that nobody can tell afterwards how a replay was filled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from sb3_ext.buffers.block_walk import Items, Leg, legs_of
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.cells import Cells
from sb3_ext.buffers.columns import Array
from sb3_ext.buffers.door import Door
from sb3_ext.buffers.journal import Journal
from sb3_ext.buffers.replay import Handle
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.nested import Nested


class BlockFilling(ABC):
    """The part of a `LaneReplayBuffer` that knows blocks. What it shares with the rest is declared here."""

    journal: Journal | None = None
    """of a recorder, see `keep_journal`"""
    buffer_size: int
    n_steps: int
    """over which an item bootstraps"""
    sampler: Sampler
    _door: Door
    _cells: Cells
    _head: Array
    _open: Array
    _n_open: int
    _start: Array

    @abstractmethod
    def _least_cells(self) -> tuple[int, str]: ...

    @abstractmethod
    def check_size(self, chunk: int = 0) -> None: ...

    @abstractmethod
    def cut(self, lanes: Sequence[int] | None = None) -> None: ...

    @abstractmethod
    def update_priorities(self, handle: Handle, priorities: np.ndarray) -> None: ...

    @abstractmethod
    def _allocate(self, states: Nested[Array] | None) -> None: ...

    @abstractmethod
    def _flush(self) -> None: ...

    # ------------------------------------------------------------------ what items a subclass has

    @property
    @abstractmethod
    def n_trained(self) -> int:
        """Steps of an item that are trained."""

    @abstractmethod
    def items_of(self, legs: list[Leg]) -> Items:
        """:return: what these steps complete, in the order of `add`"""

    @abstractmethod
    def _check_items(self, block: LaneBlock, legs: list[Leg]) -> None:
        """:raises ValueError: where a block has not what items are made of"""

    @abstractmethod
    def _fill_items(self, block: LaneBlock, legs: list[Leg]) -> Handle:
        """
        Do of a block, whose cells are written, what the hooks of `add` do step by step.

        :return: the items that were completed, in the order of `items_of`
        """

    # ------------------------------------------------------------------ writing

    def add_block(self, block: LaneBlock) -> None:
        """
        Store what a `BlockRecorder` took, of some lanes. A replay that is filled by blocks of all lanes is the one that
        `add` would have made of the same steps. Items whose priority the block knows get it afterwards.

        :param block: only read
        :raises ValueError: for another shape, dtype or key, a lane that is not there, or a block that does not go on
            where its lane stands; nothing is stored then
        """
        stretches = self._door.read_block(block, self._cells.lead_in)
        lanes, counts, opened = block.lanes.tolist(), block.counts.tolist(), block.opened.tolist()
        self._check_goes_on(block, lanes, counts, opened)
        broken = [lane for lane, goes_on in zip(lanes, opened, strict=True) if self._open[lane] and not goes_on]
        first = [int(self._head[lane]) + (lane in broken) for lane in lanes]
        legs = legs_of(stretches, lanes, counts, first, self._start[block.lanes].tolist())
        self._check_items(block, legs)
        if block.priorities is not None:
            self._check_priorities(block.priorities, legs)
        if not self._cells.observations:
            self.check_size()
            self._allocate(block.states)
        if broken:
            self.cut(broken)
        done = 0
        for lane, cell, count in zip(lanes, first, counts, strict=True):
            self._cells.put_observations(lane, cell, count, done, block.cells)
            done += count
        for leg in legs:
            self._cells.put_values(leg.lane, leg.cell, leg.n_steps, leg.offset, block.columns)
        handle = self._fill_items(block, legs)
        for leg in legs:  # the last one of a lane stays
            self._head[leg.lane] = leg.after + leg.ended
            self._start[leg.lane] = leg.start
            self._open[leg.lane] = not leg.ended
        self._n_open = int(np.count_nonzero(self._open))
        self._flush()
        if block.priorities is not None and self.sampler.reads_priorities:
            known = ~np.isnan(block.priorities)
            self.update_priorities(Handle(*(x[known] for x in handle)), block.priorities[known])

    def _check_goes_on(self, block: LaneBlock, lanes: list[int], counts: list[int], opened: list[bool]) -> None:
        """:raises ValueError: naming a lane that the block does not continue though it says so"""
        offset = 0
        for lane, count, goes_on in zip(lanes, counts, opened, strict=True):
            if goes_on:
                if not self._open[lane]:
                    raise ValueError(
                        f"a block continues lane {lane}, where no trajectory is under way: one before it is missing"
                    )
                at = lane * self.buffer_size + int(self._head[lane]) % self.buffer_size
                for key, x in self._cells.observations.items():
                    if x[at].tobytes() != block.cells[key][offset].tobytes():
                        raise ValueError(
                            f"a block continues lane {lane} from another observation than its last: "
                            "one before it is missing"
                        )
            offset += count

    def _check_priorities(self, priorities: Array, legs: list[Leg]) -> None:
        n_items = len(self.items_of(legs).first)
        if priorities.shape != (n_items,) or (priorities < 0).any() or np.isinf(priorities).any():
            lanes = sorted({leg.lane for leg in legs})
            raise ValueError(
                f"a block of lanes {lanes} has priorities {priorities}, and completes {n_items} items: "
                "each needs one that is finite and >= 0, or NaN where it is not known"
            )

    def recorder_cells(self, chunk: int) -> int:
        """
        :param chunk: steps of each lane between two blocks
        :return: cells of a lane that the replay of a recorder needs, even where every step ends an episode: room for
            what is new, and for an item that it completes
        """
        return self._least_cells()[0] + chunk * (self._cells.lead_in + 2)

    def keep_journal(self, first_lane: int) -> Journal:
        """
        :param first_lane: of a learner's replay, which lane 0 stands for; so lanes are named in errors from now on
        :return: where from now on it is noted what is new in the lanes
        """
        self._door.first_lane = first_lane
        self.journal = Journal(self._cells, self._head, self._open)
        return self.journal
