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
    """

    n_steps: int
    """K"""
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
    """[W, ...] each: recurrent state before that observation"""
    priorities: Array | None
    """[N] float32, of what the block completes, in the order of `add`; NaN = not known; None = of nothing"""
