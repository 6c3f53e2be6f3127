"""A backend without actors: a test says what they report, and a clock that stands still says when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.distributed.backend import Report
from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Delivery, Order, Ready, Weights
from sb3_ext.ops.exploration import EpsilonGreedy

WEIGHTS = Weights(1, 0, (np.zeros(1, np.float32),))


def empty_block(n_steps: int, lanes: Sequence[int]) -> LaneBlock:
    none = np.zeros(0, np.int64)
    n = len(lanes)
    return LaneBlock(
        n_steps, np.array(lanes), np.ones(n, bool), np.zeros(n, np.int64), {}, {}, none, none, none, None, None
    )


def make_order(n_steps: int = 4, num_timesteps: int = 0, **changes: Any) -> Order:
    return Order(n_steps, num_timesteps, 1_000, 0, EpsilonGreedy(), 1.0, False)._replace(**changes)


def make_delivery(actor: int, incarnation: int, number: int, n_steps: int = 4) -> Delivery:
    block = empty_block(n_steps, [actor])
    return Delivery(actor, incarnation, number, n_steps, 1, 0, block, (), None, 0.0, 0.0, 0)


class FakeBackend:
    """
    :param idle: called when a poll finds nothing, with the seconds that it may wait: reports something, or lets time
        pass; by default the whole time passes
    """

    def __init__(self, idle: Callable[[float], None] | None = None) -> None:
        self.now = 0.0
        self.idle = idle
        self.n_actors = 0
        self.orders: list[deque[Order]] = []
        self.incarnations: list[int] = []
        self.delivered: list[int] = []
        self.reports: list[Report] = []
        self.restarted: list[tuple[float, int, int]] = []
        self.is_ready_at_once = True
        self.published: list[int] = []
        self.is_closed = False

    def clock(self) -> float:
        return self.now

    # What a test does.

    def deliver(self, actor: int) -> None:
        order = self.orders[actor].popleft()
        self.reports.append(make_delivery(actor, self.incarnations[actor], self.delivered[actor], order.n_steps))
        self.delivered[actor] += 1

    def fail(self, actor: int, kind: Any = "died", what: str = "was ended by SIGKILL", **more: str) -> None:
        self.orders[actor].clear()
        self.reports.append(ActorFailed(actor, self.incarnations[actor], kind, what, **more))

    def ready(self, actor: int) -> None:
        observations = np.full((1, 1), actor, np.float32)
        self.reports.append(Ready(actor, self.incarnations[actor], observations, 0))

    # What the dispatcher does.

    def start(self, spec: ActorSpec, n_actors: int, weights: Weights) -> None:
        self.n_actors = n_actors
        self.orders = [deque() for _ in range(n_actors)]
        self.incarnations = self.incarnations or [0] * n_actors
        self.delivered = [0] * n_actors
        self.reports = []
        if self.is_ready_at_once:
            for actor in range(n_actors):
                self.ready(actor)

    def publish(self, weights: Weights) -> None:
        self.published.append(weights.version)

    def publish_seconds(self, n_bytes: int) -> float:
        return 0.0

    def submit(self, actor: int, order: Order) -> None:
        self.orders[actor].append(order)

    def poll(self, timeout: float) -> Sequence[Report]:
        if not self.reports and timeout > 0:
            if self.idle is None:
                assert timeout < float("inf"), "nothing will ever come"
                self.now += timeout
            else:
                self.idle(timeout)
        reports, self.reports = self.reports, []
        return reports

    def restart(self, actor: int, incarnation: int) -> None:
        self.restarted.append((self.now, actor, incarnation))
        self.orders[actor].clear()
        self.incarnations[actor] = incarnation
        self.delivered[actor] = 0
        if self.is_ready_at_once:
            self.ready(actor)

    def close(self) -> None:
        self.is_closed = True
