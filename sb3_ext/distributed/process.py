"""
Actors in processes of this machine. No dependency, no main guard: a script that makes environments in a function of its
own is enough.

Weights lie in shared memory, so an actor begins each order with the newest there are; everything else goes through a
socket to each actor, whose learner's end never blocks.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import sys
import time
from collections.abc import Sequence

from sb3_ext.distributed.actor import Actor
from sb3_ext.distributed.backend import Report
from sb3_ext.distributed.carried import MakeActor, carried
from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Order, Weights
from sb3_ext.distributed.nursery import CANNOT_FORK, Nursery, nursery
from sb3_ext.distributed.shared_weights import SharedWeights, layout_of
from sb3_ext.distributed.wire import Wire
from sb3_ext.distributed.worker import Begin, Told

CLOSING = 3.0
"""seconds that environments have to close"""


class _Child:
    """An actor's process, as the learner sees it."""

    def __init__(self, nursery: Nursery, incarnation: int, weights_fd: int) -> None:
        self.incarnation = incarnation
        self.has_failed = False
        self._nursery = nursery  # another one may follow, with children of the same numbers
        self._number, sock = nursery.fork(weights_fd)
        self.wire = Wire(sock)

    def kill(self) -> None:
        self._nursery.kill(self._number)

    def exit_code(self, timeout: float) -> int | None:
        """See `Nursery.exit_code`."""
        return self._nursery.exit_code(self._number, timeout)


class ProcessBackend:
    """
    See `Backend`.

    :param make_actor: what runs in each process; another one for tests alone
    """

    def __init__(self, make_actor: MakeActor = Actor) -> None:
        self._make_actor = make_actor
        self._children: list[_Child] = []
        self._training = 0
        self._owner = os.getpid()
        self._weights: SharedWeights | None = None
        self._made_of = b""
        self._selector: selectors.BaseSelector | None = None

    def start(self, spec: ActorSpec, n_actors: int, weights: Weights) -> None:
        made_of = carried(spec, self._make_actor)
        if self._weights is not None and self._weights.layout != layout_of(weights):
            self.close()  # another network
        self._made_of, self._owner = made_of, os.getpid()
        self._training += 1
        if self._weights is None:
            self._weights = SharedWeights(layout_of(weights))
            self._selector = selectors.DefaultSelector()
        self._weights.write(weights)
        self.poll(0)  # who has died since
        for actor in range(n_actors):
            if actor >= len(self._children):
                self._children.append(self._spawn(actor, 0))
            elif self._children[actor].has_failed or not self._children[actor].wire.is_open:
                self.restart(actor, self._children[actor].incarnation + 1)
            else:
                self._begin(actor, self._children[actor])

    def publish(self, weights: Weights) -> None:
        assert self._weights is not None
        self._weights.write(weights)

    def publish_seconds(self, n_bytes: int) -> float:
        """:return: least seconds between two versions: a copy in memory may be made at any time"""
        return 0.0

    def submit(self, actor: int, order: Order) -> None:
        child = self._children[actor]
        if not child.has_failed:
            child.wire.send(Told(self._training, order))
            self._watch(actor, child)

    def poll(self, timeout: float) -> Sequence[Report]:
        assert self._selector is not None
        end = time.monotonic() + timeout
        reports: list[Report] = []
        while not reports:
            left = max(end - time.monotonic(), 0.0)
            for key, _ in self._selector.select(left if left < float("inf") else None):
                reports += self._heard(key.data, self._children[key.data])
            if left == 0:
                break
        return reports

    def restart(self, actor: int, incarnation: int) -> None:
        self._drop(self._children[actor])
        self._children[actor].kill()
        self._children[actor] = self._spawn(actor, incarnation)

    def close(self) -> None:
        if self._owner != os.getpid():  # the actors and the selector's state in the kernel are those of another process
            self._children, self._selector, self._weights = [], None, None
            return
        for child in self._children:
            self._drop(child)
        end = time.monotonic() + CLOSING
        for child in self._children:
            if child.exit_code(max(end - time.monotonic(), 0.0)) is None:
                child.kill()
                child.exit_code(CLOSING)
        self._children = []
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        if self._weights is not None:
            self._weights.close()
            self._weights = None

    def _spawn(self, actor: int, incarnation: int) -> _Child:
        assert self._weights is not None and self._selector is not None
        child = _Child(nursery(), incarnation, self._weights.fd)
        self._selector.register(child.wire, selectors.EVENT_READ, actor)
        self._begin(actor, child)
        return child

    def _begin(self, actor: int, child: _Child) -> None:
        assert self._weights is not None
        layout, made_of = self._weights.layout, pickle.PickleBuffer(self._made_of)
        begin = Begin(
            self._training, actor, child.incarnation, layout, list(sys.path), os.getcwd(), dict(os.environ), made_of
        )
        child.wire.send(begin)
        self._watch(actor, child)

    def _watch(self, actor: int, child: _Child) -> None:
        assert self._selector is not None
        writes = selectors.EVENT_WRITE if child.wire.is_full else 0
        self._selector.modify(child.wire, selectors.EVENT_READ | writes, actor)

    def _heard(self, actor: int, child: _Child) -> list[Report]:
        child.wire.flush()
        reports: list[Report] = []
        for training, report in child.wire.receive():
            child.has_failed |= isinstance(report, ActorFailed)
            if training == self._training:
                reports.append(report)
        if child.wire.is_open:
            self._watch(actor, child)
            return reports
        self._drop(child)
        if not child.has_failed:
            child.has_failed = True
            reports.append(ActorFailed(actor, child.incarnation, "died", in_words(child.exit_code(1.0))))
        return reports

    def _drop(self, child: _Child) -> None:
        """Nothing is heard of it any more; the process ends when it finds out."""
        assert self._selector is not None
        if child.wire.fileno() != -1:
            self._selector.unregister(child.wire)
            child.wire.close()


def in_words(code: int | None) -> str:
    """
    :param code: as `Nursery.exit_code` tells it
    :return: how a process ended
    """
    if code is None:
        return "ended, and nobody knows how"
    if code >= CANNOT_FORK:
        return f"could not be started: {os.strerror(code - CANNOT_FORK)}"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
