"""
Who reads what a training prints may go: `| tee` ends by the same Ctrl-C, a terminal is closed. That ends no training,
and nothing that is being saved.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from sb3_ext.replaced import replaced

GONE = {errno.EPIPE, errno.EIO}  # of a pipe, and of a terminal


@contextlib.contextmanager
def readers_may_go() -> Iterator[None]:
    """:return: block in which `sys.stdout` and `sys.stderr` raise no `OSError`: what cannot be written is lost"""
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:  # a process without a console
                stack.enter_context(replaced(sys, name, cast(TextIO, _Unminded(stream))))
        yield


class _Unminded:
    """
    :param stream: which it is, but for what is raised
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """:return: as if all were written"""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """What cannot be written is lost."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:  # Any: of the stream, whatever it is
        return getattr(self._stream, name)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if error.errno in GONE:
                # What is left in its buffer shall not be raised again when the process ends.
                with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), self._stream.fileno())
