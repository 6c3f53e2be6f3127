"""Statistics of VecNormalize as JSON and safetensors."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.keyword_checks import Range, check_value
from sb3_ext.exchange.plain_json import decode, encode
from sb3_ext.exchange.strict_json import read_json
from sb3_ext.exchange.tensor_files import Tensors, read_header

NORMALIZE = "vec_normalize"
PARTS = ("mean", "var", "count")
# Keywords of VecNormalize: type, and range of a number.
KEYWORDS: dict[str, tuple[Any, Range | None]] = {
    "training": (bool, None),
    "norm_obs": (bool, None),
    "norm_reward": (bool, None),
    "clip_obs": (float, Range(0.0)),  # infinite: nothing is clipped
    "clip_reward": (float, Range(0.0)),
    "gamma": (float, Range(0.0, 1.0)),
    "epsilon": (float, Range(np.finfo(np.float64).tiny, np.finfo(np.float64).max)),
    "norm_obs_keys": (list[str] | None, None),
}


def plain_normalize(env: VecNormalize) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """:return: settings for `json.dumps`, and statistics"""
    settings = {name: encode(getattr(env, name), name) for name in KEYWORDS}
    # What it sees, which frame stacks and transposed images above it do not.
    settings["observation_space"] = encode(env.observation_space, "observation_space")
    arrays = {
        f"{name}/{part}": th.as_tensor(np.asarray(getattr(rms, part), dtype=np.float64))
        for name, rms in _statistics(env)
        for part in PARTS
    }
    return settings, arrays


def load_vec_normalize(path: str | os.PathLike[str], env: VecEnv) -> VecNormalize:
    """
    :param path: folder of `save_safe`
    :param env: to be normalised
    :return: with the saved statistics, which no longer change
    :raises UnsafeFile: where there are none, or of other observations
    """
    folder = pathlib.Path(path)
    settings, _ = _read_settings(folder)
    header = read_header(folder / f"{NORMALIZE}.safetensors")
    try:
        normalized = VecNormalize(env, **settings)
    except (ValueError, AssertionError, TypeError) as error:
        raise UnsafeFile(f"{NORMALIZE}.json: not for this environment ({error})") from None
    statistics = dict(_statistics(normalized))
    _check_header(header, statistics)
    tensors = header.load()
    for name, rms in statistics.items():
        mean, var, count = (tensors[f"{name}/{part}"].numpy() for part in PARTS)
        if np.any(var < 0.0):
            raise UnsafeFile(f"{NORMALIZE}.safetensors: {name}/var has negative numbers")
        if not count > 0.0:
            raise UnsafeFile(f"{NORMALIZE}.safetensors: {name}/count is {float(count)}")
        rms.mean, rms.var, rms.count = mean, var, float(count)
    normalized.training = False
    return normalized


def observed_space(path: str | os.PathLike[str]) -> spaces.Space[Any]:
    """
    :param path: folder of `save_safe`
    :return: what VecNormalize saw
    :raises UnsafeFile: where there is none
    """
    _, space = _read_settings(pathlib.Path(path))
    if space is None:
        raise UnsafeFile(f"{NORMALIZE}.json has no observation_space")
    return space


def _read_settings(folder: pathlib.Path) -> tuple[dict[str, Any], spaces.Space[Any] | None]:
    """:return: keywords of VecNormalize, and what it saw"""
    data = read_json(folder / f"{NORMALIZE}.json")
    unknown = sorted(data.keys() - KEYWORDS.keys() - {"observation_space"})
    if unknown:
        raise UnsafeFile(f"{NORMALIZE}.json: unknown {unknown}")
    try:
        settings = {key: decode(x, key) for key, x in data.items()}
        space = settings.pop("observation_space", None)
        for key, value in settings.items():
            annotation, limits = KEYWORDS[key]
            check_value(value, annotation, key, limits)
    except ValueError as error:
        raise UnsafeFile(f"{NORMALIZE}.json: {error}") from None
    if space is not None and not isinstance(space, spaces.Space):
        raise UnsafeFile(f"{NORMALIZE}.json: observation_space is no space")
    return settings, space


def _check_header(header: Tensors, statistics: dict[str, RunningMeanStd]) -> None:
    """:raises UnsafeFile: for other statistics than those of the environment"""
    file = f"{NORMALIZE}.safetensors"
    expected = {f"{name}/{part}": np.shape(getattr(rms, part)) for name, rms in statistics.items() for part in PARTS}
    for key in sorted(expected.keys() ^ header.shapes.keys()):
        raise UnsafeFile(f"{file}: {key} is {'missing' if key in expected else 'no statistic of this environment'}")
    for key, shape in expected.items():
        if header.shapes[key] != shape:
            raise UnsafeFile(f"{file}: {key} has shape {header.shapes[key]}, the environment {shape}")
        if header.dtypes[key] != th.float64:
            raise UnsafeFile(f"{file}: {key} has dtype {header.dtypes[key]}, and must have float64")


def _statistics(env: VecNormalize) -> Iterator[tuple[str, RunningMeanStd]]:
    yield "returns", env.ret_rms
    if env.norm_obs:
        statistics: Any = env.obs_rms  # Any: SB3 annotates the dictionary alone
        if isinstance(statistics, dict):
            for key, rms in sorted(statistics.items()):
                yield f"observations.{key}", rms
        else:
            yield "observations", statistics
