"""Wrappers that hide part of what an environment shows, so that a memory is needed.

Hidden numbers are 0. Where the declared bounds exclude 0 they are widened to include it, so that every observation
returned lies in ``observation_space``.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


def _checked_box(env: gym.Env, wrapper_name: str) -> spaces.Box:
    space = env.observation_space
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"{wrapper_name} needs a Box observation space, got {space}: "
            "apply it before wrappers that build a Dict, or flatten the observation first"
        )
    return space


class MaskObservation(gym.ObservationWrapper[np.ndarray, Any, np.ndarray], RecordConstructorArgs):
    """Hide fixed entries of a vector observation, for instance the velocities.

    Like rl-zoo3's ``MaskVelocityWrapper``, for any environment: with ``indices=[1, 3]`` on CartPole-v1 the two agree.

    :param env: Environment whose observation is a Box of shape ``(n,)``
    :param indices: Entries to hide, each in ``0..n-1``
    :param drop: Remove the entries, so that the shape becomes ``(n - len(indices),)``, instead of setting them to 0
    :raises ValueError: if the observation is no vector, or the indices are empty, repeated, or out of range,
        or if ``drop`` would leave nothing
    """

    def __init__(self, env: gym.Env, indices: Sequence[int], drop: bool = False) -> None:
        space = _checked_box(env, "MaskObservation")
        if len(space.shape) != 1:
            raise ValueError(f"MaskObservation needs an observation of shape (n,), got {space.shape}: flatten it first")
        n = space.shape[0]
        self.indices = np.asarray(indices)
        if self.indices.ndim != 1 or self.indices.size == 0 or self.indices.dtype.kind not in "iu":
            raise ValueError(f"indices must be a non-empty list of whole numbers in 0..{n - 1}, got {indices}")
        if self.indices.min() < 0 or self.indices.max() >= n:
            raise ValueError(f"indices {self.indices.tolist()} must be in 0..{n - 1}: the observation has {n} entries")
        if np.unique(self.indices).size != self.indices.size:
            raise ValueError(f"indices {self.indices.tolist()} name an entry twice: list each once")
        if drop and self.indices.size == n:
            raise ValueError(f"drop=True with all {n} entries would leave no observation: use drop=False")
        RecordConstructorArgs.__init__(self, indices=self.indices.tolist(), drop=drop)
        gym.ObservationWrapper.__init__(self, env)

        self.drop = drop
        low, high = space.low.copy(), space.high.copy()
        if drop:
            low, high = np.delete(low, self.indices), np.delete(high, self.indices)
        else:
            low[self.indices] = np.minimum(low[self.indices], 0)
            high[self.indices] = np.maximum(high[self.indices], 0)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """
        :param observation: ``(n,)``, left as it is
        :return: ``(n,)`` with zeros at ``indices``, or ``(n - len(indices),)`` with ``drop``
        """
        if self.drop:
            return np.delete(observation, self.indices)
        masked: np.ndarray = observation.copy()
        masked[self.indices] = 0
        return masked


class FlickeringObservation(gym.ObservationWrapper[np.ndarray, Any, np.ndarray], RecordConstructorArgs):
    """Blank the whole observation, independently at every step and at reset, with a fixed probability.

    Hausknecht & Stone 2015, "Deep Recurrent Q-Learning for Partially Observable MDPs", section "Flickering Atari
    Games" (probability 0.5). The draws come from the environment's own generator, ``env.np_random``:
    ``reset(seed=...)`` repeats them, and an environment that is random inside ``step`` takes another course
    than without the wrapper.

    :param env: Environment with a Box observation of any shape
    :param probability: Probability that an observation is all zeros, in ``[0, 1]``
    :raises ValueError: if the observation is no Box or the probability is outside ``[0, 1]``
    """

    def __init__(self, env: gym.Env, probability: float = 0.5) -> None:
        space = _checked_box(env, "FlickeringObservation")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability {probability} must be in [0, 1]")
        RecordConstructorArgs.__init__(self, probability=probability)
        gym.ObservationWrapper.__init__(self, env)
        self.probability = probability
        self.observation_space = spaces.Box(np.minimum(space.low, 0), np.maximum(space.high, 0), dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """
        :param observation: Any shape
        :return: The same array, or zeros of its shape and dtype
        """
        if self.np_random.random() < self.probability:
            return np.zeros_like(observation)
        return observation
