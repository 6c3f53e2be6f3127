"""What is given to `add`, looked at before anything is stored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th

from sb3_ext.buffers.blocks import LaneBlock, Stretch
from sb3_ext.buffers.columns import N_FIRST, Array, Column, Part, read_extras
from sb3_ext.nested import Nested

Obs = np.ndarray | dict[str, np.ndarray]
Extras = Mapping[str, np.ndarray | th.Tensor] | None


class Step(NamedTuple):
    """One transition of every lane, checked, in the dtypes of the cells."""

    before: dict[str, Array]
    """[E, ...] per key ("" where the space is no Dict)"""
    after: dict[str, Array]
    columns: dict[str, Array]
    """[E, ...] by name"""
    ended: list[int]
    """lanes whose episode ended"""
    states: Nested[th.Tensor] | None
    """[E, ...] each: recurrent state before the observations, for a replay that keeps some"""


class Door:
    """
    :param n_envs: E
    :param parts: how observations are stored, per key
    :param columns: what else is, by name
    :param handle_timeout_termination: False treats every end of an episode as a termination
    """

    def __init__(
        self, n_envs: int, parts: Mapping[str, Part], columns: Mapping[str, Column], handle_timeout_termination: bool
    ) -> None:
        self.n_envs, self.handle_timeout_termination = n_envs, handle_timeout_termination
        self.first_lane = 0
        """added to lanes in errors: of an actor whose lanes are a learner's from this one on"""
        self._parts, self._columns = dict(parts), dict(columns)
        self._extra = dict(list(columns.items())[N_FIRST:])
        self._rows: dict[str, dict[str, tuple[tuple[int, ...], np.dtype]]] = {
            "cells": {key: (part.cell_shape, part.dtype) for key, part in parts.items()},
            "columns": {name: (column.shape, np.dtype(column.dtype)) for name, column in columns.items()},
        }
        """shape and dtype of a row of a block's arrays"""
        self._has_stacks = any(part.n_frames > 1 for part in parts.values())

    def read(
        self,
        obs: Obs,
        next_obs: Obs,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
        extras: Extras,
        states: Nested[th.Tensor] | None,
        step_of: Callable[[int], int],
    ) -> Step:
        """
        Parameters as in `add`, and

        :param step_of: steps since the start of a lane's trajectory, for errors
        :raises ValueError: as `add` does
        """
        before, after = self._as_arrays(obs), self._as_arrays(next_obs)
        over, terminated = np.asarray(done).reshape(self.n_envs).tolist(), np.zeros(self.n_envs, dtype=bool)
        columns = self._as_columns(action, reward, terminated, extras)
        fault = self._fault(before, after, columns)
        if fault is not None:
            name, lane, value = fault
            raise ValueError(
                f"{name} of env {self.first_lane + lane} at step {step_of(lane)} of its episode is not finite "
                f"({value}): it was not stored; mend the environment, or wrap it in VecCheckNan to find the cause"
            )
        if len(infos) != self.n_envs:
            raise ValueError(f"{len(infos)} infos were given for {self.n_envs} environments")
        if self._has_stacks:
            self._check_frames(before, after)
        ended = [lane for lane in range(self.n_envs) if over[lane]]
        for lane in ended:
            timeout = self.handle_timeout_termination and infos[lane].get("TimeLimit.truncated", False)
            terminated[lane] = not timeout
        return Step(before, after, columns, ended, states)

    def read_block(self, block: LaneBlock, lead_in: int) -> list[Stretch]:
        """
        :param block: as `add_block` gets it
        :param lead_in: cells before a trajectory's first whole observation
        :return: its `stretches`
        :raises ValueError: as `add_block` does, without a look at what the lanes hold
        """
        lanes = block.lanes.tolist()
        if not lanes or lanes[0] < 0 or lanes[-1] >= self.n_envs or any(a >= b for a, b in itertools.pairwise(lanes)):
            raise ValueError(
                f"a block of lanes {lanes} does not fit: the replay has lanes 0 to {self.n_envs - 1}, each comes once"
            )
        if not len(lanes) == len(block.counts) == len(block.opened):
            raise ValueError(
                f"a block of lanes {lanes} has counts of {len(block.counts)} and opened of {len(block.opened)}"
            )
        self._check_arrays(block, "cells", block.cells)
        self._check_arrays(block, "columns", block.columns)
        stretches = block.stretches()
        place, free = -1, 0  # the first cell that is no part of a trajectory so far
        for x in stretches:
            if x.place != place:
                place, free = x.place, int(block.counts[: x.place].sum())
            if x.offset - free != (0 if x.goes_on else lead_in):
                raise ValueError(f"a block of lane {lanes[place]} has cells that are no part of its trajectories")
            free = x.offset + x.n_steps + 1
        return stretches

    def _check_arrays(self, block: LaneBlock, what: str, given: dict[str, Array]) -> None:
        expected, n_cells = self._rows[what], int(block.counts.sum())
        if given.keys() != expected.keys():
            lanes = block.lanes.tolist()
            raise ValueError(f"a block of lanes {lanes} has {what} {sorted(given)}, the replay {sorted(expected)}")
        for name, (shape, dtype) in expected.items():
            x = given[name]
            if x.shape != (n_cells, *shape) or x.dtype != dtype:
                raise ValueError(
                    f"a block of lanes {block.lanes.tolist()} has {what} {name!r} of shape {x.shape} and dtype "
                    f"{x.dtype}, "
                    f"the replay asks for {(n_cells, *shape)} and {dtype}"
                )

    def _as_arrays(self, obs: Obs) -> dict[str, Array]:
        """
        :param obs: of every lane
        :return: per key as [E, ...], in the dtype of the cells
        :raises ValueError: for a wrong shape
        """
        given = obs if isinstance(obs, dict) else {"": obs}
        arrays = {}
        for key, part in self._parts.items():
            x, shape = np.asarray(given[key]), (self.n_envs, *part.shape)
            if x.shape != shape:
                if not part.is_discrete:  # Discrete: [E] is kept as [E, 1]
                    raise ValueError(f"observations {key!r} have shape {x.shape}, the space and n_envs ask for {shape}")
                x = x.reshape(shape)
            arrays[key] = x.astype(part.dtype, copy=False)
        return arrays

    def _as_columns(
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
            "action": np.asarray(action).reshape(self.n_envs, *self._columns["action"].shape),
            "reward": np.asarray(reward, dtype=np.float32).reshape(self.n_envs),
            "terminated": terminated,
        }
        return {**first, **read_extras(self._extra, extras, self.n_envs)} if self._extra or extras else first

    def _fault(
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
                per_lane = x.reshape(self.n_envs, -1)
                lane, at = (int(i[0]) for i in np.nonzero(~np.isfinite(per_lane)))
                return name, lane, float(per_lane[lane, at])
        return None

    def _check_frames(self, before: dict[str, Array], after: dict[str, Array]) -> None:
        """:raises ValueError: for a stack of frames that is not the one before, moved on by one frame"""
        for key, part in self._parts.items():
            if part.n_frames > 1:
                channels = part.cell_shape[0]
                kept, moved = before[key][:, channels:], after[key][:, :-channels]
                if not np.array_equal(kept, moved):
                    lane = int(np.flatnonzero((kept != moved).reshape(self.n_envs, -1).any(axis=1))[0])
                    raise ValueError(
                        f"next_obs{f' {key!r}' if key else ''} of env {self.first_lane + lane} is not its obs moved on "
                        f"by one frame (frame_channels {channels}, newest last): set frame_channels to the channels of "
                        "one frame, or optimize_memory_usage=False where observations are no frame stacks"
                    )
