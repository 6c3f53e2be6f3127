"""
The n-step items of a transition replay in its lanes: leaf = lane * cells per lane + cell, and when it can be drawn.
What an item is: see `prioritized`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch as th

from sb3_ext.buffers.block_walk import Items, Leg, split, transition_items
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Array
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.replay import Handle
from sb3_ext.buffers.sum_tree import pack, unpack
from sb3_ext.nested import Nested


class TransitionLanes(LaneReplayBuffer):
    """Lanes with n-step items: everything of a `PrioritizedReplayBuffer` but how a batch is put together."""

    n_trained = 1

    # ------------------------------------------------------------------ geometry and state of the lanes

    def _least_cells(self) -> tuple[int, str]:
        least = self._cells.lead_in + self.n_steps + 1
        return least, f"one item needs {least} (n_steps + {'1' if self._cells.lead_in == 0 else 'frames of a stack'})"

    def _clear(self) -> None:
        super()._clear()
        self._oldest = [0] * self.n_envs  # the first transition that has not been retired
        self._was_broken = np.zeros(self.n_envs, dtype=bool)  # the trajectory began where another was broken off
        self._steps = np.zeros(0, dtype=np.uint8)  # k of an active leaf, 0 = not active

    def _active_leaves(self) -> Array:
        return np.flatnonzero(self._steps)

    def _age(self, leaves: Array) -> Array:
        lane, cell = np.divmod(leaves, self.buffer_size)
        return (self._head[lane] - cell) % self.buffer_size

    # ------------------------------------------------------------------ writing

    def _allocate(self, states: Nested[Array | th.Tensor] | None) -> None:
        """Adds: one leaf for every cell."""
        super()._allocate(states)
        leaves = self.n_envs * self.buffer_size
        self._steps = np.zeros(leaves, dtype=np.min_scalar_type(self.n_steps))
        if len(self._generation) == 0:
            self._generation = np.zeros(leaves, dtype=np.int64)
        self.sampler.resize(leaves)

    def _break_off(self, lane: int) -> None:
        """A reset by a second ``learn``, another env, a reloaded replay: what is stored of the trajectory is cut."""
        if self._was_broken[lane] and self._head[lane] == self._start[lane] + 1:
            warnings.warn(
                f"env {self._door.first_lane + lane} broke off two trajectories after one step each: unless learn() is "
                "called for single steps, the VecEnv writes into arrays that it has returned, and what is stored is "
                "wrong",
                stacklevel=4,
            )
        self._close(lane)
        self._was_broken[lane] = True

    def _complete_items(self) -> None:
        """Of each lane the item of which this was the n-th step."""
        n = self.n_steps
        self._activate(
            [
                row + (head - n) % self.buffer_size
                for row, head, start in zip(self._rows.tolist(), self._head.tolist(), self._start.tolist(), strict=True)
                if head - n >= start
            ],
            n,
        )

    def _activate(self, leaves: list[int], steps: int | list[int]) -> None:
        if leaves:
            array = np.array(leaves, dtype=np.int64)
            self._steps[array] = steps
            self.sampler.activate(array)

    def _end_items(self, lane: int, start: int, end: int) -> None:
        cells = range(max(start, end - self.n_steps + 1), end)
        row = lane * self.buffer_size
        self._activate([row + cell % self.buffer_size for cell in cells], [end - cell for cell in cells])
        self._was_broken[lane] = False

    def _retire_items(self, written: Array) -> None:
        """Of stacks whose frames are stored once, an item loses its oldest frame first."""
        lost = written - (self.buffer_size - self._cells.lead_in)  # the newest transition whose oldest frame goes
        cells: list[int] = []
        for lane, newest in enumerate(lost.tolist()):
            while self._oldest[lane] <= newest:
                cells.append(lane * self.buffer_size + self._oldest[lane] % self.buffer_size)
                self._oldest[lane] += 1
        if cells:
            leaves = np.array(cells, dtype=np.int64)
            leaves = leaves[self._steps[leaves] > 0]  # the cell of a final observation has no transition
            self.sampler.deactivate(leaves)
            self._steps[leaves] = 0
            self._generation[leaves] += 1

    # ------------------------------------------------------------------ blocks

    def items_of(self, legs: list[Leg]) -> Items:
        return transition_items(legs, self.n_steps)

    def _check_items(self, block: LaneBlock, legs: list[Leg]) -> None:
        if block.states is not None:
            raise ValueError(f"a block of lanes {block.lanes.tolist()} has recurrent states, which are not stored here")

    def _fill_items(self, block: LaneBlock, legs: list[Leg]) -> Handle:
        first_step, n_steps = legs[0].step, sum(leg.n_steps for leg in legs if leg.place == legs[0].place)
        ends = {leg.lane: leg.after for leg in legs}
        begins = {leg.lane: leg.cell for leg in reversed(legs)}
        room = self.buffer_size - self._cells.lead_in - self.n_steps
        if n_steps > 1 and any(ends[lane] - begins[lane] > room for lane in ends):
            # What one part completes another may overwrite.
            parts = [self._fill_items(block, part) for part in split(legs, first_step + n_steps // 2)]
            return Handle(*(np.concatenate(x) for x in zip(*parts, strict=True)))
        items = self.items_of(legs)
        come = items.lane * self.buffer_size + items.first % self.buffer_size
        gone, gone_step = self._overwritten(legs, ends)
        self._steps[gone] = 0
        self._generation[gone] += 1
        self._steps[come] = items.n_steps
        if self.sampler.commutes:
            self.sampler.deactivate(gone)
            self.sampler.activate(come)
        else:
            order = np.argsort(np.concatenate((2 * gone_step, 2 * items.step + 1)), kind="stable")
            active = np.arange(len(order)) >= len(gone)
            self.sampler.switch(np.concatenate((gone, come))[order], active[order])
        for leg in legs:
            if leg.ended:
                self._was_broken[leg.lane] = False
        return Handle(come, self._generation[come])

    def _overwritten(self, legs: list[Leg], ends: dict[int, int]) -> tuple[Array, Array]:
        """
        :param ends: cell behind the last step of each lane
        :return: [N] active leaves that lose a cell, lane by lane, and the step that takes it
        """
        leaves, steps = [], []
        room = self.buffer_size - self._cells.lead_in
        for lane, end in ends.items():
            cells = np.arange(self._oldest[lane], end - room + 1)
            self._oldest[lane] = max(self._oldest[lane], end - room + 1)
            of_lane = [leg for leg in legs if leg.lane == lane]
            taker = cells + (room - 1)  # the cell that a step leaves which takes the oldest frame
            leg_of = np.searchsorted([leg.after for leg in of_lane], taker, side="right")
            begin = np.array([leg.cell for leg in of_lane])[leg_of]
            leaves.append(lane * self.buffer_size + cells % self.buffer_size)
            steps.append(np.array([leg.step for leg in of_lane])[leg_of] + np.maximum(taker - begin, 0))
        leaf, step = np.concatenate(leaves), np.concatenate(steps)
        is_active = self._steps[leaf] > 0  # the cell of a final observation has no transition
        return leaf[is_active], step[is_active]

    # ------------------------------------------------------------------ files

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_steps": pack(self._steps)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._steps = unpack(state["_steps"])
