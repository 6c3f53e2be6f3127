"""
Updates as captured CUDA graphs: one launch in place of a few hundred. Of any learner whose update touches only memory
that stays where it is, and waits for nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import torch as th
from torch import nn

from sb3_ext import nested
from sb3_ext.nested import Nested

Compile: TypeAlias = Literal["auto", "on", "off"]
"""whether updates are captured: where they can be, or else it is an error, or never"""
T = TypeVar("T")
Tensors: TypeAlias = Nested[Any]
"""a tree of tensors; what else it may hold, arrays for one, no update reads"""
WARM_UP = 3  # updates of each kind before it is captured; PyTorch's recommendation for the side stream
# PyTorch's Adam divides by the rate where it can be captured and runs parameter by parameter: 0 / 0 for a weight
# without a gradient. A step of this rate changes no weight.
LEAST_RATE = 1e-30


class Learner(Protocol):
    """
    What is captured. An update must touch only memory that stays where it is: networks, states of the optimizers, sums.
    Whatever else it reads is one of its `settings`.
    """

    @property
    def settings(self) -> tuple[Any, ...]:  # Any: numbers and what is compared as they are
        """What an update reads that a graph would not see change."""

    @property
    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        """All that an update steps."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All that an update reads or writes."""

    @property
    def update(self) -> Callable[..., Any]:  # Any: each has its own kind of batch, and of update
        """
        A method: (batch, *kind) -> update, both trees of tensors. What an update consists of, in true or false, is its
        kind; each is captured on its own.
        """

    def set_training_mode(self, mode: bool) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an update changes."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Constants(NamedTuple):
    """What a graph holds as it was when it was captured."""

    values: tuple[Any, ...]
    """numbers and settings, compared by value"""
    places: tuple[Any, ...]
    """tensors and what holds them, compared by identity: a graph goes on with those that it knows"""

    def agree_with(self, other: Constants) -> bool:
        """:return: whether a graph of the one is one of the other"""
        return (
            self.values == other.values
            and len(self.places) == len(other.places)
            and all(ours is theirs for ours, theirs in zip(self.places, other.places, strict=True))
        )


def constants_of(learner: Learner) -> Constants:
    """:return: what its updates read now"""
    optimizers = learner.optimizers
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    values = [{name: x for name, x in group.items() if name not in ("params", "lr", "initial_lr")} for group in groups]
    places = [x for optimizer in optimizers for x in (optimizer, optimizer.state)]
    return Constants(
        (
            *learner.settings,
            *values,
            *[len(optimizer.state) for optimizer in optimizers],
            *[(p.data_ptr(), p.requires_grad) for p in parameters],
        ),
        (*places, *parameters, *[group["lr"] for group in groups]),
    )


class CapturedUpdates:
    """
    Runs updates as they are for the first times, captures them then, and replays them from there on. One graph for
    every kind of update and shape of batch. `begin` throws the graphs away when something has changed that they hold.

    :param learner: its updates
    :param device: CUDA
    """

    def __init__(self, learner: Learner, device: th.device) -> None:
        self.learner, self.device = learner, device
        self.stream = th.cuda.Stream(device)
        self.n_seen: dict[Any, int] = {}
        self.graphs: dict[Any, tuple[th.cuda.CUDAGraph, list[th.Tensor], Any]] = {}
        self.constants: Constants | None = None

    def begin(self) -> None:
        """Before updates are made: what the learner reads may be other than it was."""
        constants = constants_of(self.learner)
        if self.graphs and self.constants is not None and not constants.agree_with(self.constants):
            th.cuda.current_stream(self.device).synchronize()  # none of them is running
            self.graphs.clear()
            self.n_seen.clear()
        self.constants = constants

    def update(self, batch: Tensors, *kind: bool) -> Any:  # Any: the learner's update
        """
        :param batch: on the device, or in pinned memory
        :param kind: see `Learner`
        :return: what the update returns, valid until the next call
        """
        fresh = _tensors(batch)
        key = (kind, tuple((x.shape, x.dtype) for x in fresh))
        if key not in self.graphs:
            self.n_seen[key] = self.n_seen.get(key, 0) + 1
            if self.n_seen[key] <= WARM_UP:
                return self._aside(batch, kind)
            self.graphs[key] = self._capture(batch, kind)
        graph, static, result = self.graphs[key]
        for fixed, x in zip(static, fresh, strict=True):
            fixed.copy_(x, non_blocking=True)  # pinned memory is not used again before
        graph.replay()
        return result

    def _aside(self, batch: Tensors, kind: tuple[bool, ...]) -> Any:  # Any: as above
        """An update of its own on a side stream, as capturing asks for."""
        batch = on_device(batch, self.device)
        self.stream.wait_stream(th.cuda.current_stream(self.device))
        with th.cuda.stream(self.stream), warnings.catch_warnings():
            # PyTorch's advice for those who never capture.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            result = self.learner.update(batch, *kind)
        th.cuda.current_stream(self.device).wait_stream(self.stream)
        return result

    def _capture(
        self, batch: Tensors, kind: tuple[bool, ...]
    ) -> tuple[th.cuda.CUDAGraph, list[th.Tensor], Any]:  # Any: as above
        static: Tensors = nested.map(
            lambda x: x.clone() if isinstance(x, th.Tensor) else x, on_device(batch, self.device)
        )
        graph = th.cuda.CUDAGraph()
        # Nothing runs yet. The stream is of this device; other threads may use CUDA meanwhile.
        with (
            th.cuda.device(self.device),
            th.cuda.stream(th.cuda.current_stream(self.device)),  # which PyTorch leaves where a capture breaks off
            th.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            result = self.learner.update(static, *kind)
        return graph, _tensors(static), result


def on_device(batch: T, device: th.device) -> T:
    """:return: the same with its tensors there; pinned memory is read while the host goes on"""
    moved: T = nested.map(lambda x: x.to(device, non_blocking=True) if isinstance(x, th.Tensor) else x, batch)
    return moved


def _tensors(batch: Tensors) -> list[th.Tensor]:
    return [x for x in nested.leaves(batch) if isinstance(x, th.Tensor)]


def can_capture(device: th.device) -> bool:
    """:return: whether the device has graphs"""
    return device.type == "cuda"


def set_learning_rate(optimizer: th.optim.Optimizer, rate: float, device: th.device) -> None:
    """
    Write the rate where a captured graph reads it.

    :param optimizer: one that can be captured, as Adam and AdamW
    :param rate: from now on; below `LEAST_RATE` that is taken
    :param device: CUDA
    """
    rate = max(rate, LEAST_RATE)
    for group in optimizer.param_groups:
        group["capturable"] = True
        if isinstance(group["lr"], th.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = th.tensor(rate, device=device)
    for state in optimizer.state.values():
        state["step"] = state["step"].to(device)  # a file brings it as it was saved


def as_plain(state: dict[str, Any]) -> dict[str, Any]:
    """
    :param state: state_dict of an optimizer
    :return: the same without what capturing needs
    """
    groups = [
        {**group, "lr": float(group["lr"]), **({"capturable": False} if "capturable" in group else {})}
        for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}
