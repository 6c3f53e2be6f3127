"""
Replay of fixed-length windows for recurrent networks. A leaf of the sampler is active exactly while its window is
complete and intact, so sampling has no validity logic.

One *lane* per environment, a ring of cells; every observation is stored once. A trajectory of n transitions takes n + 1
cells: its true final observation too. A window is named by its first *trained* step t0 = 0, period, 2 period, ... from
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

import warnings
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import TensorDict
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.buffers.samplers import ProportionalSampler, Sampler

try:
    import psutil
except ImportError:  # SB3 treats it as optional too
    psutil = None

Obs = np.ndarray | dict[str, np.ndarray]
Array = np.ndarray
NEVER = np.iinfo(np.int64).max


class WindowHandle(NamedTuple):
    """Names drawn windows, also after some of them have been overwritten."""

    leaves: np.ndarray
    """[B] int64"""
    generations: np.ndarray
    """[B] int64, how often each leaf had been reused when it was drawn"""


class SequenceSamples(NamedTuple):
    """A batch of windows. l = burn_in, m = sequence_length, n = n_step."""

    burn_in_observations: th.Tensor | TensorDict
    """[B, l, ...]; a burn-in of b < l real steps fills the last b columns, the columns before are padding"""
    observations: th.Tensor | TensorDict
    """[B, m + n + 1, ...], from the first trained step"""
    actions: th.Tensor
    """[B, m, action_dim], as SB3's buffers keep them"""
    rewards: th.Tensor
    """[B, m + n] float32, 0 in the padding"""
    terminated: th.Tensor
    """[B, m + n] float32, 1 where the step ended the episode for good; truncations and cuts are 0"""
    mask: th.Tensor
    """[B, m + n] float32, 1 = real step, 0 = padding; real steps come first"""
    burn_in_lengths: th.Tensor
    """[B] int64, b"""
    states: tuple[th.Tensor, ...] | None
    """each [L, B, H]: recurrent state before the first real column; None when no state is stored"""
    weights: th.Tensor
    """[B] float32, importance weights in (0, 1]"""
    handle: WindowHandle
    """for `SequenceReplayBuffer.update_priorities`"""


