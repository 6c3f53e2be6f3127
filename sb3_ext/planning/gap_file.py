"""
How far a model was from the best policy during its training: `optimality.csv` in the folder of a run. Its first line
says what was measured against what; a line is added with each measurement, and what is read is the whole lines.
"""

from __future__ import annotations

import csv
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
    return ",".join(f"{row[name]:.17g}" if name in row else "" for name in COLUMNS) + "\n"


def _rows(path: pathlib.Path) -> tuple[Yardstick, list[dict[str, float]]]:
    """:return: the first line, and of each measurement what it has"""
    text = path.read_text(encoding="utf-8", errors="replace")
    first, _, rest = text[: text.rfind("\n") + 1].partition("\n")  # a line without its end is being written
    try:
        yardstick = Yardstick(**json.loads(first.removeprefix("#")))
        numbers = [yardstick.best_value, yardstick.gamma, yardstick.best_return or 0.0, yardstick.n_episodes or 0]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a number is not finite")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: line 1 is not the one that OptimalityGap writes: {first[:80]!r}") from error
    reader = csv.DictReader(io.StringIO(rest))
    rows = []
    for row in reader:
        try:
            rows.append({name: float(row[name]) for name in COLUMNS if row[name]})
            if not all(math.isfinite(value) for value in rows[-1].values()) or rows[-1]["steps"] < 0:
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: line {reader.line_num + 1} is no measurement: {row}") from error
    return yardstick, rows
