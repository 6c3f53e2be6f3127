"""
The arrays of a replay: rings of cells, one for each lane, lane e in the rows from e * size on.

Cells know how observations and columns are stored, and nothing of trajectories: which cells hold what is a matter of
`lanes`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from sb3_ext import nested
from sb3_ext.buffers.columns import Array, Column, Part

try:
    import psutil
except ImportError:  # SB3 treats it as optional too
    psutil = None

Index = np.ndarray | slice


class Cells:
    """
    :param n_lanes: E
    :param size: cells of a lane
    :param parts: how observations are stored, per key
    :param columns: what else is, by name
    """

    def __init__(self, n_lanes: int, size: int, parts: Mapping[str, Part], columns: Mapping[str, Column]) -> None:
        self.n_lanes, self.size, self.parts = n_lanes, size, dict(parts)
        self.lead_in = max(part.n_frames for part in parts.values()) - 1
        """cells before a trajectory's first whole observation, which hold the older frames of its stack"""
        self._columns = dict(columns)
        self.clear()

    def clear(self) -> None:
        """Give the memory back."""
        self.observations: dict[str, Array] = {}
        """[E * size, ...] per key, nothing before `allocate`"""
        self.columns: dict[str, Array] = {}
        """[E * size, ...] by name"""

    def allocate(self) -> None:
        """Take the memory, and warn where there is too little."""
        cells = self.n_lanes * self.size
        shapes = {key: (cells, *part.cell_shape) for key, part in self.parts.items()}
        needed = sum(int(np.prod(shape)) * self.parts[key].dtype.itemsize for key, shape in shapes.items())
        if psutil is not None and needed > psutil.virtual_memory().available:
            warnings.warn(
                f"the replay needs {needed / 1e9:.2f} GB of observations but only "
                f"{psutil.virtual_memory().available / 1e9:.2f} GB are free: lower buffer_size {cells}",
                stacklevel=5,
            )
        self.observations = {key: np.zeros(shape, dtype=self.parts[key].dtype) for key, shape in shapes.items()}
        self.columns = {name: np.zeros((cells, *x.shape), dtype=x.dtype) for name, x in self._columns.items()}

    # ------------------------------------------------------------------ writing

    def put_first(self, lanes: Array, cell: Array, before: dict[str, Array]) -> None:
        """
        Write first observations of trajectories, all frames of stacks.

        :param lanes: [N]
        :param cell: [N] where the newest frame goes
        :param before: [E, ...] per key
        """
        for key, x in before.items():
            n_frames = self.parts[key].n_frames
            for age, frame in enumerate(np.split(x[lanes], n_frames, axis=1)[::-1] if n_frames > 1 else [x[lanes]]):
                self.observations[key][lanes * self.size + (cell - age) % self.size] = frame

    def put_next(self, at: Index, after: dict[str, Array]) -> None:
        """
        :param at: the place of each lane
        :param after: [E, ...] per key, of stacks all frames
        """
        for key, x in after.items():
            part = self.parts[key]
            self.observations[key][at] = x if part.n_frames == 1 else x[:, -part.cell_shape[0] :]

    def put_columns(self, at: Index, values: dict[str, Array]) -> None:
        """
        :param at: the place of each lane
        :param values: [E, ...] by name
        """
        for name, x in values.items():
            self.columns[name][at] = x

    def put_observations(self, lane: int, cell: int, n: int, source: int, values: dict[str, Array]) -> None:
        """
        Write cells that follow each other; where they are more than a lane has, the last ones.

        :param lane: one lane
        :param cell: the first
        :param n: how many
        :param source: row of ``values`` for the first
        :param values: per key, frames of stacks as they lie
        """
        self._put(self.observations, lane, cell, n, source, values)

    def put_values(self, lane: int, cell: int, n: int, source: int, values: dict[str, Array]) -> None:
        """Parameters as above, ``values`` of columns by name."""
        self._put(self.columns, lane, cell, n, source, values)

    def _put(
        self, rings: dict[str, Array], lane: int, cell: int, n: int, source: int, values: dict[str, Array]
    ) -> None:
        skipped = max(n - self.size, 0)
        source, n = source + skipped, n - skipped
        begin, row = (cell + skipped) % self.size, lane * self.size
        before_wrap = min(n, self.size - begin)
        for name, x in values.items():
            ring = rings[name]
            ring[row + begin : row + begin + before_wrap] = x[source : source + before_wrap]
            if n > before_wrap:
                ring[row : row + n - before_wrap] = x[source + before_wrap : source + n]

    # ------------------------------------------------------------------ reading

    def stretch(self, at: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """:return: copies of the observations, frames as they lie, and of the columns of these places"""
        return (
            {key: x.take(at, axis=0) for key, x in self.observations.items()},
            {name: x.take(at, axis=0) for name, x in self.columns.items()},
        )

    def observation(self, key: str, at: Index) -> Array:
        """:return: observations of these places, frames put together again"""
        n_frames, cells = self.parts[key].n_frames, self.observations[key]
        if isinstance(at, slice):
            if n_frames == 1:
                return cells[at]
            at = np.arange(at.start, at.stop)
        if n_frames == 1:
            return cells.take(at, axis=0)
        cell = at % self.size
        stacked = (cell[..., None] + np.arange(1 - n_frames, 1)) % self.size + (at - cell)[..., None]
        return cells.take(stacked, axis=0).reshape(*at.shape, *self.parts[key].shape)

    def take(self, at: Index) -> Array | dict[str, Array]:
        """:return: observations of these places, a dictionary where the space is one"""
        if "" in self.observations:
            return self.observation("", at)
        return {key: self.observation(key, at) for key in self.observations}

    # ------------------------------------------------------------------ files

    def trimmed(self, used: int) -> Cells:
        """:return: for a file: without the cells that no lane has used, as [E, used, ...]"""

        def trim(x: Array) -> Array:
            return x.reshape(self.n_lanes, self.size, *x.shape[1:])[:, :used]

        return self._with(trim)

    def whole(self) -> Cells:
        """:return: the inverse of `trimmed`"""

        def grow(x: Array) -> Array:
            full = np.zeros((self.n_lanes, self.size, *x.shape[2:]), dtype=x.dtype)
            full[:, : x.shape[1]] = x
            return full.reshape(-1, *x.shape[2:])

        return self._with(grow)

    def _with(self, change: Callable[[Array], Array]) -> Cells:
        new = copy.copy(self)
        new.observations = nested.map(change, self.observations)
        new.columns = nested.map(change, self.columns)
        return new
