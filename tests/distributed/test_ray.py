"""Actors on Ray: what is carried, and what is heard when somebody dies. The actors are fakes that obey orders."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import (
    assert_orders_are_delivered_in_their_order_with_the_newest_weights,
    is_gone,
    one,
    reports_of,
    told,
    wait_for,
)
from support.fake_actor import FakeActor, make_spec, order_to
from support.fake_backend import WEIGHTS, make_order

from sb3_ext.distributed.backend import Backend
from sb3_ext.distributed.messages import ActorFailed, Delivery, Ready
from sb3_ext.distributed.ray import RayBackend
from sb3_ext.distributed.ray_cluster import imported_ray

pytestmark = pytest.mark.ray
N = 2


@pytest.fixture(scope="module")
def backend(ray_instance: str) -> Iterator[RayBackend]:
    """Of all tests of the module: a process of Ray costs seconds. Each test begins a training with it."""
    backend = RayBackend(make_actor=FakeActor)
    yield backend
    backend.close()


def started(backend: RayBackend, make_env: Any = None) -> list[Ready]:
    """:return: of all actors, by number"""
    backend.start(make_spec(make_env), N, WEIGHTS)
    ready = [report for report in reports_of(backend, N) if isinstance(report, Ready)]
    assert len(ready) == N
    return sorted(ready)


# ---------------------------------------------------------------------- what is carried


def test_it_is_a_backend(backend: RayBackend) -> None:
    assert isinstance(backend, Backend)
    assert backend.publish_seconds(10**6) == 0 and backend.publish_seconds(10**7) == 1


def test_orders_are_delivered_in_their_order_with_the_newest_weights(backend: RayBackend) -> None:
    pids = [ready.pid for ready in started(backend)]
    assert_orders_are_delivered_in_their_order_with_the_newest_weights(backend, pids, range(2, 6))


def test_an_order_keeps_its_weights_while_newer_ones_are_published(backend: RayBackend) -> None:
    """The learner keeps two versions; an order that waits for its turn keeps its own."""
    started(backend)
    backend.submit(0, order_to("hang", 0.3))
    backend.publish(WEIGHTS._replace(version=2, vectors=(np.arange(100_000, dtype=np.float32),)))
    backend.submit(0, make_order())
    for version in range(3, 7):
        backend.publish(WEIGHTS._replace(version=version, vectors=(np.zeros(100_000, np.float32),)))
    backend.submit(0, make_order())
    assert [told(report)[0] for report in reports_of(backend, 3)] == [1, 2, 6]


def test_large_blocks_come_whole_and_in_their_order(backend: RayBackend) -> None:
    started(backend)
    backend.submit(0, order_to("fill", 1_000_000))
    backend.submit(0, order_to("fill", 1))
    first, second = reports_of(backend, 2)
    assert isinstance(first, Delivery) and isinstance(second, Delivery)
    np.testing.assert_array_equal(first.block.columns["bulk"], np.arange(1_000_000))
    assert (first.number, second.number, len(second.block.columns["bulk"])) == (0, 1, 1)


def test_factories_go_by_value(backend: RayBackend) -> None:
    offset = 100.0
    started(backend, lambda actor: offset + actor)
    for actor in range(N):
        backend.submit(actor, make_order())
    assert sorted(told(report)[1] for report in reports_of(backend, N)) == [100.0, 101.0]


def test_what_cannot_be_pickled_is_refused_before_anything_is_started() -> None:
    lock = threading.Lock()
    backend = RayBackend(make_actor=FakeActor)
    with pytest.raises(ValueError, match="make_env cannot be sent to other processes"):
        backend.start(make_spec(lambda n: lock), N, WEIGHTS)
    assert backend._places == []


def test_a_training_begins_anew_in_the_same_processes(backend: RayBackend) -> None:
    ready = started(backend, lambda actor: 1.0)
    for _ in range(3):
        backend.submit(0, make_order())
    again = started(backend, lambda actor: 2.0)
    assert [report[:2] + report[3:] for report in again] == [report[:2] + report[3:] for report in ready]
    backend.submit(0, make_order(num_timesteps=7))
    delivery = one(reports_of(backend, 1))
    assert delivery.number == 0 and told(delivery) == [1, 2, 7], "nothing of the training before"


def test_signals_to_all_processes_end_no_actor(backend: RayBackend) -> None:
    for ready in started(backend):
        status = Path(f"/proc/{ready.pid}/status").read_text().splitlines()
        [ignored] = [int(line.split()[1], 16) for line in status if line.startswith("SigIgn")]
        assert not ignored >> (signal.SIGTERM - 1) & 1, "what environments start would inherit it"
        os.kill(ready.pid, signal.SIGTERM)
        os.kill(ready.pid, signal.SIGINT)
    for actor in range(N):
        backend.submit(actor, make_order())
    assert all(isinstance(report, Delivery) for report in reports_of(backend, N))


def test_a_fork_of_the_learner_ends_without_the_actors(backend: RayBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    started(backend)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: 1)
        backend.close()
    backend.submit(0, make_order())
    assert isinstance(one(reports_of(backend, 1)), Delivery)


# ---------------------------------------------------------------------- who fails


def test_what_an_environment_raises_is_told_with_its_traceback(backend: RayBackend) -> None:
    before = started(backend)[0]
    backend.submit(0, order_to("fail", "no licence"))
    backend.submit(0, make_order())
    failure = one(reports_of(backend, 1))
    assert failure[:4] == (0, before.incarnation, "raised", "ValueError: no licence") and failure.where == "lane 0"
    assert "in fail" in failure.traceback
    backend.submit(0, make_order())
    assert backend.poll(0.2) == [], "what was behind it is lost, and an actor that failed takes no order"
    after = started(backend)[0]
    assert after.incarnation == before.incarnation + 1 and after.pid != before.pid, "training begins with another one"


def test_what_a_factory_raises_is_told(backend: RayBackend) -> None:
    backend.start(make_spec(lambda actor: 1 / (actor - 1)), N, WEIGHTS)
    reports = reports_of(backend, N)
    failure = one([report for report in reports if isinstance(report, ActorFailed)])
    assert (failure.actor, failure.kind, failure.what) == (1, "raised", "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("end", ["kill", "leave"])
def test_an_actor_that_dies_is_heard_of_once_and_another_follows(backend: RayBackend, end: str) -> None:
    before = started(backend)[0]
    if end == "kill":
        os.kill(before.pid, signal.SIGKILL)
    for _ in range(3):
        backend.submit(0, order_to("leave", 3) if end == "leave" else make_order())
    failure = one(reports_of(backend, 1))
    assert failure[:3] == (0, before.incarnation, "died")
    assert failure.what.startswith("is lost: its worker process has died") and "\n" not in failure.what
    backend.submit(1, make_order())
    assert one(reports_of(backend, 1)).actor == 1, "of actor 0 nothing more is heard"
    backend.restart(0, before.incarnation + 1)
    after = one(reports_of(backend, 1))
    assert after[:2] == (0, before.incarnation + 1) and after.pid != before.pid
    backend.submit(0, make_order())
    assert one(reports_of(backend, 1))[:3] == (0, before.incarnation + 1, 0)


def test_an_actor_that_hangs_is_ended_by_a_restart(backend: RayBackend) -> None:
    before = started(backend)[0]
    backend.submit(0, order_to("hang", 600.0))
    assert backend.poll(0.05) == []
    backend.restart(0, before.incarnation + 1)
    assert one(reports_of(backend, 1))[:2] == (0, before.incarnation + 1)
    wait_for(lambda: is_gone(before.pid), "the actor that hangs lives on")


def test_an_actor_that_died_between_two_trainings_is_replaced(backend: RayBackend) -> None:
    before = started(backend)[1]
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: is_gone(before.pid), "killed")
    after = started(backend)[1]
    assert after.incarnation == before.incarnation + 1


# ---------------------------------------------------------------------- the end


class Closes:
    """A factory in whose folder an actor leaves a file when it is closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, actor: int) -> float:
        return 0.0


def test_close_ends_environments_and_processes_and_leaves_a_ray_that_was_there(
    backend: RayBackend, tmp_path: Path
) -> None:
    ready = started(backend, Closes(tmp_path))
    backend.close()
    backend.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed0", "closed1"]
    wait_for(lambda: all(is_gone(report.pid) for report in ready), "actors live on")
    assert imported_ray().is_initialized()
