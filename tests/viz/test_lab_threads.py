"""Many requests at once, those that take long, and the end: there is a limit of threads, and none is lost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.served import PLAN, SECONDS, ask, raw_post, send, serving, still_answers

from sb3_ext.viz import lab_answers, lab_server
from sb3_ext.viz.lab import Lab
from sb3_ext.viz.lab_server import LabServer


@pytest.fixture(scope="module")
def server() -> Iterator[LabServer]:
    with serving() as started:
        yield started


def test_who_does_not_take_the_answer_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one thread, and the answer is larger than what a connection holds."""
    monkeypatch.setattr(lab_server, "MOST_THREADS", 1)
    with serving(read_seconds=0.3) as server, monkeypatch.context() as patch:
        patch.setattr(lab_answers, "plan", lambda _: {"log": "x" * 30_000_000})
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) as idle:
            idle.sendall(raw_post(server, f"Content-Length: {len(PLAN)}", body=PLAN))
            assert b" 200 " in idle.recv(100)
            assert server._free_threads.acquire(timeout=SECONDS)
            server._free_threads.release()
        patch.undo()
        still_answers(server)


def test_two_hundred_at_once_are_all_answered(server: LabServer) -> None:
    bodies = [PLAN, b"not JSON", PLAN.replace(b"0.8", b"NaN"), json.dumps({"grid": [[0] * 50] * 51}).encode()]
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda i: ask(server, "POST", "/plan", bodies[i % 4]).status, range(200)))
    assert found == [200, 400, 400, 400] * 50
    still_answers(server)


def test_there_is_a_limit_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above it, it says so at once; who waits in the threads is not disturbed, and when it goes there is room again."""
    monkeypatch.setattr(lab_server, "MOST_THREADS", 3)
    with serving() as server:
        waiting = [socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) for _ in range(3)]
        try:
            assert b" 503 " in send(server, b"")
            for connection in waiting:
                connection.sendall(f"GET / HTTP/1.0\r\nHost: localhost:{server.server_port}\r\n\r\n".encode())
                assert b" 200 " in connection.recv(100)
        finally:
            for connection in waiting:
                connection.close()
        for _ in range(3):  # a thread is free when its connection was closed by both
            server._free_threads.acquire(timeout=SECONDS)
        server._free_threads.release(3)
        still_answers(server)


def test_who_waits_too_long_for_others_is_told(server: LabServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_server, "WAIT_SECONDS", 0.05)
    with server.planning():
        refused = ask(server, "POST", "/plan", PLAN)
    assert (refused.status, refused.error) == (503, "busy with other requests: ask again")
    still_answers(server)


def test_a_mistake_of_ours_is_told_and_shown_on_the_terminal(
    server: LabServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: bytes) -> None:
        raise RuntimeError("ouch")

    monkeypatch.setattr(lab_answers, "plan", fails)
    refused = ask(server, "POST", "/plan", PLAN)
    assert (refused.status, refused.error) == (500, "the server failed: its terminal says how")
    monkeypatch.undo()
    still_answers(server)
    assert "RuntimeError: ouch" in capsys.readouterr().err


def test_a_closed_server_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing computes while Python ends."""
    under_way, may_end, order = threading.Event(), threading.Event(), []

    def slow(_: bytes) -> dict[str, Any]:
        under_way.set()
        may_end.wait(SECONDS)
        order.append("planned")
        return {}

    monkeypatch.setattr(lab_answers, "plan", slow)
    with ThreadPoolExecutor(1) as pool:
        with serving() as server:
            answer = pool.submit(ask, server, "POST", "/plan", PLAN)
            assert under_way.wait(SECONDS)
            may_end.set()
        order.append("closed")
        assert answer.result().status == 200
    assert order == ["planned", "closed"]


def test_ctrl_c_is_not_lost_while_a_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the main thread waits for the new one, which gives its place back itself."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        thread.join(SECONDS)
        raise KeyboardInterrupt

    with LabServer(Lab()) as server, socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.handle_request()


def test_a_thread_that_cannot_be_started_takes_no_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lab_server, "MOST_THREADS", 1)
    with LabServer(Lab()) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) as client:
                with monkeypatch.context() as patch:
                    patch.setattr(threading.Thread, "start", fails)
                    server.handle_request()
                assert client.recv(100) == b""
        assert server._free_threads.acquire(blocking=False)
    assert capsys.readouterr().err.count("RuntimeError: can't start new thread") == 3
