"""
Prioritized replay of single transitions with n-step returns, for feed-forward networks. A leaf of the sampler is active
exactly while its n-step item is complete and intact, so sampling has no validity logic.

Lanes and cells are those of `lanes`; leaf = lane * cells per lane + cell, one tree over all environments. The item of
the transition at cell t is its observation, its action, and up to n rewards with the observation after the last:

```
                 n = 3, next observations at the end of the arrows
trajectory  o0  o1  o2  o3  o4  o5(final)
t = 0        |-----------> o3                 k = 3   discount gamma^3
t = 2                |-----------> o5         k = 3
t = 4                        |---> o5         k = 1   discount gamma
```

k = min(n, steps left in the trajectory): a truncation only shortens the sum, and bootstraps from the true final
observation; a termination ends the bootstrap too (``dones``). A leaf becomes active when o(t+k) is stored and is taken
back before one of its cells is overwritten: that of the oldest frame where frames are stored once, its own elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import TensorDict
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.buffers.columns import Array, Column
from sb3_ext.buffers.replay import Handle
from sb3_ext.buffers.samplers import Proportional, SamplerLike
from sb3_ext.buffers.transition_lanes import TransitionLanes

RAINBOWS = Proportional(alpha=0.5, beta=0.4, beta_final=1.0)  # Hessel et al., 2018, table 1


class PrioritizedSamples(NamedTuple):
    """A batch of n-step transitions: SB3's `ReplayBufferSamples` and what prioritization adds."""

    observations: th.Tensor | TensorDict
    """[B, ...]"""
    actions: th.Tensor
    """[B, action_dim]"""
    next_observations: th.Tensor | TensorDict
    """[B, ...], k steps later"""
    dones: th.Tensor
    """[B, 1] float32, 1 where the episode terminated within the k steps; truncations and cuts are 0"""
    rewards: th.Tensor
    """[B, 1] float32, ``sum_{i<k} gamma^i r_{t+i}``"""
    discounts: th.Tensor | None
    """[B, 1] float32, ``gamma^k``; None when the buffer was given no gamma: SB3's algorithms then use their own"""
    extras: dict[str, th.Tensor]
    """[B, ...] of each further column"""
    weights: th.Tensor
    """[B] float32, importance weights in (0, 1]"""
    handle: Handle
    """for `PrioritizedReplayBuffer.update_priorities`"""


