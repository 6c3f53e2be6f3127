"""
Messages over a socket between two processes of one machine: pickles whose arrays go beside them and are not copied.

```
| n | sizes of n parts | pickle | array | array | ...
```

The learner's end never blocks: an actor that stops in the middle of a message stops nobody else.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

import cloudpickle
import numpy as np

NUMBER = struct.Struct("<Q")


def packed(message: object, dumps: Callable[..., bytes] = pickle.dumps) -> list[memoryview]:
    """
    :param message: to be sent
    :param dumps: `cloudpickle.dumps` for what refers to a script's own functions and classes
    :return: parts; arrays are not copied, so nobody may write into them before they are sent
    """
    buffers: list[pickle.PickleBuffer] = []
    head = dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = b"".join(NUMBER.pack(number) for number in (len(parts), *(part.nbytes for part in parts)))
    return [memoryview(sizes), *parts]


def send(sock: socket.socket, parts: list[memoryview]) -> None:
    """Sends a message whole, however long that takes."""
    for part in parts:
        sock.sendall(part)


def receive(sock: socket.socket) -> Any:  # Any: what was sent
    """
    :return: the next message
    :raises EOFError: where the other end is closed
    """
    whole: list[Any] = []
    rooms = _rooms(whole)
    room = next(rooms)
    while not whole:
        n = sock.recv_into(room)
        if n == 0:
            raise EOFError
        room = room[n:] if n < len(room) else next(rooms)
    return whole[0]


def _rooms(whole: list[Any]) -> Generator[memoryview, None, None]:
    """Gives room for the next bytes again and again; each message is appended to ``whole`` when it is full."""
    while True:
        number = bytearray(NUMBER.size)
        yield memoryview(number)
        sizes = np.empty(NUMBER.size * NUMBER.unpack(number)[0], dtype=np.uint8)
        yield sizes.data
        # Not bytearrays, which would be filled with zeros first.
        parts = [np.empty(size, dtype=np.uint8).data for size in sizes.view("<u8").tolist()]
        for part in parts:
            if part:
                yield part
        whole.append(pickle.loads(parts[0], buffers=parts[1:]))


class Wire:
    """
    The learner's end.

    :param sock: connected
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out: deque[memoryview] = deque()
        self._whole: list[Any] = []
        self._rooms = _rooms(self._whole)
        self._room = next(self._rooms)
        self.is_open = True
        """until the other end is found closed, or a message was interrupted"""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def is_full(self) -> bool:
        """There is something to `flush` when the other end has read."""
        return bool(self._out)

    def send(self, message: object) -> None:
        """Sends what there is room for, the rest with the next `flush`."""
        self._out.extend(packed(message, cloudpickle.dumps))
        self.flush()

    def flush(self) -> None:
        with self._whole_messages():
            self._flush()

    def _flush(self) -> None:
        while self._out and self.is_open:
            try:
                n = self._sock.send(self._out[0])
            except BlockingIOError:
                return
            except OSError:
                self.is_open = False
                return
            if n < len(self._out[0]):
                self._out[0] = self._out[0][n:]
            else:
                self._out.popleft()

    def receive(self) -> list[Any]:
        """:return: messages that are there whole"""
        with self._whole_messages():
            return self._receive()

    @contextlib.contextmanager
    def _whole_messages(self) -> Iterator[None]:
        """After Ctrl-C in the middle of one nobody knows where the next one begins."""
        try:
            yield
        except BaseException:
            self.is_open = False
            raise

    def _receive(self) -> list[Any]:
        while self.is_open:
            try:
                n = self._sock.recv_into(self._room)
            except BlockingIOError:
                break
            except OSError:
                n = 0
            if n == 0:
                self.is_open = False
                break
            self._room = self._room[n:] if n < len(self._room) else next(self._rooms)
        whole, self._whole[:] = list(self._whole), []
        return whole

    def close(self) -> None:
        self.is_open = False
        self._sock.close()
