"""Which replay TD3 and DDPG fill: SB3's own, or one of ours where it is asked for or cannot be told from SB3's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim

from sb3_ext import nested
from sb3_ext.buffers.device import DeviceReplayBuffer, holds
from sb3_ext.buffers.prioritized import PrioritizedReplayBuffer
from sb3_ext.buffers.samplers import SAMPLERS, Proportional, SamplerLike, TreeSampler, Uniform
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.learners.td3 import Batch
from sb3_ext.specs import resolve

LAP_EXPONENT = 0.4  # Fujimoto et al. (2020)


class Wanted(NamedTuple):
    """What the replay shall be."""

    buffer_size: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    device: th.device
    n_envs: int
    n_steps: int
    gamma: float
    sampler: Sampler
    optimize_memory_usage: bool
    is_normalized: bool
    """VecNormalize reads what is stored"""
    may_lie_on_the_device: bool


def sampler_of(given: SamplerLike) -> Sampler:
    """
    :param given: a sampler or its short name
    :return: the same without importance weights, whose place Huber's loss takes (Fujimoto et al., 2020)
    :raises ValueError: for anything else
    """
    table: dict[str, Callable[..., Sampler]] = {**SAMPLERS, "proportional": partial(Proportional, alpha=LAP_EXPONENT)}
    sampler = resolve(Sampler, given, table)
    return dataclasses.replace(sampler, beta=0.0, beta_final=None) if isinstance(sampler, TreeSampler) else sampler


def unless_stock(
    replay_class: type[ReplayBuffer] | None, kwargs: Mapping[str, Any], n_steps: int
) -> tuple[type[ReplayBuffer] | None, dict[str, Any]]:
    """
    A file of SB3's holds what SB3 chose, which is ours to choose again.

    :param replay_class: given by the user, or found in a file
    :param kwargs: its keywords, as well
    :param n_steps: of the model
    :return: those that a user has chosen
    :raises ValueError: for what is a keyword of the model
    """
    for name in ("sampler",) if replay_class else ("sampler", "n_steps"):  # SB3's own way gives n_steps beside a class
        if name in kwargs:
            raise ValueError(f"replay_buffer_kwargs: {name} is a keyword of the model, {name}=...: give it there")
    if replay_class is NStepReplayBuffer and n_steps > 1:
        return None, {key: value for key, value in kwargs.items() if key not in ("n_steps", "gamma")}
    is_stock = replay_class is DictReplayBuffer or (replay_class is ReplayBuffer and n_steps == 1)
    return None if is_stock else replay_class, dict(kwargs)


def make_replay(
    wanted: Wanted, replay_class: type[ReplayBuffer] | None, kwargs: Mapping[str, Any]
) -> ReplayBuffer | None:
    """
    :param wanted: by the model's keywords
    :param replay_class: ``replay_buffer_class``
    :param kwargs: ``replay_buffer_kwargs``
    :return: an empty replay; None = SB3 makes it
    :raises ValueError: for a class that does not draw by the sampler
    """
    space, actions, sampler, n_steps = wanted.observation_space, wanted.action_space, wanted.sampler, wanted.n_steps
    common: dict[str, Any] = {"device": wanted.device, "n_envs": wanted.n_envs}
    several: dict[str, Any] = {"n_steps": n_steps, "gamma": wanted.gamma} if n_steps > 1 else {}
    given = {**several, **common, **kwargs}
    is_ours = replay_class is not None and issubclass(replay_class, PrioritizedReplayBuffer)
    needs_ours = wanted.optimize_memory_usage or not isinstance(sampler, Uniform) or "columns" in kwargs
    if is_ours or (replay_class is None and needs_ours):
        cls = replay_class if is_ours else PrioritizedReplayBuffer
        assert cls is not None
        return cls(wanted.buffer_size, space, actions, sampler=sampler, **given)  # type: ignore[call-arg]
    if not isinstance(sampler, Uniform):
        assert replay_class is not None
        raise ValueError(
            f"sampler {sampler} needs PrioritizedReplayBuffer, not {replay_class.__name__}: leave "
            "replay_buffer_class out"
        )
    if replay_class is not None:
        return None
    if wanted.may_lie_on_the_device and holds(space):
        replay = DeviceReplayBuffer(wanted.buffer_size, space, actions, **given)
        if replay.n_bytes < th.cuda.mem_get_info(wanted.device)[0] / 2:
            return replay
    # Batches are float32 in any case. VecNormalize reads the stored values, and would see the last bits.
    if isinstance(space, spaces.Box) and space.dtype == np.float64 and not wanted.is_normalized:
        with np.errstate(over="ignore"):  # bounds of float64 may be infinite here
            space = spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
        kind = ReplayBuffer if n_steps == 1 else NStepReplayBuffer
        return kind(wanted.buffer_size, space, actions, **given)
    return None


def blank_batch(wanted: Wanted, batch_size: int) -> Batch:
    """:return: zeros as such a replay draws them"""
    device = wanted.device
    observations, after = (
        nested.map(lambda part: _blank(part, batch_size, device), wanted.observation_space) for _ in range(2)
    )
    actions = th.zeros((batch_size, get_action_dim(wanted.action_space)), device=device)
    dones, rewards, discounts = th.zeros((3, batch_size, 1), device=device)
    return Batch(observations, actions, after, dones, rewards, discounts if wanted.n_steps > 1 else None)


def _blank(space: spaces.Space[Any], n: int, device: th.device) -> th.Tensor:
    shape = (1,) if isinstance(space, spaces.Discrete) else space.shape or ()
    dtype = np.float32 if space.dtype == np.float64 else space.dtype
    return th.as_tensor(np.zeros((n, *shape), dtype=dtype), device=device)
