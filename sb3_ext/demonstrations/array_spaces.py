"""Spaces whose values are arrays: Box, Discrete, MultiDiscrete, MultiBinary, and Dicts of them for observations."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def subspaces(space: spaces.Space[Any], name: str) -> dict[str, spaces.Space[Any]]:
    """:return: the space by the names that `nested.named` gives its arrays"""
    if isinstance(space, spaces.Dict):
        return {f"{name}.{key}": part for key, part in space.items()}
    return {name: space}


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """
    :param observation_space: of a task
    :param action_space: of it
    :raises ValueError: unless demonstrations can hold its episodes
    """
    for name, space in [*subspaces(observation_space, "observations").items(), ("actions", action_space)]:
        if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise ValueError(f"{name}: {space} is not a space of arrays (Box, Discrete, MultiDiscrete, MultiBinary)")


def check_array(values: np.ndarray, space: spaces.Space[Any], name: str) -> None:
    """
    :param values: [T, *shape]
    :param space: of one of them
    :param name: what to call them
    :raises ValueError: if shape or dtype are not the space's
    """
    if values.shape[1:] != space.shape:
        raise ValueError(f"{name}: shape {values.shape[1:]} per step, {space} has {space.shape}")
    if values.dtype != space.dtype:
        raise ValueError(f"{name}: dtype {values.dtype}, {space} has {space.dtype}")


def out_of_space(values: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """
    :param values: [T, *shape] of the space's shape
    :param space: Box, Discrete, MultiDiscrete or MultiBinary
    :return: [T] whether a value lies outside
    """
    low: Any
    high: Any  # both: arrays or numbers
    if isinstance(space, spaces.Box):
        low, high = space.low, space.high
    elif isinstance(space, spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        low, high = 0, 1
    wrong: np.ndarray = np.logical_or(values < low, values > high).reshape(len(values), -1).any(axis=1)
    return wrong
