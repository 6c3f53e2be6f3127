"""
Where environments are, in the middle of an episode: state, time, generator. A table that goes on from a file learns
what it would have learned only if its environments go on, too.

The place of an environment is all numbers, texts and generators that it and its wrappers keep, by name. What they are
made of, spaces and files, is not part of it: the place is put back into environments that were made in the same way.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

Layer: TypeAlias = gym.Env[Any, Any] | VecEnvWrapper
"""an environment, one of its wrappers, or one around all of them"""

PLAIN = (type(None), bool, int, float, str, bytes, np.generic, np.random.Generator)
MADE_OF = (gym.Env, VecEnv, spaces.Space, EnvSpec, ResultsWriter)
"""no part of a place"""
SETTINGS = {"_saved_kwargs", "class_attributes"}
"""names of the same, in gymnasium's and SB3's wrappers"""


class Place(NamedTuple):
    """Of all environments of a VecEnv."""

    layers: list[tuple[str, dict[str, Any]]]  # Any: plain values
    """class and plain attributes, from the outermost wrapper on"""


def place_of(env: VecEnv) -> Place | None:
    """
    :param env: with all its wrappers
    :return: where it is; None where that cannot be known: environments in other processes, or with a state that is
        neither numbers nor texts
    """
    layers = _layers(env)
    found: list[tuple[str, dict[str, Any]]] = []
    for layer in layers or ():
        kept = {name: x for name, x in vars(layer).items() if name not in SETTINGS and not _is_made(x)}
        if not all(map(_is_plain, kept.values())):
            return None
        found.append((_name_of(layer), kept))
    return None if layers is None else Place(copy.deepcopy(found))


def put_back(env: VecEnv, place: Place) -> bool:
    """
    :param env: made in the same way as the one that the place is of
    :param place: where it shall be
    :return: whether it is there now; where it is made otherwise, it stays where it was
    """
    layers = _layers(env)
    if layers is None or [_name_of(layer) for layer in layers] != [name for name, _ in place.layers]:
        return False
    for layer, (_, kept) in zip(layers, copy.deepcopy(place.layers), strict=True):
        vars(layer).update(kept)
    return True


def _layers(env: VecEnv) -> list[Layer] | None:
    """:return: None for environments that are out of reach"""
    found: list[Layer] = []
    while isinstance(env, VecEnvWrapper):
        found.append(env)
        env = env.venv
    if not isinstance(env, DummyVecEnv):
        return None
    for each in env.envs:
        found += _wrappers(each)
    return found


def _wrappers(env: gym.Env[Any, Any]) -> Iterator[gym.Env[Any, Any]]:
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def _name_of(layer: Layer) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _is_made(x: Any) -> bool:  # Any: whatever an environment keeps
    return isinstance(x, MADE_OF) or callable(x)


def _is_plain(x: Any) -> bool:  # Any: as above
    if isinstance(x, PLAIN):
        return True
    if isinstance(x, np.ndarray):
        return not x.dtype.hasobject
    if isinstance(x, dict):
        return all(map(_is_plain, x.values())) and all(map(_is_plain, x))
    return isinstance(x, list | tuple | set | deque) and all(map(_is_plain, x))
