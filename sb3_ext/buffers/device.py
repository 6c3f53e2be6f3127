"""
Replay in torch memory on the training device: nothing is copied when a batch is drawn, and drawing can be part of a
captured CUDA graph.

A transition is one row of floats, so that storing one is one copy and drawing a batch one gather:

```
row   [ observation | next observation | action | reward | terminated | ended ]
```
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.buffers.replay import Handle, ReplayStatistics, layout_of, uniform_statistics

FLAGS = 3  # reward, terminated, ended


class DeviceReplayBuffer(ReplayBuffer):
    """
    Uniform replay of vectors with n-step returns, any number of environments. An n-step sum ends with the episode and
    with the newest step; a timeout bootstraps from the true final observation.

    Draws are by torch's generator of the device.

    :param buffer_size: transitions over all environments
    :param observation_space: Box of one axis, not an image
    :param action_space: Box
    :param device: where transitions are kept
    :param n_envs: E
    :param optimize_memory_usage: must be False: rows are complete
    :param handle_timeout_termination: False treats every end of an episode as a termination
    :param n_steps: n, steps to bootstrap over, >= 1
    :param gamma: discount factor, needed with ``n_steps > 1``
    :raises ValueError: for other spaces or settings
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
        n_steps: int = 1,
        gamma: float | None = None,
    ) -> None:
        if not holds(observation_space):
            raise ValueError(f"DeviceReplayBuffer holds vectors, not {observation_space}: use PrioritizedReplayBuffer")
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage=True is for PrioritizedReplayBuffer: rows are complete here")
        if n_steps < 1:
            raise ValueError(f"n_steps {n_steps} must be at least 1")
        if n_steps > 1 and gamma is None:
            raise ValueError(f"gamma must be given with n_steps {n_steps}: rewards are summed when they are drawn")
        # SB3's arrays stay as small as they can be: rows take their place.
        super().__init__(n_envs, observation_space, action_space, device, n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps, self.gamma = n_steps, gamma
        self.obs_dim, self.action_dim = int(np.prod(observation_space.shape or ())), get_action_dim(action_space)
        self.row_size = 2 * self.obs_dim + self.action_dim + FLAGS
        self.rows = th.zeros((0, n_envs, self.row_size), device=self.device)  # [T, E, row], taken at the first `add`
        # On the device, for a captured graph: a number would be captured as it was.
        self.n_stored = th.zeros((), dtype=th.int64, device=self.device)
        self.newest = th.zeros((), dtype=th.int64, device=self.device)

    @property
    def n_bytes(self) -> int:
        """of the whole storage"""
        return 4 * self.buffer_size * self.n_envs * self.row_size

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Parameters as in SB3."""
        e = self.n_envs
        timeout = [self.handle_timeout_termination and bool(info.get("TimeLimit.truncated", False)) for info in infos]
        columns = [
            np.asarray(obs).reshape(e, -1),
            np.asarray(next_obs).reshape(e, -1),
            np.asarray(action).reshape(e, -1),
            np.asarray(reward).reshape(e, 1),
            (done * ~np.array(timeout)).reshape(e, 1),
            np.asarray(done).reshape(e, 1),
        ]
        row = th.from_numpy(np.concatenate(columns, axis=1, dtype=np.float32))
        self._to_device()
        if len(self.rows) == 0:
            self.rows = th.zeros((self.buffer_size, e, self.row_size), device=self.device)
        self.rows[self.pos].copy_(row)
        self.newest.fill_(self.pos)
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0
        self.n_stored.fill_(self.size())

    reads_priorities = False

    @property
    def n_drawable(self) -> int:
        """Transitions that can be drawn now."""
        return self.size() * self.n_envs

    def check_size(self) -> None:
        """There is room for one transition in any case."""

    def update_priorities(self, handle: Handle, priorities: np.ndarray) -> None:
        """Draws are uniform."""

    def layout(self) -> dict[str, Any]:
        """What must agree for the contents of two buffers to be interchangeable."""
        return layout_of(self, n_steps=self.n_steps)

    def statistics(self) -> ReplayStatistics:
        """:return: of now"""
        return uniform_statistics(self)

    def cut(self) -> None:
        """What is added next does not continue what is stored: no sum goes on into it."""
        if len(self.rows) > 0:
            self._to_device()
            self.rows[(self.pos - 1) % self.buffer_size, :, -1] = 1.0

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """
        :param batch_size: B
        :param env: normalises what is returned; rewards before they are summed
        :return: a batch on the device; ``discounts`` is None with ``n_steps`` 1
        :raises ValueError: while nothing is stored
        """
        if self.size() == 0:
            raise ValueError("nothing can be drawn yet: no transition is stored")
        self._to_device()
        return self.gather(*self.draw(batch_size), env)

    def draw(self, batch_size: int) -> tuple[th.Tensor, th.Tensor]:
        """:return: steps back from the newest [B], and environments [B]"""
        coins = th.rand(2, batch_size, dtype=th.float64, device=self.device)
        age = (coins[0] * self.n_stored).long()
        lane = (coins[1] * self.n_envs).long()
        return age, lane

    def gather(self, age: th.Tensor, lane: th.Tensor, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """
        :param age: [B] steps back from the newest
        :param lane: [B] environments
        :param env: as in `sample`
        """
        at = (self.newest - age) % self.buffer_size
        first = self.rows[at, lane]  # [B, row]
        if self.n_steps == 1:
            reward, last, discounts = self._rewards(first[:, -FLAGS], env), first, None
        else:
            ahead = th.arange(self.n_steps, device=self.device)
            steps = self.rows[(at[:, None] + ahead) % self.buffer_size, lane[:, None]]  # [B, n, row]
            ended = (steps[..., -1] > 0) | (ahead >= age[:, None])  # nothing is behind the newest step
            alive = th.cat([th.ones_like(ended[:, :1]), ~ended[:, :-1].cummax(dim=1).values], dim=1)
            k = alive.sum(dim=1)  # [B] steps that are summed
            powers = float(self.gamma or 0.0) ** th.arange(self.n_steps + 1, device=self.device)
            reward = (self._rewards(steps[..., -FLAGS], env) * alive * powers[:-1]).sum(dim=1)
            last = steps[th.arange(len(k), device=self.device), k - 1]
            discounts = powers[k].unsqueeze(1).float()
        o, a = self.obs_dim, self.action_dim
        shape = self.obs_shape
        return ReplayBufferSamples(
            observations=self._observations(first[:, :o].unflatten(1, shape), env),
            actions=first[:, 2 * o : 2 * o + a],
            next_observations=self._observations(last[:, o : 2 * o].unflatten(1, shape), env),
            dones=last[:, -2:-1],
            rewards=reward.unsqueeze(1).float(),
            discounts=discounts,
        )

    def _observations(self, x: th.Tensor, env: VecNormalize | None) -> th.Tensor:
        if env is None:
            return x
        return th.as_tensor(env.normalize_obs(x.cpu().numpy()), dtype=th.float32, device=self.device)

    def _rewards(self, x: th.Tensor, env: VecNormalize | None) -> th.Tensor:
        if env is None:
            return x
        return th.as_tensor(env.normalize_reward(x.cpu().numpy()), dtype=th.float32, device=self.device)

    @property
    def _place(self) -> th.device:
        """The device as tensors say it: "cuda" is one of "cuda:0", "cuda:1", ..."""
        device = th.device(self.device)
        return th.device("cuda", th.cuda.current_device()) if device == th.device("cuda") else device

    def _to_device(self) -> None:
        """SB3's `load_replay_buffer` sets `device` and moves nothing."""
        if self.n_stored.device != self._place:
            for name in ("rows", "n_stored", "newest"):
                setattr(self, name, getattr(self, name).to(self.device))

    def __getstate__(self) -> dict[str, Any]:
        tensors = {name: getattr(self, name).cpu() for name in ("rows", "n_stored", "newest")}
        return {**self.__dict__, **tensors}


def holds(observation_space: spaces.Space[Any]) -> bool:
    """:return: whether a `DeviceReplayBuffer` can store such observations"""
    return isinstance(observation_space, spaces.Box) and len(observation_space.shape) == 1
