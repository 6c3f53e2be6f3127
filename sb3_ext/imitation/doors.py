"""What imitation asks of a task before it learns, and how it says that demonstrations and policy end differently."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.vec_envs import check_discrete_starts


def check_starts(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    """
    :param observation_space: of a policy
    :param action_space: of it
    :raises ValueError: for discrete values that do not begin at 0: SB3's one-hot encoding fails on such observations,
        and its policies count actions from 0 whatever the space says
    """
    check_discrete_starts(observation_space)
    if isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete) and np.any(np.asarray(action_space.start) != 0):
        raise ValueError(f"action space {action_space} must begin at 0: shift the actions in a wrapper")


def warn_of_other_ends(demonstrations: Demonstrations, env: VecEnv | None) -> None:
    """
    Called when an episode of the policy has terminated. Nothing is said where the expert lasted as long as the task
    allows: it never ends then, and not to end is what there is to learn.

    :param demonstrations: that the policy is compared with
    :param env: of the policy
    """
    if any(episode.terminated for episode in demonstrations.episodes):
        return
    limit = _time_limit(env)
    if limit is not None and (demonstrations.lengths >= limit).all():
        return
    warnings.warn(
        f"none of the {len(demonstrations)} demonstrations terminates, and the policy's episodes do: it learns never "
        "to end an episode. If the expert's did end, its file has lost that: read it with its ends, or learn with "
        "absorbing=False",
        stacklevel=2,
    )


def _time_limit(env: VecEnv | None) -> int | None:
    # Not of the spec: a worker that cannot pickle what it holds, say a function, dies of the question.
    limit = "_max_episode_steps"  # of gymnasium's TimeLimit
    return env.get_attr(limit, indices=0)[0] if env is not None and env.has_attr(limit) else None
