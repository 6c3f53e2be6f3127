"""Steps of some lanes of a replay as they lie in its cells: what an actor records and a learner stores in one go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.buffers.columns import Array
from sb3_ext.nested import Nested


class Stretch(NamedTuple):
    """The steps of one trajectory in a block."""

    place: int
    """of its lane in the block"""
    step: int
    """the first of them in the block"""
    n_steps: int
    offset: int
    """of the cell that the first one leaves"""
    goes_on: bool
    """the trajectory was under way before the block"""
    ended: bool
    """with the last of them"""


class LaneBlock(NamedTuple):
    """
    K steps of each of E lanes. Cells are those of `lanes`: lane after lane, frames of stacks once, final observations
    and the older frames of first stacks included. Offsets count cells of the block, all lanes together.

    ```
    offset      0   1   2   3   4   5   6               one lane, opened, K = 5, observations stored whole
    cell        o7  o8  o9  o0  o1  o2  o3              o7 is the lane's head once more
    starts                  3                           ends 2: o9 was a final observation
    ```
    """

    n_steps: int
    """K, at least 1"""
    lanes: Array
    """[E] int64, in the learner's replay, ascending"""
    opened: Array
    """[E] bool: the first cell is the lane's head, the current observation, once more; else a trajectory begins there,
    and what the lane has of another one is cut"""
    counts: Array
    """[E] int64, cells of each lane"""
    cells: dict[str, Array]
    """[sum of counts, ...] per key ("" where the space is no Dict), in the dtypes of the cells"""
    columns: dict[str, Array]
    """[sum of counts, ...] by name: action, reward and terminated of the transition that leaves the cell, and further
    ones; undefined where none does"""
    starts: Array
    """[S] int64, offsets of first observations of trajectories, ascending; of stacks their newest frame"""
    ends: Array
    """[S] int64, offsets of final observations, ascending; without ``terminated`` before it an end is a truncation"""
    state_at: Array
    """[W] int64, offsets at which windows open, ascending; empty where no states are stored"""
    states: Nested[np.ndarray] | None
    """[W, ...] each: recurrent state before that observation; None where W is 0"""
    priorities: Array | None
    """[N] float32, of what the block completes, in the order of `add`; NaN = not known; None = of nothing"""

    def stretches(self) -> list[Stretch]:
        """
        :return: the steps of each trajectory, lane by lane
        :raises ValueError: naming a lane that has other steps than K by its starts and ends
        """
        starts, ends = self.starts.tolist(), self.ends.tolist()
        found, after = [], 0
        for place, (count, goes_on) in enumerate(zip(self.counts.tolist(), self.opened.tolist(), strict=True)):
            begin, after, step = after, after + count, 0
            while step < self.n_steps:
                first = begin if goes_on else starts.pop(0) if starts else after
                ended = bool(ends) and ends[0] < after
                final = ends.pop(0) if ended else after - 1
                n_steps = final - first
                if n_steps < 1 or first < begin or step + n_steps > self.n_steps:
                    raise ValueError(self._no_steps(place))
                found.append(Stretch(place, step, n_steps, first, goes_on, ended))
                step, begin, goes_on = step + n_steps, final + 1, False
            if begin != after or step == 0:
                raise ValueError(self._no_steps(place))
        if starts or ends:
            raise ValueError(self._no_steps(len(self.lanes) - 1))
        return found

    def _no_steps(self, place: int) -> str:
        return f"a block of lane {self.lanes[place]} has starts and ends that do not make {self.n_steps} steps of it"

    def offsets(self) -> Array:
        """
        :return: [E, K] of the cell that each step leaves
        :raises ValueError: as `stretches` does
        """
        each = [np.arange(x.offset, x.offset + x.n_steps) for x in self.stretches()]
        return np.concatenate(each).reshape(len(self.lanes), self.n_steps)

    def by_step(self, name: str) -> Array:
        """
        :param name: of a column
        :return: [K, E, ...] its values, step by step
        """
        values: np.ndarray = self.columns[name][self.offsets().T]
        return values

    def ended_by_step(self) -> Array:
        """:return: [K, E] bool: the step's next observation was its trajectory's last"""
        ended = np.zeros((self.n_steps, len(self.lanes)), dtype=bool)
        for x in self.stretches():
            ended[x.step + x.n_steps - 1, x.place] = x.ended
        return ended
