"""
Observations of finitely many kinds are numbers of rows of a table, from 0 on, whatever the space begins with and
however Stable-Baselines3 hands them over.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_ext.envs.tuple_observations import as_multi_discrete

Seen: TypeAlias = np.ndarray | tuple[Any, ...] | int  # Any: a number, or an array of them
"""one observation or a batch of n: [n], [n, 1], [n, k], or k arrays [n]"""


class StateNumbers:
    """
    :param space: Discrete, MultiDiscrete, or a Tuple of Discrete ones
    :param who: keeps the table, for errors
    :raises ValueError: for other spaces
    """

    def __init__(self, space: spaces.Space[Any], who: str) -> None:
        if isinstance(space, spaces.Tuple):
            space = as_multi_discrete(space, who)
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError(
                f"{who} keeps a table: it needs Discrete observations, MultiDiscrete ones or a Tuple of Discrete ones, "
                f"got {type(space).__name__}{space.shape or ''}: number them in a gymnasium.ObservationWrapper, or use "
                "sb3_ext.Rainbow"
            )
        sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.reshape(-1)
        self.space = space
        self.sizes = tuple(int(n) for n in sizes)
        self.starts: np.ndarray = np.asarray(space.start, np.int64).reshape(-1)
        self.n_states = math.prod(self.sizes)
        self._begins_at_0 = not self.starts.any()

    def is_batch(self, observations: Seen) -> bool:
        """:return: whether they are several, or one in a batch of one"""
        if isinstance(observations, tuple):
            return np.ndim(observations[0]) > 0
        return np.ndim(observations) > len(self.space.shape or ())

    def rows(self, observations: Seen) -> np.ndarray:
        """
        :param observations: one or a batch of n
        :return: [n, k] int64, the k numbers of each
        :raises ValueError: where they are no whole numbers
        """
        if isinstance(observations, tuple):
            observations = np.stack([np.asarray(part).reshape(-1) for part in observations], axis=1)
        given: np.ndarray = np.asarray(observations).reshape(-1, len(self.sizes))
        if given.dtype == np.int64:
            return given
        rows = given.astype(np.int64)
        if given.dtype.kind not in "iu" and (rows != given).any():
            raise ValueError(f"observation {observations!r} is none of {self.space}")
        return rows

    def numbers(self, observations: Seen) -> np.ndarray:
        """
        :param observations: one or a batch of n
        :return: [n] int64
        :raises ValueError: for one that is not of the space
        """
        rows = self.rows(observations)
        if not self._begins_at_0:
            rows = rows - self.starts
        try:
            parts = (rows[:, 0],) if len(self.sizes) == 1 else tuple(rows.T)
            numbers: np.ndarray = np.ravel_multi_index(parts, self.sizes)
        except ValueError:
            outside = ((rows < 0) | (rows >= self.sizes)).any(axis=1)
            wrong = (rows + self.starts)[outside][0]
            raise ValueError(f"observation {wrong.squeeze()} is none of {self.space}") from None
        return numbers


class VecTupleToMultiDiscrete(VecEnvWrapper):
    """
    `sb3_ext.envs.TupleToMultiDiscrete` around environments that are a VecEnv already.

    :param venv: with a Tuple of Discrete observations
    :raises ValueError: for other observations
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv, observation_space=as_multi_discrete(venv.observation_space, type(self).__name__))

    def reset(self) -> np.ndarray:
        """:return: [E, k]"""
        return _columns(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """:return: as the VecEnv's own, with observations [E, k]"""
        observations, rewards, dones, infos = self.venv.step_wait()
        for lane in np.flatnonzero(dones):
            if "terminal_observation" in infos[lane]:
                infos[lane]["terminal_observation"] = np.asarray(infos[lane]["terminal_observation"], np.int64)
        return _columns(observations), rewards, dones, infos


def _columns(observations: Any) -> np.ndarray:  # Any: a tuple of arrays, which SB3 does not say
    return np.stack(observations, axis=1).astype(np.int64)
