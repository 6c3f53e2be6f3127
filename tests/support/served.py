"""The maze lab's server, in a thread of the test, or as `sb3-ext lab` starts it, and what is sent to it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sb3_ext.viz.lab import Lab
from sb3_ext.viz.lab_server import LabServer

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


@contextmanager
def serving(lab: Lab | None = None, **settings: Any) -> Iterator[LabServer]:
    """:param settings: of `LabServer`"""
    with LabServer(Lab() if lab is None else lab, **settings) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """
    :param arguments: of `sb3-ext lab`
    :return: the address that it prints, and its process
    """
    command = [sys.executable, "-m", "sb3_ext", "lab", *arguments]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it for good
    try:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None
        try:
            yield next(line.strip() for line in process.stdout if line.startswith("http://")), process
        finally:
            process.kill()


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
