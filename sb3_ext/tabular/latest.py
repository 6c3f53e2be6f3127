"""
A replay of one step: the newest transition of each environment, which a table learns from once. As a file it holds what
a training goes on from beside its table: where the environments are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from sb3_ext.tabular.places import Place


class LatestTransitions(ReplayBuffer):
    """
    :param observation_space: Discrete or MultiDiscrete
    :param action_space: Discrete
    :param n_envs: number of environments
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], n_envs: int) -> None:
        super().__init__(n_envs, observation_space, action_space, "cpu", n_envs=n_envs)
        self.place: Place | None = None
        """of the environments when it was saved"""
        self.last_obs: np.ndarray | None = None
        """that they gave then"""

    @property
    def terminated(self) -> np.ndarray:
        """:return: [E] bool: the episode ended, and not by a limit of steps"""
        terminated: np.ndarray = (self.dones[0] > self.timeouts[0]).astype(bool)
        return terminated
