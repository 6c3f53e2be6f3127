"""
A process that has imported everything and does nothing but fork actors: an actor begins in a tenth of a second, and the
memory of what was imported is shared by all of them. There is one for all that a learner starts.

```
learner ----- fork, kill ----> nursery ----- forks ----> actor
        <-- how each ended ---         <-- its status --
```

Always: it knows nothing of the user's script, which needs no main guard therefore. It outlives its actors, not its
learner: when that is gone, whatever happened to it, actors have a moment to end, and then they are killed.

The standard library's fork server does much of this, but it hands the user's script on to each child, has settings for
one user in a process only, and leaves children alone that hang when their parent is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from types import FrameType

FORK, KILL = b"f", b"k"
COMMAND = struct.Struct("<cQ")  # which child
ENDED = struct.Struct("<Qq")  # which child, its exit code: negative = by that signal
CANNOT_FORK = 1000  # + errno, in place of an exit code
GRACE = 5.0
"""seconds that actors have to end when their learner is gone"""
SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""which a whole process group gets; the learner decides what to do about them"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Nursery:
    """The learner's end. It starts the process, which is ready some seconds later; commands wait for that."""

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise ValueError('actors in processes need a system with fork: use backend="ray" or backend="inline"')
        self._sock, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from sb3_ext.distributed.nursery import serve; serve({theirs.fileno()})"
        )
        # Blocked until it can handle them: a signal to the group must not end it while it imports.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.pid = self._process.pid
        self._owner = os.getpid()
        self._children = 0
        self._ended: dict[int, int] = {}
        self._received = b""
        self._socks: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # to children
        atexit.register(self._end)

    @property
    def is_usable(self) -> bool:
        """It runs, and is not that of the process which this one was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    def fork(self, *fds: int) -> tuple[int, socket.socket]:
        """
        Never blocks.

        :param fds: what the child's `worker.work` is called with, after that of its socket
        :return: number of the child, and the socket to it
        """
        self._children += 1
        ours, theirs = socket.socketpair()
        self._command(FORK, self._children, theirs.fileno(), *fds)
        theirs.close()
        self._socks.add(ours)
        return self._children, ours

    def kill(self, child: int) -> None:
        """Never blocks. Without effect where it has ended."""
        self._command(KILL, child)

    def _command(self, what: bytes, child: int, *fds: int) -> None:
        if self._owner != os.getpid():
            return  # a fork of the learner, whose actors they are not
        # If it is gone, what should have been forked is found to be gone too.
        with contextlib.suppress(OSError):
            self._sock.settimeout(None)
            socket.send_fds(self._sock, [COMMAND.pack(what, child)], list(fds))

    def exit_code(self, child: int, timeout: float) -> int | None:
        """
        :param child: its number
        :param timeout: seconds to wait for its end
        :return: negative where a signal ended it; None where it has not ended, or nobody knows
        """
        end = time.monotonic() + timeout
        while child not in self._ended and self._owner == os.getpid():
            try:
                self._sock.settimeout(max(end - time.monotonic(), 1e-3))
                received = self._sock.recv(4096)
            except OSError:  # the timeout, or it was closed
                break
            if not received:
                break
            self._received += received
            while len(self._received) >= ENDED.size:
                number, code = ENDED.unpack_from(self._received)
                self._received = self._received[ENDED.size :]
                self._ended[number] = code
        return self._ended.get(child)

    def close(self) -> None:
        """End it, and what is left of its children. A second call changes nothing."""
        atexit.unregister(self._end)
        self._sock.close()
        if self._owner == os.getpid():
            try:
                self._process.wait(GRACE + 5)
            except subprocess.TimeoutExpired:  # it was stopped, perhaps
                self._process.kill()
                self._process.wait()

    def _end(self) -> None:
        """At the interpreter's end: children that nobody has ended would find out when this process is gone."""
        if self._owner == os.getpid():
            for sock in self._socks:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.close()


_nursery: Nursery | None = None


def nursery() -> Nursery:
    """:return: that of this process, which is started where it does not run"""
    global _nursery
    if _nursery is None or not _nursery.is_usable:
        if _nursery is not None:
            _nursery.close()
        _nursery = Nursery()
    return _nursery


def serve(fd: int) -> None:
    """
    The process.

    :param fd: of its end of the socket
    """
    for number in SIGNALS:
        # Not SIG_IGN, which what an environment starts would inherit: a simulator that cannot be terminated.
        signal.signal(number, _pass_over)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    import sb3_ext.distributed.worker
    import sb3_ext.r2d2
    import sb3_ext.rainbow  # noqa: F401

    gc.freeze()  # what a collector does not visit stays shared
    _Server(socket.socket(fileno=fd)).run()


def _pass_over(number: int, frame: FrameType | None) -> None:
    pass


class _Server:
    """:param sock: to the learner"""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.wakes, self.wakeup = socket.socketpair()
        for end in (self.wakes, self.wakeup):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, _pass_over)
        signal.set_wakeup_fd(self.wakeup.fileno(), warn_on_full_buffer=False)
        self.pids: dict[int, int] = {}  # child -> process

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            selector.register(self.wakes, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self.wakes:
                        self.reap()
                    elif not self.obey():
                        self.end()
                        return

    def obey(self) -> bool:
        """:return: the learner is there"""
        command, fds = b"", []
        while len(command) < COMMAND.size:
            try:
                received, more, _, _ = socket.recv_fds(self.sock, COMMAND.size - len(command), 8)
            except ConnectionResetError:  # it has not read how all of them ended
                return False
            if not received:
                return False
            command += received
            fds += more
        what, child = COMMAND.unpack(command)
        if what == FORK:
            self.fork(child, fds)
        elif child in self.pids:
            os.kill(self.pids[child], signal.SIGKILL)
        return True

    def fork(self, child: int, fds: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self.tell(child, CANNOT_FORK + (error.errno or 0))
        else:
            if pid == 0:
                try:
                    self.become(fds)
                finally:
                    os._exit(1)
            self.pids[child] = pid
        for fd in fds:
            os.close(fd)

    def become(self, fds: list[int]) -> None:
        """In the child."""
        from sb3_ext.distributed.worker import work

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self.sock, self.wakes, self.wakeup):
            end.close()
        work(*fds)

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.wakes.recv(4096):
                pass
        for child, status in self.ended():
            self.tell(child, os.waitstatus_to_exitcode(status))

    def ended(self) -> Iterator[tuple[int, int]]:
        for child, pid in list(self.pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.pids[child]
                yield child, status

    def tell(self, child: int, code: int) -> None:
        with contextlib.suppress(OSError):  # the learner is gone, which `obey` sees
            self.sock.sendall(ENDED.pack(child, code))

    def end(self) -> None:
        """Whoever is left has `GRACE`."""
        end = time.monotonic() + GRACE
        while self.pids and time.monotonic() < end:
            self.reap()
            time.sleep(0.02)
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
