"""The page's server answers its own page alone, has a limit to everything, and answers the next request, too."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from support.served import serving

from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import PlannerPolicy
from sb3_ext.viz import lab_answers, lab_server
from sb3_ext.viz.lab import Lab, ShownModel, build
from sb3_ext.viz.lab_server import MOST_BYTES, LabServer

GRID = [[0, 0, 0, 1], [0, 9, 0, -1], [0, 0, 0, 0]]
PLAN = json.dumps({"grid": GRID, "plan": "value", "prob": 0.8, "gamma": 0.9}).encode()
SECONDS = 30.0
"""that a test waits for an answer before it fails"""


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        line: str = json.loads(self.body)["error"]
        assert "\n" not in line
        return line


@pytest.fixture(scope="module")
def server() -> Iterator[LabServer]:
    env = GridWorldEnv(GRID)
    model = ShownModel(PlannerPolicy.from_env(env, 0.9), "planner", 0.9)
    with serving(Lab(env, model)) as started:
        yield started


def ask(
    server: LabServer, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def send(server: LabServer, raw: bytes, ends: bool = False) -> bytes:
    """:return: all that comes back for some bytes; the connection stays open, or is closed for writing"""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) as connection:
        connection.sendall(raw)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        while new := connection.recv(2**16):
            found += new
        return found


def raw_post(server: LabServer, *headers: str, body: bytes = b"", path: str = "/plan") -> bytes:
    host = f"Host: 127.0.0.1:{server.server_port}"
    return "\r\n".join([f"POST {path} HTTP/1.1", host, *headers, "", ""]).encode() + body


def still_answers(server: LabServer) -> None:
    assert len(json.loads(ask(server, "POST", "/plan", PLAN).body)["log"]) > 20


def test_only_this_machine_is_listened_to(server: LabServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_the_page_and_what_it_was_given(server: LabServer) -> None:
    page = ask(server, "GET", "/?anything")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.body.decode() == build() and 'id="data">null<' in page.body.decode()
    facts = json.loads(ask(server, "GET", "/lab.json").body)
    assert facts == {
        "model": {"name": "PlannerPolicy", "algo": "planner", "n_states": 12},
        "grid": GRID,
        "start": [2, 0],
        "prob": 0.8,
        "default_reward": -0.04,
        "gamma": 0.9,
        "reward": None,
    }
    assert json.loads(ask(server, "POST", "/plan", PLAN).body) == lab_answers.plan(PLAN)
    asked = json.dumps({"grid": GRID, "prob": 0.8}).encode()
    assert server.lab.model is not None
    assert json.loads(ask(server, "POST", "/policy", asked).body) == lab_answers.policy(asked, server.lab.model)


def test_without_a_model_there_is_no_policy() -> None:
    with serving() as server:
        refused = ask(server, "POST", "/policy", json.dumps({"grid": GRID, "prob": 0.8}).encode())
        assert (refused.status, refused.error) == (404, "no model was given: `sb3-ext lab --algo ALGO` shows one")


def test_every_answer_says_that_no_other_page_may_hold_it(server: LabServer) -> None:
    for answer in (
        ask(server, "GET", "/"),
        ask(server, "GET", "/lab.json"),
        ask(server, "POST", "/plan", b"x"),
        ask(server, "PUT", "/"),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Python" not in answer.headers["Server"]


def test_other_paths_and_other_methods(server: LabServer) -> None:
    for method, path in (
        ("GET", "/model"),
        ("GET", "/../../etc/passwd"),
        ("POST", "/model"),
        ("POST", "/plan/"),
    ):
        refused = ask(server, method, path, b"{}" if method == "POST" else None)
        assert refused.status == 404 and refused.error == f"there is no {path!r} here"
    for method, path in (("GET", "/plan"), ("GET", "/policy"), ("POST", "/"), ("POST", "/lab.json"), ("PUT", "/")):
        assert ask(server, method, path, b"").status == 405
    for method in ("DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "CONNECT", "BREW"):
        assert ask(server, method, "/plan").status == 405
    assert ask(server, "HEAD", "/").body == b""
    still_answers(server)


def test_no_foreign_page_and_no_foreign_name(server: LabServer) -> None:
    """A page of another origin sends its Origin; a name that was made to mean this machine is the Host."""
    own, port = f"127.0.0.1:{server.server_port}", server.server_port
    for host in (own, f"localhost:{port}", f"LocalHost:{port}"):
        assert ask(server, "GET", "/", headers={"Host": host}).status == 200
        assert ask(server, "POST", "/plan", PLAN, {"Host": host, "Origin": f"http://{host}"}).status == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "localhost",
        f"127.0.0.1:{port + 1}",
        "",
        "[::1]",
    ):
        for method, path in (("GET", "/"), ("GET", "/lab.json"), ("POST", "/plan"), ("POST", "/policy")):
            refused = ask(server, method, path, PLAN if method == "POST" else None, {"Host": host})
            assert refused.status == 403 and refused.error.startswith(f"only http://{own}/ is answered")
    for origin in (
        "http://evil.example",
        "null",
        f"https://{own}",
        f"http://127.0.0.1:{port + 1}",
        f"http://{own}.evil",
    ):
        for method, path in (("GET", "/lab.json"), ("POST", "/plan"), ("POST", "/policy")):
            refused = ask(server, method, path, PLAN if method == "POST" else None, {"Origin": origin})
            assert (refused.status, refused.error) == (403, "only the page of this server is answered")
    assert b" 403 " in send(server, b"GET /lab.json HTTP/1.0\r\n\r\n")
    two = f"GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n".encode()
    assert b" 403 " in send(server, two)


def test_a_body_is_not_read_where_it_is_too_large(server: LabServer) -> None:
    """Only its header is sent: whoever waited for the body would wait for ever."""
    for length in (MOST_BYTES + 1, 10**9, 10**30, int("9" * 4000)):
        assert b" 413 " in send(server, raw_post(server, f"Content-Length: {length}"))
    answer = ask(server, "POST", "/plan", b" " * (MOST_BYTES - len(PLAN)) + PLAN)  # as large as one may be
    assert answer.status == 200
    still_answers(server)


def test_whoever_sends_a_body_that_is_too_large_finds_the_answer(server: LabServer) -> None:
    """And no broken connection: what is sent after the answer is taken, and thrown away."""
    assert ask(server, "POST", "/plan", b"[" * (16 * MOST_BYTES)).status == 413
    still_answers(server)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 411),
        (("Transfer-Encoding: chunked",), 411),
        (("Transfer-Encoding: chunked", "Content-Length: 2"), 411),
        (("Content-Length: -1",), 400),
        (("Content-Length: x",), 400),
        (("Content-Length: 1.5",), 400),
        (("Content-Length: \u00b2",), 400),
        (("Content-Length: 2", "Content-Length: 3"), 400),
        (("Content-Length: 0",), 400),
        (("Content-Length: 2",), 400),
    ],
)
def test_a_body_comes_with_one_true_length(headers: tuple[str, ...], status: int, server: LabServer) -> None:
    assert f" {status} ".encode() in send(server, raw_post(server, *headers, body=b"{}"))
    still_answers(server)


def test_a_body_that_ends_before_its_length(server: LabServer) -> None:
    answer = send(server, raw_post(server, "Content-Length: 1000", body=PLAN), ends=True)
    assert b" 400 " in answer and f"the body has {len(PLAN)} bytes, not the 1000".encode() in answer
    still_answers(server)


def test_slow_clients_are_not_waited_for_for_ever() -> None:
    """What never arrives is answered, or closed where not even the headers came."""
    with serving(read_seconds=0.3) as server:
        answer = send(server, raw_post(server, "Content-Length: 1000", body=b"{"))
        assert b" 408 " in answer and b"the body did not arrive within 0.3 s" in answer
        assert send(server, b"POST /plan HTTP/1.1\r\nHost: ") == b""
        assert send(server, b"") == b""
        still_answers(server)


def test_a_client_that_sends_byte_by_byte_has_no_more_time() -> None:
    """The clock is that of the whole request: each byte is in time, all of them never."""
    with serving(read_seconds=0.3) as server, socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            try:
                connection.sendall(b"x")
                answer = connection.recv(100) or b"closed"
            except TimeoutError:
                continue
            except ConnectionError:
                answer = b"closed"
        assert answer == b"closed"
        still_answers(server)


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


def test_what_is_no_http_and_who_goes_away(server: LabServer, capsys: pytest.CaptureFixture[str]) -> None:
    own = f"Host: 127.0.0.1:{server.server_port}\r\n".encode()
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"
    assert b"Bad request syntax" in send(server, tls)
    assert b" 414 " in send(server, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")
    assert b" 431 " in send(server, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + own + b"\r\n")
    assert b" 431 " in send(server, b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n")
    assert b"Invalid HTTP version" in send(server, b"GET / HTTP/9.9\r\n" + own + b"\r\n")
    assert b"<!doctype html>" not in send(server, b"GET /\r\n\r\n")
    for _ in range(10):
        gone = socket.create_connection(("127.0.0.1", server.server_port))
        gone.sendall(raw_post(server, "Content-Length: 1000", body=b"{"))
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()  # by a reset
    still_answers(server)
    assert capsys.readouterr() == ("", "")


def test_two_hundred_at_once_are_all_answered(server: LabServer) -> None:
    bodies = [PLAN, b"not JSON", PLAN.replace(b"0.8", b"NaN"), json.dumps({"grid": [[0] * 1000] * 300}).encode()]
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
