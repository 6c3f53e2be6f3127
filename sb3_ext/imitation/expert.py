"""The expert's side: episodes from wherever they are, of the policy's task, as the steps that imitation may use."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecTransposeImage

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations, load
from sb3_ext.demonstrations.array_spaces import subspaces
from sb3_ext.demonstrations.data import Observations, Transitions
from sb3_ext.demonstrations.files import Trajectory, find
from sb3_ext.errors import did_you_mean

Source = Demonstrations | str | os.PathLike[str] | Sequence[Trajectory] | Mapping[str, Any]
"""
Expert episodes; or the file or folder that holds them; or a list of `imitation`'s trajectories; or the keywords of
`sb3_ext.demonstrations.load`, where the file does not say enough: ``{"source": path, "format": SB2(terminated=True)}``
"""
# What `load` may be told by a learner's user; the spaces are the learner's own.
KEYWORDS = inspect.signature(load).parameters.keys() - {"observation_space", "action_space"}


def check_source(source: Source) -> None:
    """
    :raises FileNotFoundError: where there is nothing
    :raises ValueError: for what is no source
    """
    if isinstance(source, Mapping):
        for name in source:
            if name not in KEYWORDS:
                raise ValueError(f"demonstrations: unknown key {name!r}{did_you_mean(name, KEYWORDS)}")
        if "source" not in source:
            raise ValueError(f"demonstrations: {dict(source)} has no 'source', the file or folder")
    elif not isinstance(source, Demonstrations):
        find(source)


def read_expert(source: Source, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> Demonstrations:
    """
    :param source: where the episodes are
    :param observation_space: of the policy, for formats that do not hold it; files may have images channels last
    :param action_space: of the policy
    :raises ValueError: for a file that is not what it should be
    :raises FileNotFoundError: if there is none
    """
    if isinstance(source, Demonstrations):
        return source
    check_source(source)
    keywords = dict(source) if isinstance(source, Mapping) else {"source": source}
    first: ValueError | None = None
    for space in _as_files_may_have(observation_space):
        try:
            return load(**keywords, observation_space=space, action_space=action_space)
        except ValueError as error:
            first = first or error
    assert first is not None
    raise first


def check_spaces(
    demonstrations: Demonstrations, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """
    :param demonstrations: expert episodes
    :param observation_space: of the policy
    :param action_space: of the policy
    :raises ValueError: if they are not of the same task
    """
    theirs = demonstrations.observation_space, demonstrations.action_space
    check_same_task("demonstrations", *theirs, observation_space, action_space)


def check_same_task(
    who: str,
    their_observations: gym.Space[Any],
    their_actions: gym.Space[Any],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
) -> None:
    """
    :param who: they are, for the error
    :param their_observations: space
    :param their_actions: space
    :param observation_space: of the policy
    :param action_space: of the policy
    :raises ValueError: if they are not of the same task
    """
    if their_actions != action_space:
        raise ValueError(f"{who}: actions of {their_actions}, the policy has {action_space}")
    theirs = subspaces(their_observations, "observations")
    ours = subspaces(observation_space, "observations")
    if theirs.keys() != ours.keys():
        raise ValueError(f"{who}: observations has {sorted(theirs)}, the policy has {sorted(ours)}")
    for name, space in ours.items():
        other = theirs[name]
        shape = other.shape
        if isinstance(other, spaces.Box) and is_image_space(space) and shape != space.shape and len(other.shape) == 3:
            shape = (other.shape[2], *other.shape[:2])
        # Bounds and dtype of a Box are a hint, and wrappers change them; the sizes of the others are the encoding.
        if not (
            type(other) is type(space) and shape == space.shape if isinstance(space, spaces.Box) else other == space
        ):
            raise ValueError(f"{who}: {name} of {other}, the policy has {space}")


def kept_transitions(demonstrations: Demonstrations, absorbing: bool, from_final: bool = True) -> Transitions:
    """
    :param demonstrations: perhaps subsampled
    :param absorbing: whether the absorbing steps behind terminations are among them
    :param from_final: whether these are in the final observation, or the one before
    :return: at least one step; which of them terminated is known in either case
    :raises ValueError: where `Episode.kept` leaves none
    """
    steps = demonstrations.transitions(absorbing, from_final)
    if len(steps.actions) == 0:
        raise ValueError(
            f"demonstrations: of {demonstrations.n_steps} steps in {len(demonstrations)} episodes none is kept but "
            "absorbing ones; subsample less"
        )
    return steps


def channels_first(observations: Observations, space: gym.Space[Any]) -> Observations:
    """
    :param observations: [N, *shape], images channels first or last
    :param space: of the policy, images channels first
    :return: images channels first
    """

    def of_one(values: np.ndarray, part: gym.Space[Any]) -> np.ndarray:
        is_last = is_image_space(part) and values.shape[1:] != part.shape
        return VecTransposeImage.transpose_image(values) if is_last else values

    return nested.map(of_one, observations, space)


def _as_files_may_have(space: gym.Space[Any]) -> Iterator[gym.Space[Any]]:
    """:return: the space itself, then with its images channels last, where it has some: as environments give them"""
    yield space
    parts = dict(space.items()) if isinstance(space, spaces.Dict) else {"": space}
    last = {
        key: spaces.Box(np.moveaxis(part.low, 0, -1), np.moveaxis(part.high, 0, -1), dtype=part.dtype.type)
        for key, part in parts.items()
        if isinstance(part, spaces.Box) and is_image_space(part) and is_image_space_channels_first(part)
    }
    if last:
        yield spaces.Dict({**parts, **last}) if isinstance(space, spaces.Dict) else last[""]
