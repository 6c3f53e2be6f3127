"""
The order of vectorised wrappers. rl-zoo3 normalises, then stacks frames, then moves channels to the front; an algorithm
that keeps raw observations asks VecNormalize for them, and would get them without the stack and with channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from sb3_ext import nested

_STACK = "stable_baselines3.common.vec_env.VecFrameStack"
_TRANSPOSE = "stable_baselines3.common.vec_env.VecTransposeImage"


def normalized_last(hyperparams: Mapping[str, Any], space: gym.Space[Any]) -> dict[str, Any]:
    """
    :param hyperparams: of a yml, with ``normalize``
    :param space: of observations of a single environment in its wrappers
    :return: the same, with all other wrappers in ``vec_env_wrapper``, which rl-zoo3 puts below VecNormalize in training
        and when an agent is watched
    """
    result = dict(hyperparams)
    given = result.pop("vec_env_wrapper", None) or []
    wrappers = [*given] if isinstance(given, list) else [given]
    if result.get("frame_stack"):
        wrappers.append({_STACK: {"n_stack": result.pop("frame_stack")}})
    if has_channels_last(space):
        wrappers.append(_TRANSPOSE)
    return {**result, "vec_env_wrapper": wrappers} if wrappers else result


def has_channels_last(space: gym.Space[Any]) -> bool:
    """:return: whether SB3 will transpose it"""
    images = (part for part in nested.leaves(space) if isinstance(part, spaces.Box) and is_image_space(part))
    return any(not is_image_space_channels_first(image) for image in images)
