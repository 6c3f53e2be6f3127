"""
Replay of fixed-length windows for recurrent networks. A leaf of the sampler is active exactly while its window is
complete and intact, so sampling has no validity logic.

Lanes and cells are those of `lanes`. A window is named by its first *trained* step t0 = 0, period, 2 period, ... from
the trajectory's start:

```
trajectory  o0 ......... o39 o40 ........ o79 o80 ....... o119 o120 ...             l = 40, m = 80, n = 5, period = 40
t0 = 0      [-------- trained 0..79 -------][n]                                     state at o0, no burn-in
t0 = 40     [-- burn-in --][------- trained 40..119 -------][n]                     state at o0, burn-in 40
t0 = 80                [-- burn-in --][------- trained 80..159 -------][n]          state stored at o40
```

The recurrent state is that *before* the window's first cell, t0 - min(l, t0), is fed. No window crosses a trajectory; a
window cut short by its end is padded behind a mask; a tail window that would train no step that the window before it
does not train is not kept. In a batch the trained steps of all windows stand in the same columns, short burn-ins end
there:

```
column      0 ............ l-1 | l ........... l+m-1 | l+m ... l+m+n
            (pad) burn-in      | trained       (pad) | to bootstrap
```

Which leaf belongs to which window is kept in descriptors, taken when a window opens and returned when it retires. Tying
leaves to cells instead (leaf = cell // period) would waste up to period - 1 cells per trajectory: a third on 50-step
episodes (`benchmarks/replay_memory.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.buffers.block_walk import Items, Walk, window_items
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Array, Column
from sb3_ext.buffers.door import Extras, Obs, Step
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.replay import Handle
from sb3_ext.buffers.samplers import SamplerLike
from sb3_ext.buffers.windows import SequenceSamples, WindowHandle, check_window_geometry
from sb3_ext.nested import Nested

NEVER = np.iinfo(np.int64).max


class SequenceReplayBuffer(LaneReplayBuffer):
    """
    Prioritized replay of overlapping windows (R2D2 paper, section 2.3), any number of environments, Box, image,
    discrete or Dict observations. Memory is taken at the first `add`, so a model that is loaded only to act takes none.

    :param buffer_size: cells (stored observations) over all lanes
    :param observation_space: space of one observation
    :param action_space: space of one action
    :param device: where samples go
    :param n_envs: number of lanes
    :param optimize_memory_usage: accepted for SB3's sake; every observation is stored once in any case
    :param handle_timeout_termination: False treats every end of an episode as a termination
    :param burn_in: l, steps that only refresh the recurrent state, >= 0
    :param sequence_length: m, trained steps, >= 1
    :param n_steps: n, steps to bootstrap over, >= 1
    :param period: steps between the first trained steps of neighbouring windows; must divide ``sequence_length``
    :param sampler: which window is drawn: a `Sampler` or its short name; `Proportional` has the paper's exponents
    :param columns: what else is stored of a transition, by name
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        burn_in: int = 40,
        sequence_length: int = 80,
        n_steps: int = 5,
        period: int = 40,
        sampler: SamplerLike = "proportional",
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        check_window_geometry(burn_in, sequence_length, n_steps, period)
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs,
            optimize_memory_usage,
            handle_timeout_termination,
            sampler,
            columns,
        )
        self.burn_in, self.sequence_length, self.n_steps, self.period = burn_in, sequence_length, n_steps, period
        self._offsets = np.arange(-burn_in, sequence_length + n_steps + 1)

    # ------------------------------------------------------------------ geometry and state of the lanes

    @property
    def window_cells(self) -> int:
        """Cells of the longest window: l + m + n + 1."""
        return len(self._offsets)

    @property
    def burn_in_offsets(self) -> tuple[int, ...]:
        """The lengths that a burn-in can have: multiples of ``period`` near a trajectory's start, l everywhere else."""
        return tuple(sorted({*range(0, self.burn_in + 1, self.period), self.burn_in}))

    def _least_cells(self) -> tuple[int, str]:
        return self.window_cells, (f"one window needs {self.window_cells} (burn_in + sequence_length + n_steps + 1)")

    def _active_leaves(self) -> Array:
        return np.flatnonzero(self._active)

    def _age(self, leaves: Array) -> Array:
        ages: np.ndarray = self._head[self._lane[leaves]] - self._first[leaves]
        return ages

    def _clear(self) -> None:
        super()._clear()
        e = self.n_envs
        self._oldest = np.full(e, NEVER)  # first cell of the lane's oldest window
        self._live: list[deque[int]] = [deque() for _ in range(e)]  # leaves of a lane, by first cell
        self._pending: list[deque[int]] = [deque() for _ in range(e)]  # those of them that are not complete
        self._states: Nested[Array] | None = None
        self._shapes_at_add: Nested[tuple[int, ...]] | None = None  # with E in front
        # Descriptors, one per leaf.
        self._lane = np.zeros(0, dtype=np.int64)
        self._first = np.zeros(0, dtype=np.int64)  # first cell
        self._lead = np.zeros(0, dtype=np.int64)  # b: burn-in steps
        self._valid = np.zeros(0, dtype=np.int64)  # real transitions from t0 on, <= m + n
        self._active = np.zeros(0, dtype=bool)
        self._free: list[int] = []
        self._switched: list[tuple[int, bool]] = []  # leaves to activate and to deactivate, in this order

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
        states: Nested[th.Tensor] | None = None,
    ) -> None:
        """
        Append one transition to every lane.

        :param obs: [E, ...] observations acted upon; while a trajectory is under way they must be the ``next_obs``
            given before
        :param next_obs: [E, ...] observations that followed, at an episode's end the true final one
        :param action: [E] or [E, action_dim]
        :param reward: [E]
        :param done: [E] bool, the episode ended
        :param infos: E dicts; ``TimeLimit.truncated`` marks a timeout
        :param extras: [E, ...] for each of ``columns``
        :param states: recurrent state before ``obs`` is fed, each tensor [E, ...]; given always or never
        :raises ValueError: for NaN or infinity, a wrong shape, an observation that does not continue its lane, or a
            missing state or column; nothing is stored then
        """
        step = self._door.read(obs, next_obs, action, reward, done, infos, extras, states, self._step_of)
        if states is not None:
            self._check_states(states)
        if self._cells.observations and (states is None) != (self._states is None):
            raise ValueError(f"recurrent states must be given at every add or never, now: {states is not None}")
        self._append(step)

    def _break_off(self, lane: int) -> None:
        """Refused: a state that was stored would not belong to what follows."""
        raise ValueError(
            f"the observation of env {lane} is not the next_obs that was added before: the trajectory was broken. "
            "Call cut() after a reset, and make sure that the VecEnv does not write into arrays that it has returned"
        )

    def _check_states(self, states: Nested[th.Tensor]) -> None:
        """Of every step: stored are a few of them."""
        expected = self._shapes_at_add
        if expected is None:
            expected = nested.map(lambda s: (self.n_envs, *s.shape[1:]), states)
        if nested.map(attrgetter("shape"), states) != expected:
            shapes = nested.map(lambda s: tuple(s.shape), states)
            raise ValueError(f"recurrent states have shapes {shapes} where {expected} are stored")

    def _allocate(self, states: Nested[Array | th.Tensor] | None) -> None:
        """Adds: descriptors and states of windows, which grow on demand, because states are large."""
        super()._allocate(states)
        self._shapes_at_add = nested.map(lambda s: (self.n_envs, *s.shape[1:]), states)
        as_stored = nested.map(lambda s: _as_numpy(s[:0]), states)
        self._states = nested.map(lambda s: np.zeros((len(self._lane), *s.shape[1:]), s.dtype), as_stored)
        self._grow(max(64, len(self._generation)))

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self._lane)  # after a reset there are more generations than descriptors
        self._free.extend(range(capacity - 1, len(self._lane) - 1, -1))
        for name in ("_lane", "_first", "_lead", "_valid", "_active", "_generation"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(capacity - len(old), dtype=old.dtype))))
        self._states = nested.map(lambda s: np.concatenate((s, np.zeros((extra, *s.shape[1:]), s.dtype))), self._states)
        self.sampler.resize(capacity)

    # ------------------------------------------------------------------ windows: opened, completed, retired

    def _open_items(self, step: Step) -> None:
        number = self._head - self._start  # steps since the trajectory's start
        opening = self._opening(number).nonzero()[0]
        if len(opening) > 0:
            now = nested.map(_as_numpy, step.states)
            for lane in opening.tolist():
                cell, state = int(self._head[lane]), nested.take(now, lane)
                self._open_windows(lane, cell, int(number[lane]), state)
                if self.journal is not None and state is not None:
                    self.journal.states.append((lane, cell, nested.map(np.copy, state)))

    def _complete_items(self) -> None:
        full = self._head - self._start - self.sequence_length - self.n_steps  # t0 of the window that is whole now
        for lane in ((full >= 0) & (full % self.period == 0)).nonzero()[0]:
            self._complete(int(lane), int(self._head[lane]), self.sequence_length + self.n_steps)

    def _open_windows(self, lane: int, cell: int, step: int, state: Nested[Array] | None) -> None:
        """
        Open the windows that begin at a cell.

        :param step: of its trajectory, at the cell
        :param state: before its observation
        """
        # At the trajectory's start t0 = b for all windows with t0 <= l; later each window begins l steps before its t0.
        leads = range(0, self.burn_in + 1, self.period) if step == 0 else (self.burn_in,)
        for lead in leads:
            if not self._free:
                self._grow(2 * len(self._lane))
            leaf = self._free.pop()
            self._lane[leaf], self._first[leaf], self._lead[leaf] = lane, cell, lead
            nested.put(self._states, leaf, state)
            self._live[lane].append(leaf)
            self._pending[lane].append(leaf)
        self._oldest[lane] = self._first[self._live[lane][0]]

    def _complete(self, lane: int, head: int, valid: int) -> None:
        leaf = self._pending[lane].popleft()
        assert self._first[leaf] + self._lead[leaf] + valid == head, "a window was completed out of order"
        self._valid[leaf] = valid
        self._active[leaf] = True
        self._switched.append((leaf, True))

    def _end_items(self, lane: int, start: int, end: int) -> None:
        """Windows that train a new step are complete now, the others are dropped."""
        while self._pending[lane]:
            leaf = self._pending[lane][0]
            t0 = int(self._first[leaf] + self._lead[leaf])
            trains_new = t0 == start or t0 - self.period + self.sequence_length < end
            if not trains_new:
                break
            self._complete(lane, end, min(end - t0, self.sequence_length + self.n_steps))
        for leaf in self._pending[lane]:  # the newest of the lane
            self._live[lane].pop()
            self._release(leaf)
        self._pending[lane].clear()
        self._oldest[lane] = self._first[self._live[lane][0]] if self._live[lane] else NEVER

    def _retire_items(self, written: Array) -> None:
        for lane in (self._oldest <= written - self.buffer_size).nonzero()[0].tolist():
            self._retire(lane, int(written[lane]))

    def _retire(self, lane: int, written: int) -> None:
        live = self._live[lane]
        while live and self._first[live[0]] <= written - self.buffer_size:
            leaf = live.popleft()
            assert self._active[leaf], "a window was overwritten before it was complete"
            self._active[leaf] = False
            self._switched.append((leaf, False))
            self._release(leaf)
        self._oldest[lane] = self._first[live[0]] if live else NEVER

    def _release(self, leaf: int) -> None:
        self._generation[leaf] += 1
        self._free.append(leaf)

    def _flush(self) -> None:
        """Adds: tell the sampler."""
        super()._flush()
        if self._switched:
            leaves, active = zip(*self._switched, strict=True)
            self._switched = []
            self.sampler.switch(np.array(leaves), np.array(active))

    # ------------------------------------------------------------------ blocks

    def items_of(self, walk: Walk) -> Items:
        return window_items(walk, self.sequence_length, self.n_steps, self.period)

    def _opening(self, number: Array) -> Array:
        """:return: whether windows open at the cells of these steps of their trajectories"""
        opening: np.ndarray = (number == 0) | ((number + self.burn_in) % self.period == 0)
        return opening

    def _check_block(self, block: LaneBlock, walk: Walk, items: Items) -> None:
        """Adds: states."""
        super()._check_block(block, walk, items)
        opening = walk.offset[self._opening(walk.number)]
        stores = self._states if self._cells.observations else block.states
        expected = opening if stores is not None else opening[:0]
        shown = f"a block of lanes {block.lanes.tolist()}"
        rows = {len(s) for s in nested.leaves(block.states)} or {0}
        if not np.array_equal(block.state_at, expected) or rows != {len(expected)}:
            raise ValueError(
                f"{shown} has {rows} recurrent states, of cells {block.state_at.tolist()}, "
                f"where windows open at {opening.tolist()}: they must be in every block or in none"
            )
        if block.states is not None and self._shapes_at_add is not None:
            shapes = nested.map(lambda s: (self.n_envs, *s.shape[1:]), block.states)
            if shapes != self._shapes_at_add:
                raise ValueError(f"{shown} has recurrent states of {shapes} where {self._shapes_at_add} are stored")

    def _fill_items(self, block: LaneBlock, walk: Walk, items: Items) -> Handle:
        opening = self._opening(walk.number)
        whole = self.sequence_length + self.n_steps
        state_of = {at: i for i, at in enumerate(zip(*(x.tolist() for x in opening.nonzero()), strict=True))}
        completed: list[tuple[int, int]] = []
        for step in range(block.n_steps):
            seen = len(self._switched)
            for i, lane in enumerate(block.lanes.tolist()):
                self._retire(lane, int(walk.cell[i, step]) + 1)
            for i, lane in enumerate(block.lanes.tolist()):
                if opening[i, step]:
                    state = nested.take(block.states, state_of[i, step])
                    self._open_windows(lane, int(walk.cell[i, step]), int(walk.number[i, step]), state)
            for i, lane in enumerate(block.lanes.tolist()):
                full = int(walk.number[i, step]) + 1 - whole
                if full >= 0 and full % self.period == 0:
                    self._complete(lane, int(walk.cell[i, step]) + 1, whole)
            for i, lane in enumerate(block.lanes.tolist()):
                if walk.ended[i, step]:
                    cell = int(walk.cell[i, step])
                    self._end_items(lane, cell - int(walk.number[i, step]), cell + 1)
            new = [leaf for leaf, active in self._switched[seen:] if active]
            completed += [(leaf, int(self._generation[leaf])) for leaf in new]
        assert len(completed) == len(items.first), "a block completed other windows than arithmetic says"
        leaves, generations = np.array(completed, dtype=np.int64).reshape(-1, 2).T
        return Handle(leaves, generations)

    # ------------------------------------------------------------------ reading

    def sample(  # type: ignore[override]
        self, batch_size: int, env: VecNormalize | None = None, progress_remaining: float = 1.0
    ) -> SequenceSamples:
        """
        Draw windows.

        :param batch_size: B
        :param env: VecNormalize whose statistics are applied to what is returned (the cells stay raw)
        :param progress_remaining: SB3's clock from 1 to 0, for annealed importance exponents
        :raises ValueError: while no window is complete
        """
        draw = self.sampler.draw(batch_size, progress_remaining)
        return self._get_samples(draw.leaves, env, draw.weights)

    def _get_samples(  # type: ignore[override]
        self, batch_inds: np.ndarray, env: VecNormalize | None = None, weights: Array | None = None
    ) -> SequenceSamples:
        """
        :param batch_inds: [B] leaves of complete windows
        :param env: see `sample`
        :param weights: [B] float32, None = ones
        :return: these windows
        """
        leaves, burn_in, trained = batch_inds, self.burn_in, self.sequence_length
        first, lead, valid = self._first[leaves], self._lead[leaves], self._valid[leaves]
        t0 = first + lead
        # Padding repeats the window's first or last observation; it is never trained on.
        cells = np.clip(t0[:, None] + self._offsets, first[:, None], (t0 + valid)[:, None])
        flat = (self._lane[leaves] * self.buffer_size)[:, None] + cells % self.buffer_size
        steps = flat[:, burn_in:-1]
        mask = np.arange(trained + self.n_steps) < valid[:, None]
        columns = self._cells.columns
        rewards = self._normalize_reward(columns["reward"][steps], env) * mask
        return SequenceSamples(
            burn_in_observations=self._observations(flat[:, :burn_in], env),
            observations=self._observations(flat[:, burn_in:], env),
            actions=self._actions(steps[:, :trained]),
            rewards=self._tensor(rewards.astype(np.float32, copy=False)),
            terminated=self._tensor((columns["terminated"][steps] & mask).astype(np.float32)),
            mask=self._tensor(mask.astype(np.float32)),
            burn_in_lengths=self._tensor(lead),
            states=nested.map(lambda s: self._tensor(s[leaves]), self._states),
            extras={name: self._tensor(_masked(columns[name][steps], mask)) for name in self.columns},
            weights=self._tensor(np.ones(len(leaves), dtype=np.float32) if weights is None else weights),
            handle=WindowHandle(leaves, self._generation[leaves]),
        )

    # ------------------------------------------------------------------ files

    @property
    def state_shapes(self) -> Nested[tuple[int, ...]] | None:
        """Of the recurrent state of one sequence, None when none are stored."""
        shapes: Nested[tuple[int, ...]] | None = nested.map(lambda s: s.shape[1:], self._states)
        return shapes

    def layout(self) -> dict[str, Any]:
        return {
            **super().layout(),
            "burn_in": self.burn_in,
            "sequence_length": self.sequence_length,
            "n_steps": self.n_steps,
            "period": self.period,
        }


def _as_numpy(x: Array | th.Tensor) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, th.Tensor) else x


def _masked(x: Array, mask: Array) -> Array:
    """
    :param x: [B, T, ...]
    :param mask: [B, T] bool
    :return: 0 where the mask is false
    """
    masked: np.ndarray = x * mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
    return masked
