"""Steps of some lanes of a replay as they lie in its cells: what an actor records and a learner stores in one go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.buffers.columns import Array
from sb3_ext.nested import Nested


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

    def offsets(self) -> Array:
        """
        :return: [E, K] of the cell that each step leaves
        :raises ValueError: where starts, ends and counts do not make K steps of every lane
        """
        begins, finals = self.trajectories()
        lengths = finals - begins
        n_steps = len(self.lanes) * self.n_steps
        if self.n_steps < 1 or len(lengths) == 0 or lengths.min() < 1 or lengths.sum() != n_steps:
            raise ValueError(
                f"a block of lanes {self.lanes.tolist()} says {self.n_steps} steps of each, "
                f"its trajectories make {lengths.tolist()}"
            )
        before = np.cumsum(lengths) - lengths
        offsets: np.ndarray = np.repeat(begins - before, lengths) + np.arange(n_steps)
        return offsets.reshape(len(self.lanes), self.n_steps)

    def trajectories(self) -> tuple[Array, Array]:
        """
        :return: [N] offsets of the first and of the last observation of each trajectory, as far as the block has it
        :raises ValueError: where one of them has no other
        """
        after = np.cumsum(self.counts)
        last = after - 1
        begins = np.sort(np.concatenate(((after - self.counts)[self.opened], self.starts)))
        finals = np.sort(np.concatenate((self.ends, last[~np.isin(last, self.ends)])))
        if len(begins) != len(finals):
            raise ValueError(
                f"a block of lanes {self.lanes.tolist()} has {len(begins)} beginnings of trajectories "
                f"and {len(finals)} ends"
            )
        return begins, finals

    def by_step(self, name: str) -> Array:
        """
        :param name: of a column
        :return: [K, E, ...] its values, step by step
        """
        values: np.ndarray = self.columns[name][self.offsets().T]
        return values

    def ended_by_step(self) -> Array:
        """:return: [K, E] bool: the step's next observation was its trajectory's last"""
        ended: np.ndarray = np.isin(self.offsets().T + 1, self.ends)
        return ended
