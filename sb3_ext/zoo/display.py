"""What is shown: a bar on a terminal, and pictures, also where there is no screen."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


def has_display() -> bool:
    """:return: whether windows can open"""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def draw_without_a_display() -> None:
    """Where there is none, pygame and MuJoCo draw into memory, unless the user chose something else."""
    if not has_display():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("MUJOCO_GL", "egl")


@contextlib.contextmanager
def progress_bar(what: str, total: int | None, unit: str = "step") -> Iterator[Callable[[int], None]]:
    """
    :param what: is done
    :param total: number of units, None = unknown
    :param unit: counted
    :return: takes the number of units so far
    """
    from tqdm import tqdm

    with tqdm(desc=what, total=total, unit=unit, disable=None) as bar:  # None: not where it is no terminal

        def show(n: int) -> None:
            bar.update(n - bar.n)

        yield show
