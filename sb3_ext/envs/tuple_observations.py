"""Observations that are a Tuple of numbers, as Blackjack's, as one array: SB3's algorithms take no Tuple."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class TupleToMultiDiscrete(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """
    Shows ``Tuple(Discrete(32), Discrete(11), Discrete(2))`` as ``MultiDiscrete([32 11 2])``.

    :param env: environment whose observations are a Tuple of Discrete ones
    :raises ValueError: for other observations
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        space = as_multi_discrete(env.observation_space, type(self).__name__)
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self.observation_space = space

    def observation(self, observation: Any) -> np.ndarray:
        """
        :param observation: a tuple of k numbers
        :return: [k] int64
        """
        return np.array(observation, np.int64)


def as_multi_discrete(space: spaces.Space[Any], who: str) -> spaces.MultiDiscrete:
    """
    :param space: a Tuple of Discrete ones
    :param who: needs one, for errors
    :return: the same observations as an array
    :raises ValueError: for another space
    """
    parts = space.spaces if isinstance(space, spaces.Tuple) else ()
    if not parts or not all(isinstance(part, spaces.Discrete) for part in parts):
        raise ValueError(f"{who} needs a Tuple of Discrete observations, got {space}")
    sizes, starts = ([int(getattr(part, name)) for part in parts] for name in ("n", "start"))
    return spaces.MultiDiscrete(sizes, start=starts)
