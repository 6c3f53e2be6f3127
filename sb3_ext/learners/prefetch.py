"""
The next batch is drawn while the device works on the last one.

```
main thread     take -> [ launch the update, wait for its priorities ] -> write priorities -> environments, ...
prefetch thread         [ draw, gather, pin                          ]
```

The thread works between the brackets alone, where the main thread touches neither the replay nor NumPy's random
numbers. So nothing is read while it is written, no lock is needed, and a seeded run repeats. What is trained on was
drawn before the last priorities were written and the last steps stored: handles say which of it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch as th

from sb3_ext import nested

T = TypeVar("T")
NAME = "sb3_ext-prefetch"
"""of the thread"""


class Prefetch(Generic[T]):
    """
    One batch ahead, by one thread, which is started when it is needed. It is no part of a copy or a file.

    :param device: CUDA
    """

    def __init__(self, device: th.device) -> None:
        self.device = device
        self._thread: ThreadPoolExecutor | None = None
        self._held: tuple[object, T] | None = None

    def take(self, key: object, draw: Callable[[], T]) -> T:
        """
        :param key: what a batch depends on
        :param draw: gives one
        :return: the batch that was drawn ahead, if it is of an equal key; or another one
        """
        held, self._held = self._held, None
        return held[1] if held is not None and held[0] == key else draw()

    @contextmanager
    def drawing(self, key: object, draw: Callable[[], T]) -> Iterator[None]:
        """
        The next batch is drawn beside the block, and is there at its end.

        :param key: what a batch depends on
        :param draw: gives one
        :raises Exception: of `draw`, unless the block has raised another one
        """
        if self._thread is None:
            self._thread = self._started()
        coming = self._thread.submit(draw)
        try:
            yield
        except BaseException:
            coming.exception()  # waits: whoever catches may write into the replay
            raise
        self._held = key, coming.result()

    def _started(self) -> ThreadPoolExecutor:
        if self.device.type != "cuda":
            return ThreadPoolExecutor(1, NAME)
        # "cuda" is the device of this thread, and another thread's is the first one.
        index = th.cuda.current_device() if self.device == th.device("cuda") else self.device.index
        return ThreadPoolExecutor(1, NAME, th.cuda.set_device, (index,))

    def stop(self) -> None:
        """End the thread and drop what it has drawn; it begins anew when it is needed."""
        self._held = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, "_thread": None, "_held": None}


def pinned(batch: T) -> T:
    """:return: the same in memory that a GPU reads while the host goes on; arrays stay where they are"""
    moved: T = nested.map(lambda x: x.pin_memory() if isinstance(x, th.Tensor) else x, batch)
    return moved
