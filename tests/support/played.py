"""A process in many lanes beside an environment, step for step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.planning import TabularMDP, TabularPOMDP, TabularVecEnv


def vec_env(process: TabularMDP | TabularPOMDP, n_envs: int, **kwargs: Any) -> Any:  # Any: what it gives are arrays
    return TabularVecEnv(process, n_envs, **kwargs)


def played(env: VecEnv, actions: np.ndarray) -> list[Any]:
    """:return: all that an environment gives, without what only the clock or gymnasium's toys tell"""
    given: list[Any] = [env.reset()]
    for each in actions:
        observations, rewards, dones, infos = env.step(each)
        told = []
        for info in infos:
            episode = info.get("episode")
            known = {key: info[key] for key in ("TimeLimit.truncated", "terminal_observation") if key in info}
            told.append((known, episode and (pytest.approx(episode["r"], abs=1e-9), episode["l"], sorted(episode))))
        given.append((observations, rewards, dones, told))
    return given


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    np.testing.assert_array_equal(ours[0], theirs[0])
    for mine, yours in zip(ours[1:], theirs[1:], strict=True):
        for one, other in zip(mine[:3], yours[:3], strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)
        assert mine[3] == yours[3]
