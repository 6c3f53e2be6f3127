"""
CUDA graphs on a CPU: what a graph of PyTorch's does to tensors, done by its operations.

A capture notes each operation that reaches PyTorch's dispatcher with the tensors and numbers that it got, and takes
back what it has written, since nothing runs while a graph is captured. A replay runs the same operations on the same
tensors: Python is not asked again, so what was a number then is the same number now.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch as th
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sb3_ext import compiled
from sb3_ext.learners.trial import reads_values


def _tensors(x: Any) -> list[th.Tensor]:
    return [leaf for leaf in tree_leaves(x) if isinstance(leaf, th.Tensor)]


def _alias(x: Any) -> Any:
    return x.detach() if isinstance(x, th.Tensor) else x


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any, bool]] = []
        self.reads: dict[int, th.Tensor] = {}
        """by their memory: tensors from outside, which must stay where they are"""
        self.n_replayed = 0

    def replay(self) -> None:
        assert self.operations, "nothing was captured"
        self.n_replayed += 1
        with th._C._AutoDispatchBelowAutograd():  # there it was noted
            for func, args, kwargs, outputs, with_grad in self.operations:
                with th.set_grad_enabled(with_grad):  # which an LSTM asks for below, too
                    again = func(*args, **kwargs)
                for old, new in zip(_tensors(outputs), _tensors(again), strict=True):
                    if old.data_ptr() != new.data_ptr():  # memory of a graph stays where it is
                        old.copy_(new)


class _Capture(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has no annotation there
        self.graph = graph
        self.own: list[Any] = []  # storages that the capture made
        self.before: list[tuple[th.UntypedStorage, th.UntypedStorage]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if reads_values(func, args):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        if func is th.ops.aten.lift_fresh.default and args[0].ndim > 0:  # a single number is one, for Adam on a CPU too
            raise RuntimeError("a tensor is made of numbers of the host, which a graph would not see change")
        for tensor in _tensors((args, kwargs)):
            if all(tensor.untyped_storage()._cdata != x._cdata for x in self.own):
                self.graph.reads.setdefault(tensor.data_ptr(), tensor)
        arguments, returns = func._schema.arguments, func._schema.returns
        given = dict(zip([argument.name for argument in arguments], args, strict=False)) | kwargs
        for argument in arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in _tensors(given.get(argument.name)):
                    self._keep(tensor)
        now = tree_map(_alias, (args, kwargs))  # a tensor may be transposed in place later
        outputs = func(*args, **kwargs)
        is_view = any(x.alias_info is not None and not x.alias_info.is_write for x in returns)
        if not is_view and th.Tag.inplace_view not in func.tags:
            self.graph.operations.append((func, *now, tree_map(_alias, outputs), th.is_grad_enabled()))
        known = {x.untyped_storage()._cdata for x in _tensors((args, kwargs))}
        self.own += [x.untyped_storage() for x in _tensors(outputs) if x.untyped_storage()._cdata not in known]
        return outputs

    def _keep(self, tensor: th.Tensor) -> None:
        storage = tensor.untyped_storage()
        known = [x._cdata for x in self.own] + [x._cdata for x, _ in self.before]
        if storage._cdata not in known:
            self.before.append((storage, storage.clone()))

    def take_back(self) -> None:
        for storage, before in self.before:
            storage.copy_(before)


class StandIn:
    """What was captured."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []
        self.pinned: list[str] = []
        """the thread of each tensor that was pinned"""
        self.is_capturing = False

    def pin(self, x: th.Tensor) -> th.Tensor:
        """In place of `torch.Tensor.pin_memory`."""
        self.pinned.append(current_thread().name)
        return x.clone()

    @contextmanager
    def capture(self, graph: Graph, stream: Any, capture_error_mode: str) -> Iterator[None]:
        """In place of `torch.cuda.graph`."""
        assert stream is not None and capture_error_mode == "thread_local"
        self.graphs.append(graph)
        mode, coins = _Capture(graph), th.get_rng_state()
        self.is_capturing = True
        try:
            with mode:
                yield
        finally:
            self.is_capturing = False
            mode.take_back()
            th.set_rng_state(coins)


class Stream:
    """In place of `torch.cuda.Stream`."""

    def __init__(self, device: Any = None) -> None: ...

    def wait_stream(self, other: Any) -> None: ...

    def synchronize(self) -> None: ...


@contextmanager
def _nothing(*_: Any) -> Iterator[None]:
    yield


def install(patch: pytest.MonkeyPatch) -> StandIn:
    """Models on a CPU capture their updates from here on."""
    stand_in = StandIn()
    current = Stream()
    patch.setattr(compiled, "can_capture", lambda device: device.type == "cpu")
    patch.setattr(th.cuda, "Stream", Stream)
    patch.setattr(th.cuda, "CUDAGraph", Graph)
    patch.setattr(th.cuda, "graph", stand_in.capture)
    patch.setattr(th.cuda, "current_stream", lambda *_: current)
    patch.setattr(th.cuda, "stream", _nothing)
    patch.setattr(th.cuda, "device", _nothing)
    patch.setattr(th.Tensor, "pin_memory", lambda x: stand_in.pin(x))
    # PyTorch's optimizers ask where they are; of a CPU they would not take `capturable`.
    for name in ("adam", "rmsprop"):
        optimizer = importlib.import_module(f"torch.optim.{name}")
        patch.setattr(optimizer, "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])
    patch.setattr(th.accelerator, "current_accelerator", lambda *_, **__: th.device("cuda"))
    patch.setattr(
        th.accelerator, "current_stream", lambda *_: SimpleNamespace(is_capturing=lambda: stand_in.is_capturing)
    )
    return stand_in
