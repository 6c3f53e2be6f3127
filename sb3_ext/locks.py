"""Locks of open files: each is held by one process, and let go by whatever ends it, also SIGKILL."""

from __future__ import annotations

import os

IS_WINDOWS = os.name == "nt"


def try_lock(descriptor: int) -> bool:
    """
    :param descriptor: of an open file or folder
    :return: False where someone else has the lock; where there are no locks, everyone has it
    """
    if IS_WINDOWS:
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
