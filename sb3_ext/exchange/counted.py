"""Networks that anyone may ask for are counted while they are made, and stopped at the first number too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch as th
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from sb3_ext.errors import UnsafeFile

SPARE_WEIGHTS = 100_000  # that a network may have beside twice those in the file, for targets that are made and tied
SPARE_TENSORS = 200

_FACTORIES = {
    th.arange,
    th.empty,
    th.empty_strided,
    th.eye,
    th.full,
    th.linspace,
    th.logspace,
    th.ones,
    th.rand,
    th.randint,
    th.randn,
    th.randperm,
    th.zeros,
    th.Tensor.new_empty,
    th.Tensor.new_full,
    th.Tensor.new_ones,
    th.Tensor.new_zeros,
}


@contextmanager
def at_most(n_weights: int, n_tensors: int, message: str) -> Iterator[None]:
    """
    What is made from the weights of a file is bounded by them: twice, since a target network may have none of its own
    there, and a little more.

    :param n_weights: numbers in the file
    :param n_tensors: in the file
    :param message: of the error
    :raises UnsafeFile: before a tensor is made that is larger than all of these, and at the first parameter or buffer
        that is too many
    """
    left, left_tensors = 2 * n_weights + SPARE_WEIGHTS, 2 * n_tensors + SPARE_TENSORS

    def count(module: nn.Module, name: str, x: Any) -> None:  # Any: a tensor or None
        nonlocal left, left_tensors
        # Registered before it is filled, and memory that is not filled is not taken.
        left -= x.numel() if isinstance(x, th.Tensor) else 0
        left_tensors -= 1
        if left < 0 or left_tensors < 0:
            raise UnsafeFile(message)

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        with _Measured(left, message):
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Measured(TorchFunctionMode):
    """Each tensor out of nothing is made on no device first, where it takes no memory, and looked at."""

    def __init__(self, limit: int, message: str) -> None:
        super().__init__()
        self.limit, self.message = limit, message

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:  # Any: of every function of torch
        given = dict(kwargs or {})
        if func in _FACTORIES and given.get("out") is None:
            shape_alone = {key: x for key, x in given.items() if key not in ("generator", "pin_memory")}
            if func(*args, **{**shape_alone, "device": "meta"}).numel() > self.limit:
                raise UnsafeFile(self.message)
        return func(*args, **given)
