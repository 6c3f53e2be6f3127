"""
What a cell of a replay holds: a part of each key of the observation, and columns for whatever else a transition has.

The first three columns are the action, the reward and whether the episode terminated. A further one is one line,
``columns={"log_prob": Column()}``: its values go to ``add`` and come back in ``extras`` of the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import DTypeLike
from stable_baselines3.common.preprocessing import get_action_dim, is_image_space

Array = np.ndarray
N_FIRST = 3  # columns that every replay has


@dataclass(frozen=True)
class Column:
    """
    One array with one row for each cell.

    :param shape: of one value
    :param dtype: of numbers or bool
    :raises ValueError: for anything else
    """

    shape: tuple[int, ...] = ()
    dtype: DTypeLike = np.float32

    def __post_init__(self) -> None:
        given: Any = self.shape
        if not isinstance(given, tuple) or not all(isinstance(n, int) and n >= 0 for n in given):
            raise ValueError(f"the shape {given!r} of a column must be a tuple of integers, () for one number")
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "fiub":
            raise ValueError(f"the dtype {dtype} of a column must be one of numbers or bool")
        object.__setattr__(self, "dtype", dtype)  # equal however it was said


def columns_of(action_space: spaces.Space[Any], more: Mapping[str, Column]) -> dict[str, Column]:
    """
    :param action_space: space of one action
    :param more: the user's columns by name
    :return: all columns, the first three first
    :raises ValueError: for a name that is taken, or what is no column
    """
    first = {
        "action": Column((get_action_dim(action_space),), _action_dtype(action_space)),
        "reward": Column(),
        "terminated": Column(dtype=np.bool_),
    }
    for name, column in more.items():
        if name in first:
            raise ValueError(f"column {name!r} is there already: columns are those beside {', '.join(first)}")
        if not isinstance(column, Column):
            raise ValueError(f"column {name!r} is {column!r}: give a Column(shape, dtype)")
    return {**first, **more}


def read_extras(columns: Mapping[str, Column], extras: Mapping[str, Any] | None, n_envs: int) -> dict[str, Array]:
    """
    :param columns: those that want a value
    :param extras: what `add` was given, arrays or tensors [E, ...]
    :param n_envs: E
    :return: arrays in the dtypes of the columns
    :raises ValueError: naming a column without a value, a value without a column, or one that does not fit
    """
    given = extras or {}
    for name in given:
        if name not in columns:
            known = ", ".join(columns) or "none"
            raise ValueError(
                f"extras has {name!r}, and the replay no such column ({known}): give columns={{{name!r}: Column()}}"
            )
    values = {}
    for name, column in columns.items():
        if name not in given:
            raise ValueError(f"column {name!r} has no value: give extras={{{name!r}: ...}} to every add")
        x = given[name]
        array = x.detach().cpu().numpy() if isinstance(x, th.Tensor) else np.asarray(x)
        shape = (n_envs, *column.shape)
        if array.shape != shape:
            raise ValueError(f"column {name!r} was given shape {array.shape}, its own and n_envs ask for {shape}")
        if not np.can_cast(array.dtype, column.dtype, "same_kind"):
            raise ValueError(f"column {name!r} was given {array.dtype}, which its {np.dtype(column.dtype)} cannot hold")
        values[name] = array.astype(column.dtype, copy=False)
    return values


class Part(NamedTuple):
    """How observations of one key are stored."""

    shape: tuple[int, ...]
    """of an observation"""
    cell_shape: tuple[int, ...]
    """of what a cell holds: the observation, or its newest frame"""
    n_frames: int
    """frames in an observation, 1 = stored whole"""
    dtype: np.dtype
    is_discrete: bool


def parts_of(observation_space: spaces.Space[Any], frame_channels: int | None) -> dict[str, Part]:
    """
    :param observation_space: space of one observation
    :param frame_channels: channels of one frame of channel-first stacks; None = observations are stored whole
    :return: how each key is stored, "" where the space is no Dict
    :raises ValueError: for stacks that cannot be split
    """
    if isinstance(observation_space, spaces.Dict):
        return {key: _part(key, space, frame_channels) for key, space in observation_space.spaces.items()}
    return {"": _part("", observation_space, frame_channels)}


def _part(key: str, space: spaces.Space[Any], frame_channels: int | None) -> Part:
    shape, dtype = _cell_shape(space), _cell_dtype(space)
    whole = Part(shape, shape, 1, dtype, isinstance(space, spaces.Discrete))
    if frame_channels is None or not isinstance(space, spaces.Box) or len(shape) < 3:
        return whole
    name = f"observation {key!r}" if key else "the observation"
    if len(shape) == 3 and shape[2] < min(shape[:2]):
        how = "wrap the environment in VecTransposeImage"
        if not is_image_space(space):  # VecTransposeImage takes no others, and VecFrameStack stacks them behind
            how = (
                "wrap each environment in gymnasium's TransformObservation with a function that moves the last axis to "
                'the front, and that in VecFrameStack(..., channels_order="first")'
            )
        raise ValueError(
            f"optimize_memory_usage=True stores frames of channel-first stacks once, but {name} has shape {shape}: "
            f"{how}, or set optimize_memory_usage=False"
        )
    if shape[0] % frame_channels != 0:
        raise ValueError(
            f"frame_channels {frame_channels} must divide the {shape[0]} channels of {name}, shape {shape}: "
            "set it to the channels of one frame, 1 for grey or 3 for colour"
        )
    return whole._replace(cell_shape=(frame_channels, *shape[1:]), n_frames=shape[0] // frame_channels)


def drawn_dtype(action_space: spaces.Space[Any]) -> np.dtype:
    """:return: of actions in a sample"""
    return np.dtype(np.int64) if isinstance(action_space, spaces.Discrete) else _cell_dtype(action_space)


def _cell_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    return (1,) if isinstance(space, spaces.Discrete) else tuple(space.shape or ())


def _cell_dtype(space: spaces.Space[Any]) -> np.dtype:
    """float64 observations (MuJoCo's) are stored as float32, which is what networks read."""
    return np.dtype(np.float32) if space.dtype == np.float64 else np.dtype(space.dtype)


def _action_dtype(space: spaces.Space[Any]) -> np.dtype:
    if isinstance(space, spaces.Discrete):
        return np.min_scalar_type(int(space.n) - 1)
    return _cell_dtype(space)
