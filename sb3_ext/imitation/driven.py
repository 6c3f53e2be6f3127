"""What a step of a VecEnv was to the environment itself, whatever VecNormalize and SB3 make of it for a learner."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext import nested
from sb3_ext.demonstrations.data import Observations
from sb3_ext.vec_envs import raw_final_observation, raw_observations


def raw_seen(model: BaseAlgorithm, observations: Observations) -> Observations:
    """
    :param model: whose environments gave them just now
    :param observations: [E, *shape] as the model is given them
    :return: the same before VecNormalize
    """
    normalizer = model.get_vec_normalize_env()
    if normalizer is None or not normalizer.norm_obs:
        return observations
    assert model.env is not None
    return raw_observations(model.env, normalizer.get_original_obs())


def own_rewards(model: BaseAlgorithm, rewards: np.ndarray) -> np.ndarray:
    """:return: [E] of the step just now, before VecNormalize"""
    normalizer = model.get_vec_normalize_env()
    return rewards if normalizer is None else normalizer.get_original_reward()


def true_ends(
    model: BaseAlgorithm, next_observations: Observations, dones: np.ndarray, infos: list[dict[str, Any]]
) -> tuple[Observations, np.ndarray]:
    """
    :param model: whose environments made the step
    :param next_observations: [E, *shape] raw; where an episode ended the first one of the next
    :param dones: [E] bool
    :param infos: of the step
    :return: the same with the final ones in their place, and [E] bool: it was a termination
    """
    terminated = np.zeros(len(dones), dtype=bool)
    if not dones.any():
        return next_observations, terminated
    behind: Observations = nested.map(np.copy, next_observations)
    normalizer = model.get_vec_normalize_env()
    for i in np.flatnonzero(dones):
        final = infos[i]["terminal_observation"]
        if normalizer is not None and normalizer.norm_obs:
            raw = raw_final_observation(infos[i])
            assert model.env is not None and raw is not None
            final = raw_observations(model.env, raw)
        nested.put(behind, i, final)
        terminated[i] = not infos[i].get("TimeLimit.truncated", False)
    return behind, terminated


def disagreement(actions: np.ndarray, labels: np.ndarray, space: gym.Space[Any]) -> float:
    """
    :param actions: [N, *shape]
    :param labels: [N, *shape]
    :param space: of one of them
    :return: share of those that differ; of a Box the root mean square of the difference
    """
    if isinstance(space, spaces.Box):
        return float(np.sqrt(np.mean((actions.astype(np.float64) - labels) ** 2)))
    return float((actions != labels).reshape(len(labels), -1).any(axis=1).mean())
