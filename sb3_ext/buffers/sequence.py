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

Which leaf stands for which window: see `window_lanes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.buffers.columns import Array, Column
from sb3_ext.buffers.door import Extras, Obs
from sb3_ext.buffers.samplers import SamplerLike
from sb3_ext.buffers.window_lanes import WindowLanes
from sb3_ext.buffers.windows import SequenceSamples, WindowHandle, check_window_geometry
from sb3_ext.nested import Nested


class SequenceReplayBuffer(WindowLanes):
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

    def layout(self) -> dict[str, Any]:
        return {
            **super().layout(),
            "burn_in": self.burn_in,
            "sequence_length": self.sequence_length,
            "n_steps": self.n_steps,
            "period": self.period,
        }


def _masked(x: Array, mask: Array) -> Array:
    """
    :param x: [B, T, ...]
    :param mask: [B, T] bool
    :return: 0 where the mask is false
    """
    masked: np.ndarray = x * mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
    return masked
