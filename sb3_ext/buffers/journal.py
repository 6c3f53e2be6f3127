"""What became of the lanes of a replay since somebody last asked, written down by the replay as it happens."""

from __future__ import annotations

from sb3_ext.buffers.cells import Cells
from sb3_ext.buffers.columns import Array
from sb3_ext.nested import Nested


class Journal:
    """
    :param cells: of the replay
    :param head: [E] of the replay, which moves it: the cell of the current observation, or the next free one
    :param is_open: [E] bool of the replay: a trajectory is under way
    """

    def __init__(self, cells: Cells, head: Array, is_open: Array) -> None:
        self.cells, self.head, self.is_open = cells, head, is_open
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.n_steps = 0
        self.starts: list[tuple[int, int]] = []
        """(lane, cell) of first observations of trajectories"""
        self.ends: list[tuple[int, int]] = []
        """(lane, cell) of final observations"""
        self.states: list[tuple[int, int, Nested[Array]]] = []
        """(lane, cell, recurrent state before its observation) of cells at which windows open"""
