"""
Ctrl-C, SIGTERM and the end of a terminal, heard by whoever asks for them. Nothing here needs SB3: who only waits shall
be small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def sigterm_as_ctrl_c() -> contextlib.AbstractContextManager[None]:
    """:return: block in which SIGTERM raises `KeyboardInterrupt` too"""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return heard(interrupt, (signal.SIGTERM,))


@contextlib.contextmanager
def heard(by: Callable[[int, FrameType | None], None], signals: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[None]:
    """
    :param by: is called in the block; outside the main thread signals do what they did before
    :param signals: that it hears
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, by) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ending() -> tuple[signal.Signals, ...]:
    """:return: signals that end a training: also that of a terminal which is closed, unless `nohup` has it ignored"""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        return (*SIGNALS, signal.SIGHUP)
    return SIGNALS


def exit_code(number: int | None) -> int:
    """
    :param number: of the signal that ended what was under way, None = it came to its end
    :return: as shells have it: 130 for Ctrl-C, 143 for SIGTERM
    """
    return 0 if number is None else 128 + number


def say(text: str) -> None:
    """:param text: line for the terminal, past `sys.stdout`: a signal may come while that one is being written to"""
    with contextlib.suppress(OSError):  # nobody reads
        os.write(2, f"\n{text}\n".encode())
