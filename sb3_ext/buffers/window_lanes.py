"""
The windows of a sequence replay in its lanes: which leaf stands for which window, and when it can be drawn.

Leaves are kept in descriptors, taken when a window opens and returned when it retires. Tying leaves to cells instead
(leaf = cell // period) would waste up to period - 1 cells per trajectory: a third on 50-step episodes
(`benchmarks/replay_memory.py`). What a window is: see `sequence`.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby, takewhile
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch as th

from sb3_ext import nested
from sb3_ext.buffers.block_walk import Items, Leg, window_items
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Array
from sb3_ext.buffers.door import Step
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.replay import Handle
from sb3_ext.nested import Nested

NEVER = np.iinfo(np.int64).max


class Opening(NamedTuple):
    """A step of a block at whose cell windows open."""

    step: int
    offset: int
    """of the cell in the block"""
    lane: int
    cell: int
    number: int
    """of the step in its trajectory"""


class WindowLanes(LaneReplayBuffer):
    """Lanes with windows: everything of a `SequenceReplayBuffer` but how a batch is put together."""

    burn_in: int
    sequence_length: int
    n_steps: int
    period: int
    _offsets: Array

    @property
    def n_trained(self) -> int:
        return self.sequence_length

    # ------------------------------------------------------------------ geometry and state of the lanes

    @property
    def window_cells(self) -> int:
        """Cells of the longest window: l + m + n + 1."""
        return len(self._offsets)

    @property
    def burn_in_offsets(self) -> tuple[int, ...]:
        """The lengths that a burn-in can have: multiples of ``period`` near a trajectory's start, l everywhere else."""
        return tuple(sorted({*range(0, self.burn_in + 1, self.period), self.burn_in}))

    def _least_cells(self) -> tuple[int, str]:
        return self.window_cells, (f"one window needs {self.window_cells} (burn_in + sequence_length + n_steps + 1)")

    def _active_leaves(self) -> Array:
        return np.flatnonzero(self._active)

    def _age(self, leaves: Array) -> Array:
        ages: np.ndarray = self._head[self._lane[leaves]] - self._first[leaves]
        return ages

    def _clear(self) -> None:
        super()._clear()
        e = self.n_envs
        self._oldest = np.full(e, NEVER)  # first cell of the lane's oldest window
        self._live: list[deque[int]] = [deque() for _ in range(e)]  # leaves of a lane, by first cell
        self._pending: list[deque[int]] = [deque() for _ in range(e)]  # those of them that are not complete
        self._states: Nested[Array] | None = None
        self._shapes_at_add: Nested[tuple[int, ...]] | None = None  # with E in front
        # Descriptors, one per leaf.
        self._lane = np.zeros(0, dtype=np.int64)
        self._first = np.zeros(0, dtype=np.int64)  # first cell
        self._lead = np.zeros(0, dtype=np.int64)  # b: burn-in steps
        self._valid = np.zeros(0, dtype=np.int64)  # real transitions from t0 on, <= m + n
        self._active = np.zeros(0, dtype=bool)
        self._free: list[int] = []
        self._switched: list[tuple[int, bool]] = []  # leaves to activate and to deactivate, in this order

    @property
    def state_shapes(self) -> Nested[tuple[int, ...]] | None:
        """Of the recurrent state of one sequence, None when none are stored."""
        shapes: Nested[tuple[int, ...]] | None = nested.map(lambda s: s.shape[1:], self._states)
        return shapes

    # ------------------------------------------------------------------ writing

    def _break_off(self, lane: int) -> None:
        """Refused: a state that was stored would not belong to what follows."""
        raise ValueError(
            f"the observation of env {self._door.first_lane + lane} is not the next_obs that was added before: "
            "the trajectory was broken. Call cut() after a reset, and make sure that the VecEnv does not write into "
            "arrays that it has returned"
        )

    def _check_states(self, states: Nested[th.Tensor]) -> None:
        """Of every step: stored are a few of them."""
        expected = self._shapes_at_add
        if expected is None:
            expected = nested.map(lambda s: (self.n_envs, *s.shape[1:]), states)
        if nested.map(attrgetter("shape"), states) != expected:
            shapes = nested.map(lambda s: tuple(s.shape), states)
            raise ValueError(f"recurrent states have shapes {shapes} where {expected} are stored")

    def _allocate(self, states: Nested[Array | th.Tensor] | None) -> None:
        """Adds: descriptors and states of windows, which grow on demand, because states are large."""
        super()._allocate(states)
        self._shapes_at_add = nested.map(lambda s: (self.n_envs, *s.shape[1:]), states)
        as_stored = nested.map(lambda s: _as_numpy(s[:0]), states)
        self._states = nested.map(lambda s: np.zeros((len(self._lane), *s.shape[1:]), s.dtype), as_stored)
        self._grow(max(64, len(self._generation)))

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self._lane)  # after a reset there are more generations than descriptors
        self._free.extend(range(capacity - 1, len(self._lane) - 1, -1))
        for name in ("_lane", "_first", "_lead", "_valid", "_active", "_generation"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(capacity - len(old), dtype=old.dtype))))
        self._states = nested.map(lambda s: np.concatenate((s, np.zeros((extra, *s.shape[1:]), s.dtype))), self._states)
        self.sampler.resize(capacity)

    # ------------------------------------------------------------------ windows: opened, completed, retired

    def _open_items(self, step: Step) -> None:
        number = self._head - self._start  # steps since the trajectory's start
        opening = ((number == 0) | ((number + self.burn_in) % self.period == 0)).nonzero()[0]
        if len(opening) > 0:
            now = nested.map(_as_numpy, step.states)
            for lane in opening.tolist():
                cell, state = int(self._head[lane]), nested.take(now, lane)
                leaves = self._open_windows(lane, cell, int(number[lane]))
                nested.put(self._states, leaves, state)
                if self.journal is not None and state is not None:
                    self.journal.states.append((lane, cell, nested.map(np.copy, state)))

    def _complete_items(self) -> None:
        full = self._head - self._start - self.sequence_length - self.n_steps  # t0 of the window that is whole now
        for lane in ((full >= 0) & (full % self.period == 0)).nonzero()[0]:
            self._complete(int(lane), int(self._head[lane]), self.sequence_length + self.n_steps)

    def _open_windows(self, lane: int, cell: int, step: int) -> list[int]:
        """
        Open the windows that begin at a cell.

        :param step: of its trajectory, at the cell
        :return: their leaves, which want the state before its observation
        """
        leaves = []
        # At the trajectory's start t0 = b for all windows with t0 <= l; later each window begins l steps before its t0.
        leads = range(0, self.burn_in + 1, self.period) if step == 0 else (self.burn_in,)
        for lead in leads:
            if not self._free:
                self._grow(2 * len(self._lane))
            leaf = self._free.pop()
            self._lane[leaf], self._first[leaf], self._lead[leaf] = lane, cell, lead
            leaves.append(leaf)
            self._live[lane].append(leaf)
            self._pending[lane].append(leaf)
        self._oldest[lane] = self._first[self._live[lane][0]]
        return leaves

    def _complete(self, lane: int, head: int, valid: int) -> None:
        leaf = self._pending[lane].popleft()
        assert self._first[leaf] + self._lead[leaf] + valid == head, "a window was completed out of order"
        self._valid[leaf] = valid
        self._active[leaf] = True
        self._switched.append((leaf, True))

    def _end_items(self, lane: int, start: int, end: int) -> None:
        """Windows that train a new step are complete now, the others are dropped."""
        while self._pending[lane]:
            leaf = self._pending[lane][0]
            t0 = int(self._first[leaf] + self._lead[leaf])
            trains_new = t0 == start or t0 - self.period + self.sequence_length < end
            if not trains_new:
                break
            self._complete(lane, end, min(end - t0, self.sequence_length + self.n_steps))
        for leaf in self._pending[lane]:  # the newest of the lane
            self._live[lane].pop()
            self._release(leaf)
        self._pending[lane].clear()
        self._oldest[lane] = self._first[self._live[lane][0]] if self._live[lane] else NEVER

    def _retire_items(self, written: Array) -> None:
        for lane in (self._oldest <= written - self.buffer_size).nonzero()[0].tolist():
            self._retire(lane, int(written[lane]))

    def _retire(self, lane: int, written: int) -> None:
        live = self._live[lane]
        while live and self._first[live[0]] <= written - self.buffer_size:
            leaf = live.popleft()
            assert self._active[leaf], "a window was overwritten before it was complete"
            self._active[leaf] = False
            self._switched.append((leaf, False))
            self._release(leaf)
        self._oldest[lane] = self._first[live[0]] if live else NEVER

    def _release(self, leaf: int) -> None:
        self._generation[leaf] += 1
        self._free.append(leaf)

    def _flush(self) -> None:
        """Adds: tell the sampler."""
        super()._flush()
        if self._switched:
            leaves, active = zip(*self._switched, strict=True)
            self._switched = []
            self.sampler.switch(np.array(leaves), np.array(active))

    # ------------------------------------------------------------------ blocks

    def items_of(self, legs: list[Leg]) -> Items:
        return window_items(legs, self.sequence_length, self.n_steps, self.period)

    def _openings(self, legs: list[Leg]) -> list[Opening]:
        """:return: by offset"""
        openings = []
        for leg in legs:
            number = leg.cell - leg.start
            later = max(number, 1)
            numbers = range(later + -(later + self.burn_in) % self.period, leg.after - leg.start, self.period)
            for n in [0, *numbers] if number == 0 else numbers:
                ahead = n - number
                openings.append(Opening(leg.step + ahead, leg.offset + ahead, leg.lane, leg.cell + ahead, n))
        return openings

    def _check_items(self, block: LaneBlock, legs: list[Leg]) -> None:
        """States must be there where windows open."""
        openings = [opening.offset for opening in self._openings(legs)]
        stores = self._states if self._cells.observations else block.states
        rows = {len(s) for s in nested.leaves(block.states)} or {0}
        if block.state_at.tolist() != (openings if stores is not None else []) or rows != {len(block.state_at)}:
            raise ValueError(
                f"a block of lanes {block.lanes.tolist()} has {rows} recurrent states, of cells "
                f"{block.state_at.tolist()}, where windows open at {openings}: they must be in every block or in none"
            )
        if block.states is not None and self._shapes_at_add is not None:
            shapes = nested.map(lambda s: (self.n_envs, *s.shape[1:]), block.states)
            if shapes != self._shapes_at_add:
                raise ValueError(
                    f"a block of lanes {block.lanes.tolist()} has recurrent states of {shapes} "
                    f"where {self._shapes_at_add} are stored"
                )

    def _fill_items(self, block: LaneBlock, legs: list[Leg]) -> Handle:
        openings = self._openings(legs)
        rows = {(opening.lane, opening.cell): row for row, opening in enumerate(openings)}
        # (step, phase of `add`, lane, ...), in the order in which `add` comes by them
        events: list[tuple[int, int, int, int, int]] = [(x.step, 1, x.lane, x.cell, x.number) for x in openings]
        events += self._retirements(legs, openings)
        whole = self.sequence_length + self.n_steps
        for leg in legs:
            first = max(leg.cell + 1 - leg.start - whole, 0)  # t0 of a window that is whole in the course of the leg
            for t0 in range(first + -first % self.period, leg.after - leg.start - whole + 1, self.period):
                head = leg.start + t0 + whole
                events.append((leg.step + head - leg.cell - 1, 2, leg.lane, head, 0))
            if leg.ended:
                events.append((leg.step + leg.n_steps - 1, 3, leg.lane, leg.start, leg.after))
        completed: list[tuple[int, int]] = []
        opened: list[tuple[int, int]] = []  # leaf and row of its state
        for _, phase, lane, cell, more in sorted(events):
            n_switched = len(self._switched)
            if phase == 0:
                self._retire(lane, cell)
                continue
            if phase == 1:
                opened += [(leaf, rows[lane, cell]) for leaf in self._open_windows(lane, cell, more)]
            elif phase == 2:
                self._complete(lane, cell, whole)
            else:
                self._end_items(lane, cell, more)
            completed += [(leaf, int(self._generation[leaf])) for leaf, _ in self._switched[n_switched:]]
        if opened:
            leaves, state_rows = np.array(opened).T
            nested.put(self._states, leaves, nested.take(block.states, state_rows))
        leaves, generations = np.array(completed, dtype=np.int64).reshape(-1, 2).T
        return Handle(leaves, generations)

    def _retirements(self, legs: list[Leg], openings: list[Opening]) -> list[tuple[int, int, int, int, int]]:
        """:return: events: when which windows lose their first cell, and the newest cell that is written then"""
        events = []
        for _, group in groupby(legs, key=attrgetter("lane")):
            of_lane = list(group)
            lane, lost = of_lane[0].lane, of_lane[-1].after - self.buffer_size
            cells = list(takewhile(lost.__ge__, (int(self._first[leaf]) for leaf in self._live[lane])))
            # A block that is longer than its lane overwrites windows of its own.
            cells += [x.cell for x in openings if x.lane == lane and x.cell <= lost]
            for leg in of_lane:
                while cells and cells[0] + self.buffer_size <= leg.after:
                    written = cells.pop(0) + self.buffer_size
                    events.append((leg.step + max(written - 1 - leg.cell, 0), 0, lane, written, 0))
        return events


def _as_numpy(x: Array | th.Tensor) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, th.Tensor) else x
