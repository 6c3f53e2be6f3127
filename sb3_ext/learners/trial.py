"""
Whether updates can be captured is found out by trying, before the first one: everything that was tried is taken back.
"""

from __future__ import annotations

import copy
from typing import Any

import torch as th
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_ext.learners.captured import (
    LEAST_RATE,
    WARM_UP,
    CapturedUpdates,
    Learner,
    Tensors,
    on_device,
    set_learning_rate,
)

# What such operations give, or its shape, depends on values, so the host has to know these.
READS = th.Tag.data_dependent_output, th.Tag.dynamic_output_shape


class HostReads(TorchDispatchMode):
    """
    Notes the first operation in its block by which the host reads values or moves a tensor between devices, backward
    passes included. Everything runs as it is.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has no annotation there
        self.found: str | None = None

    # Any: an operation of PyTorch's and whatever it takes and gives
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.found is None and (reads_values(func, args) or _moves(func, args, kwargs)):
            self.found = str(func)
        return func(*args, **kwargs)


def reads_values(func: Any, args: tuple[Any, ...]) -> bool:  # Any: as above
    """:return: whether the host must know values for this operation"""
    if func is th.ops.aten.index.Tensor:  # masks are counted, numbers are not
        return any(x is not None and x.dtype in (th.bool, th.uint8) for x in args[1])
    return any(tag in func.tags for tag in READS)


def _moves(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:  # Any: as above
    if func is th.ops.aten._to_copy.default:
        target = kwargs.get("device")
        return target is not None and th.device(target).type != args[0].device.type
    return func is th.ops.aten.copy_.default and args[0].device.type != args[1].device.type


def fault_of(learner: Learner, batch: Tensors, kind: tuple[bool, ...], device: th.device) -> str | None:
    """
    Make updates until they are replayed, and take back whatever they have trained; random numbers are drawn again.

    :param learner: its updates
    :param batch: for all of them
    :param kind: that does all there is
    :param device: CUDA
    :return: why such updates cannot be captured, None = they can
    """
    before = copy.deepcopy(learner.state_dict())
    modes = [(part, part.training) for network in learner.networks.values() for part in network.modules()]
    with th.random.fork_rng([device] if device.type == "cuda" else []):
        learner.set_training_mode(True)
        fault = _fault(learner, batch, kind, device)
    learner.load_state_dict(before)
    for part, mode in modes:
        part.training = mode
    for optimizer in learner.optimizers:
        optimizer.zero_grad()
    return fault


def _fault(learner: Learner, batch: Tensors, kind: tuple[bool, ...], device: th.device) -> str | None:
    captured, reads = CapturedUpdates(learner, device), HostReads()
    batch = on_device(batch, device)
    for optimizer in learner.optimizers:
        set_learning_rate(optimizer, LEAST_RATE, device)
    try:
        with reads:
            captured.update(batch, *kind)
        if reads.found is not None:  # a capture that breaks off may leave the device's random numbers unusable
            return f"the host reads values of the device ({reads.found})"
        for _ in range(WARM_UP):
            captured.update(batch, *kind)
    except RuntimeError as error:  # CUDA's errors are too
        return str(error).splitlines()[0]
    return None
