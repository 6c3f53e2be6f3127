"""Orders out, deliveries in, on a backend that reports what a test says, when it says so."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from support.fake_backend import WEIGHTS, FakeBackend, make_delivery, make_order

from sb3_ext.distributed.backend import Backend
from sb3_ext.distributed.dispatch import Dispatcher
from sb3_ext.distributed.faults import ActorsFailed, RestartPolicy
from sb3_ext.distributed.messages import ActorSpec, Order
from sb3_ext.distributed.pacing import Window

SPEC = cast(ActorSpec, None)  # the fake backend looks at none


def make_dispatcher(
    n_actors: int = 2,
    orders: int = 2,
    lockstep: bool = False,
    timeout: float = 300.0,
    started: bool = True,
    idle: Callable[[float], None] | None = None,
    **policy: Any,
) -> tuple[Dispatcher, FakeBackend]:
    backend = FakeBackend(idle)
    window = None if lockstep else Window(n_actors, 4, orders, n_actors)
    dispatcher = Dispatcher(backend, n_actors, window=window, restarts=RestartPolicy(**policy), order_timeout=timeout,
                            clock=backend.clock)  # fmt: skip
    if started:
        dispatcher.start(SPEC, WEIGHTS)
    return dispatcher, backend


def ahead(actor: int, transitions: int) -> Order:
    return make_order(4, num_timesteps=transitions)


def test_the_fake_is_a_backend() -> None:
    assert isinstance(FakeBackend(), Backend)


def test_start_returns_the_observations_of_each_actor_in_their_order() -> None:
    dispatcher, backend = make_dispatcher(3, started=False)
    backend.is_ready_at_once = False
    come = [2, 0, 1]
    backend.idle = lambda timeout: backend.ready(come.pop(0))
    observations = dispatcher.start(SPEC, WEIGHTS)
    assert [float(obs[0, 0]) for obs in observations if not isinstance(obs, dict)] == [0, 1, 2]
    assert dispatcher.alive == 3


def test_a_failure_at_the_start_ends_it_with_the_traceback_of_the_actor() -> None:
    dispatcher, backend = make_dispatcher(2, started=False)
    backend.is_ready_at_once = False
    backend.idle = lambda timeout: backend.fail(1, "raised", "KeyError: 'x'", traceback="line 1\nline 2\n")
    with pytest.raises(ActorsFailed) as error:
        dispatcher.start(SPEC, WEIGHTS)
    assert str(error.value) == "actor 1 raised KeyError: 'x', before its first step"
    assert str(error.value.__cause__) == "\nline 1\nline 2"


def test_an_actor_that_is_never_ready_ends_the_start() -> None:
    for timeout, patience in ((90, 90), (1, 60)):  # it may have to import more than an order ever takes
        dispatcher, backend = make_dispatcher(2, started=False, timeout=timeout)
        backend.is_ready_at_once = False
        with pytest.raises(ActorsFailed, match=f"actor 0 hangs: no report for {patience} s, before its first step"):
            dispatcher.start(SPEC, WEIGHTS)
        assert backend.now == patience


def test_the_next_start_ends_who_hangs() -> None:
    dispatcher, backend = make_dispatcher(2, started=False, timeout=90)
    backend.is_ready_at_once = False
    with pytest.raises(ActorsFailed):
        dispatcher.start(SPEC, WEIGHTS)
    backend.is_ready_at_once = True
    dispatcher.start(SPEC, WEIGHTS)
    assert backend.restarted == [(90, 0, 1)] and dispatcher.incarnations == [1, 0] and dispatcher.alive == 2
    dispatcher.send(ahead)
    backend.deliver(0)
    assert [delivery.incarnation for delivery in dispatcher.receive()] == [1]
    dispatcher.close()
    assert dispatcher.incarnations == [0, 0]  # what is started afterwards is new


def test_orders_say_how_far_they_are_ahead() -> None:
    dispatcher, backend = make_dispatcher()
    dispatcher.send(ahead)
    assert [[order.num_timesteps for order in orders] for orders in backend.orders] == [[0, 8], [4, 12]]
    backend.deliver(1)
    assert [delivery.actor for delivery in dispatcher.receive()] == [1]
    dispatcher.send(ahead)
    assert dispatcher.under_way == 3  # a block is in hand, no room
    dispatcher.taken(4)
    dispatcher.send(ahead)
    assert [order.num_timesteps for order in backend.orders[1]] == [12, 12]  # 4 were taken


def test_receive_waits_no_longer_than_it_is_told() -> None:
    dispatcher, backend = make_dispatcher()
    dispatcher.send(ahead)
    assert dispatcher.receive(0) == [] and backend.now == 0
    assert dispatcher.receive(7) == [] and backend.now == 7
    assert dispatcher.learner_waits == 7


def test_receive_with_nothing_under_way_returns() -> None:
    dispatcher, backend = make_dispatcher()
    assert dispatcher.receive() == [] and backend.now == 0


def test_a_lost_actor_loses_its_orders_and_gets_new_ones_when_it_is_back() -> None:
    dispatcher, backend = make_dispatcher()
    dispatcher.send(ahead)
    backend.deliver(0)
    backend.fail(0)
    backend.is_ready_at_once = False
    assert len(dispatcher.receive()) == 1
    assert (dispatcher.failures, dispatcher.restarts, dispatcher.alive) == (1, 1, 1)
    assert dispatcher.window is not None and (dispatcher.window.credit, dispatcher.window.under_way) == (4, 8)
    assert backend.restarted == [(0, 0, 1)]  # at once
    dispatcher.send(ahead)
    assert not backend.orders[0] and len(backend.orders[1]) == 2  # it is not ready
    backend.ready(0)
    assert dispatcher.receive() == []  # so that orders can be sent
    dispatcher.send(ahead)
    assert len(backend.orders[0]) == 1
    backend.deliver(0)
    [delivery] = dispatcher.receive()
    assert (delivery.actor, delivery.incarnation, delivery.number) == (0, 1, 0)


def test_what_an_earlier_incarnation_reports_is_passed_over() -> None:
    dispatcher, backend = make_dispatcher()
    dispatcher.send(ahead)
    backend.fail(0)
    backend.fail(0)  # the same incarnation once more
    dispatcher.receive(0)
    backend.reports.append(make_delivery(0, 0, 0))
    backend.incarnations[0] = 0
    backend.fail(0)
    dispatcher.receive(0)
    assert (dispatcher.failures, dispatcher.restarts) == (1, 1)
    assert dispatcher.window is not None and dispatcher.window.credit == 0


def test_a_delivery_of_an_actor_that_was_given_up_is_passed_over() -> None:
    dispatcher, backend = make_dispatcher(timeout=10, backoff=(5, 5))
    for _ in range(2):  # the second restart in a row waits
        dispatcher.send(ahead)
        backend.deliver(1)
        dispatcher.taken(4 * len(dispatcher.receive(0)))
        backend.fail(0)
        dispatcher.receive(0)
        dispatcher.receive(0)
    backend.reports.append(make_delivery(0, 1, 0))
    assert dispatcher.receive(0) == []
    assert dispatcher.restarts == 1 and dispatcher.failures == 2


def test_restarts_in_a_row_wait_longer_and_longer() -> None:
    dispatcher, backend = make_dispatcher(1, backoff=(1, 5))
    for _ in range(6):
        dispatcher.send(ahead)
        backend.fail(0)
        dispatcher.receive()
    times = [time for time, _, _ in backend.restarted]
    assert [b - a for a, b in zip([0, *times], times, strict=False)] == [0, 1, 2, 4, 5, 5]
    dispatcher.send(ahead)
    backend.deliver(0)
    dispatcher.receive()
    backend.fail(0)
    dispatcher.receive(0)
    assert backend.restarted[-1][0] == times[-1]  # it had delivered: at once again


def test_too_many_failures_within_the_time_end_in_one_line() -> None:
    dispatcher, backend = make_dispatcher(2, max_in=3, seconds=100)

    def one_failure(what: str) -> None:
        dispatcher.send(ahead)
        backend.deliver(0)
        backend.fail(0, what=what)
        dispatcher.taken(4 * len(dispatcher.receive()))
        dispatcher.receive(0)

    for _ in range(10):  # one in 40 s is endured for ever
        backend.now += 40
        one_failure("was ended by SIGSEGV")
    backend.now += 200
    for _ in range(3):
        one_failure("was ended by SIGSEGV")
    with pytest.raises(ActorsFailed) as error:
        one_failure("ended with exit code 7")
    assert str(error.value) == "actor 0 ended with exit code 7, 4 failures within 100 s"
    assert len(dispatcher.receive(0)) == 1  # what came beside it is not lost


def test_after_the_end_training_may_be_begun_again() -> None:
    dispatcher, backend = make_dispatcher(1, max_in=0)
    dispatcher.send(ahead)
    backend.fail(0)
    with pytest.raises(ActorsFailed, match="1 failure within 600 s"):
        dispatcher.receive()
    dispatcher.start(SPEC, WEIGHTS)
    dispatcher.send(ahead)
    backend.deliver(0)
    assert len(dispatcher.receive()) == 1
    backend.fail(0)
    with pytest.raises(ActorsFailed):
        dispatcher.receive()
    assert dispatcher.receive() == [] and dispatcher.alive == 1  # also without a new start


def test_the_same_exception_twice_in_a_row_ends_training() -> None:
    dispatcher, backend = make_dispatcher(2)
    error = dict(kind="raised", what="ValueError: no licence", traceback="Traceback", where="lane 3, step 12")
    dispatcher.send(ahead)
    backend.fail(1, **error)
    dispatcher.receive(0)
    dispatcher.receive(0)
    backend.fail(0, **error)  # another actor
    dispatcher.receive(0)
    dispatcher.receive(0)
    dispatcher.send(ahead)
    backend.deliver(1)
    dispatcher.receive(0)
    backend.fail(1, **error)  # it had delivered
    dispatcher.receive(0)
    backend.fail(1, "raised", "ValueError: another one")
    dispatcher.receive(0)
    backend.now += 1
    dispatcher.receive(0)
    dispatcher.receive(0)
    assert dispatcher.alive == 2 and dispatcher.failures == 4
    backend.fail(0, **error)
    with pytest.raises(ActorsFailed) as raised:
        dispatcher.receive(0)
    assert str(raised.value) == "actor 0 raised ValueError: no licence (lane 3, step 12), twice in a row"
    assert str(raised.value.__cause__) == "\nTraceback"


def test_an_exception_that_names_another_step_is_the_same_one() -> None:
    dispatcher, backend = make_dispatcher(1)
    for step in (17, 230):
        dispatcher.send(ahead)
        backend.fail(0, "raised", f"ValueError: NaN at step {step}")
        if step == 17:
            dispatcher.receive()
    with pytest.raises(ActorsFailed, match="NaN at step 230, twice in a row"):
        dispatcher.receive()


def test_a_hung_actor_is_restarted_and_the_others_go_on() -> None:
    dispatcher, backend = make_dispatcher(2, timeout=50)

    def the_other_works(timeout: float) -> None:
        step = min(timeout, 7.0)
        backend.now += step
        if step == 7.0 and backend.orders[1]:
            backend.deliver(1)

    backend.idle = the_other_works
    while not dispatcher.restarts:
        dispatcher.send(ahead)
        dispatcher.taken(4 * len(dispatcher.receive()))
    assert backend.restarted == [(50, 0, 1)]
    assert dispatcher.failures == 1


def test_a_learner_that_was_away_takes_nobody_for_hung() -> None:
    """An evaluation of ten minutes: blocks lie in pipes which only the learner empties, piece by piece."""
    dispatcher, backend = make_dispatcher(2, timeout=50)
    dispatcher.send(ahead)
    backend.now += 600
    assert dispatcher.receive(0) == [] and dispatcher.failures == 0
    for actor in (0, 1):
        backend.deliver(actor)
    assert len(dispatcher.receive(0)) == 2
    backend.now += 600  # and an actor without work is never late
    dispatcher.receive(0)
    for _ in range(3):
        backend.now += 20
        dispatcher.receive(0)
    assert dispatcher.failures == 2  # each has one order still


def test_a_gap_in_the_numbers_is_a_failure_of_the_actor() -> None:
    dispatcher, backend = make_dispatcher()
    dispatcher.send(ahead)
    backend.reports.append(make_delivery(0, 0, 1))
    dispatcher.receive(0)
    assert (dispatcher.broken, dispatcher.failures, backend.restarted) == (1, 1, [(0, 0, 1)])


def test_drain_takes_all_that_is_under_way() -> None:
    dispatcher, backend = make_dispatcher(3)
    dispatcher.send(ahead)

    def work(timeout: float) -> None:
        working = [actor for actor in range(3) if backend.orders[actor]]
        backend.deliver(working[-1])
        if len(working) == 2:
            backend.fail(0)

    backend.idle = work
    deliveries = dispatcher.drain()
    assert [delivery.actor for delivery in deliveries] == [2, 2, 1, 1]
    assert dispatcher.window is not None and dispatcher.window.under_way == 0 and dispatcher.window.credit == 16


def test_lockstep_gives_one_order_to_each_and_returns_them_in_the_order_of_actors() -> None:
    dispatcher, backend = make_dispatcher(3, lockstep=True)

    def work(timeout: float) -> None:
        backend.deliver(max(actor for actor in range(3) if backend.orders[actor]))

    backend.idle = work
    for number in range(3):
        deliveries = dispatcher.round(ahead)
        assert [(delivery.actor, delivery.number) for delivery in deliveries] == [(a, number) for a in range(3)]
    assert not any(backend.orders)


def test_lockstep_orders_again_what_was_lost() -> None:
    dispatcher, backend = make_dispatcher(2, lockstep=True)
    failures = [lambda: backend.fail(0), lambda: backend.deliver(1), lambda: backend.deliver(0)]
    backend.idle = lambda timeout: failures.pop(0)()
    deliveries = dispatcher.round(ahead)
    assert [(delivery.actor, delivery.incarnation) for delivery in deliveries] == [(0, 1), (1, 0)]


def test_lockstep_tells_of_a_gap() -> None:
    dispatcher, backend = make_dispatcher(2, lockstep=True)
    backend.idle = lambda timeout: backend.reports.append(make_delivery(0, 0, 3))
    with pytest.raises(ValueError, match="actor 0 delivered block 3 of its incarnation in place of 0"):
        dispatcher.round(ahead)


def test_what_was_under_way_for_another_training_is_forgotten() -> None:
    dispatcher, backend = make_dispatcher(2)
    dispatcher.send(ahead)
    backend.deliver(0)
    dispatcher.receive()
    dispatcher.start(SPEC, WEIGHTS)
    assert dispatcher.window is not None and (dispatcher.window.credit, dispatcher.window.under_way) == (4, 0)


def test_publish_and_close_reach_the_backend() -> None:
    dispatcher, backend = make_dispatcher(2)
    dispatcher.publish(WEIGHTS._replace(version=5))
    dispatcher.close()
    assert backend.published == [5] and backend.is_closed and dispatcher.alive == 0
    assert dispatcher.receive() == []


@pytest.mark.parametrize("changes", [dict(max_in=-1), dict(seconds=0), dict(backoff=(2, 1)), dict(backoff=(-1, 1))])
def test_a_policy_that_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        RestartPolicy(**changes)


def test_a_timeout_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="order_timeout must be positive, got 0"):
        make_dispatcher(timeout=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_random_course_conserves_steps(seed: int) -> None:
    """Second bookkeeping: a set of everything that was ordered, and where each order ended."""
    rng = random.Random(seed)
    n_actors = rng.randint(1, 4)
    backend = FakeBackend()
    window = Window(n_actors, 4, rng.randint(1, 3), n_actors)
    dispatcher = Dispatcher(backend, n_actors, window=window, restarts=RestartPolicy(max_in=10_000),
                            order_timeout=100.0, clock=backend.clock)  # fmt: skip
    fate: dict[int, str] = {}  # of each order, by the number that stands in its place of the clock
    held: list[list[int]] = [[] for _ in range(n_actors)]

    def order(actor: int, transitions: int) -> Order:
        fate[len(fate)] = "under way"
        held[actor].append(len(fate) - 1)
        return make_order(4, num_timesteps=len(fate) - 1)

    def something_happens(timeout: float) -> None:
        backend.now += min(timeout, rng.random() * 3)
        actor = rng.randrange(n_actors)
        starting = actor not in ready
        if starting:
            ready.add(actor)
            backend.ready(actor)
        elif backend.orders[actor] and rng.random() < 0.9:
            backend.deliver(actor)
            fate[held[actor].pop(0)] = "delivered"
        elif rng.random() < 0.2:
            for number in held[actor]:
                fate[number] = "lost"
            held[actor].clear()
            ready.discard(actor)
            backend.fail(actor)

    ready = set(range(n_actors))
    dispatcher.start(SPEC, WEIGHTS)
    backend.is_ready_at_once = False
    backend.idle = something_happens
    taken = received = 0
    for _ in range(300):
        dispatcher.send(order)
        received += 4 * len(dispatcher.receive())
        while received - taken >= n_actors and rng.random() < 0.9:
            dispatcher.taken(n_actors)
            taken += n_actors
        counts = {end: 4 * sum(e == end for e in fate.values()) for end in ("under way", "delivered", "lost")}
        assert received == counts["delivered"] and window.credit == received - taken
        assert window.under_way == counts["under way"] == 4 * dispatcher.under_way
        assert window.credit + window.under_way <= window.limit
    received += 4 * len(dispatcher.drain())
    assert received == 4 * sum(end == "delivered" for end in fate.values())
    assert "under way" not in fate.values()
