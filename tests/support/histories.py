"""What an environment may show and pay under fixed actions: counted, and worked out of its tables by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_ext.envs.tables import PomdpTables

History = tuple[Any, ...]
"""(first observation, (observation, reward, terminated), ...), observations as bytes, rewards rounded"""


def counted(env: gym.Env, actions: Sequence[int], n: int) -> Counter[History]:
    """:return: how often each history came in n episodes"""
    counts: Counter[History] = Counter()
    env.reset(seed=0)
    for _ in range(n):
        observation, _ = env.reset()
        history: list[Any] = [_bytes(observation)]
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            history.append((_bytes(observation), round(float(reward), 9), bool(terminated)))
            if terminated:
                break
        counts[tuple(history)] += 1
    return counts


def worked_out(tables: PomdpTables, actions: Sequence[int]) -> dict[History, float]:
    """:return: probability of each history"""
    shown = [_bytes(observation) for observation in tables.shown]
    ends: dict[History, float] = {}
    alive: dict[tuple[History, int], float] = {}  # (history, state) -> probability
    for state in np.flatnonzero(tables.start).tolist():
        for o in np.flatnonzero(tables.first_observation[state]):
            _add(alive, ((shown[o],), state), tables.start[state] * tables.first_observation[state, o])
    for action in actions:
        following: dict[tuple[History, int], float] = {}
        for (history, state), probability in alive.items():
            for p, to, reward, terminated in tables.P[state][action]:
                for o in np.flatnonzero(tables.observation[action, to]):
                    longer = (*history, (shown[o], round(reward, 9), terminated))
                    chance = probability * p * tables.observation[action, to, o]
                    if terminated:
                        _add(ends, longer, chance)
                    else:
                        _add(following, (longer, to), chance)
        alive = following
    for (history, _), probability in alive.items():
        _add(ends, history, probability)
    return ends


def _add(sums: dict[Any, float], key: Any, value: float) -> None:
    sums[key] = sums.get(key, 0.0) + float(value)


def _bytes(observation: Any) -> bytes:
    return np.asarray(observation).tobytes()
