"""Updates as captured CUDA graphs: one launch in place of a few hundred."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th

WARM_UP = 3  # updates of each kind before it is captured; PyTorch's recommendation for the side stream
PARTS = ("observations", "actions", "next_observations", "dones", "rewards", "discounts")
# PyTorch's Adam divides by the rate where it can be captured and runs parameter by parameter: 0 / 0 for a weight
# without a gradient. A step of this rate changes no weight.
LEAST_RATE = 1e-30


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


def constants_of(optimizers: Sequence[th.optim.Optimizer], *settings: Any) -> Constants:
    """
    :param optimizers: whose parameters are updated
    :param settings: numbers that the update reads
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    values = [{name: x for name, x in group.items() if name not in ("params", "lr", "initial_lr")} for group in groups]
    places = [x for optimizer in optimizers for x in (optimizer, optimizer.state)]
    return Constants(
        (
            *settings,
            *values,
            *[len(optimizer.state) for optimizer in optimizers],
            *[(p.data_ptr(), p.requires_grad) for p in parameters],
        ),
        (*places, *parameters, *[group["lr"] for group in groups]),
    )


class CapturedUpdates:
    """
    Runs an update as it is for the first times, captures it then, and replays it from there on. One graph for every
    kind of update and shape of batch.

    The update must touch only memory that stays where it is: parameters, optimizer states and accumulators. What it
    reads besides is a constant of its graphs: `begin` throws them away when one has changed.

    :param update: (batch, *kind) -> tensor, where the batch is a NamedTuple of tensors or None
    :param device: CUDA
    """

    def __init__(self, update: Callable[..., th.Tensor], device: th.device) -> None:
        self.update, self.device = update, device
        self.stream = th.cuda.Stream(device)
        self.n_seen: dict[Any, int] = {}
        self.graphs: dict[Any, tuple[th.cuda.CUDAGraph, Any, th.Tensor]] = {}
        self.constants: Constants | None = None

    def begin(self, constants: Constants) -> None:
        """:param constants: of the coming updates"""
        if self.graphs and self.constants is not None and not constants.agree_with(self.constants):
            th.cuda.current_stream(self.device).synchronize()  # none of them is running
            self.graphs.clear()
            self.n_seen.clear()
        self.constants = constants

    def __call__(self, batch: Any, *kind: bool) -> th.Tensor:  # Any: a NamedTuple of tensors
        """:return: what the update returns, valid until the next call"""
        parts = [getattr(batch, name) for name in PARTS]
        key = (kind, tuple(None if x is None else (x.shape, x.dtype) for x in parts))
        if key not in self.graphs:
            self.n_seen[key] = self.n_seen.get(key, 0) + 1
            if self.n_seen[key] <= WARM_UP:
                return self._aside(batch, kind)
            self.graphs[key] = self._capture(batch, kind)
        graph, static, result = self.graphs[key]
        for name in PARTS:
            if getattr(static, name) is not None:
                getattr(static, name).copy_(getattr(batch, name))
        graph.replay()
        return result

    def _aside(self, batch: Any, kind: tuple[bool, ...]) -> th.Tensor:
        """An update of its own on a side stream, as capturing asks for."""
        self.stream.wait_stream(th.cuda.current_stream(self.device))
        with th.cuda.stream(self.stream), warnings.catch_warnings():
            # PyTorch's advice for those who never capture.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            result = self.update(batch, *kind)
        th.cuda.current_stream(self.device).wait_stream(self.stream)
        return result

    def _capture(self, batch: Any, kind: tuple[bool, ...]) -> tuple[th.cuda.CUDAGraph, Any, th.Tensor]:
        static = batch._replace(
            **{name: getattr(batch, name).clone() for name in PARTS if getattr(batch, name) is not None}
        )
        graph = th.cuda.CUDAGraph()
        # Nothing runs yet. The stream is of this device; other threads may use CUDA meanwhile.
        with (
            th.cuda.device(self.device),
            th.cuda.stream(th.cuda.current_stream(self.device)),  # which PyTorch leaves where a capture breaks off
            th.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            result = self.update(static, *kind)
        return graph, static, result


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
