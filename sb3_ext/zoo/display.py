"""Whether there is a screen, and pictures where there is none."""

from __future__ import annotations

import os
import sys


def has_display() -> bool:
    """:return: whether windows can open"""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def draw_without_a_display() -> None:
    """Where there is none, pygame and MuJoCo draw into memory, unless the user chose something else."""
    if not has_display():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("MUJOCO_GL", "egl")
