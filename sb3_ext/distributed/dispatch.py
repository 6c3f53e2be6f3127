"""
Orders out, deliveries in: which actor gets the next order, and what happens where one fails.

```
            Ready                   failure                after the policy's delay
 starting ---------> ready ------------------> failed ------------------------------> starting (next incarnation)
     |                                           ^
     +------------------- failure ---------------+
```

Always: one failure counts for each incarnation; only a ready actor has orders; what an earlier incarnation, or a failed
actor, still reports is passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from sb3_ext.distributed.backend import Backend, Report
from sb3_ext.distributed.faults import ActorsFailed, FailureLog, RestartPolicy, in_words
from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Delivery, Obs, Order, Ready, Weights
from sb3_ext.distributed.pacing import Window

STARTING = 60.0
"""seconds that an actor has to begin, at least: it may be the first one that imports what it needs"""
MakeOrder = Callable[[int, int], Order]
"""(actor, transitions between the learner's clock and the order's first) -> order"""


class _Actor:
    """What is known of one."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.state: Literal["starting", "ready", "failed"] = "failed"
        self.under_way = 0  # orders
        self.number = 0  # of its next delivery
        self.heard = 0.0  # seconds listened to it when it last reported, or got work
        self.restart_at = float("inf")  # where it failed
        self.is_hung = False  # and runs still
        self.pid = 0


