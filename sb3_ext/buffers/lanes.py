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
import warnings
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import TensorDict
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.buffers.replay import Handle, ReplayStatistics, layout_of
from sb3_ext.buffers.samplers import SAMPLERS, Sampler, SamplerLike
from sb3_ext.buffers.sum_tree import pack, unpack
from sb3_ext.specs import resolve

try:
    import psutil
except ImportError:  # SB3 treats it as optional too
    psutil = None

Obs = np.ndarray | dict[str, np.ndarray]
Array = np.ndarray
Index = np.ndarray | slice


class Step(NamedTuple):
    """One transition of every lane, checked, in the dtypes of the cells."""

    before: dict[str, Array]
    """[E, ...] per key ("" where the space is no Dict)"""
    after: dict[str, Array]
    actions: Array
    """[E, action_dim]"""
    rewards: Array
    """[E] float32"""
    ended: list[int]
    """lanes whose episode ended"""
    terminated: Array
    """[E] bool; an end that is not a termination is a truncation"""


class LaneReplayBuffer(ReplayBuffer):
    """
    Lanes of cells. Memory is taken at the first `add`, so a model that is loaded only to act takes none.

    A subclass's ``add`` is made of these, in this order: `_read`, `_allocate` once, `_broken`, its own retirement of
    what `_last_written` overwrites, `_begin`, `_store`, `_close` for every lane that ended, `_count`.

    :param buffer_size: cells over all lanes
    :param observation_space: space of one observation: Box, image, discrete, or Dict of these
    :param action_space: space of one action
    :param device: where samples go
    :param n_envs: number of lanes
    :param optimize_memory_usage: SB3's keyword, kept for it to read
    :param handle_timeout_termination: False treats every end of an episode as a termination
    :param sampler: which leaf is drawn: an object or its short name. The buffer works on a fresh one of the same
        settings, so that one object may serve several buffers, and what a model keeps stays as it was given.
    :param frame_channels: channels of one frame of channel-first stacks, each frame stored once; None = observations
        are stored whole
    """

    _per_cell: tuple[str, ...] = ("_actions", "_rewards", "_terminated")
    """Arrays with one row per cell, beside the observations."""

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str,
        n_envs: int,
        optimize_memory_usage: bool,
        handle_timeout_termination: bool,
        sampler: SamplerLike,
        frame_channels: int | None = None,
    ) -> None:
        # ReplayBuffer's constructor would allocate SB3's flat storage.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = optimize_memory_usage
        self.handle_timeout_termination = handle_timeout_termination
        self.sampler: Sampler = resolve(Sampler, sampler, SAMPLERS).fresh()
        self.frame_channels = frame_channels
        is_dict = isinstance(observation_space, spaces.Dict)
        parts: dict[str, spaces.Space] = dict(observation_space.spaces) if is_dict else {"": observation_space}  # type: ignore[attr-defined]
        self._parts = {key: _part(key, space, frame_channels) for key, space in parts.items()}
        self._lead_in = max(part.n_frames for part in self._parts.values()) - 1  # cells before a trajectory's first
        self._rows = np.arange(n_envs) * self.buffer_size
        self._generation = np.zeros(0, dtype=np.int64)  # of each leaf: how often it has been reused
        self._clear()

    # ------------------------------------------------------------------ geometry and state of the lanes

    @abstractmethod
    def _least_cells(self) -> tuple[int, str]:
        """:return: cells that one lane needs, and the words for them in an error"""

    def check_size(self) -> None:
        """
        Not in the constructor: a model that is loaded only to act may have ``buffer_size=1``.

        :raises ValueError: when a lane is too short for one item
        """
        least, words = self._least_cells()
        if self.buffer_size < least:
            raise ValueError(
                f"buffer_size gives {self.buffer_size} cells to each of {self.n_envs} environments, "
                f"but {words}: set buffer_size >= {least * self.n_envs}"
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
        self._cells: dict[str, Array] = {}
        self.pos, self.full = 0, False

    # ------------------------------------------------------------------ writing

    def _read(
        self,
        obs: Obs,
        next_obs: Obs,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> Step:
        """
        :return: what `add` was given
        :raises ValueError: for NaN or infinity, a wrong shape, or frames that do not move on
        """
        before, after = self._as_arrays(obs), self._as_arrays(next_obs)
        rewards = np.asarray(reward, dtype=np.float32).reshape(self.n_envs)
        actions = np.asarray(action).reshape(self.n_envs, self.action_dim)
        for x in (*before.values(), *after.values(), rewards):
            # The dot product is the fastest look at all numbers, but large ones overflow in it.
            if x.dtype.kind == "f" and not math.isfinite(np.vdot(x, x)):
                self._check_finite(before, after, rewards)
        if len(infos) != self.n_envs:
            raise ValueError(f"{len(infos)} infos were given for {self.n_envs} environments")
        if self._lead_in > 0:
            self._check_frames(before, after)
        ended = [lane for lane, over in enumerate(np.asarray(done).reshape(self.n_envs).tolist()) if over]
        terminated = np.zeros(self.n_envs, dtype=bool)
        for lane in ended:
            timeout = self.handle_timeout_termination and infos[lane].get("TimeLimit.truncated", False)
            terminated[lane] = not timeout
        return Step(before, after, actions, rewards, ended, terminated)

    def cut(self) -> None:
        """
        End all open trajectories as truncations: what comes next does not continue them (a reset, a lost step, a new
        env).
        """
        for lane in np.flatnonzero(self._open):
            self._close(int(lane))

    def _allocate(self) -> None:
        self.check_size()
        cells = self.n_envs * self.buffer_size
        shapes = {key: (cells, *part.cell_shape) for key, part in self._parts.items()}
        needed = sum(int(np.prod(shape)) * self._parts[key].dtype.itemsize for key, shape in shapes.items())
        if psutil is not None and needed > psutil.virtual_memory().available:
            warnings.warn(
                f"the replay needs {needed / 1e9:.2f} GB of observations but only "
                f"{psutil.virtual_memory().available / 1e9:.2f} GB are free: lower buffer_size {cells}",
                stacklevel=3,
            )
        self._cells = {key: np.zeros(shape, dtype=self._parts[key].dtype) for key, shape in shapes.items()}
        self._actions = np.zeros((cells, self.action_dim), dtype=_action_dtype(self.action_space))
        self._rewards = np.zeros(cells, dtype=np.float32)
        self._terminated = np.zeros(cells, dtype=bool)

    def _as_arrays(self, obs: Obs) -> dict[str, Array]:
        """:return: observations per key as [E, ...] in the dtype of the cells"""
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

    def _check_finite(self, before: dict[str, Array], after: dict[str, Array], rewards: Array) -> None:
        named = [(f"observation {key!r}" if key else "observation", x) for d in (before, after) for key, x in d.items()]
        for name, x in [*named, ("reward", rewards)]:
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                per_env = x.reshape(self.n_envs, -1)
                lane, at = (int(i[0]) for i in np.nonzero(~np.isfinite(per_env)))
                step = int(self._head[lane] - self._start[lane]) if self._open[lane] else 0
                raise ValueError(
                    f"{name} of env {lane} at step {step} of its episode is not finite ({per_env[lane, at]}): "
                    "it was not stored; mend the environment, or wrap it in VecCheckNan to find the cause"
                )

    def _check_frames(self, before: dict[str, Array], after: dict[str, Array]) -> None:
        for key, part in self._parts.items():
            if part.n_frames > 1:
                kept, moved = before[key][:, self.frame_channels :], after[key][:, : -part.cell_shape[0]]
                if not np.array_equal(kept, moved):
                    lane = int(np.flatnonzero((kept != moved).reshape(self.n_envs, -1).any(axis=1))[0])
                    raise ValueError(
                        f"next_obs{f' {key!r}' if key else ''} of env {lane} is not its obs moved on by one frame "
                        f"(frame_channels {self.frame_channels}, newest last): set frame_channels to the channels of "
                        "one frame, or optimize_memory_usage=False where observations are no frame stacks"
                    )

    def _broken(self, before: dict[str, Array]) -> list[int]:
        """:return: lanes whose trajectory is under way and is not continued by these observations"""
        if self._n_open == 0:
            return []
        at = self._at(self._head)
        for key, x in before.items():
            stored = self._observation(key, at)
            if stored.tobytes() != x.tobytes():  # much faster than ==, but 0.0 is not -0.0, and lanes may be closed
                lanes = np.flatnonzero((stored != x).reshape(self.n_envs, -1).any(axis=1) & self._open)
                if len(lanes) > 0:
                    return lanes.tolist()
        return []

    def _last_written(self) -> Array:
        """:return: [E] the newest cell that the coming transition writes"""
        return self._head + (1 if self._n_open == self.n_envs else np.where(self._open, 1, self._lead_in + 1))

    def _begin(self, before: dict[str, Array]) -> None:
        """Write the first observation of lanes without a trajectory."""
        if self._n_open == self.n_envs:
            return
        fresh = np.flatnonzero(~self._open)
        self._head[fresh] += self._lead_in
        for key, x in before.items():
            n_frames = self._parts[key].n_frames
            for age, frame in enumerate(np.split(x[fresh], n_frames, axis=1)[::-1] if n_frames > 1 else [x[fresh]]):
                self._cells[key][self._rows[fresh] + (self._head[fresh] - age) % self.buffer_size] = frame
        self._start[fresh] = self._head[fresh]
        self._open[fresh] = True
        self._n_open = self.n_envs

    def _store(self, step: Step) -> None:
        """Write the transition and what followed; the head moves on."""
        at = self._at(self._head)
        self._actions[at] = step.actions
        self._rewards[at] = step.rewards
        self._terminated[at] = step.terminated
        self._head += 1
        at = self._at(self._head)
        for key, x in step.after.items():
            self._cells[key][at] = x if self._parts[key].n_frames == 1 else x[:, -self._parts[key].cell_shape[0] :]

    def _close(self, lane: int) -> None:
        """End the trajectory behind the head cell."""
        self._open[lane] = False
        self._n_open -= 1
        self._head[lane] += 1

    def _count(self) -> None:
        """SB3 reads ``pos`` and ``full``."""
        newest = max(self._head.tolist())
        self.full = self.full or newest >= self.buffer_size
        self.pos = newest % self.buffer_size

    def _at(self, cell: Array) -> Index:
        """:return: where cell ``cell[e]`` of lane e lies; of a single lane a slice, which NumPy takes several times
        faster"""
        if self.n_envs == 1:
            at = int(cell[0]) % self.buffer_size
            return slice(at, at + 1)
        return self._rows + cell % self.buffer_size

    # ------------------------------------------------------------------ reading

    def _observation(self, key: str, flat: Index) -> Array:
        """:return: observations of these places, frames put together again"""
        n_frames, cells = self._parts[key].n_frames, self._cells[key]
        if isinstance(flat, slice):
            if n_frames == 1:
                return cells[flat]
            flat = np.arange(flat.start, flat.stop)
        if n_frames == 1:
            return cells.take(flat, axis=0)
        cell = flat % self.buffer_size
        stacked = (cell[..., None] + np.arange(1 - n_frames, 1)) % self.buffer_size + (flat - cell)[..., None]
        return cells.take(stacked, axis=0).reshape(*flat.shape, *self._parts[key].shape)

    def _observations(self, flat: Array, env: VecNormalize | None) -> th.Tensor | TensorDict:
        taken = {key: self._observation(key, flat) for key in self._cells}
        if "" in taken:
            return self._tensor(self._normalize_obs(taken[""], env))
        return {key: self._tensor(x) for key, x in self._normalize_obs(taken, env).items()}  # type: ignore[union-attr]

    def _actions_at(self, flat: Array) -> th.Tensor:
        return self._tensor(self._actions[flat].astype(_sample_dtype(self.action_space), copy=False))

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

    def layout(self) -> dict[str, Any]:
        """What must agree for the contents of two buffers to be interchangeable."""
        return layout_of(self, sampler=self.sampler)

    def __getstate__(self) -> dict[str, Any]:
        """Cells that were never written stay out of the file."""
        state = {**self.__dict__, "_generation": pack(self._generation)}
        if self._cells:
            used = self.size()
            state["_cells"] = {key: self._used(x, used) for key, x in self._cells.items()}
            for name in self._per_cell:
                state[name] = self._used(state[name], used)
        return state

    def _used(self, x: Array, used: int) -> Array:
        return x.reshape(self.n_envs, self.buffer_size, *x.shape[1:])[:, :used]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._generation = unpack(state["_generation"])
        if self._cells:
            self._cells = {key: self._full(x) for key, x in self._cells.items()}
            for name in self._per_cell:
                setattr(self, name, self._full(getattr(self, name)))

    def _full(self, used: Array) -> Array:
        x = np.zeros((self.n_envs, self.buffer_size, *used.shape[2:]), dtype=used.dtype)
        x[:, : used.shape[1]] = used
        return x.reshape(-1, *used.shape[2:])


class _Part(NamedTuple):
    """How observations of one key are stored."""

    shape: tuple[int, ...]
    """of an observation"""
    cell_shape: tuple[int, ...]
    """of what a cell holds: the observation, or its newest frame"""
    n_frames: int
    """frames in an observation, 1 = stored whole"""
    dtype: np.dtype
    is_discrete: bool


def _part(key: str, space: spaces.Space, frame_channels: int | None) -> _Part:
    shape, dtype = _cell_shape(space), _cell_dtype(space)
    whole = _Part(shape, shape, 1, dtype, isinstance(space, spaces.Discrete))
    if frame_channels is None or not isinstance(space, spaces.Box) or len(shape) < 3:
        return whole
    name = f"observation {key!r}" if key else "the observation"
    if len(shape) == 3 and shape[2] < min(shape[:2]):
        how = "wrap the environment in VecTransposeImage"
        if not is_image_space(space):  # VecTransposeImage takes no others, and VecFrameStack stacks them behind
            how = (
                "wrap each environment in gymnasium's TransformObservation with a function that moves the last axis to "
                'the front, and that in VecFrameStack(..., channels_order="first")'
            )
        raise ValueError(
            f"optimize_memory_usage=True stores frames of channel-first stacks once, but {name} has shape {shape}: "
            f"{how}, or set optimize_memory_usage=False"
        )
    if shape[0] % frame_channels != 0:
        raise ValueError(
            f"frame_channels {frame_channels} must divide the {shape[0]} channels of {name}, shape {shape}: "
            "set it to the channels of one frame, 1 for grey or 3 for colour"
        )
    return whole._replace(cell_shape=(frame_channels, *shape[1:]), n_frames=shape[0] // frame_channels)


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
