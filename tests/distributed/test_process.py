"""Actors in processes: what is carried, and who is gone when somebody dies. The actors are fakes that obey orders."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import (
    PATIENCE,
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
from sb3_ext.distributed.messages import ActorFailed, Delivery, Ready, Weights
from sb3_ext.distributed.nursery import Nursery, nursery
from sb3_ext.distributed.process import ProcessBackend
from sb3_ext.distributed.shared_weights import SharedWeights, layout_of

TESTS = Path(__file__).parents[1]


@pytest.fixture
def backend() -> Iterator[ProcessBackend]:
    backend = ProcessBackend(FakeActor)
    yield backend
    backend.close()


def started(backend: ProcessBackend, n_actors: int = 2, make_env: Any = None) -> list[int]:
    """:return: pids of the actors, all of whom are ready"""
    backend.start(make_spec(make_env), n_actors, WEIGHTS)
    ready = reports_of(backend, n_actors)
    assert all(isinstance(report, Ready) for report in ready), ready
    return [report.pid for report in sorted(ready) if isinstance(report, Ready)]


# ---------------------------------------------------------------------- what is carried


def test_it_is_a_backend() -> None:
    assert isinstance(ProcessBackend(), Backend)


def test_orders_are_delivered_in_their_order_with_the_newest_weights(backend: ProcessBackend) -> None:
    assert_orders_are_delivered_in_their_order_with_the_newest_weights(backend, started(backend), range(2, 9))


def test_what_arrives_may_be_written_into(backend: ProcessBackend) -> None:
    started(backend)
    backend.submit(0, order_to("fill", 1000))
    delivery = one(reports_of(backend, 1))
    delivery.block.columns["bulk"] += 1
    np.testing.assert_array_equal(delivery.block.columns["bulk"], np.arange(1, 1001))


def test_a_block_larger_than_any_pipe_does_not_stop_the_actor(backend: ProcessBackend, tmp_path: Path) -> None:
    started(backend, 1)
    backend.submit(0, order_to("fill", 4_000_000))
    backend.submit(0, order_to("touch", str(tmp_path / "next")))
    wait_for((tmp_path / "next").exists, "the second order waits for the learner to read the first block")
    first, second = reports_of(backend, 2)
    assert isinstance(first, Delivery) and first.block.columns["bulk"].nbytes == 32_000_000
    np.testing.assert_array_equal(first.block.columns["bulk"], np.arange(4_000_000))
    assert isinstance(second, Delivery) and second.number == 1


def test_an_order_larger_than_any_pipe_is_sent_while_the_learner_polls(backend: ProcessBackend) -> None:
    started(backend, 2)
    backend.submit(0, order_to("hang", 0.2))
    backend.submit(0, order_to("size_of", b"x" * 10_000_000))
    backend.submit(1, make_order())
    last = reports_of(backend, 3)[-1]
    assert isinstance(last, Delivery) and told(last)[-1] == 10_000_000


def test_an_actor_that_stops_within_a_block_does_not_stop_the_learner(backend: ProcessBackend) -> None:
    """SIGSTOP stands for an extension that holds the interpreter, sender and all."""
    pids = started(backend)
    backend.submit(0, order_to("fill", 4_000_000))
    assert select.select([backend._children[0].wire], [], [], PATIENCE)[0], "the block does not begin"
    os.kill(pids[0], signal.SIGSTOP)
    backend.submit(1, make_order())
    assert one(reports_of(backend, 1)).actor == 1
    assert backend.poll(0.05) == []
    backend.restart(0, 1)
    ready = one(reports_of(backend, 1))
    assert isinstance(ready, Ready) and (ready.actor, ready.incarnation) == (0, 1) and ready.pid != pids[0]
    wait_for(lambda: is_gone(pids[0]), "the stopped process is killed")


def test_factories_go_by_value(backend: ProcessBackend) -> None:
    offset = 100.0
    started(backend, 2, lambda actor: offset + actor)
    for actor in range(2):
        backend.submit(actor, make_order())
    assert sorted(told(report)[1] for report in reports_of(backend, 2) if isinstance(report, Delivery)) == [100, 101]


def test_environment_variables_are_those_that_the_learner_has_by_now(
    backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    nursery()  # begins with those of today
    monkeypatch.setenv("SB3_EXT_TEST", "7")
    for made in (7.0, 0.0):
        started(backend, 1, lambda actor: os.environ.get("SB3_EXT_TEST", 0))
        backend.submit(0, make_order())
        assert told(one(reports_of(backend, 1)))[1] == made
        backend.close()
        monkeypatch.delenv("SB3_EXT_TEST", raising=False)


def test_a_factory_that_cannot_be_pickled_is_named(backend: ProcessBackend) -> None:
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"make_env cannot be sent to other processes \(TypeError: cannot pickle") as e:
        backend.start(make_spec(lambda actor: lock), 2, WEIGHTS)
    assert "\n" not in str(e.value)


def test_a_second_training_forgets_the_orders_of_the_first(backend: ProcessBackend) -> None:
    pids = started(backend)
    backend.submit(0, order_to("hang", 0.3))
    backend.submit(0, make_order())
    backend.submit(1, make_order())
    assert started(backend, 2, lambda actor: 7.0) == pids  # the same processes, and nothing else is heard
    backend.submit(0, make_order())
    delivery = one(reports_of(backend, 1))
    assert (delivery.actor, delivery.number, told(delivery)[1]) == (0, 0, 7)


def test_weights_of_another_shape_need_other_processes(backend: ProcessBackend) -> None:
    pids = started(backend)
    backend.start(make_spec(), 2, Weights(1, 0, (np.zeros(9), np.ones(3, np.float32))))
    ready = reports_of(backend, 2)
    assert {report.pid for report in ready if isinstance(report, Ready)}.isdisjoint(pids)
    assert all(is_gone(pid) for pid in pids)


def test_who_died_between_two_trainings_is_started_anew(backend: ProcessBackend) -> None:
    pids = started(backend)
    os.kill(pids[0], signal.SIGKILL)
    assert select.select([backend._children[0].wire], [], [], PATIENCE)[0], "it does not die"
    backend.start(make_spec(), 2, WEIGHTS)
    ready = sorted(report for report in reports_of(backend, 2) if isinstance(report, Ready))
    assert [(report.actor, report.incarnation) for report in ready] == [(0, 1), (1, 0)] and ready[1].pid == pids[1]


def test_after_close_it_may_be_started_again(backend: ProcessBackend, tmp_path: Path) -> None:
    class Factory:
        folder = str(tmp_path)

        def __call__(self, actor: int) -> float:
            return 0.0

    pids = started(backend, 2, Factory())
    backend.close()
    assert all(is_gone(pid) for pid in pids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed0", "closed1"]  # environments were closed
    backend.close()
    assert set(started(backend)).isdisjoint(pids)


# ---------------------------------------------------------------------- weights


def test_weights_are_read_whole_while_they_are_written() -> None:
    """Each version is one number everywhere: two of them in one reading would be a torn one."""
    shapes = (np.zeros(100_000, np.float32), np.zeros(3, np.int64), np.zeros(20_000))
    shared = SharedWeights(layout_of(Weights(0, 0, shapes)))
    shared.write(Weights(0, 0, shapes))
    reader = SharedWeights(shared.layout, os.dup(shared.fd))
    enough = threading.Event()

    def write() -> None:
        version = 0
        while not enough.is_set():
            version += 1
            shared.write(Weights(version, 2 * version, tuple(np.full_like(vector, version) for vector in shapes)))

    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    try:
        while len(seen) < 150:
            weights = reader.read(seen[-1])
            if weights is None:
                continue
            assert weights.n_updates == 2 * weights.version
            assert all((vector == weights.version).all() for vector in weights.vectors), "torn"
            seen.append(weights.version)
    finally:
        enough.set()
        writer.join()
    assert seen == sorted(set(seen))
    newest = reader.read()
    assert newest is not None and layout_of(newest) == shared.layout and reader.read(newest.version) is None
    reader.close()
    shared.close()


def test_a_version_that_is_older_than_the_known_one_is_not_read() -> None:
    """A reader that was slow may have seen a slot before it became the current one."""
    shared = SharedWeights(layout_of(WEIGHTS))
    for version in (1, 2):
        shared.write(WEIGHTS._replace(version=version))
    assert shared.read(known=3) is None and shared.read(known=2) is None
    newest = shared.read(known=1)
    assert newest is not None and newest.version == 2
    shared.close()


def test_a_writer_that_dies_half_way_leaves_the_version_before() -> None:
    vectors = (np.ones(5), np.zeros(0, np.float32))
    shared = SharedWeights(layout_of(Weights(1, 1, vectors)))
    shared.write(Weights(1, 1, vectors))
    shared._heads[1 - int(shared._current[0])][0] += 1  # it had begun
    weights = shared.read()
    assert weights is not None and weights.version == 1
    shared.close()


# ---------------------------------------------------------------------- who is gone when somebody dies


def test_a_killed_actor_is_noticed_the_others_go_on_and_a_new_one_delivers(backend: ProcessBackend) -> None:
    pids = started(backend)
    backend.submit(0, order_to("hang", 600))
    os.kill(pids[0], signal.SIGKILL)
    failure = one(reports_of(backend, 1))
    assert failure == ActorFailed(0, 0, "died", "was ended by SIGKILL")
    backend.submit(0, make_order())  # without effect
    backend.submit(1, make_order())
    assert one(reports_of(backend, 1)).actor == 1
    backend.restart(0, 1)
    ready = one(reports_of(backend, 1))
    assert (ready.actor, ready.incarnation, ready.pid not in pids) == (0, 1, True)
    backend.submit(0, make_order())
    delivery = one(reports_of(backend, 1))
    assert (delivery.actor, delivery.incarnation, delivery.number) == (0, 1, 0)


@pytest.mark.parametrize(("order", "what"), [
    (order_to("leave", 7), "ended with exit code 7"), (order_to("crash"), "was ended by SIGSEGV")
])  # fmt: skip
def test_how_an_actor_ended_is_told(backend: ProcessBackend, order: Any, what: str) -> None:
    started(backend)
    backend.submit(0, order)
    assert one(reports_of(backend, 1)) == ActorFailed(0, 0, "died", what)
    assert backend.poll(0.05) == []


def test_an_exception_travels_with_its_traceback_and_ends_the_process(backend: ProcessBackend) -> None:
    pids = started(backend)
    backend.submit(1, order_to("fail", "the simulator lost its licence"))
    failure = one(reports_of(backend, 1))
    assert (failure.actor, failure.kind, failure.where) == (1, "raised", "lane 1")
    assert failure.what == "ValueError: the simulator lost its licence" and "in fail\n" in failure.traceback
    wait_for(lambda: is_gone(pids[1]), "it ends")
    assert backend.poll(0.05) == []  # and that it ended is no second failure


def test_a_factory_that_raises_is_told_of(backend: ProcessBackend) -> None:
    backend.start(make_spec(lambda actor: 1 / actor), 2, WEIGHTS)
    reports = sorted(reports_of(backend, 2), key=lambda report: report.actor)
    assert isinstance(reports[0], ActorFailed) and reports[0].what == "ZeroDivisionError: division by zero"
    assert isinstance(reports[1], Ready)


def test_signals_to_actors_are_passed_over(backend: ProcessBackend) -> None:
    pids = started(backend)
    for pid in (*pids, nursery().pid):
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    for actor in range(2):
        backend.submit(actor, make_order())
    assert all(isinstance(report, Delivery) for report in reports_of(backend, 2))


def test_a_nursery_that_died_is_replaced(backend: ProcessBackend) -> None:
    pids = started(backend)
    old = nursery()
    os.kill(old.pid, signal.SIGKILL)
    wait_for(lambda: not old.is_usable, "it dies")
    backend.submit(0, make_order())
    assert isinstance(one(reports_of(backend, 1)), Delivery)  # its actors live
    os.kill(pids[0], signal.SIGKILL)
    assert one(reports_of(backend, 1)).what == "ended, and nobody knows how"
    backend.restart(0, 1)
    assert isinstance(one(reports_of(backend, 1)), Ready) and nursery() is not old
    backend.close()
    wait_for(lambda: all(is_gone(pid) for pid in pids), "the orphans end")


@pytest.mark.parametrize("what", ["recv_into", "send"])
def test_after_ctrl_c_within_a_message_another_training_begins_with_a_new_actor(
    backend: ProcessBackend, what: str
) -> None:
    class Interrupts:
        """A socket; Ctrl-C comes when it has done something."""

        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def recv_into(self, room: memoryview) -> int:
            n: int = self.sock.recv_into(room)
            if what == "recv_into":
                raise KeyboardInterrupt
            return n

        def send(self, data: memoryview) -> int:
            n: int = self.sock.send(data)
            if what == "send":
                raise KeyboardInterrupt
            return n

    pids = started(backend)
    wire = backend._children[0].wire
    wire._sock = Interrupts(wire._sock)  # type: ignore[assignment]
    if what == "send":
        with pytest.raises(KeyboardInterrupt):
            backend.submit(0, make_order())
    else:
        backend.submit(0, make_order())
        with pytest.raises(KeyboardInterrupt):
            backend.poll(PATIENCE)
    again = started(backend)
    assert again[0] != pids[0] and again[1] == pids[1]


def test_a_fork_of_the_learner_that_closes_them_leaves_the_actors_alone(backend: ProcessBackend) -> None:
    """As a fork does that ends like any program: finalizers run there, too."""
    started(backend)
    pid = os.fork()
    if pid == 0:
        backend.close()
        os._exit(0)
    os.waitpid(pid, 0)
    backend.submit(0, make_order())
    assert isinstance(one(reports_of(backend, 1)), Delivery)
    assert nursery().is_usable


LEARNER = """
import os, sys, time
from support.fake_actor import FakeActor, make_spec, order_to
from support.fake_backend import WEIGHTS
from sb3_ext.distributed.nursery import nursery
from sb3_ext.distributed.process import ProcessBackend