class Dispatcher:
    """
    N actors of a backend, as the learner sees them.

    :param backend: that runs them
    :param n_actors: as they are numbered from 0 on
    :param window: how far they may be ahead; None = lockstep, by `round` alone
    :param restarts: of actors that fail
    :param order_timeout: seconds without a report after which an actor that has work is taken for hung
    :param clock: seconds
    :raises ValueError: for an `order_timeout` that is not positive
    """

    def __init__(
        self,
        backend: Backend,
        n_actors: int,
        *,
        window: Window | None,
        restarts: RestartPolicy,
        order_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not order_timeout > 0:
            raise ValueError(f"order_timeout must be positive, got {order_timeout} s")
        self.backend, self.window, self.order_timeout = backend, window, order_timeout
        self.restarts = 0
        """actors that were started anew"""
        self.failures = 0
        """of actors, of every kind"""
        self.broken = 0
        """of these: deliveries out of order"""
        self.learner_waits = 0.0
        """seconds that the learner has waited for reports"""
        self.endured: list[ActorFailed] = []
        """failures after which an actor is started anew; whoever tells of them takes them out"""
        self._actors = [_Actor() for _ in range(n_actors)]
        self._log = FailureLog(restarts, n_actors)
        self._clock = clock
        self._arrived: list[Delivery] = []
        self._listened = 0.0
        self._looked = clock()

    @property
    def alive(self) -> int:
        """Actors that take orders."""
        return sum(actor.state == "ready" for actor in self._actors)

    @property
    def pids(self) -> list[int]:
        """Of the processes of all actors, as they last reported to be ready; empty where none runs."""
        pids = [actor.pid for actor in self._actors]
        return pids if any(pids) else []

    @property
    def incarnations(self) -> list[int]:
        """Of all actors, those included that are being restarted."""
        return [actor.incarnation for actor in self._actors]

    @property
    def under_way(self) -> int:
        """Orders that were sent and not delivered."""
        return sum(actor.under_way for actor in self._actors)

    def start(self, spec: ActorSpec, weights: Weights) -> list[Obs]:
        """
        A training begins: starts the actors, or lets those that run begin anew. Orders under way are forgotten; what
        was delivered and not taken stays in the window until it is `taken`.

        :return: first observations of each actor
        :raises ActorsFailed: where one fails, or is not ready after `order_timeout`
        """
        self._arrived = []
        for number, actor in enumerate(self._actors):
            self._lose(number)
            actor.state, actor.number, actor.heard = "starting", 0, self._listened
        self.backend.start(spec, len(self._actors), weights)
        for number, actor in enumerate(self._actors):
            if actor.is_hung:  # it would not answer
                self._restart(number)
        observations: dict[int, Obs] = {}
        while len(observations) < len(self._actors):
            for report in self._poll(self._patience()):
                if isinstance(report, ActorFailed):
                    raise ActorsFailed(f"{in_words(report)}, before its first step", report)
                assert isinstance(report, Ready)
                actor = self._actors[report.actor]
                if report.incarnation < actor.incarnation:
                    continue
                actor.incarnation, actor.state, actor.pid = report.incarnation, "ready", report.pid
                observations[report.actor] = report.observations
            for failure in self._hung():
                self._lost_to(failure)
                raise ActorsFailed(f"{in_words(failure)}, before its first step", failure)
        return [observations[number] for number in range(len(self._actors))]

    def publish(self, weights: Weights) -> None:
        """Orders that are sent from now on act with these."""
        self.backend.publish(weights)

    def send(self, make_order: MakeOrder) -> None:
        """As many orders as the window holds. Never blocks."""
        assert self.window is not None
        ready = {number for number, actor in enumerate(self._actors) if actor.state == "ready"}
        while (number := self.window.next_actor(ready)) is not None:
            order = make_order(number, self.window.credit + self.window.under_way)
            self.window.ordered(number)
            self._submit(number, order)

    def receive(self, timeout: float | None = None) -> list[Delivery]:
        """
        :param timeout: seconds; None = until there is a delivery
        :return: what has come, of each actor in the order of its orders. Empty after the timeout, and where orders are
            to be sent before anything can come: after a restart, and where none is under way
        :raises ActorsFailed: where the policy of restarts says so. What else came is returned by the next call
        """
        end = None if timeout is None else self._clock() + timeout
        wait = 0.0
        while True:
            came_back = self._listen(wait)
            if self._arrived or came_back:
                break
            wait = self._patience()
            if end is not None:
                wait = min(wait, end - self._clock())
                if wait <= 0:
                    break
            if wait == float("inf"):
                break
        arrived, self._arrived = self._arrived, []
        return arrived

    def round(self, make_order: MakeOrder) -> list[Delivery]:
        """
        Lockstep: one order to each. An actor that fails gets its order once more when it is back.

        :return: all deliveries, in the order of actors
        :raises ActorsFailed: where the policy of restarts says so
        """
        delivered: dict[int, Delivery] = {}
        while len(delivered) < len(self._actors):
            for number, actor in enumerate(self._actors):
                if actor.state == "ready" and not actor.under_way and number not in delivered:
                    self._submit(number, make_order(number, 0))
            delivered.update((delivery.actor, delivery) for delivery in self.receive())
        return [delivered[number] for number in range(len(self._actors))]

    def drain(self) -> list[Delivery]:
        """
        :return: all that is under way, except what is lost on the way
        :raises ActorsFailed: where the policy of restarts says so. What came is returned by the next call
        """
        while self.under_way:
            self._listen(self._patience())
        arrived, self._arrived = self._arrived, []
        return arrived

    def taken(self, n: int) -> None:
        """
        The learner's clock has moved.

        :param n: by so many transitions of what was delivered
        """
        if self.window is not None:
            self.window.taken(n)

    def close(self) -> None:
        """End all actors. A second call changes nothing."""
        for number, actor in enumerate(self._actors):
            self._lose(number)
            actor.state, actor.restart_at, actor.pid = "failed", float("inf"), 0
            actor.incarnation, actor.is_hung = 0, False
        self._arrived = []
        self.backend.close()

    def _submit(self, number: int, order: Order) -> None:
        actor = self._actors[number]
        if not actor.under_way:
            actor.heard = self._listened
        actor.under_way += 1
        self.backend.submit(number, order)

    def _lose(self, number: int) -> None:
        """Orders of an actor will not be delivered."""
        self._actors[number].under_way = 0
        if self.window is not None:
            self.window.lost(number)

    def _poll(self, timeout: float) -> list[Report]:
        began = self._clock()
        # A learner that was away for long has not listened for long: blocks may lie in pipes that it alone can empty.
        self._listened += min(began - self._looked, self.order_timeout / 4)
        reports = list(self.backend.poll(timeout))
        self._looked = self._clock()
        self._listened += self._looked - began
        if timeout > 0:
            self.learner_waits += self._looked - began
        for report in reports:
            self._actors[report.actor].heard = self._listened
        return reports

    def _listen(self, timeout: float) -> bool:
        """
        Takes in what has come by then, at the latest when an actor is to be restarted.

        :return: an actor is back
        """
        came_back = False
        failures: list[ActorFailed] = []
        for report in self._poll(timeout):
            actor = self._actors[report.actor]
            if report.incarnation != actor.incarnation or actor.state == "failed":
                continue
            if isinstance(report, Ready):
                actor.state, actor.pid = "ready", report.pid
                came_back = True
            elif isinstance(report, ActorFailed):
                failures.append(self._lost_to(report))
            elif report.number == actor.number and actor.under_way:
                self._take(report)
            else:
                failures.append(self._lost_to(self._break(report)))
        failures.extend(self._lost_to(failure) for failure in self._hung())
        self._judge(failures)
        self._restart_due()
        return came_back

    def _take(self, delivery: Delivery) -> None:
        actor = self._actors[delivery.actor]
        actor.under_way -= 1
        actor.number += 1
        if self.window is not None:
            self.window.delivered(delivery.actor)
        self._log.delivered(delivery.actor)
        self._arrived.append(delivery)

    def _break(self, delivery: Delivery) -> ActorFailed:
        """A delivery that does not follow the actor's last one: what it continues is not here."""
        what = f"delivered block {delivery.number} of its incarnation in place of {self._actors[delivery.actor].number}"
        self.broken += 1
        if self.window is None:
            raise ValueError(f"actor {delivery.actor} {what}")
        return ActorFailed(delivery.actor, delivery.incarnation, "died", what)

    def _hung(self) -> list[ActorFailed]:
        """:return: of actors that have work, and of whom nothing was heard for too long"""
        return [
            ActorFailed(number, actor.incarnation, "hung", f"hangs: no report for {self._timeout(actor):g} s")
            for number, actor in enumerate(self._actors)
            if self._listened - actor.heard >= self._timeout(actor)
        ]

    def _timeout(self, actor: _Actor) -> float:
        """:return: seconds that it may be silent"""
        if actor.state == "starting":
            return max(self.order_timeout, STARTING)
        return self.order_timeout if actor.state == "ready" and actor.under_way else float("inf")

    def _lost_to(self, failure: ActorFailed) -> ActorFailed:
        self._lose(failure.actor)
        self._actors[failure.actor].state = "failed"
        self._actors[failure.actor].restart_at = float("inf")  # until it is judged
        self._actors[failure.actor].is_hung = failure.kind == "hung"
        self.failures += 1
        return failure

    def _judge(self, failures: list[ActorFailed]) -> None:
        """:raises ActorsFailed: the first one that is not to be endured"""
        ends: list[ActorsFailed] = []
        for failure in failures:
            actor = self._actors[failure.actor]
            actor.restart_at = self._clock()  # where training ends, it may be begun once more
            try:
                actor.restart_at += self._log.failed(failure, self._clock())
            except ActorsFailed as end:
                ends.append(end)
            else:
                self.endured.append(failure)
        if ends:
            raise ends[0]

    def _restart_due(self) -> None:
        for number, actor in enumerate(self._actors):
            if actor.state == "failed" and self._clock() >= actor.restart_at:
                self._restart(number)

    def _restart(self, number: int) -> None:
        actor = self._actors[number]
        actor.incarnation += 1
        actor.state, actor.number, actor.heard, actor.is_hung = "starting", 0, self._listened, False
        self.restarts += 1
        self.backend.restart(number, actor.incarnation)

    def _patience(self) -> float:
        """:return: seconds until something is to be done if nothing comes; infinite where nothing can"""
        now = self._clock()
        restarts = (actor.restart_at - now for actor in self._actors if actor.state == "failed")
        silences = (self._timeout(actor) - (self._listened - actor.heard) for actor in self._actors)
        return max(min(*restarts, *silences, float("inf")), 0.0)
