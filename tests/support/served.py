"""The maze lab's server, in a thread of the test, or as `sb3-ext lab` starts it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sb3_ext.viz.lab import Lab
from sb3_ext.viz.lab_server import LabServer


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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.strip() for line in process.stdout if line.startswith("http://")), process
        finally:
            process.kill()
