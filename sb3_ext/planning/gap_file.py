"""
How far a model was from the best policy during its training: `optimality.csv` in the folder of a run. Its first line
says what was measured against what; a line is added with each measurement, and what is read is the whole lines.
"""

from __future__ import annotations

import io
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sb3_ext.saving import write_whole

NAME = "optimality.csv"
EXACT = ("gap", "gap_fraction", "return_exact", "q_error", "v_error", "states_wrong")
"""columns of a model that has a table"""
ESTIMATED = ("return", "return_se")
"""columns of any other: no number of them is exact"""
COLUMNS = ("steps", *EXACT, *ESTIMATED)
MAX_BYTES = 64_000_000  # half a million measurements; a file may be a stranger's
MAX_LINE, MAX_SHOWN = 1000, 80  # characters
MAX_STEPS = 2.0**53


class Yardstick(NamedTuple):
    """What a model is measured against."""

    best_value: float
    """V* of the start: discounted, acting for ever"""
    best_return: float | None
    """undiscounted, within the limit of steps; None where there is none"""
    gamma: float
    n_episodes: int | None = None
    """of each estimate; None = the numbers are exact"""


@dataclass(frozen=True)
class GapCurve:
    """The measurements of one run."""

    yardstick: Yardstick
    steps: np.ndarray
    """[N] int64, environment steps over all environments, ascending"""
    values: Mapping[str, np.ndarray]
    """[N] each of `EXACT` or `ESTIMATED`; NaN where it has no value"""


class GapFile:
    """
    Is written line by line.

    :param path: of the file
    :param yardstick: its first line
    """

    def __init__(self, path: str | os.PathLike[str], yardstick: Yardstick) -> None:
        self.path, self.yardstick = pathlib.Path(path), yardstick

    def begin(self, n_steps: int) -> list[dict[str, float]]:
        """
        Of a file that is there already, what was measured later is dropped: training has not come so far.

        :param n_steps: that training goes on from; 0 = it is a new one
        :return: what is kept
        :raises ValueError: for a file that is something else
        """
        rows = _rows(self.path)[1] if n_steps > 0 and self.path.is_file() else []
        kept = [row for row in rows if row["steps"] <= n_steps]
        head = f"#{json.dumps(self.yardstick._asdict())}\n{','.join(COLUMNS)}\n"
        text = (head + "".join(map(_line, kept))).encode()

        def write(file: io.BufferedIOBase) -> None:
            file.write(text)

        write_whole(self.path, "csv", write)
        return kept

    def add(self, row: Mapping[str, float]) -> None:
        """:param row: of `COLUMNS` those that have a value"""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(row))


def read_gap(folder: str | os.PathLike[str]) -> GapCurve:
    """
    :param folder: of a run that was trained with `OptimalityGap`
    :raises ValueError: where there is no such file, no measurement yet, or it is broken, which is named
    """
    path = pathlib.Path(folder) / NAME
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `sb3-ext train --optimality-gap` writes it")
    yardstick, rows = _rows(path)
    steps = np.array([row["steps"] for row in rows]).astype(np.int64)
    if len(steps) == 0:
        raise ValueError(f"{path}: nothing was measured yet")
    if (np.diff(steps) < 0).any():
        raise ValueError(f"{path}: its steps go back")
    names: Sequence[str] = EXACT if yardstick.n_episodes is None else ESTIMATED
    values = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}
    return GapCurve(yardstick, steps, values)


def _line(row: Mapping[str, float]) -> str:
    """:return: without what is no number, as the Q-values of a network that diverged"""
    cells = (f"{row[name]:.17g}" if name in row and math.isfinite(row[name]) else "" for name in COLUMNS)
    return ",".join(cells) + "\n"


def _rows(path: pathlib.Path) -> tuple[Yardstick, list[dict[str, float]]]:
    """:return: the first line, and of each measurement what it has"""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size} bytes are more than any run writes ({MAX_BYTES})")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # one without its end is being written
    head = lines[0] if lines else ""
    yardstick = _yardstick(head)
    if yardstick is None:
        raise ValueError(f"{path}: line 1 is not the one that OptimalityGap writes: {head[:MAX_SHOWN]!r}")
    if lines[1:2] != [",".join(COLUMNS)]:
        raise ValueError(f"{path}: line 2 must name the columns {', '.join(COLUMNS)}")
    rows = []
    for number, line in enumerate(lines[2:], start=3):
        row = _row(line)
        if row is None:
            raise ValueError(f"{path}: line {number} is no measurement: {line[:MAX_SHOWN]!r}")
        rows.append(row)
    return yardstick, rows


def _yardstick(line: str) -> Yardstick | None:
    """:return: None where it is none"""
    if len(line) > MAX_LINE or not line.startswith("#"):
        return None
    try:
        told = json.loads(line[1:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.keys() != set(Yardstick._fields):
        return None
    n_episodes, limited = told["n_episodes"], told["best_return"]
    is_count = type(n_episodes) is int and 2 <= n_episodes < 2**31
    numbers = [told["best_value"], told["gamma"], *([] if limited is None else [limited])]
    if not all(type(x) is float and math.isfinite(x) for x in numbers) or not (n_episodes is None or is_count):
        return None
    return Yardstick(**told)


def _row(line: str) -> dict[str, float] | None:
    """:return: None where it is none"""
    cells = line.split(",", len(COLUMNS))
    if len(line) > MAX_LINE or len(cells) != len(COLUMNS) or not (cells[0].isascii() and cells[0].isdigit()):
        return None
    try:
        row = {name: float(cell) for name, cell in zip(COLUMNS, cells, strict=True) if cell}
    except ValueError:
        return None
    return row if row["steps"] < MAX_STEPS and all(map(math.isfinite, row.values())) else None
