"""What a check tells, and how it names spaces and episodes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from gymnasium import spaces


class Finding(NamedTuple):
    """One thing found."""

    level: Literal["error", "warning"]
    text: str
    """begins with the name of the field"""


def describe(space: spaces.Space[Any]) -> str:
    """:return: the space in one short line: a Box of many bounds by the smallest and the largest"""
    if isinstance(space, spaces.Box):
        return f"Box({space.low.min():g} to {space.high.max():g}, {space.shape}, {space.dtype})"
    return str(space)


def some(indices: Any) -> str:  # Any: a list or an array of integers
    """:return: the first few as text, and how many there are"""
    shown = ", ".join(str(int(i)) for i in indices[:5])
    return shown if len(indices) <= 5 else f"{shown}, ... ({len(indices)} in all)"