class Made:
    def __call__(self, actor):
        return offset + actor

offset = 40.0
backend = ProcessBackend(FakeActor)
backend.start(make_spec(Made()), 2, WEIGHTS)
pids = []
while len(pids) < 2:
    pids += [report.pid for report in backend.poll(60)]
backend.submit(0, order_to("hang", 600))
backend.submit(1, order_to("fill", 3))
print(*[report.block.columns["told"][1] for report in backend.poll(60)], *pids, nursery().pid, flush=True)
{rest}
"""


def run_learner(tmp_path: Path, rest: str, **options: Any) -> subprocess.Popen[str]:
    """A script without a main guard, whose factory is its own."""
    script = tmp_path / "learner.py"
    script.write_text(LEARNER.format(rest=rest))
    path = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": path}, **options)  # fmt: skip


def what_it_says(learner: subprocess.Popen[str]) -> list[int]:
    """:return: pids of two actors and the nursery"""
    assert learner.stdout is not None and learner.stderr is not None
    line = learner.stdout.readline().split()
    assert line, learner.stderr.read()
    assert line[0] == "41.0"
    return [int(pid) for pid in line[1:]]


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def test_of_a_killed_learner_nothing_is_left(tmp_path: Path) -> None:
    """Not even of actors that hang, one of them with the interpreter."""
    before = shared_memory()
    rest = """
