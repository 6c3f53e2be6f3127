"""
The newest weights in memory that the learner and the actors of one machine share. It has no name in the file system,
so nothing is left of it when the last process that has it is gone, however it went.

```
| current slot | slot 0: stamp, version, n_updates, vectors | slot 1: the same |
```

Always: the learner writes into the slot that is not current, whose stamp is odd meanwhile. A reader that finds the
stamp changed reads again. Nobody holds a lock that could outlive him, and a writer that dies spoils nothing.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from typing import NamedTuple

import numpy as np

from sb3_ext.distributed.messages import Weights

ALIGNED = 64  # bytes


class Layout(NamedTuple):
    """Of the vectors, the same for all versions."""

    dtypes: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def slot_bytes(self) -> int:
        return ALIGNED + sum(self.vector_bytes())

    def vector_bytes(self) -> list[int]:
        """:return: bytes of each vector, with what follows it"""
        bytes_of = [np.dtype(dtype).itemsize * size for dtype, size in zip(self.dtypes, self.sizes, strict=True)]
        return [-(-n // ALIGNED) * ALIGNED for n in bytes_of]


def layout_of(weights: Weights) -> Layout:
    return Layout(
        tuple(vector.dtype.str for vector in weights.vectors), tuple(vector.size for vector in weights.vectors)
    )


def anonymous_file(size: int) -> int:
    """
    :param size: in bytes
    :return: a file descriptor of memory, where the system has that, else of a file without a name
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sb3_ext weights")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class SharedWeights:
    """
    One writer, any number of readers in other processes.

    :param layout: of the weights
    :param fd: that another process made; None = makes one. It is closed with this object
    """

    def __init__(self, layout: Layout, fd: int | None = None) -> None:
        self.layout = layout
        size = ALIGNED + 2 * layout.slot_bytes
        self.fd = anonymous_file(size) if fd is None else fd
        self._memory = mmap.mmap(self.fd, size)
        self._current = np.frombuffer(self._memory, np.int64, 1)
        self._heads: list[np.ndarray] = []  # stamp, version, n_updates
        self._vectors: list[list[np.ndarray]] = []
        for slot in range(2):
            at = ALIGNED + slot * layout.slot_bytes
            self._heads.append(np.frombuffer(self._memory, np.int64, 3, at))
            at += ALIGNED
            self._vectors.append([])
            for dtype, n, n_bytes in zip(layout.dtypes, layout.sizes, layout.vector_bytes(), strict=True):
                self._vectors[slot].append(np.frombuffer(self._memory, dtype, n, at))
                at += n_bytes
        self._lock = threading.Lock()

    def _fence(self) -> None:
        """What was read and written before is so before what comes after, also on processors that reorder it."""
        for _ in range(2):
            with self._lock:
                pass

    def write(self, weights: Weights) -> None:
        """:param weights: of the layout; readers find them from now on"""
        assert layout_of(weights) == self.layout
        slot = 1 - int(self._current[0])
        head = self._heads[slot]
        head[0] += 1
        self._fence()
        head[1:] = weights.version, weights.n_updates
        for ours, vector in zip(self._vectors[slot], weights.vectors, strict=True):
            ours[:] = vector
        self._fence()
        head[0] += 1
        self._fence()
        self._current[0] = slot

    def read(self, known: int | None = None) -> Weights | None:
        """
        :param known: a version that is not needed again, nor are those before it
        :return: a copy of the newest; None where that one is known
        """
        while True:
            slot = int(self._current[0])
            self._fence()
            head = self._heads[slot]
            stamp, version, n_updates = (int(number) for number in head)
            # A slot that is whole again may not be current yet: then the other one is older than what is known.
            if known is not None and version <= known and stamp % 2 == 0:
                return None
            vectors = tuple(vector.copy() for vector in self._vectors[slot])
            self._fence()
            if stamp % 2 == 0 and stamp == head[0]:
                return Weights(version, n_updates, vectors)

    def close(self) -> None:
        """Let go of the memory."""
        self._heads, self._vectors = [], []
        del self._current
        self._memory.close()
        os.close(self.fd)
