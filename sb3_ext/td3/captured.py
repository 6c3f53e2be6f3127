"""Updates as captured CUDA graphs: one launch in place of a few hundred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch as th

WARM_UP = 3  # updates of each kind before it is captured; PyTorch's recommendation for the side stream


class CapturedUpdates:
    """
    Runs an update as it is for the first times, captures it then, and replays it from there on. One graph for every
    kind of update and shape of batch.

    The update must touch only memory that stays where it is: parameters, optimizer states and accumulators.

    :param update: (batch, *kind) -> tensor, where the batch is a NamedTuple of tensors or None
    :param device: CUDA
    """

    def __init__(self, update: Callable[..., th.Tensor], device: th.device) -> None:
        self.update, self.device = update, device
        self.stream = th.cuda.Stream(device)
        self.n_seen: dict[Any, int] = {}
        self.graphs: dict[Any, tuple[th.cuda.CUDAGraph, Any, th.Tensor]] = {}

    def __call__(self, batch: Any, *kind: bool) -> th.Tensor:  # Any: a NamedTuple of tensors
        """:return: what the update returns, valid until the next call"""
        parts = batch.observations, batch.actions, batch.next_observations, batch.dones, batch.rewards, batch.discounts
        key = (kind, tuple(None if x is None else (x.shape, x.dtype) for x in parts))
        if key not in self.graphs:
            self.n_seen[key] = self.n_seen.get(key, 0) + 1
            if self.n_seen[key] <= WARM_UP:
                return self._aside(batch, kind)
            self.graphs[key] = self._capture(batch, kind)
        graph, static, result = self.graphs[key]
        for name in ("observations", "actions", "next_observations", "dones", "rewards", "discounts"):
            if getattr(static, name) is not None:
                getattr(static, name).copy_(getattr(batch, name))
        graph.replay()
        return result

    def _aside(self, batch: Any, kind: tuple[bool, ...]) -> th.Tensor:
        """An update of its own on a side stream, as capturing asks for."""
        self.stream.wait_stream(th.cuda.current_stream(self.device))
        with th.cuda.stream(self.stream):
            result = self.update(batch, *kind)
        th.cuda.current_stream(self.device).wait_stream(self.stream)
        return result

    def _capture(self, batch: Any, kind: tuple[bool, ...]) -> tuple[th.cuda.CUDAGraph, Any, th.Tensor]:
        static = batch._replace(
            **{
                name: getattr(batch, name).clone()
                for name in ("observations", "actions", "next_observations", "dones", "rewards", "discounts")
                if getattr(batch, name) is not None
            }
        )
        graph = th.cuda.CUDAGraph()
        # Nothing runs yet. The stream is of this device; other threads may use CUDA meanwhile.
        with th.cuda.device(self.device), th.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            result = self.update(static, *kind)
        return graph, static, result


def set_learning_rate(optimizer: th.optim.Optimizer, rate: float, device: th.device) -> None:
    """
    Write the rate where a captured graph reads it.

    :param optimizer: one that can be captured, as Adam and AdamW
    :param rate: from now on
    :param device: CUDA
    """
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
