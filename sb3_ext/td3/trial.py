"""
Whether updates can be captured is found out by trying, before the first one: everything that was tried is taken back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_ext.td3.captured import LEAST_RATE, WARM_UP, CapturedUpdates, set_learning_rate

# What such operations give, or its shape, depends on values, so the host has to know these.
READS = th.Tag.data_dependent_output, th.Tag.dynamic_output_shape


class HostReads(TorchDispatchMode):
    """
    Notes the first operation in its block by which the host reads values or moves a tensor between devices, backward
    passes included. Everything runs as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: str | None = None

    # Any: an operation of PyTorch's and whatever it takes and gives
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.found is None and (_reads(func, args) or _moves(func, args, kwargs)):
            self.found = str(func)
        return func(*args, **kwargs)


def _reads(func: Any, args: tuple[Any, ...]) -> bool:  # Any: as above
    if func is th.ops.aten.index.Tensor:  # masks are counted, numbers are not
        return any(x is not None and x.dtype in (th.bool, th.uint8) for x in args[1])
    return any(tag in func.tags for tag in READS)


def _moves(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:  # Any: as above
    if func is th.ops.aten._to_copy.default:
        target = kwargs.get("device")
        return target is not None and th.device(target).type != args[0].device.type
    return func is th.ops.aten.copy_.default and args[0].device.type != args[1].device.type


def fault_of(
    update: Callable[..., th.Tensor], batch: Any, optimizers: Sequence[th.optim.Optimizer], device: th.device
) -> str | None:
    """
    Make updates, which `undone` takes back, until they are replayed.

    :param update: as for `CapturedUpdates`; its kind is (True, True), which does all there is
    :param batch: a NamedTuple of tensors
    :param optimizers: of the update
    :param device: CUDA
    :return: why such updates cannot be captured, None = they can
    """
    captured, reads = CapturedUpdates(update, device), HostReads()
    for optimizer in optimizers:
        set_learning_rate(optimizer, LEAST_RATE, device)
    try:
        with reads:
            captured(batch, True, True)
        if reads.found is not None:  # a capture that breaks off may leave the device's random numbers unusable
            return f"the host reads values of the device ({reads.found})"
        for _ in range(WARM_UP):
            captured(batch, True, True)
    except RuntimeError as error:  # CUDA's errors are too
        return str(error).splitlines()[0]
    return None


@contextmanager
def undone(
    module: th.nn.Module, optimizers: Sequence[th.optim.Optimizer], sums: th.Tensor, device: th.device
) -> Iterator[None]:
    """
    Whatever the block trains is taken back, and random numbers are drawn again.

    :param module: whose weights and modes
    :param optimizers: whose states and settings
    :param sums: accumulator of the updates
    :param device: whose random numbers, beside the CPU's
    """
    weights, before = copy.deepcopy(module.state_dict()), sums.clone()
    states = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
    modes = [(part, part.training) for part in module.modules()]
    with th.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    module.load_state_dict(weights)
    sums.copy_(before)
    for part, mode in modes:
        part.training = mode
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
        optimizer.zero_grad()


def blank_batch(
    observation_space: spaces.Space, action_space: spaces.Space, batch_size: int, n_steps: int, device: th.device
) -> ReplayBufferSamples:
    """:return: a batch of zeros as a replay of these spaces draws it; with ``n_steps`` > 1 it has discounts"""
    shape = (1,) if isinstance(observation_space, spaces.Discrete) else observation_space.shape or ()
    dtype = np.float32 if observation_space.dtype == np.float64 else observation_space.dtype
    observations = th.as_tensor(np.zeros((batch_size, *shape), dtype=dtype), device=device)
    actions = th.zeros((batch_size, get_action_dim(action_space)), device=device)
    dones, rewards, discounts = th.zeros((3, batch_size, 1), device=device)
    return ReplayBufferSamples(
        observations, actions, observations.clone(), dones, rewards, discounts if n_steps > 1 else None
    )