class SequenceReplayBuffer(ReplayBuffer):
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
    :param n_step: n, steps to bootstrap over, >= 1
    :param period: steps between the first trained steps of neighbouring windows; must divide ``sequence_length``
    :param sampler: which window is drawn; None = `ProportionalSampler` with the paper's exponents
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        burn_in: int = 40,
        sequence_length: int = 80,
        n_step: int = 5,
        period: int = 40,
        sampler: Sampler | None = None,
    ) -> None:
        check_window_geometry(burn_in, sequence_length, n_step, period)
        # ReplayBuffer's constructor would allocate SB3's flat storage.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = optimize_memory_usage
        self.handle_timeout_termination = handle_timeout_termination
        self.burn_in, self.sequence_length, self.n_step, self.period = burn_in, sequence_length, n_step, period
        self.sampler = sampler if sampler is not None else ProportionalSampler()
        self.columns = np.arange(-burn_in, sequence_length + n_step + 1)
        is_dict = isinstance(observation_space, spaces.Dict)
        self._spaces: dict[str, spaces.Space] = dict(observation_space.spaces) if is_dict else {"": observation_space}  # type: ignore[attr-defined]
        self._cells: dict[str, Array] = {}
        self._clear()

    # ------------------------------------------------------------------ geometry and state of the lanes

    @property
    def window_cells(self) -> int:
        """Cells of the longest window: l + m + n + 1."""
        return len(self.columns)

    @property
    def burn_in_offsets(self) -> tuple[int, ...]:
        """The lengths that a burn-in can have: multiples of ``period`` near a trajectory's start, l everywhere else."""
        return tuple(sorted({*range(0, self.burn_in + 1, self.period), self.burn_in}))

    def check_size(self) -> None:
        """
        Not in the constructor: a model that is loaded only to act may have ``buffer_size=1``.

        :raises ValueError: when a lane is shorter than one window
        """
        if self.buffer_size < self.window_cells:
            raise ValueError(
                f"buffer_size gives {self.buffer_size} cells to each of {self.n_envs} environments, "
                f"but one window needs {self.window_cells} (burn_in + sequence_length + n_step + 1): "
                f"set buffer_size >= {self.window_cells * self.n_envs}"
            )

    @property
    def n_windows(self) -> int:
        """Windows that can be drawn now."""
        return self.sampler.n_active

    def size(self) -> int:
        """:return: cells in use in the fullest lane"""
        return int(min((self._head + self._open).max(), self.buffer_size))

    def reset(self) -> None:
        """Forget everything. Windows drawn before stay gone: their leaves keep counting generations."""
        self.sampler.deactivate(np.flatnonzero(self._active))
        generation = self._generation + 1
        self._clear()
        self._grow(len(generation))
        self._generation[:] = generation

    def _clear(self) -> None:
        e = self.n_envs
        # Cells are counted from 0 for ever; cell c of a lane lies at c % buffer_size.
        self._head = np.zeros(e, dtype=np.int64)  # the cell of the current observation, or the next free one
        self._open = np.zeros(e, dtype=bool)  # a trajectory is under way: its current observation is in the head cell
        self._start = np.zeros(e, dtype=np.int64)  # first cell of the trajectory
        self._oldest = np.full(e, NEVER)  # first cell of the lane's oldest window
        self._live: list[deque[int]] = [deque() for _ in range(e)]  # leaves of a lane, by first cell
        self._pending: list[deque[int]] = [deque() for _ in range(e)]  # those of them that are not complete
        self._cells = {}
        self._states: tuple[Array, ...] | None = None
        # Descriptors, one per leaf.
        self._lane = np.zeros(0, dtype=np.int64)
        self._first = np.zeros(0, dtype=np.int64)  # first cell
        self._lead = np.zeros(0, dtype=np.int64)  # b: burn-in steps
        self._valid = np.zeros(0, dtype=np.int64)  # real transitions from t0 on, <= m + n
        self._active = np.zeros(0, dtype=bool)
        self._generation = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []
        self.pos, self.full = 0, False

    # ------------------------------------------------------------------ writing

    def add(  # type: ignore[override]
        self,
        obs: Obs,
        next_obs: Obs,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
        states: tuple[th.Tensor, ...] | None = None,
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
        :param states: recurrent state before ``obs`` is fed, each [L, E, H]; given always or never
        :raises ValueError: for NaN or infinity, a wrong shape, an observation that does not continue its lane, or a
            missing state; nothing is stored then
        """
        before, after = self._as_arrays(obs), self._as_arrays(next_obs)
        rewards = np.asarray(reward, dtype=np.float32).reshape(self.n_envs)
        actions = np.asarray(action).reshape(self.n_envs, self.action_dim)
        self._check_finite(before, after, rewards)
        if len(infos) != self.n_envs:
            raise ValueError(f"{len(infos)} infos were given for {self.n_envs} environments")
        if states is not None:
            shapes = tuple((s.shape[0], s.shape[2]) if s.shape[1] == self.n_envs else tuple(s.shape) for s in states)
            if self._states is not None and shapes != self.state_shapes:
                raise ValueError(f"recurrent states have shapes {shapes}, those stored before {self.state_shapes}")
        if not self._cells:
            self._allocate(states)
        if (states is None) != (self._states is None):
            raise ValueError(f"recurrent states must be given at every add or never, now: {states is not None}")
        size, lanes = self.buffer_size, np.arange(self.n_envs)
        rows = lanes * size
        self._check_continues(before, rows)

        self._retire(self._head + 1)  # the last cell written below
        fresh = ~self._open
        if fresh.any():
            self._write(before, rows + self._head % size, fresh)
            self._start[fresh] = self._head[fresh]
            self._open[fresh] = True
        step = self._head - self._start  # steps since the trajectory's start
        opening = np.flatnonzero((step == 0) | ((step + self.burn_in) % self.period == 0))
        if len(opening) > 0:
            now = None if states is None else tuple(s.detach().cpu().numpy() for s in states)
            for lane in opening:
                self._open_windows(int(lane), int(step[lane]), now)

        at = rows + self._head % size
        self._actions[at] = actions
        self._rewards[at] = rewards
        ended = np.asarray(done, dtype=bool)
        truncated = np.zeros_like(ended)
        if self.handle_timeout_termination:
            for lane in np.flatnonzero(ended):
                truncated[lane] = infos[lane].get("TimeLimit.truncated", False)
        self._terminated[at] = ended & ~truncated
        self._head += 1
        self._write(after, rows + self._head % size, None)

        full = step + 1 - self.sequence_length - self.n_step  # t0 of the window that this step completes
        for lane in np.flatnonzero((full >= 0) & (full % self.period == 0)):
            self._complete(int(lane), self.sequence_length + self.n_step)
        for lane in np.flatnonzero(ended):
            self._close(int(lane))
        self.full = self.full or bool((self._head >= size).any())
        self.pos = int(self._head.max() % size)

    def cut(self) -> None:
        """
        End all open trajectories as truncations: what comes next does not continue them (a reset, a lost step, a new
        env).
        """
        for lane in np.flatnonzero(self._open):
            self._close(int(lane))

    def _allocate(self, states: tuple[th.Tensor, ...] | None) -> None:
        self.check_size()
        cells = self.n_envs * self.buffer_size
        shapes = {key: (cells, *_cell_shape(space)) for key, space in self._spaces.items()}
        needed = sum(int(np.prod(shape)) * _cell_dtype(self._spaces[key]).itemsize for key, shape in shapes.items())
        if psutil is not None and needed > psutil.virtual_memory().available:
            warnings.warn(
                f"the replay needs {needed / 1e9:.2f} GB of observations but only "
                f"{psutil.virtual_memory().available / 1e9:.2f} GB are free: lower buffer_size {cells}",
                stacklevel=3,
            )
        self._cells = {key: np.zeros(shape, dtype=_cell_dtype(self._spaces[key])) for key, shape in shapes.items()}
        self._actions = np.zeros((cells, self.action_dim), dtype=_action_dtype(self.action_space))
        self._rewards = np.zeros(cells, dtype=np.float32)
        self._terminated = np.zeros(cells, dtype=bool)
        if states is not None:
            self._states = tuple(np.zeros((len(self._lane), s.shape[0], s.shape[2]), dtype=np.float32) for s in states)
        self._grow(max(64, len(self._lane)))  # doubles on demand: states are large

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self._lane)
        self._free.extend(range(capacity - 1, len(self._lane) - 1, -1))
        for name in ("_lane", "_first", "_lead", "_valid", "_active", "_generation"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(extra, dtype=old.dtype))))
        if self._states is not None:
            self._states = tuple(np.concatenate((s, np.zeros((extra, *s.shape[1:]), s.dtype))) for s in self._states)
        self.sampler.resize(capacity)

    def _as_arrays(self, obs: Obs) -> dict[str, Array]:
        """:return: observations per key as [E, ...] in the dtype of the cells"""
        parts = obs if isinstance(obs, dict) else {"": obs}
        arrays = {}
        for key, space in self._spaces.items():
            x, shape = np.asarray(parts[key]), (self.n_envs, *_cell_shape(space))
            if x.shape != shape and not isinstance(space, spaces.Discrete):  # Discrete: [E] is kept as [E, 1]
                raise ValueError(f"observations {key!r} have shape {x.shape}, the space and n_envs ask for {shape}")
            arrays[key] = x.reshape(shape).astype(_cell_dtype(space), copy=False)
        return arrays

    def _check_finite(self, before: dict[str, Array], after: dict[str, Array], rewards: Array) -> None:
        named = [
            (f"observation {key!r}" if key else "observation", x) for part in (before, after) for key, x in part.items()
        ]
        for name, x in [*named, ("reward", rewards)]:
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                per_env = x.reshape(self.n_envs, -1)
                lane, at = (int(i[0]) for i in np.nonzero(~np.isfinite(per_env)))
                step = int(self._head[lane] - self._start[lane]) if self._open[lane] else 0
                raise ValueError(
                    f"{name} of env {lane} at step {step} of its episode is not finite ({per_env[lane, at]}): "
                    "it was not stored; mend the environment, or wrap it in VecCheckNan to find the cause"
                )

    def _check_continues(self, before: dict[str, Array], rows: Array) -> None:
        at = rows + self._head % self.buffer_size
        for key, x in before.items():
            same = (self._cells[key][at] == x).reshape(self.n_envs, -1).all(axis=1)
            if not (same | ~self._open).all():
                lane = int(np.flatnonzero(~same & self._open)[0])
                raise ValueError(
                    f"the observation of env {lane} is not the next_obs that was added before: the trajectory was "
                    "broken. Call cut() after a reset, and make sure that the VecEnv does not write into arrays that "
                    "it has returned"
                )

    def _write(self, values: dict[str, Array], at: Array, lanes: Array | None) -> None:
        for key, x in values.items():
            if lanes is None:
                self._cells[key][at] = x
            else:
                self._cells[key][at[lanes]] = x[lanes]

    # ------------------------------------------------------------------ windows: opened, completed, retired

    def _open_windows(self, lane: int, step: int, states: tuple[Array, ...] | None) -> None:
        """Open the windows whose first cell is the head cell, with the state before it."""
        # At the trajectory's start t0 = b for all windows with t0 <= l; later each window begins l steps before its t0.
        leads = range(0, self.burn_in + 1, self.period) if step == 0 else (self.burn_in,)
        for lead in leads:
            if not self._free:
                self._grow(2 * len(self._lane))
            leaf = self._free.pop()
            self._lane[leaf], self._first[leaf], self._lead[leaf] = lane, self._head[lane], lead
            if states is not None and self._states is not None:
                for store, value in zip(self._states, states, strict=True):
                    store[leaf] = value[:, lane]
            self._live[lane].append(leaf)
            self._pending[lane].append(leaf)
        self._oldest[lane] = self._first[self._live[lane][0]]

    def _complete(self, lane: int, valid: int) -> None:
        leaf = self._pending[lane].popleft()
        assert self._first[leaf] + self._lead[leaf] + valid == self._head[lane], "a window was completed out of order"
        self._valid[leaf] = valid
        self._active[leaf] = True
        self.sampler.activate(np.array([leaf]))

    def _close(self, lane: int) -> None:
        """End the trajectory behind the head cell: complete the windows that train a new step, drop the others."""
        end, start = int(self._head[lane]), int(self._start[lane])
        while self._pending[lane]:
            leaf = self._pending[lane][0]
            t0 = int(self._first[leaf] + self._lead[leaf])
            trains_new = t0 == start or t0 - self.period + self.sequence_length < end
            if not trains_new:
                break
            self._complete(lane, min(end - t0, self.sequence_length + self.n_step))
        for leaf in self._pending[lane]:  # the newest of the lane
            self._live[lane].pop()
            self._release(leaf)
        self._pending[lane].clear()
        self._oldest[lane] = self._first[self._live[lane][0]] if self._live[lane] else NEVER
        self._open[lane] = False
        self._head[lane] += 1

    def _retire(self, written: Array) -> None:
        """Make windows undrawable before a cell of theirs is overwritten by cell ``written`` of the lane."""
        for lane in np.flatnonzero(self._oldest <= written - self.buffer_size):
            live, gone = self._live[lane], int(written[lane] - self.buffer_size)
            while live and self._first[live[0]] <= gone:
                leaf = live.popleft()
                assert self._active[leaf], "a window was overwritten before it was complete"
                self._active[leaf] = False
                self.sampler.deactivate(np.array([leaf]))
                self._release(leaf)
            self._oldest[lane] = self._first[live[0]] if live else NEVER

    def _release(self, leaf: int) -> None:
        self._generation[leaf] += 1
        self._free.append(leaf)

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
        return self._get_samples(draw.leaves, env)._replace(weights=self._tensor(draw.weights))

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> SequenceSamples:  # type: ignore[override]
        """
        :param batch_inds: [B] leaves of complete windows
        :param env: see `sample`
        :return: these windows, with weights of 1
        """
        leaves, burn_in, trained = batch_inds, self.burn_in, self.sequence_length
        first, lead, valid = self._first[leaves], self._lead[leaves], self._valid[leaves]
        t0 = first + lead
        # Padding repeats the window's first or last observation; it is never trained on.
        cells = np.clip(t0[:, None] + self.columns, first[:, None], (t0 + valid)[:, None])
        flat = (self._lane[leaves] * self.buffer_size)[:, None] + cells % self.buffer_size
        steps = flat[:, burn_in:-1]
        mask = np.arange(trained + self.n_step) < valid[:, None]
        rewards = self._normalize_reward(self._rewards[steps], env) * mask
        states = None
        if self._states is not None:
            states = tuple(self._tensor(np.ascontiguousarray(s[leaves].swapaxes(0, 1))) for s in self._states)
        return SequenceSamples(
            burn_in_observations=self._observations(flat[:, :burn_in], env),
            observations=self._observations(flat[:, burn_in:], env),
            actions=self._tensor(
                self._actions[steps[:, :trained]].astype(_sample_dtype(self.action_space), copy=False)
            ),
            rewards=self._tensor(rewards.astype(np.float32, copy=False)),
            terminated=self._tensor((self._terminated[steps] & mask).astype(np.float32)),
            mask=self._tensor(mask.astype(np.float32)),
            burn_in_lengths=self._tensor(lead),
            states=states,
            weights=th.ones(len(leaves), device=self.device),
            handle=WindowHandle(leaves, self._generation[leaves]),
        )

    def _observations(self, flat: Array, env: VecNormalize | None) -> th.Tensor | TensorDict:
        taken = {key: cells.take(flat, axis=0) for key, cells in self._cells.items()}
        if "" in taken:
            return self._tensor(self._normalize_obs(taken[""], env))
        return {key: self._tensor(x) for key, x in self._normalize_obs(taken, env).items()}  # type: ignore[union-attr]

    def _tensor(self, fresh: Any) -> th.Tensor:
        """:param fresh: an array that nobody else holds, so that it need not be copied"""
        return self.to_torch(fresh, copy=False)

    def update_priorities(self, handle: WindowHandle, priorities: np.ndarray) -> None:
        """
        Set priorities of windows drawn before. Windows that have been overwritten since are passed over.

        :param handle: from `SequenceSamples.handle`
        :param priorities: [B], finite and >= 0, before any exponent
        """
        current = self._generation[handle.leaves] == handle.generations
        self.sampler.update(handle.leaves[current], priorities[current])

    # ------------------------------------------------------------------ files

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...] | None:
        """(L, H) of each recurrent state tensor, None when none are stored."""
        return None if self._states is None else tuple(s.shape[1:] for s in self._states)

    def layout(self) -> dict[str, Any]:
        """What must agree for the contents of two buffers to be interchangeable."""
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "n_envs": self.n_envs,
            "burn_in": self.burn_in,
            "sequence_length": self.sequence_length,
            "n_step": self.n_step,
            "period": self.period,
            "sampler": repr(self.sampler),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Cells that were never written stay out of the file."""
        state = self.__dict__.copy()
        if self._cells:
            used = self.size()
            state["_cells"] = {key: self._used(x, used) for key, x in self._cells.items()}
            for name in ("_actions", "_rewards", "_terminated"):
                state[name] = self._used(state[name], used)
        return state

    def _used(self, x: Array, used: int) -> Array:
        return x.reshape(self.n_envs, self.buffer_size, *x.shape[1:])[:, :used]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._cells:
            self._cells = {key: self._full(x) for key, x in self._cells.items()}
            for name in ("_actions", "_rewards", "_terminated"):
                setattr(self, name, self._full(getattr(self, name)))

    def _full(self, used: Array) -> Array:
        x = np.zeros((self.n_envs, self.buffer_size, *used.shape[2:]), dtype=used.dtype)
        x[:, : used.shape[1]] = used
        return x.reshape(-1, *used.shape[2:])


def check_window_geometry(burn_in: int, sequence_length: int, n_step: int, period: int) -> None:
    """:raises ValueError: naming the number that does not fit"""
    given: list[tuple[str, Any, int]] = [  # Any: what a yml or a search space made of them
        ("burn_in", burn_in, 0),
        ("sequence_length", sequence_length, 1),
        ("n_step", n_step, 1),
        ("period", period, 1),
    ]
    for name, value, least in given:
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} {value} must be an integer >= {least}")
    if sequence_length % period != 0:
        raise ValueError(f"period {period} must divide sequence_length {sequence_length}")


def _cell_shape(space: spaces.Space) -> tuple[int, ...]:
    return (1,) if isinstance(space, spaces.Discrete) else tuple(space.shape or ())


def _cell_dtype(space: spaces.Space) -> np.dtype:
    """float64 observations (MuJoCo's) are stored as float32, which is what networks read."""
    return np.dtype(np.float32) if space.dtype == np.float64 else np.dtype(space.dtype)


def _action_dtype(space: spaces.Space) -> np.dtype:
    if isinstance(space, spaces.Discrete):
        return np.min_scalar_type(int(space.n) - 1)
    return _cell_dtype(space)


def _sample_dtype(space: spaces.Space) -> np.dtype:
    return np.dtype(np.int64) if isinstance(space, spaces.Discrete) else _cell_dtype(space)
