"""
The server of the maze lab: for the browser of this machine, and for no other page that is open in it.

It listens on 127.0.0.1 alone, and answers what is asked under that name, from its own page. Nothing that is asked names
a file. A request has a limit of bytes and of seconds, and there is a limit of threads, of which one plans. Whatever is
sent, the next request is answered.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sb3_ext.viz import lab_answers
from sb3_ext.viz.lab import Lab, build

ADDRESS = "127.0.0.1"
MOST_BYTES = 2**20
"""of the body of a request"""
MOST_THREADS = 256
READ_SECONDS = 10.0
"""that a request may take until all of it has arrived, and its answer until all of it has been taken"""
WAIT_SECONDS = 60.0
"""that a request waits for those that came before it"""
LINGER_SECONDS = 2.0
"""that a client may go on sending what is not read, so that it finds the answer and not a broken connection"""
CLOSE_SECONDS = 5.0
"""that what is being planned may go on when the server is closed"""

HTML, JSON = "text/html; charset=utf-8", "application/json"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # all else the page says of itself
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refused(Exception):
    """A request that is answered with a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class LabServer(ThreadingHTTPServer):
    """
    Listens from the beginning; answers in `serve_forever`.

    :param lab: what was given on the command line
    :param port: 0 = any that is free
    :param read_seconds: that a request may take to arrive
    :raises OSError: where the port is taken
    """

    daemon_threads = True
    request_queue_size = MOST_THREADS

    def __init__(self, lab: Lab, port: int = 0, read_seconds: float = READ_SECONDS) -> None:
        self.lab, self.read_seconds = lab, read_seconds
        self.page = build().encode()
        self._free_threads = threading.BoundedSemaphore(MOST_THREADS)
        self._planning = threading.Lock()
        self._is_closed = False
        super().__init__((ADDRESS, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        if self.server_port == 80:
            self.hosts |= {ADDRESS, "localhost"}

    @property
    def url(self) -> str:
        """of the page"""
        return f"http://{ADDRESS}:{self.server_port}/"

    def server_bind(self) -> None:
        """Leaves out that names are asked for, which may take long where there is no network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # Any: socketserver's
        """Adds: where all threads are busy it says so, and nothing else."""
        if not self._free_threads.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started, which would give it back
            self._free_threads.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # Any: socketserver's
        """Adds that the thread is counted as free afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free_threads.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: socketserver's
        """Adds: nothing is said of clients that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    @contextlib.contextmanager
    def planning(self) -> Iterator[None]:
        """
        One request at a time: models are not made to be asked by several threads, and cores are few.

        :raises Refused: where that takes too long
        """
        if not self._planning.acquire(timeout=WAIT_SECONDS):
            raise Refused(503, "busy with other requests: ask again")
        try:
            if self._is_closed:
                raise Refused(503, "the server ends")
            yield
        finally:
            self._planning.release()

    def server_close(self) -> None:
        """Adds that what is being planned comes to its end before the process does, if it does so soon."""
        super().server_close()
        self._is_closed = True
        if self._planning.acquire(timeout=CLOSE_SECONDS):
            self._planning.release()


class _Patience(io.RawIOBase):
    """
    What a client sends, as long as it does not take too long over all of it.

    :param connection: with the client
    :param seconds: from now on
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._end = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # Any: typing_extensions.Buffer
        left = self._end - time.monotonic()
        if left <= 0.0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One request of a connection."""

    server: LabServer

    def setup(self) -> None:
        """Adds the end of patience."""
        super().setup()
        self.rfile = io.BufferedReader(_Patience(self.connection, self.server.read_seconds))

    def do_GET(self) -> None:
        """The page, and what it was given."""
        self._serve({"/": self._page, "/lab.json": self._facts}, others=("/plan", "/policy"))

    def do_POST(self) -> None:
        """What has to be computed."""
        self._serve({"/plan": self._plan, "/policy": self._policy}, others=("/", "/lab.json"))

    def _page(self) -> tuple[str, bytes]:
        return HTML, self.server.page

    def _facts(self) -> tuple[str, bytes]:
        return JSON, _json(self.server.lab.facts())

    def _plan(self) -> tuple[str, bytes]:
        body = self._body()
        with self.server.planning():
            return JSON, _json(lab_answers.plan(body))

    def _policy(self) -> tuple[str, bytes]:
        body, model = self._body(), self.server.lab.model
        if model is None:
            raise Refused(404, "no model was given: `sb3-ext lab --algo ALGO` shows one")
        with self.server.planning():
            return JSON, _json(lab_answers.policy(body, model))

    def _serve(self, answers: dict[str, Callable[[], tuple[str, bytes]]], others: tuple[str, ...]) -> None:
        """
        :param answers: of this method, by path
        :param others: paths that have another method
        """
        path = self.path.partition("?")[0]
        try:
            self._check_origin()
            if path not in answers:
                raise Refused(405, f"{self.command} {path} is not answered") if path in others else _unknown(path)
            kind, content = answers[path]()
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except ValueError as error:
            self._refuse(400, " ".join(str(error).split()))
        except OSError:
            raise  # the client has gone
        except Exception:  # any: it is for the terminal, and the server goes on
            traceback.print_exc()
            self._refuse(500, "the server failed: its terminal says how")
        else:
            self._answer(200, kind, content)

    def _check_origin(self) -> None:
        """:raises Refused: for a name that another machine's page may have given to this one, and for other pages"""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise Refused(403, f"only {self.server.url} is answered: forward a port to one of the same number")
        for origin in self.headers.get_all("Origin", []):
            if origin.lower().removeprefix("http://") not in self.server.hosts:
                raise Refused(403, "only the page of this server is answered")

    def _body(self) -> bytes:
        """:raises Refused: for one that is too large, too slow, or shorter than was said"""
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths or "Transfer-Encoding" in self.headers:
            raise Refused(411, "a body must come with its Content-Length")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refused(400, "Content-Length must be one number")
        digits = lengths[0].lstrip("0") or "0"
        if len(digits) > 18 or int(digits) > MOST_BYTES:
            raise Refused(413, f"the body has more than {MOST_BYTES} bytes")
        try:
            body = self.rfile.read(int(digits))
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {self.server.read_seconds:g} s") from None
        if len(body) < int(digits):
            raise Refused(400, f"the body has {len(body)} bytes, not the {digits} of its Content-Length")
        return body

    def _refuse(self, status: int, line: str) -> None:
        self._answer(status, JSON, _json({"error": line}))
        # What arrives at a closed socket is answered by a reset, which may overtake the answer.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            rest = _Patience(self.connection, LINGER_SECONDS)
            scratch = bytearray(2**16)
            while rest.readinto(scratch):
                pass

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.connection.settimeout(self.server.read_seconds)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == 405:
            self.send_header("Allow", "GET, POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """
        In place of a page of `BaseHTTPRequestHandler`: a line, as all that is refused. It calls this for what is no
        HTTP, and for other methods.
        """
        self._refuse(405 if code == 501 else code, message or "not answered")

    def version_string(self) -> str:
        """:return: not which Python it is"""
        return "sb3-ext"

    def log_message(self, format: str, *args: Any) -> None:  # Any: http.server's
        """Nothing: who serves, watches its own browser."""


def _unknown(path: str) -> Refused:
    return Refused(404, f"there is no {path[:100]!r} here")


def _json(data: Any) -> bytes:  # Any: JSON
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode()