class PrioritizedReplayBuffer(TransitionLanes):
    """
    Prioritized replay (Schaul et al., 2016) of n-step transitions, any number of environments, Box, image, discrete or
    Dict observations, any action space. Memory is taken at the first `add`, so a model that is loaded only to act takes
    none.

    SB3's DQN, TD3 and SAC take it as their ``replay_buffer_class``. They never report errors, so all priorities stay
    equal there and draws are uniform; the importance weights are then 1, and they do not read them. What they gain is
    memory, n-step returns for Dict observations, and batches with hardly a duplicate.

    :param buffer_size: cells (stored observations, or frames) over all lanes; an episode of n transitions takes n + 1,
        or n + k where frames of stacks of k are stored once
    :param observation_space: space of one observation
    :param action_space: space of one action
    :param device: where samples go
    :param n_envs: number of lanes
    :param optimize_memory_usage: store each frame of channel-first frame stacks once, as from VecFrameStack or
        FrameStackObservation; observations of fewer than three axes are stored whole. Every observation is stored once
        in any case, and timeouts are handled in any case.
    :param handle_timeout_termination: False treats every end of an episode as a termination
    :param n_steps: n, steps to bootstrap over, >= 1
    :param gamma: discount factor in [0, 1], needed with ``n_steps > 1``. None = ``discounts`` is None, and SB3's
        algorithms use the gamma of the model; a gamma given here would replace it.
    :param frame_channels: channels of one frame of a stack, 1 = grey, 3 = colour; the newest frame comes last
    :param sampler: which transition is drawn: a `Sampler` or its short name
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
        *,
        n_steps: int = 1,
        gamma: float | None = None,
        frame_channels: int = 1,
        sampler: SamplerLike = RAINBOWS,
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        given: list[tuple[str, Any]] = [("n_steps", n_steps), ("frame_channels", frame_channels)]  # Any: from a yml
        for name, value in given:
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} {value} must be an integer >= 1")
        if gamma is None and n_steps > 1:
            raise ValueError(f"gamma must be given with n_steps {n_steps}: rewards are summed when they are sampled")
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
            frame_channels if optimize_memory_usage else None,
        )
        self.n_steps = n_steps
        self._ahead = np.arange(n_steps)
        self.gamma = gamma

    @property
    def gamma(self) -> float | None:
        """Rewards are summed with it when they are drawn, so that it may change."""
        return self._gamma

    @gamma.setter
    def gamma(self, gamma: float | None) -> None:
        if gamma is not None and not 0.0 <= gamma <= 1.0:
            raise ValueError(f"gamma {gamma} must lie in [0, 1]")
        self._gamma = gamma
        self._discounts = np.power(1.0 if gamma is None else gamma, np.arange(self.n_steps + 1)).astype(np.float32)

    @property
    def dones(self) -> np.ndarray:  # type: ignore[override]
        """
        [cells, E] float32: 1 where an episode terminated. A copy: SB3's ``learn`` marks the last transition with
        ``optimize_memory_usage``, which is not needed here, because `add` sees that the trajectory was broken.
        """
        flags: np.ndarray = (
            self._cells.columns["terminated"].reshape(self.n_envs, self.buffer_size).T.astype(np.float32)
        )
        return flags

    # ------------------------------------------------------------------ reading

    def sample(  # type: ignore[override]
        self, batch_size: int, env: VecNormalize | None = None, progress_remaining: float = 1.0
    ) -> PrioritizedSamples:
        """
        Draw n-step transitions.

        :param batch_size: B
        :param env: VecNormalize whose statistics are applied to what is returned (the cells stay raw), to rewards
            before they are summed
        :param progress_remaining: SB3's clock from 1 to 0, for annealed importance exponents
        :raises ValueError: while no item is complete
        """
        if self.sampler.n_active == 0:
            raise ValueError(
                f"nothing can be drawn yet: no transition has its {self.n_steps} n_steps: "
                f"set learning_starts >= {self.n_steps * self.n_envs}"
            )
        draw = self.sampler.draw(batch_size, progress_remaining)
        return self._get_samples(draw.leaves, env, draw.weights)

    def _get_samples(  # type: ignore[override]
        self, batch_inds: np.ndarray, env: VecNormalize | None = None, weights: Array | None = None
    ) -> PrioritizedSamples:
        """
        :param batch_inds: [B] active leaves
        :param env: see `sample`
        :param weights: [B] float32, None = ones
        :return: these transitions
        """
        leaves, size = batch_inds, self.buffer_size
        cell = leaves % size
        row, k = leaves - cell, self._steps[leaves]
        at = row[:, None] + (cell[:, None] + self._ahead) % size  # [B, n]
        columns = self._cells.columns
        rewards = self._normalize_reward(columns["reward"][at], env) * (self._ahead < k[:, None])
        last = row + (cell + k - 1) % size
        return PrioritizedSamples(
            observations=self._observations(leaves, env),
            actions=self._actions(leaves),
            next_observations=self._observations(row + (cell + k) % size, env),
            dones=self._tensor(columns["terminated"][last, None].astype(np.float32)),
            rewards=self._tensor((rewards @ self._discounts[:-1, None]).astype(np.float32, copy=False)),
            discounts=None if self.gamma is None else self._tensor(self._discounts[k, None]),
            extras={name: self._tensor(columns[name][leaves]) for name in self.columns},
            weights=self._tensor(np.ones(len(leaves), dtype=np.float32) if weights is None else weights),
            handle=Handle(leaves, self._generation[leaves]),
        )

    # ------------------------------------------------------------------ files

    def layout(self) -> dict[str, Any]:
        return {
            **super().layout(),
            "n_steps": self.n_steps,
            "gamma": self.gamma,
            "frame_channels": self.frame_channels,
        }
