"""What a learner does, for TensorBoard: speed, replay, and returns by how much an environment explores."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext.buffers.replay import as_replay
from sb3_ext.ops.exploration import EpsilonLadder, epsilon_ladder

WINDOW = 20  # episodes that a return by epsilon is the mean of
MAX_CURVES = 16  # of returns by epsilon: at more environments, N_GROUPS
N_GROUPS = 8


class LearnerMetrics(BaseCallback):
    """
    Records, every so many steps, what the next dump of the logger writes to its files:

    - ``speed/env_steps_per_s``, ``speed/updates_per_s`` (PPO and its like count passes over a rollout)
    - ``replay/fill``, a share; ``replay/age``, mean age in env steps of what is drawn; ``replay/spread``, the 95 %
      quantile of the chances of items over their median
    - ``rollout/return_eps_X`` for each epsilon of an `EpsilonLadder`, the mean of their last episodes; at
      more than 16 environments for 8 groups of neighbouring epsilons, X being the middle of a group

    Works with any algorithm of SB3's family; what one does not have is left out.

    :param every: env steps over all environments
    :param exclude: outputs that do not get them, such as "stdout"
    """

    def __init__(self, every: int = 1000, exclude: tuple[str, ...] = ("stdout",)) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every {every} must be at least 1")
        self.every, self.exclude = every, exclude

    def _on_training_start(self) -> None:
        self._returns: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._mark()

    def _mark(self) -> None:
        self._last = time.perf_counter(), self.model.num_timesteps, getattr(self.model, "_n_updates", 0)

    def _on_step(self) -> bool:
        for env, info in enumerate(self.locals.get("infos", ())):
            if "episode" in info:
                self._returns[env].append(info["episode"]["r"])
        if self.model.num_timesteps - self._last[1] >= self.every:
            self._record()
            self._mark()
        return True

    def _record(self) -> None:
        then, steps, updates = self._last
        seconds = max(time.perf_counter() - then, 1e-9)
        self._write("speed/env_steps_per_s", (self.model.num_timesteps - steps) / seconds)
        self._write("speed/updates_per_s", (getattr(self.model, "_n_updates", 0) - updates) / seconds)
        replay = getattr(self.model, "replay_buffer", None)
        if replay is not None:
            for name, value in as_replay(replay).statistics()._asdict().items():
                if np.isfinite(value):
                    self._write(f"replay/{name}", value)
        ladder = getattr(self.model, "exploration", None)
        if isinstance(ladder, EpsilonLadder) and self.model.n_envs > 1:
            names = _names(epsilon_ladder(self.model.n_envs, ladder.base, ladder.alpha))
            of_epsilon: dict[str, list[float]] = defaultdict(list)
            for env, returns in sorted(self._returns.items()):
                of_epsilon[names[env]].extend(returns)
            for name, episodes in of_epsilon.items():
                self._write(f"rollout/return_eps_{name}", float(np.mean(episodes)))

    def _write(self, name: str, value: Any) -> None:  # Any: a number
        self.logger.record(name, value, exclude=self.exclude)


def _names(epsilons: np.ndarray) -> list[str]:
    """
    :param epsilons: [E] of a ladder, descending
    :return: [E] which curve each belongs to
    """
    if len(epsilons) <= MAX_CURVES:
        return _told_apart(epsilons, 2)
    groups = np.array_split(epsilons, N_GROUPS)
    names = _told_apart(np.array([np.median(group) for group in groups]), 3)
    return [name for name, group in zip(names, groups, strict=True) for _ in group]


def _told_apart(numbers: np.ndarray, digits: int) -> list[str]:
    """:return: each number with so many digits, or as many as tell different ones apart"""
    n_different = len(set(numbers.tolist()))
    names: list[str] = []
    for more in range(digits, 18):
        names = [f"{number:.{more}g}" for number in numbers]
        if len(set(names)) == n_different:
            break
    return names
