"""
What the steps of a block do to the items of a replay, by arithmetic alone: where each step lies, which items it
completes, and in which order `add` would have come by them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Array


class Walk(NamedTuple):
    """K steps of each of E lanes."""

    offset: Array
    """[E, K] in the block, of the cell that the step leaves"""
    cell: Array
    """[E, K] the same cell as its lane counts it"""
    number: Array
    """[E, K] of the step in its trajectory, from 0 on"""
    ended: Array
    """[E, K] bool: it ended its trajectory"""

    def part(self, begin: int, end: int) -> Walk:
        """:return: the steps from ``begin`` up to and without ``end``"""
        return Walk(*(x[:, begin:end] for x in self))


class Items(NamedTuple):
    """What steps complete: per step the items that are whole now, lane by lane, then those that an end cuts short."""

    lane: Array
    """[N] place of the lane among those of the block"""
    step: Array
    """[N] of the block, which completes it"""
    first: Array
    """[N] cell of the first trained step"""
    n_steps: Array
    """[N] real steps from there on"""
    by_end: Array
    """[N] bool: the end of its trajectory completed it"""


def walk_of(block: LaneBlock, offset: Array, first: Array, start: Array) -> Walk:
    """
    :param block: whose steps to follow
    :param offset: [E, K], its `offsets`
    :param first: [E] number, in its lane, of the first cell of each lane
    :param start: [E] cell where the trajectory begins that is under way; read where the block has ``opened``
    :return: its steps
    """
    begin_of_lane = np.cumsum(block.counts) - block.counts
    shift = (first - begin_of_lane)[:, None]
    begins, finals = block.trajectories()
    lengths = finals - begins
    starts = np.repeat(begins, lengths).reshape(offset.shape) + shift
    goes_on = block.opened[:, None] & (starts == first[:, None])
    starts = np.where(goes_on, start[:, None], starts)
    cell = offset + shift
    return Walk(offset, cell, cell - starts, np.isin(offset + 1, block.ends))


def window_items(walk: Walk, sequence_length: int, n_steps: int, period: int) -> Items:
    """
    :param walk: steps
    :param sequence_length: m
    :param n_steps: n
    :param period: between windows
    :return: windows that these steps complete
    """
    whole, length = sequence_length + n_steps, walk.number + 1
    full = length - whole  # t0 of the window that is whole now
    lane, step = np.nonzero((full >= 0) & (full % period == 0))
    end_lane, end_step = np.nonzero(walk.ended)
    ended = length[end_lane, end_step]
    # Windows k = 0, 1, ... begin at k period; one is kept if k = 0 or the one before it trains not all that is left.
    k_first = np.where(ended >= whole, (ended - whole) // period + 1, 0)
    k_after = 1 + np.maximum(-((sequence_length - ended) // period), 0)
    row, k = _ranges(k_first, k_after)
    by_end = np.concatenate((np.zeros(len(lane), dtype=bool), np.ones(len(row), dtype=bool)))
    lane, step = np.concatenate((lane, end_lane[row])), np.concatenate((step, end_step[row]))
    t0 = np.concatenate((full[lane[: len(by_end) - len(row)], step[: len(by_end) - len(row)]], k * period))
    start = walk.cell[lane, step] - walk.number[lane, step]
    left = length[lane, step] - t0
    return _in_order(Items(lane, step, start + t0, np.minimum(left, whole), by_end))


def transition_items(walk: Walk, n_steps: int) -> Items:
    """
    :param walk: steps
    :param n_steps: n
    :return: transitions that these steps complete
    """
    lane, step = np.nonzero(walk.number + 1 >= n_steps)
    end_lane, end_step = np.nonzero(walk.ended)
    head = walk.cell[end_lane, end_step] + 1
    row, short = _ranges(np.maximum(head - walk.number[end_lane, end_step] - 1, head - n_steps + 1), head)
    whole = np.full(len(lane), n_steps)
    return _in_order(
        Items(
            np.concatenate((lane, end_lane[row])),
            np.concatenate((step, end_step[row])),
            np.concatenate((walk.cell[lane, step] + 1 - n_steps, short)),
            np.concatenate((whole, head[row] - short)),
            np.concatenate((np.zeros(len(lane), dtype=bool), np.ones(len(row), dtype=bool))),
        )
    )


def _ranges(begin: Array, end: Array) -> tuple[Array, Array]:
    """:return: [N] row and number of each ``begin[row] <= number < end[row]``"""
    lengths = np.maximum(end - begin, 0)
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)


def _in_order(items: Items) -> Items:
    order = np.lexsort((items.first, items.lane, items.by_end, items.step))
    return Items(*(x[order] for x in items))
