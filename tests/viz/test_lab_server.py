"""The page's server answers its own page alone, has a limit to everything, and answers the next request, too."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import pytest
from support.served import GRID, PLAN, SECONDS, ask, raw_post, send, serving, still_answers

from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import PlannerPolicy
from sb3_ext.viz import lab_answers
from sb3_ext.viz.lab import Lab, ShownModel, build
from sb3_ext.viz.lab_server import MOST_BYTES, LabServer


@pytest.fixture(scope="module")
def server() -> Iterator[LabServer]:
    env = GridWorldEnv(GRID)
    model = ShownModel(PlannerPolicy.from_env(env, 0.9), "planner", 0.9)
    with serving(Lab(env, model)) as started:
        yield started


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
        for _ in range(int(SECONDS / 0.02)):
            try:
                connection.sendall(b"x")
                answer = connection.recv(100) or b"closed"
            except TimeoutError:
                continue
            except ConnectionError:
                answer = b"closed"
            break
        assert answer == b"closed"
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
