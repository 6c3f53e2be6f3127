"""
Transitions in hand, and SB3's loop over them: what is stored already is counted tick by tick, as if the learner had
stepped all environments itself.

A row is one step of one actor's lanes, a tick as many rows as there are actors: ``n_envs`` transitions.

```
deliveries, K = 3    actor 0: r0 r1 r2     actor 1: s0 s1 s2
lockstep             r0 s0 | r1 s1 | r2 s2                      a tick is one step of every lane
else, as they come   r0 r1 | r2 s0 | s1 s2                      a tick is so many steps, of whatever lanes
```
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.messages import Delivery, Ended


class Tick(NamedTuple):
    """What `step` of a VecEnv returns beside observations."""

    rewards: np.ndarray
    """[n_envs] of the last step of each lane; 0 where the tick has none"""
    dones: np.ndarray
    """[n_envs] bool: an episode of the lane is in ``infos``"""
    infos: list[dict[str, Any]]


class _Row(NamedTuple):
    lanes: np.ndarray
    rewards: np.ndarray
    ended: list[Ended]


class Credit:
    """
    Rows that were stored and not counted yet.

    :param n_actors: rows of a tick
    :param n_envs: lanes over all actors
    """

    def __init__(self, n_actors: int, n_envs: int) -> None:
        self._n_actors, self._n_envs = n_actors, n_envs
        self.clear()

    def clear(self) -> None:
        """Forget all of it."""
        self._rows: deque[_Row] = deque()
        self._ended: deque[Ended] = deque()  # of rows that were counted, while their lane told of another episode

    @property
    def n_transitions(self) -> int:
        """In hand."""
        return len(self._rows) * self._n_envs // self._n_actors

    @property
    def has_tick(self) -> bool:
        return len(self._rows) >= self._n_actors

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """:param deliveries: of equally many steps; their rows are taken step by step"""
        self._rows.extend(row for step in zip(*map(_rows, deliveries), strict=True) for row in step)

    def take(self) -> Tick:
        """:return: a tick; there must be one"""
        rewards = np.zeros(self._n_envs, dtype=np.float32)
        dones = np.zeros(self._n_envs, dtype=bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self._n_envs)]
        for _ in range(self._n_actors):
            row = self._rows.popleft()
            rewards[row.lanes] = row.rewards
            self._ended.extend(row.ended)
        waiting: deque[Ended] = deque()
        for ended in self._ended:
            if dones[ended.lane]:
                waiting.append(ended)
            else:
                dones[ended.lane], infos[ended.lane] = True, ended.info
        self._ended = waiting
        return Tick(rewards, dones, infos)


def _rows(delivery: Delivery) -> list[_Row]:
    ended: list[list[Ended]] = [[] for _ in range(delivery.n_steps)]
    for each in delivery.ended:
        ended[each.step].append(each)
    rewards = delivery.block.by_step("reward")
    return [_Row(delivery.block.lanes, rewards[step], ended[step]) for step in range(delivery.n_steps)]


class Ticking:
    """
    The inner part of SB3's ``collect_rollouts``, without acting, stepping and storing. Order and calls are those of
    SB3 2.9.2.

    :param model: the learner
    :param env: its environments, with all wrappers
    :param callback: of the training
    :param log_interval: episodes between two logs
    """

    def __init__(self, model: DeepQLearning, env: VecEnv, callback: BaseCallback, log_interval: int | None) -> None:
        self.model, self.env, self.callback, self.log_interval = model, env, callback, log_interval
        self.n_ticks = self.n_episodes = 0

    def count(self, tick: Tick) -> bool:
        """:return: False where the callback ends the training"""
        model, callback = self.model, self.callback
        normalizer = model.get_vec_normalize_env()
        rewards, dones, infos = tick
        if normalizer is not None:
            rewards = normalizer.normalize_reward(rewards)
        model.num_timesteps += self.env.num_envs
        self.n_ticks += 1
        callback.update_locals(
            {
                "self": model,
                "env": self.env,
                "callback": callback,
                "rewards": rewards,
                "dones": dones,
                "infos": infos,
                "num_collected_steps": self.n_ticks,
                "num_collected_episodes": self.n_episodes,
                "log_interval": self.log_interval,
            }
        )
        if not callback.on_step():
            return False
        model._update_info_buffer(infos, dones)
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        model._on_step()
        for _ in range(int(dones.sum())):
            self.n_episodes += 1
            model._episode_num += 1
            if self.log_interval is not None and model._episode_num % self.log_interval == 0:
                model.dump_logs()
        return True
