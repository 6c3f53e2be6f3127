"""
The storage under both replays: one *lane* per environment, a ring of cells, every observation stored once.

A trajectory of n transitions takes n + 1 cells, its true final observation too. The cell of an observation also holds
the action taken there, the reward that followed and whether that terminated the episode. Cells of a lane are counted
from 0 for ever; cell c lies at ``c % buffer_size`` of the lane, and lane e begins at ``e * buffer_size`` of the arrays:

```
cell        0   1   2   3   4   5   6   7
trajectory  o0  o1  o2  o3 | o0  o1  o2 ...         three transitions, then the next trajectory
action      a0  a1  a2  -  | a0  a1
```

Where frames of a stack are stored once (``frame_channels``), a cell holds the newest frame of its observation, and a
trajectory's first stack of k frames takes k cells: n + k cells for n transitions.

```
cell        0   1   2   3   4   5   6               k = 4
frame       f0  f1  f2  f3  f4  f5  f6              o0 = f0..f3, o1 = f1..f4, o2 = f2..f5, ...
action      -   -   -   a0  a1  a2
```

Which leaf of the sampler stands for which cells, and when it can be drawn, is a subclass's matter.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import TensorDict
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.buffers.block_filling import BlockFilling
from sb3_ext.buffers.cells import Cells, Index
from sb3_ext.buffers.columns import Array, Column, columns_of, drawn_dtype, parts_of
from sb3_ext.buffers.door import Door, Extras, Obs, Step
from sb3_ext.buffers.replay import Handle, ReplayStatistics, layout_of
from sb3_ext.buffers.samplers import SAMPLERS, SamplerLike
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.buffers.sum_tree import pack, unpack
from sb3_ext.nested import Nested
from sb3_ext.specs import resolve


class LaneReplayBuffer(BlockFilling, ReplayBuffer):
    """
    Lanes of cells. Memory is taken at the first `add`, so a model that is loaded only to act takes none.

    A subclass says which leaf stands for which cells, in four hooks of `add` (`_retire_items`, `_open_items`,
    `_complete_items`, `_end_items`) and in `_fill_items` of `add_block`; and what a sample is, in `_get_samples`.

    :param buffer_size: cells over all lanes
    :param observation_space: space of one observation: Box, image, discrete, or Dict of these
    :param action_space: space of one action
    :param device: where samples go
    :param n_envs: number of lanes
    :param optimize_memory_usage: SB3's keyword, kept for it to read
    :param handle_timeout_termination: False treats every end of an episode as a termination
    :param sampler: which leaf is drawn: an object or its short name. The buffer works on a fresh one of the same
        settings, so that one object may serve several buffers, and what a model keeps stays as it was given.
    :param columns: what else is stored of a transition, by name; `add` takes its values as ``extras``
    :param frame_channels: channels of one frame of channel-first stacks, each frame stored once; None = observations
        are stored whole
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str,
        n_envs: int,
        optimize_memory_usage: bool,
        handle_timeout_termination: bool,
        sampler: SamplerLike,
        columns: Mapping[str, Column] | None,
        frame_channels: int | None = None,
    ) -> None:
        # ReplayBuffer's constructor would allocate SB3's flat storage.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = optimize_memory_usage
        self.handle_timeout_termination = handle_timeout_termination
        self.sampler: Sampler = resolve(Sampler, sampler, SAMPLERS).fresh()
        self.columns = dict(columns or {})
        self.frame_channels = frame_channels
        parts, all_columns = parts_of(observation_space, frame_channels), columns_of(action_space, self.columns)
        self._door = Door(n_envs, parts, all_columns, handle_timeout_termination)
        self._cells = Cells(n_envs, self.buffer_size, parts, all_columns)
        self._rows = np.arange(n_envs) * self.buffer_size
        self._generation = np.zeros(0, dtype=np.int64)  # of each leaf: how often it has been reused
        self._clear()

    # ------------------------------------------------------------------ geometry and state of the lanes

    @abstractmethod
    def _least_cells(self) -> tuple[int, str]:
        """:return: cells that one lane needs, and the words for them in an error"""

    def check_size(self, chunk: int = 0) -> None:
        """
        Not in the constructor: a model that is loaded only to act may have ``buffer_size=1``.

        :param chunk: steps of each lane that come in one block, 0 = step by step
        :raises ValueError: when a lane is too short for one item and one block
        """
        least, words = self._least_cells()
        if chunk > 0:
            least, words = least + chunk, f"{words} and a block of chunk {chunk}: lower chunk, or"
        else:
            words = f"{words}:"
        if self.buffer_size < least:
            raise ValueError(
                f"buffer_size gives {self.buffer_size} cells to each of {self.n_envs} environments, "
                f"but {words} set buffer_size >= {least * self.n_envs}"
            )

    def size(self) -> int:
        """:return: cells in use in the fullest lane"""
        return int(min((self._head + self._open).max(), self.buffer_size))

    @property
    def n_drawable(self) -> int:
        """Items that can be drawn now."""
        return self.sampler.n_active

    @property
    def reads_priorities(self) -> bool:
        """False: `update_priorities` has no effect."""
        return self.sampler.reads_priorities

    @abstractmethod
    def _active_leaves(self) -> Array:
        """:return: [N] leaves that can be drawn now"""

    @abstractmethod
    def _age(self, leaves: Array) -> Array:
        """:return: [N] steps of its environment since the first cell of each was written"""

    def statistics(self) -> ReplayStatistics:
        """:return: of what can be drawn now; reads every leaf, which takes milliseconds"""
        leaves = self._active_leaves()
        fill = self.size() / self.buffer_size
        if len(leaves) == 0:
            return ReplayStatistics(fill, math.nan, math.nan)
        masses = self.sampler.masses(leaves)
        age = float(np.average(self._age(leaves), weights=masses)) * self.n_envs
        median, high = np.quantile(masses, (0.5, 0.95))
        return ReplayStatistics(fill, age, float(high / median))

    def reset(self) -> None:
        """Forget everything. What was drawn before stays gone: leaves keep counting generations."""
        self.sampler.deactivate(self._active_leaves())
        self._generation += 1
        self._clear()

    def _clear(self) -> None:
        e = self.n_envs
        self._head = np.zeros(e, dtype=np.int64)  # the cell of the current observation, or the next free one
        self._open = np.zeros(e, dtype=bool)  # a trajectory is under way: its current observation is in the head cell
        self._n_open = 0
        self._start = np.zeros(e, dtype=np.int64)  # first cell of the trajectory that holds a whole observation
        self._cells.clear()
        self.pos, self.full = 0, False

    # ------------------------------------------------------------------ writing

    def add(
        self,
        obs: Obs,
        next_obs: Obs,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
        extras: Extras = None,
    ) -> None:
        """
        Append one transition to every lane.

        :param obs: [E, ...] observations acted upon
        :param next_obs: [E, ...] observations that followed, at an episode's end the true final one
        :param action: [E] or [E, action_dim]
        :param reward: [E]
        :param done: [E] bool, the episode ended
        :param infos: E dicts; ``TimeLimit.truncated`` marks a timeout
        :param extras: [E, ...] for each of ``columns``
        :raises ValueError: for NaN or infinity, a wrong shape, a frame stack that is not moved on by one frame, or a
            column without a value; nothing is stored then
        """
        self._append(self._door.read(obs, next_obs, action, reward, done, infos, extras, None, self._step_of))

    def _append(self, step: Step) -> None:
        """Store a step; what it makes of leaves is said by the hooks, in the order in which they are called here."""
        if not self._cells.observations:
            self.check_size()
            self._allocate(step.states)
        at = self._at(self._head)
        for lane in self._broken(step.before, at):
            self._break_off(lane)
        # The newest cell that this step writes; a new trajectory also takes cells for older frames of its first stack.
        ahead = 1 if self._n_open == self.n_envs else np.where(self._open, 1, self._cells.lead_in + 1)
        self._retire_items(self._head + ahead)
        if self._n_open < self.n_envs:
            self._begin(step.before)
            at = self._at(self._head)
        self._open_items(step)
        self._cells.put_columns(at, step.columns)
        self._head += 1
        self._cells.put_next(self._at(self._head), step.after)
        self._complete_items()
        for lane in step.ended:
            self._close(lane)
        self._flush()
        if self.journal is not None:
            self.journal.n_steps += 1

    def _flush(self) -> None:
        """Whatever was stored, this comes last."""
        newest = max(self._head.tolist())  # SB3 reads `pos` and `full`
        self.full = self.full or newest >= self.buffer_size
        self.pos = newest % self.buffer_size

    def _allocate(self, states: Nested[Array | th.Tensor] | None) -> None:
        """
        Take memory.

        :param states: recurrent states as they will come, [n, ...] each
        """
        self._cells.allocate()

    def _break_off(self, lane: int) -> None:
        """The trajectory of a lane is not continued by what is added: end it, or refuse."""
        self._close(lane)

    @abstractmethod
    def _retire_items(self, written: Array) -> None:
        """
        Make undrawable what loses a cell.

        :param written: [E] the newest cell that the coming step writes
        """

    def _open_items(self, step: Step) -> None:
        """Take note of items that begin at the head cells, which hold the observations acted upon."""

    @abstractmethod
    def _complete_items(self) -> None:
        """Make drawable what is whole now; the head cells hold the observations that followed."""

    @abstractmethod
    def _end_items(self, lane: int, start: int, end: int) -> None:
        """
        Make drawable what an end cuts short.

        :param start: cell of the trajectory's first whole observation
        :param end: cell of its final one
        """

    def _close(self, lane: int) -> None:
        """End the trajectory behind the head cell."""
        end = int(self._head[lane])
        self._end_items(lane, int(self._start[lane]), end)
        self._open[lane] = False
        self._n_open -= 1
        self._head[lane] += 1
        if self.journal is not None:
            self.journal.ends.append((lane, end))

    def cut(self, lanes: Sequence[int] | None = None) -> None:
        """
        End open trajectories as truncations: what comes next does not continue them (a reset, a lost step, a new env).

        :param lanes: of these lanes, None = of all
        """
        for lane in range(self.n_envs) if lanes is None else lanes:
            if self._open[lane]:
                self._close(int(lane))
        self._flush()

    def _step_of(self, lane: int) -> int:
        """:return: steps since the trajectory's start"""
        return int(self._head[lane] - self._start[lane]) if self._open[lane] else 0

    def _broken(self, before: dict[str, Array], at: Index) -> list[int]:
        """:return: lanes whose trajectory is under way and is not continued by these observations"""
        if self._n_open == 0:
            return []
        broken: set[int] = set()
        for key, x in before.items():
            stored = self._cells.observation(key, at)
            if stored.tobytes() != x.tobytes():  # much faster than ==, but 0.0 is not -0.0, and lanes may be closed
                differs = (stored != x).reshape(self.n_envs, -1).any(axis=1)
                broken.update(np.flatnonzero(differs & self._open).tolist())
        return sorted(broken)

    def _begin(self, before: dict[str, Array]) -> None:
        """Write the first observation of lanes without a trajectory."""
        fresh = np.flatnonzero(~self._open)
        self._head[fresh] += self._cells.lead_in
        self._cells.put_first(fresh, self._head[fresh], before)
        self._start[fresh] = self._head[fresh]
        self._open[fresh] = True
        self._n_open = self.n_envs
        if self.journal is not None:
            self.journal.starts += zip(fresh.tolist(), self._start[fresh].tolist(), strict=True)

    def _at(self, cell: Array) -> Index:
        """:return: where cell ``cell[e]`` of lane e lies; of a single lane a slice, which NumPy takes several times
        faster"""
        if self.n_envs == 1:
            at = int(cell[0]) % self.buffer_size
            return slice(at, at + 1)
        cells: np.ndarray | slice = self._rows + cell % self.buffer_size
        return cells

    # ------------------------------------------------------------------ reading

    def _observations(self, at: Array, env: VecNormalize | None) -> th.Tensor | TensorDict:
        drawn: th.Tensor | TensorDict = nested.map(self._tensor, self._normalize_obs(self._cells.take(at), env))
        return drawn

    def _actions(self, at: Array) -> th.Tensor:
        return self._tensor(self._cells.columns["action"][at].astype(drawn_dtype(self.action_space), copy=False))

    def _tensor(self, fresh: Any) -> th.Tensor:
        """:param fresh: an array that nobody else holds, so that it need not be copied"""
        return self.to_torch(fresh, copy=False)

    @abstractmethod
    def sample(self, batch_size: int, env: VecNormalize | None = None, progress_remaining: float = 1.0) -> Any:
        """
        :param batch_size: B
        :param env: VecNormalize whose statistics are applied to what is returned (the cells stay raw)
        :param progress_remaining: SB3's clock from 1 to 0, for annealed importance exponents
        :return: a batch with the importance ``weights`` [B] and the ``handle`` for `update_priorities`
        """

    def update_priorities(self, handle: Handle, priorities: np.ndarray) -> None:
        """
        Set priorities of what was drawn before. What has been overwritten since is passed over.

        :param handle: from the sample
        :param priorities: [B], finite and >= 0, before any exponent
        """
        current = self._generation[handle.leaves] == handle.generations
        self.sampler.update(handle.leaves[current], priorities[current])

    # ------------------------------------------------------------------ files

    @property
    def state_shapes(self) -> Nested[tuple[int, ...]] | None:
        """Of the recurrent state of one sequence, None where none are stored."""
        return None

    def layout(self) -> dict[str, Any]:
        """What must agree for the contents of two buffers to be interchangeable."""
        return layout_of(self, columns=self.columns, sampler=self.sampler)

    def __getstate__(self) -> dict[str, Any]:
        """Cells that were never written stay out of the file."""
        state = {**self.__dict__, "_generation": pack(self._generation), "_cells": self._cells.trimmed(self.size())}
        state.pop("journal", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._generation, self._cells = unpack(state["_generation"]), state["_cells"].whole()
