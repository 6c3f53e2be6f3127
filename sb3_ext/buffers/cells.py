"""
The arrays of a replay: rings of cells, one for each lane, lane e in the rows from e * size on.

Cells know how observations and columns are stored, and nothing of trajectories: which cells hold what is a matter of
`lanes`.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sb3_ext import nested
from sb3_ext.buffers.columns import N_FIRST, Array, Column, Part, read_extras

try:
    import psutil
except ImportError:  # SB3 treats it as optional too
    psutil = None

Obs = np.ndarray | dict[str, np.ndarray]
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
        self._extra = dict(list(columns.items())[N_FIRST:])
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

    def as_arrays(self, obs: Obs) -> dict[str, Array]:
        """
        :param obs: of every lane
        :return: per key as [E, ...], in the dtype of the cells
        :raises ValueError: for a wrong shape
        """
        given = obs if isinstance(obs, dict) else {"": obs}
        arrays = {}
        for key, part in self.parts.items():
            x, shape = np.asarray(given[key]), (self.n_lanes, *part.shape)
            if x.shape != shape:
                if not part.is_discrete:  # Discrete: [E] is kept as [E, 1]
                    raise ValueError(f"observations {key!r} have shape {x.shape}, the space and n_envs ask for {shape}")
                x = x.reshape(shape)
            arrays[key] = x.astype(part.dtype, copy=False)
        return arrays

    def as_columns(
        self, action: np.ndarray, reward: np.ndarray, terminated: Array, extras: Mapping[str, Any] | None
    ) -> dict[str, Array]:
        """
        :param action: [E] or [E, action_dim]
        :param reward: [E]
        :param terminated: [E] bool
        :param extras: [E, ...] for each further column
        :return: by name as [E, ...]
        :raises ValueError: for a wrong shape, or a column without a value
        """
        first = {
            "action": np.asarray(action).reshape(self.n_lanes, *self._columns["action"].shape),
            "reward": np.asarray(reward, dtype=np.float32).reshape(self.n_lanes),
            "terminated": terminated,
        }
        return {**first, **read_extras(self._extra, extras, self.n_lanes)} if self._extra or extras else first

    def fault(
        self, before: dict[str, Array], after: dict[str, Array], columns: dict[str, Array]
    ) -> tuple[str, int, float] | None:
        """:return: what is NaN or infinite and must not be stored: its name, lane and value"""
        read = [*before.values(), *after.values(), columns["reward"]]
        if self._extra:
            read += [columns[name] for name in self._extra]
        for x in read:
            # The dot product is the fastest look at all numbers, but large ones overflow in it.
            if x.dtype.kind == "f" and not math.isfinite(np.vdot(x, x)):
                break
        else:
            return None
        names = [f"observation {key!r}" if key else "observation" for key in (*before, *after)]
        names += ["reward", *(f"column {name!r}" for name in self._extra)]
        for name, x in zip(names, read, strict=True):
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                per_lane = x.reshape(self.n_lanes, -1)
                lane, at = (int(i[0]) for i in np.nonzero(~np.isfinite(per_lane)))
                return name, lane, float(per_lane[lane, at])
        return None

    def check_frames(self, before: dict[str, Array], after: dict[str, Array]) -> None:
        """:raises ValueError: for a stack of frames that is not the one before, moved on by one frame"""
        for key, part in self.parts.items():
            if part.n_frames > 1:
                channels = part.cell_shape[0]
                kept, moved = before[key][:, channels:], after[key][:, :-channels]
                if not np.array_equal(kept, moved):
                    lane = int(np.flatnonzero((kept != moved).reshape(self.n_lanes, -1).any(axis=1))[0])
                    raise ValueError(
                        f"next_obs{f' {key!r}' if key else ''} of env {lane} is not its obs moved on by one frame "
                        f"(frame_channels {channels}, newest last): set frame_channels to the channels of "
                        "one frame, or optimize_memory_usage=False where observations are no frame stacks"
                    )

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

    # ------------------------------------------------------------------ reading

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
