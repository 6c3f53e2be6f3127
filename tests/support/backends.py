"""What tests ask of a backend that runs actors elsewhere, whichever it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from support.fake_backend import WEIGHTS, make_order

from sb3_ext.distributed.backend import Backend, Report
from sb3_ext.distributed.messages import Delivery

PATIENCE = 120.0  # seconds before a test gives up on what takes one


def reports_of(backend: Backend, n: int) -> list[Report]:
    """:return: the next n, at least"""
    reports: list[Report] = []
    end = time.monotonic() + PATIENCE
    while len(reports) < n and time.monotonic() < end:
        reports += backend.poll(end - time.monotonic())
    assert len(reports) >= n, f"{len(reports)} of {n} reports"
    return reports


def one(reports: Sequence[Report]) -> Any:  # Any: each test knows of which kind it is
    [report] = reports
    return report


def told(delivery: Any) -> list[float]:  # Any: a report that is a delivery
    values: list[float] = delivery.block.columns["told"].tolist()
    return values


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def assert_orders_are_delivered_in_their_order_with_the_newest_weights(
    backend: Backend, pids: Iterable[int], versions: Iterable[int]
) -> None:
    """
    :param backend: of two fake actors, which are ready
    :param pids: of their processes
    :param versions: of weights to publish
    """
    assert len({os.getpid(), *pids}) == 3
    for clock in (5, 6):
        backend.submit(1, make_order(num_timesteps=clock))
    first, second = reports_of(backend, 2)
    assert isinstance(first, Delivery) and isinstance(second, Delivery)
    assert (first.actor, first.number, second.number) == (1, 0, 1)
    assert [told(delivery) for delivery in (first, second)] == [[1, 0, 5], [1, 0, 6]]
    assert 10e6 < first.rss < 2e9
    for version in versions:
        backend.publish(WEIGHTS._replace(version=version, n_updates=10 * version))
        backend.submit(0, make_order())
        delivery = one(reports_of(backend, 1))
        assert (delivery.version, delivery.n_updates, delivery.rss > 0) == (version, 10 * version, True)