backend.submit(1, order_to("hang_with_the_interpreter", 600))
time.sleep(600)
"""
    with run_learner(tmp_path, rest) as learner:
        pids = what_it_says(learner)
        assert not any(is_gone(pid) for pid in pids)
        learner.kill()
        wait_for(lambda: all(is_gone(pid) for pid in pids), "actors live on")
    assert shared_memory() <= before


def test_a_nursery_says_nothing_where_nobody_read_how_an_actor_ended(tmp_path: Path) -> None:
    rest = """
import select, signal
os.kill(pids[1], signal.SIGKILL)
select.select([nursery()._sock], [], [], 60)
os._exit(0)
"""
    with run_learner(tmp_path, rest) as learner:
        pids = what_it_says(learner)
        wait_for(lambda: all(is_gone(pid) for pid in pids), "the actor that hangs, or the nursery, lives on")
        assert learner.stderr is not None and learner.stderr.read() == ""


def test_a_fork_of_the_learner_ends_nobody(backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    started(backend)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(nursery(), "_owner", -1)  # as a process finds it that was forked from this one
        backend._children[0].kill()
        assert backend._children[0].exit_code(PATIENCE) is None
    backend.submit(0, make_order())
    assert isinstance(one(reports_of(backend, 1)), Delivery)


def test_a_fork_of_the_learner_ends_no_actor_of_it(backend: ProcessBackend) -> None:
    pids = started(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 advises against forks where there are threads
        fork = os.fork()
    if fork == 0:
        backend.close()  # as at its interpreter's end
        os._exit(0)
    assert os.waitpid(fork, 0)[1] == 0
    for actor in range(2):
        backend.submit(actor, make_order())
    assert all(isinstance(report, Delivery) for report in reports_of(backend, 2))
    os.kill(pids[0], signal.SIGKILL)
    assert one(reports_of(backend, 1)).what == "was ended by SIGKILL"


def test_a_nursery_that_was_stopped_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Nursery()
    os.kill(own.pid, signal.SIGSTOP)
    monkeypatch.setattr("sb3_ext.distributed.nursery.GRACE", -5.0)
    own.close()
    assert is_gone(own.pid)


def test_a_signal_to_the_group_is_the_learners_matter_and_actors_end_with_it(tmp_path: Path) -> None:
    rest = """
import signal
def last_words(number, frame):
    backend.submit(1, order_to("fill", 3))
    print(len(backend.poll(60)), flush=True)
    if number == signal.SIGTERM:
        sys.exit(3)  # and closes nothing
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, last_words)
print("waits", flush=True)
while True:
    time.sleep(600)
"""
    with run_learner(tmp_path, rest, start_new_session=True) as learner:
        pids = what_it_says(learner)
        assert learner.stdout is not None and learner.stdout.readline() == "waits\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(learner.pid, number)
            assert learner.stdout.readline() == "1\n"  # an actor still works
        assert learner.wait(PATIENCE) == 3 and learner.stderr is not None and learner.stderr.read() == ""
        assert all(is_gone(pid) for pid in pids)
