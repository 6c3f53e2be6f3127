"""One batch ahead: what the thread may see, what becomes of its errors, and that it ends."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable

import pytest
import torch as th

from sb3_ext.learners.prefetch import Prefetch

CPU = th.device("cpu")


def threads() -> list[threading.Thread]:
    return [x for x in threading.enumerate() if x.name.startswith("sb3_ext-prefetch")]


class Numbers:
    """Draws 1, 2, 3, ...; notes in which thread."""

    def __init__(self) -> None:
        self.n = 0
        self.threads: list[str] = []

    def __call__(self) -> int:
        self.n += 1
        self.threads.append(threading.current_thread().name.split("_")[0])
        return self.n


def test_each_batch_is_used_once_in_the_order_of_the_draws() -> None:
    prefetch, draw, used = Prefetch[int](CPU), Numbers(), []
    for _ in range(4):
        used.append(prefetch.take("same", draw))
        with prefetch.drawing("same", draw):
            pass
    assert used == [1, 2, 3, 4] and len(set(draw.threads[1:])) == 1 and draw.threads[0] != draw.threads[1]
    assert len(threads()) == 1, "one thread, however many batches"
    prefetch.stop()
    assert not threads()
    assert prefetch.take("same", draw) == 6, "what was drawn ahead is dropped"
    prefetch.stop()


def test_a_batch_of_other_settings_is_not_used() -> None:
    prefetch, draw = Prefetch[int](CPU), Numbers()
    with prefetch.drawing(("replay", 32), draw):
        pass
    assert prefetch.take(("replay", 64), draw) == 2
    assert prefetch.take(("replay", 32), draw) == 3, "and is gone"
    prefetch.stop()


@pytest.mark.parametrize(("device", "expected"), [("cuda", 3), ("cuda:1", 1)])
def test_the_thread_works_on_the_device_of_the_model(
    device: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(th.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(th.cuda, "set_device", chosen.append)
    prefetch = Prefetch[int](th.device(device))
    with prefetch.drawing("k", Numbers()):
        pass
    prefetch.stop()
    assert chosen == [expected]


def slow(then: Callable[[], int], seen: list[str]) -> Callable[[], int]:
    def draw() -> int:
        time.sleep(0.05)
        seen.append("read")
        return then()

    return draw


def test_nothing_is_read_after_the_block() -> None:
    prefetch, seen = Prefetch[int](CPU), list[str]()
    with prefetch.drawing("k", slow(Numbers(), seen)):
        seen.append("update")
    seen.append("write")
    assert seen == ["update", "read", "write"]
    with pytest.raises(KeyboardInterrupt), prefetch.drawing("k", slow(Numbers(), seen)):
        raise KeyboardInterrupt
    seen.append("write")
    assert seen[3:] == ["read", "write"], "nor where the block breaks off"
    prefetch.stop()


def test_an_error_of_the_thread_is_one_of_the_block() -> None:
    def broken() -> int:
        raise ValueError("nothing can be drawn yet")

    prefetch, draw = Prefetch[int](CPU), Numbers()
    with pytest.raises(ValueError, match="nothing can be drawn yet"), prefetch.drawing("k", broken):
        pass
    with pytest.raises(ZeroDivisionError), prefetch.drawing("k", broken):
        _ = 1 / 0
    assert prefetch.take("k", draw) == 1, "nothing is left of them"
    with prefetch.drawing("k", draw):
        pass
    assert prefetch.take("k", draw) == 2, "and the thread goes on"
    prefetch.stop()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_begins_without_thread_and_batch(copied: Callable[[Prefetch[int]], Prefetch[int]]) -> None:
    prefetch, draw = Prefetch[int](CPU), Numbers()
    with prefetch.drawing("k", draw):
        pass
    other = copied(prefetch)
    assert len(threads()) == 1 and other.take("k", draw) == 2 and prefetch.take("k", draw) == 1
    prefetch.stop()
    other.stop()
