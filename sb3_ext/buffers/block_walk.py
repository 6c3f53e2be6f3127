"""
What the steps of a block do to the items of a replay, by arithmetic alone: where each step lies, which items it
completes, and in which order `add` would have come by them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.buffers.blocks import Stretch
from sb3_ext.buffers.columns import Array


class Leg(NamedTuple):
    """The steps of one trajectory in a block, in a lane of a replay."""

    place: int
    """of the lane in the block"""
    lane: int
    """in the replay"""
    step: int
    """the first of them in the block"""
    n_steps: int
    offset: int
    """in the block, of the cell that the first one leaves"""
    cell: int
    """the same cell as the lane counts it"""
    start: int
    """cell of the trajectory's first whole observation"""
    ended: bool
    """with the last step"""

    @property
    def after(self) -> int:
        """The cell behind the last one that a step leaves: of the current observation, or the final one."""
        return self.cell + self.n_steps


class Items(NamedTuple):
    """What steps complete: per step the items that are whole now, lane by lane, then those that an end cuts short."""

    lane: Array
    """[N] in the replay"""
    first: Array
    """[N] cell of the first trained step"""
    n_steps: Array
    """[N] real steps from there on"""
    step: Array
    """[N] of the block, the one that completes it"""


def legs_of(
    stretches: list[Stretch], lanes: list[int], counts: list[int], first: list[int], start: list[int]
) -> list[Leg]:
    """
    :param stretches: of a block
    :param lanes: [E] of the replay
    :param counts: [E] cells of each in the block
    :param first: [E] number, in its lane, of the block's first cell of it
    :param start: [E] cell where the trajectory began that is under way, read where the block goes on with one
    """
    shift, done = [], 0
    for cell, count in zip(first, counts, strict=True):
        shift.append(cell - done)
        done += count
    legs = []
    for place, step, n_steps, offset, goes_on, ended in stretches:
        cell = offset + shift[place]
        legs.append(Leg(place, lanes[place], step, n_steps, offset, cell, start[place] if goes_on else cell, ended))
    return legs


def window_items(legs: list[Leg], sequence_length: int, n_steps: int, period: int) -> Items:
    """
    :param legs: steps
    :param sequence_length: m
    :param n_steps: n
    :param period: between windows
    :return: windows that these steps complete
    """
    whole = sequence_length + n_steps
    found: list[tuple[int, bool, int, int, int]] = []  # step, by an end, lane, first trained cell, real steps
    for leg in legs:
        length = leg.after - leg.start
        n_before, n_whole = (max((n - whole) // period + 1, 0) for n in (leg.cell - leg.start, length))
        for k in range(n_before, n_whole):
            t0 = leg.start + k * period
            found.append((leg.step + t0 + whole - leg.cell - 1, False, leg.lane, t0, whole))
        if leg.ended:
            # Window k is kept if it is the first, or the one before it trains not all that is left.
            n_kept = 1 + max(-((sequence_length - length) // period), 0)
            for k in range(n_whole, n_kept):
                t0 = leg.start + k * period
                found.append((leg.step + leg.n_steps - 1, True, leg.lane, t0, min(leg.after - t0, whole)))
    step, _, lane, first, real = np.array(sorted(found), dtype=np.int64).reshape(-1, 5).T
    return Items(lane, first, real, step)


def transition_items(legs: list[Leg], n_steps: int) -> Items:
    """
    :param legs: steps
    :param n_steps: n
    :return: transitions that these steps complete
    """
    parts: list[tuple[Array, ...]] = []  # lane, first cell, real steps; step, by an end
    for leg in legs:
        n_whole = max(leg.after - n_steps - max(leg.start, leg.cell - n_steps + 1) + 1, 0)
        n_cut = min(n_steps - 1, leg.after - leg.start) if leg.ended else 0
        first = np.arange(leg.after - n_cut - n_whole, leg.after)
        if not leg.ended:
            first -= n_steps - 1
        last = np.minimum(first + n_steps, leg.after)
        n = len(first)
        parts.append(
            (np.full(n, leg.lane), first, last - first, last + (leg.step - leg.cell - 1), np.arange(n) >= n_whole)
        )
    lane, first, real, step, by_end = (np.concatenate(x) for x in zip(*parts, strict=True))
    items = Items(lane, first, real, step)
    if legs[0].place == legs[-1].place:
        return items
    order = np.lexsort((first, lane, by_end, step))
    return Items(*(x[order] for x in items))


def split(legs: list[Leg], step: int) -> tuple[list[Leg], list[Leg]]:
    """:return: the steps before this one of the block, and the others"""
    before, after = [], []
    for leg in legs:
        n = step - leg.step
        if n >= leg.n_steps:
            before.append(leg)
        elif n <= 0:
            after.append(leg)
        else:
            before.append(leg._replace(n_steps=n, ended=False))
            after.append(leg._replace(step=step, n_steps=leg.n_steps - n, offset=leg.offset + n, cell=leg.cell + n))
    return before, after
