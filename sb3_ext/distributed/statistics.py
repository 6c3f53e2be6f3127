"""
VecNormalize with actors: the learner's is outside and sees no step, each actor has a frozen copy around its own
environments. What it would have been shown there travels as moments, and the learner alone updates its statistics.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage

from sb3_ext.distributed.messages import Moment, Moments


def frozen_copy(normalizer: bytes, env: VecEnv) -> VecNormalize:
    """
    :param normalizer: a pickled `VecNormalize` without environments
    :param env: of an actor
    :return: the same around these, which keeps its statistics; images are transposed before where they were there
    """
    copy = same_around(normalizer, env)
    copy.training, copy.norm_reward = False, False
    return copy


def same_around(normalizer: bytes, env: VecEnv) -> VecNormalize:
    """
    :param normalizer: a pickled `VecNormalize` without environments
    :param env: of the same kind as those that were in it
    :return: the same around these, behind a `VecTransposeImage` where it stood behind one
    """
    copy: VecNormalize = pickle.loads(normalizer)
    if _shapes(copy.observation_space) != _shapes(env.observation_space):
        env = VecTransposeImage(env)
    copy.set_venv(env)
    return copy


def _shapes(space: spaces.Space[Any]) -> object:
    return {key: part.shape for key, part in space.items()} if isinstance(space, spaces.Dict) else space.shape


def normalized_rewards(normalizer: VecNormalize, rewards: np.ndarray) -> np.ndarray:
    """
    :param normalizer: whose statistics count, whether it normalises rewards or not
    :param rewards: of the environment
    :return: as `VecNormalize.normalize_reward` makes them
    """
    limit = normalizer.clip_reward
    scaled: np.ndarray = np.clip(rewards / np.sqrt(normalizer.ret_rms.var + normalizer.epsilon), -limit, limit)
    return scaled.astype(np.float32)


class Shown:
    """
    What a `VecNormalize` with ``training`` would have been shown, step by step, in place of a frozen one.

    :param normalizer: the frozen one
    """

    def __init__(self, normalizer: VecNormalize) -> None:
        self._normalizer = normalizer
        self._returns = np.zeros(normalizer.num_envs)
        self._observations: list[dict[str, np.ndarray]] = []
        self._all_returns: list[np.ndarray] = []

    def add(self, rewards: np.ndarray, dones: np.ndarray) -> None:
        """
        A step has been made.

        :param rewards: [E] raw
        :param dones: [E] bool
        """
        normalizer = self._normalizer
        if normalizer.norm_obs:
            seen = normalizer.old_obs
            if isinstance(seen, dict):
                self._observations.append({key: seen[key] for key in normalizer.obs_rms})
            else:
                self._observations.append({"": seen})
        self._returns = self._returns * normalizer.gamma + rewards
        self._all_returns.append(self._returns.copy())
        self._returns[dones] = 0

    def take(self) -> Moments:
        """:return: of all steps since the last call, at least one"""
        observations = {key: _moment([x[key] for x in self._observations]) for key in (self._observations or [{}])[0]}
        returns = _moment(self._all_returns)
        self._observations, self._all_returns = [], []
        return Moments(observations, returns)


def learn_moments(normalizer: VecNormalize, moments: Moments) -> None:
    """:param normalizer: the learner's, whose statistics take them in, unless they are frozen there too"""
    if not normalizer.training:
        return
    for key, moment in moments.observations.items():
        of_observations: Any = normalizer.obs_rms  # Any: SB3 does not say that there may be one for each key
        (of_observations if key == "" else of_observations[key]).update_from_moments(*moment)
    if moments.returns is not None:
        normalizer.ret_rms.update_from_moments(*moments.returns)


def _moment(batches: list[np.ndarray]) -> Moment:
    """As `RunningMeanStd.update` makes them of one batch."""
    batch = batches[0] if len(batches) == 1 else np.concatenate(batches)
    return Moment(np.mean(batch, axis=0), np.var(batch, axis=0), len(batch))
