"""
What an environment gives, and how it becomes what its policy takes: the statistics of `VecNormalize` and the order of
an image's axes, as a part of the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecCheckNan, VecEnv, VecMonitor, VecNormalize, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper
from torch import nn

SEE_THROUGH = (VecMonitor, VecCheckNan, VecTransposeImage)
"""wrappers that observations pass through unchanged, or turned as the graph turns them"""
WIDE = 1e3
"""bounds of a space beyond which its observations are not spread evenly"""
Observation = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where observations come from."""

    space: spaces.Space[Any]
    """of one observation, as the environment gives it"""
    statistics: VecNormalize | None = None
    """that it is standardised by before the policy sees it"""

    @property
    def parts(self) -> dict[str, spaces.Space[Any]]:
        """:return: by the name of the input"""
        if isinstance(self.space, spaces.Dict):
            return {f"observation.{key}": part for key, part in self.space.spaces.items()}
        return {"observation": self.space}

    def tensors(self, observations: Observation) -> list[th.Tensor]:
        """
        :param observations: a batch
        :return: one for each of `parts`
        """
        each = observations.values() if isinstance(observations, dict) else [observations]
        return [th.as_tensor(x) for x in each]

    def seen(self, observations: Observation) -> Observation:
        """:return: what the policy is shown"""
        if self.statistics is None:
            return observations
        normalized: Observation = self.statistics.normalize_obs(observations)
        return normalized


def source_of(env: VecEnv | None, space: spaces.Space[Any]) -> Source:
    """
    :param env: in which the policy acts, None = it is not known
    :param space: of the policy
    :return: of the observations that go into its graph
    :raises ValueError: where another wrapper lies around `VecNormalize`, and for observations of other keys
    """
    statistics = None
    while isinstance(env, (*SEE_THROUGH, VecNormalize)):
        if isinstance(env, VecNormalize) and env.norm_obs:
            if statistics is not None:
                raise ValueError("two VecNormalize around each other: the graph holds the statistics of one")
            statistics = env
        env = env.venv
    outermost, below = env, env
    while isinstance(below, VecEnvWrapper):
        if isinstance(below, VecNormalize) and below.norm_obs:
            raise ValueError(
                f"{type(outermost).__name__} lies around VecNormalize: what it adds cannot be part of the graph; put "
                "VecNormalize around it before training"
            )
        below = below.venv
    given: spaces.Space[Any] = space if outermost is None else outermost.observation_space
    if isinstance(space, spaces.Dict):
        if not isinstance(given, spaces.Dict) or not space.spaces.keys() <= given.spaces.keys():
            raise ValueError(f"the environment gives {given}, the policy takes {space}")
        given = spaces.Dict({key: given.spaces[key] for key in space.spaces})
    return Source(given, statistics)


class Door(nn.Module):
    """
    From what the environment gives to what the policy takes.

    :param source: of the observations
    :param space: of the policy
    :raises ValueError: where one does not become the other
    """

    def __init__(self, source: Source, space: spaces.Space[Any]) -> None:
        super().__init__()
        wanted = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self.keys = list(wanted)
        self.is_dict = isinstance(space, spaces.Dict)
        self.parts = nn.ModuleList(
            [
                _Part(key, part, policy_part, source.statistics)
                for (key, policy_part), part in zip(wanted.items(), source.parts.values(), strict=True)
            ]
        )

    def forward(self, given: Sequence[th.Tensor]) -> PyTorchObs:
        """:param given: [B, ...] each, as `Source.parts`"""
        parts = [part(x) for part, x in zip(self.parts, given, strict=True)]
        return dict(zip(self.keys, parts, strict=True)) if self.is_dict else parts[0]


class _Part(nn.Module):
    """One array of an observation: standardised, and with its channels in front."""

    mean: th.Tensor
    deviation: th.Tensor

    def __init__(
        self, key: str, given: spaces.Space[Any], wanted: spaces.Space[Any], statistics: VecNormalize | None
    ) -> None:
        super().__init__()
        shape, target = given.shape, wanted.shape
        assert shape is not None and target is not None  # of no Dict and no Tuple, which SB3 refuses
        self.is_turned = shape != target
        if self.is_turned and (len(shape) != 3 or (shape[2], *shape[:2]) != target):
            raise ValueError(f"the environment gives observations {shape}, the policy takes {target}")
        self.clip: float | None = None
        found = None if statistics is None else _moments(statistics, key)
        if statistics is not None and found is not None:
            self.clip = float(statistics.clip_obs)
            mean, variance = np.asarray(found.mean, np.float64), np.asarray(found.var, np.float64)
            if self.is_turned and mean.shape == target:  # taken of the turned image
                mean, variance = (np.moveaxis(x, 0, -1) for x in (mean, variance))
            self.register_buffer("mean", th.as_tensor(mean))
            self.register_buffer("deviation", th.as_tensor(np.sqrt(variance + statistics.epsilon)))

    def forward(self, x: th.Tensor) -> th.Tensor:
        if self.clip is not None:  # in double precision, as VecNormalize
            x = ((x.double() - self.mean) / self.deviation).clamp(-self.clip, self.clip).float()
        return x.permute(0, 3, 1, 2) if self.is_turned else x


def _moments(statistics: VecNormalize, key: str) -> RunningMeanStd | None:
    """
    :param key: of a dictionary; "" = there is none
    :return: None where it is not standardised
    """
    every: Any = statistics.obs_rms  # SB3 says a dictionary, and means one or none
    return every.get(key) if isinstance(every, dict) else every


def drawer(source: Source, seed: int = 0) -> Callable[[int], Observation]:
    """
    :param source: of the observations
    :param seed: of the draws
    :return: makes n random observations of the space: near the statistics where there are some, evenly where the space
        is narrow, else standard normal ones
    """
    rng = np.random.default_rng(seed)
    space = copy.deepcopy(source.space)
    space.seed(seed)

    def part(key: str, space: spaces.Space[Any], n: int) -> np.ndarray:
        found = None if source.statistics is None else _moments(source.statistics, key)
        return _batch(space, n, rng, found if found is not None and found.mean.shape == space.shape else None)

    def draw(n: int) -> Observation:
        if isinstance(space, spaces.Dict):
            return {key: part(key, each, n) for key, each in space.spaces.items()}
        return part("", space, n)

    return draw


def _batch(space: spaces.Space[Any], n: int, rng: np.random.Generator, moments: RunningMeanStd | None) -> np.ndarray:
    if not isinstance(space, spaces.Box) or np.dtype(space.dtype).kind != "f":
        return np.stack([np.asarray(space.sample()) for _ in range(n)])
    noise = rng.standard_normal((n, *space.shape))
    if moments is not None:
        return (moments.mean + np.sqrt(moments.var) * noise).astype(space.dtype)
    is_narrow = (space.low >= -WIDE) & (space.high <= WIDE)
    low, high = np.where(is_narrow, space.low, 0.0), np.where(is_narrow, space.high, 1.0)
    spread = np.clip(noise, space.low, space.high)
    drawn: np.ndarray = np.where(is_narrow, rng.uniform(low, high, noise.shape), spread).astype(space.dtype)
    return drawn
