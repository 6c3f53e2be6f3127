"""The Q-values that an actor acted by, kept for each cell, so that it knows the priorities of what it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th

from sb3_ext.buffers.block_walk import Items, Leg
from sb3_ext.buffers.columns import Array


class ActedItems(NamedTuple):
    """
    Items that are complete, as `ops.priorities.acting_td` wants them. T = trained steps + n - 1 is as far as they read;
    rewards are those of the environment.
    """

    q_taken: th.Tensor
    """[N, M] of the actions taken at the trained steps; NaN = not known"""
    q_best: th.Tensor
    """[N, T + 1] of the best actions. An observation at which nothing was done yet, the final one of a trajectory or
    the newest of a block, has that of the one before it."""
    rewards: th.Tensor
    """[N, T]"""
    terminated: th.Tensor
    """[N, T] float32"""
    mask: th.Tensor
    """[N, T] float32, 1 = real step"""


Priorities = Callable[[ActedItems], th.Tensor]
"""-> [N], finite and >= 0, or NaN = not known"""


class ActingValues:
    """
    :param n_lanes: E
    :param size: cells of a lane
    :param n_trained: M, steps of an item that are trained
    :param n_steps: n, over which it bootstraps
    """

    def __init__(self, n_lanes: int, size: int, n_trained: int, n_steps: int) -> None:
        self.n_lanes, self.size, self.n_trained = n_lanes, size, n_trained
        self._ahead = np.arange(n_trained + n_steps)  # cells of an item up to the last one that is bootstrapped from
        self._cells = np.full((n_lanes * size, 2), np.nan, dtype=np.float32)  # q_taken, q_best
        self._seen: dict[int, Array] = {}

    def see(self, step: int, q_taken: Array, q_best: Array) -> None:
        """
        :param step: since the last block, the one that will be added next
        :param q_taken: [E]
        :param q_best: [E]
        """
        if np.shape(q_taken) != (self.n_lanes,) or np.shape(q_best) != (self.n_lanes,):
            raise ValueError(
                f"Q-values have shapes {np.shape(q_taken)} and {np.shape(q_best)}, the recorder has "
                f"{self.n_lanes} lanes: give one number for each"
            )
        self._seen[step] = np.stack((q_taken, q_best), axis=1)

    def store(self, legs: list[Leg], n_steps: int) -> None:
        """
        Put what was seen to the cells of a block.

        :param legs: of the block, in the recorder's lanes
        :param n_steps: K
        """
        seen = np.full((n_steps, self.n_lanes, 2), np.nan, dtype=np.float32)
        for step, values in self._seen.items():
            seen[step] = values
        self._seen = {}
        for leg in legs:
            values = seen[leg.step : leg.step + leg.n_steps, leg.place]
            cells = np.arange(leg.cell, leg.after + 1) % self.size
            self._cells[leg.lane * self.size + cells] = np.concatenate((values, values[-1:]))

    def of_items(self, items: Items, columns: dict[str, Array]) -> ActedItems:
        """
        :param items: that the block completes
        :param columns: of the recorder's cells
        """
        row, ahead = items.lane[:, None] * self.size, self._ahead
        at = row + (items.first[:, None] + ahead) % self.size
        values, mask = th.from_numpy(self._cells[at]), ahead[:-1] < items.n_steps[:, None]
        return ActedItems(
            q_taken=values[:, : self.n_trained, 0],
            q_best=values[:, :, 1],
            rewards=th.from_numpy(columns["reward"][at[:, :-1]] * mask),
            terminated=th.from_numpy((columns["terminated"][at[:, :-1]] & mask).astype(np.float32)),
            mask=th.from_numpy(mask.astype(np.float32)),
        )
