"""The window of advance: transitions are conserved, the limit holds, nobody starves."""

from __future__ import annotations

import random

import pytest

from sb3_ext.distributed.pacing import Window


@pytest.mark.parametrize(("n_actors", "block", "orders", "tick", "limit"), [
    (4, 80, 2, 4, 640),  # orders x actors x block
    (1, 1, 1, 1, 2),  # a tick and a block
    (2, 8, 1, 16, 24),
])  # fmt: skip
def test_limit(n_actors: int, block: int, orders: int, tick: int, limit: int) -> None:
    assert Window(n_actors, block, orders, tick).limit == limit


def test_the_order_goes_to_whom_waits_longest() -> None:
    window = Window(3, 10, 2, 3)
    everyone = range(3)
    seen = []
    while (actor := window.next_actor(everyone)) is not None:
        window.ordered(actor)
        seen.append(actor)
    assert seen == [0, 1, 2, 0, 1, 2] and window.under_way == window.limit == 60
    for actor in (2, 0, 1):
        window.delivered(actor)
    window.taken(30)
    seen = []
    while (actor := window.next_actor(everyone)) is not None:
        window.ordered(actor)
        seen.append(actor)
    assert seen == [2, 0, 1]


def test_an_actor_that_is_not_there_gets_none_and_the_others_not_more_than_theirs() -> None:
    window = Window(3, 10, 2, 3)
    seen = []
    while (actor := window.next_actor({0, 2})) is not None:
        window.ordered(actor)
        seen.append(actor)
    assert seen == [0, 2, 0, 2]


def test_lost_orders_leave_the_window() -> None:
    window = Window(2, 10, 2, 2)
    for actor in (0, 0, 1):
        window.ordered(actor)
    window.lost(0)
    assert window.under_way == 10 and window.credit == 0


@pytest.mark.parametrize("name", ["n_actors", "block", "orders", "tick"])
def test_numbers_below_one_are_refused(name: str) -> None:
    numbers = {"n_actors": 1, "block": 1, "orders": 1, "tick": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Window(**numbers)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_course_against_lists_of_orders(seed: int) -> None:
    """The second formula: every order is a row of a list, and counting them is all."""
    rng = random.Random(seed)
    n_actors, steps, orders, lanes = rng.randint(1, 5), rng.randint(1, 6), rng.randint(1, 3), rng.randint(1, 3)
    block, tick = steps * lanes, n_actors * lanes
    window = Window(n_actors, block, orders, tick)
    out: list[int] = []  # actors of the orders under way
    order_of_deliveries: list[int] = []
    ordered = delivered = lost = taken = 0
    for _ in range(400):
        alive = {actor for actor in range(n_actors) if rng.random() < 0.9}
        event = rng.choice(["order", "order", "deliver", "take", "lose"])
        if event == "order":
            fits = delivered - taken + (len(out) + 1) * block <= window.limit
            may = [actor for actor in sorted(alive) if out.count(actor) < orders] if fits else []
            actor = window.next_actor(alive)
            assert (actor is None) == (not may)
            if actor is not None:
                last = {a: max((i for i, b in enumerate(order_of_deliveries) if b == a), default=-1) for a in may}
                assert all((out.count(actor), last[actor]) <= (out.count(a), last[a]) for a in may)
                window.ordered(actor)
                out.append(actor)
                ordered += block
        elif event == "deliver" and out:
            actor = out.pop(rng.randrange(len(out)))
            window.delivered(actor)
            order_of_deliveries.append(actor)
            delivered += block
        elif event == "take" and window.credit >= tick:
            window.taken(tick)
            taken += tick
        elif event == "lose" and rng.random() < 0.3:
            actor = rng.randrange(n_actors)
            window.lost(actor)
            lost += out.count(actor) * block
            out = [a for a in out if a != actor]
        assert window.under_way == len(out) * block
        assert window.credit == delivered - taken
        assert ordered == delivered + lost + window.under_way  # nothing is dropped, nothing comes from nowhere
        assert window.credit + window.under_way <= window.limit
        # Never stuck: less than a tick in hand, nothing under way, so somebody gets an order.
        if window.credit < tick and not out:
            assert window.next_actor(range(n_actors)) is not None
