"""
What the benchmarks share: tables that resume, timing in turns, the hardware line, verdicts and plots.

A row of a table is one finished measurement. It is on disk, whole, before the next one starts; a run measures only
the rows that are missing. Things that are compared are timed in turns inside one row, by CPU time, so that a busy
machine slows all of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch as th
from cycler import cycler

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#7f7f7f",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#f0e442",
)  # Okabe-Ito: told apart by colour-blind readers
STYLE: Any = {  # matplotlib types the keys one by one
    "figure.dpi": 120,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "legend.frameon": False,
}


# ---------------------------------------------------------------------- arguments


def parser(description: str | None, seeds: int) -> argparse.ArgumentParser:
    """
    :param description: the file's docstring
    :param seeds: default number of repeats
    :return: a parser with ``--seeds``, ``--quick`` and ``--fresh``
    """
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--seeds", type=int, default=seeds, help=f"number of repeats (default: {seeds})")
    result.add_argument("--quick", action="store_true", help="one short repeat, nothing is saved: does it run?")
    result.add_argument("--fresh", action="store_true", help="measure finished rows again")
    return result


def parse(arguments: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, and calculate on one thread from here on."""
    th.set_num_threads(1)
    args = arguments.parse_args()
    if args.quick:
        args.seeds = 1
    return args


# ---------------------------------------------------------------------- tables


class Table:
    """
    Rows of ``results/<name>.csv``. Each row also keeps the commit and the hardware that it was measured with.

    :param name: file name without ".csv"
    :param columns: of a row
    :param key: those of them that tell rows apart
    :param saved: False keeps the rows in memory only (``--quick``)
    :param fresh: begin with no rows; the file is replaced when the first one is added
    :param folder: None = ``results``
    """

    def __init__(
        self,
        name: str,
        columns: tuple[str, ...],
        key: tuple[str, ...],
        saved: bool = True,
        fresh: bool = False,
        folder: pathlib.Path | None = None,
    ) -> None:
        self.path = (RESULTS if folder is None else folder) / f"{name}.csv"
        self.columns = (*columns, "commit", "hardware")
        self.key = key
        self.saved = saved
        self.rows: list[dict[str, str]] = []
        if saved and not fresh and self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [{name: row.get(name) or "" for name in self.columns} for row in csv.DictReader(file)]

    def has(self, **key: object) -> bool:
        """:return: whether the row of this key is finished"""
        return any(all(row[name] == str(value) for name, value in key.items()) for row in self.rows)

    def add(self, row: Mapping[str, object]) -> None:
        """
        :param row: a value for each column; an older row of the same key is replaced
        """
        full = {name: str(row.get(name, "")) for name in self.columns}
        full.update(commit=commit(), hardware=hardware())
        self.rows = [old for old in self.rows if any(old[name] != full[name] for name in self.key)]
        self.rows.append(full)
        if self.saved:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole(self.path) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(self.rows)

    def values(self, column: str, **where: object) -> np.ndarray:
        """:return: the numbers of a column, NaN where a cell is empty, of the rows that agree with ``where``"""
        chosen = [row for row in self.rows if all(row[name] == str(value) for name, value in where.items())]
        return np.array([float(row[column] or "nan") for row in chosen])

    def median(self, column: str, **where: object) -> float:
        """:return: median of `values`, NaN where there are none"""
        values = self.values(column, **where)
        values = values[~np.isnan(values)]
        return float(np.median(values)) if len(values) else float("nan")


@contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path that takes the name ``path`` when the block ends well: a kill leaves the old file as it was."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------------- what it ran on


@cache
def hardware() -> str:
    """:return: processor, cores and versions in one line"""
    versions = f"Python {platform.python_version()}, torch {th.__version__}, NumPy {np.__version__}"
    line = f"{_processor()}, {os.cpu_count()} cores; {versions}"
    return f"{line}; {th.cuda.get_device_name()}" if th.cuda.is_available() else line


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def commit() -> str:
    """:return: short commit, with "+" where the code differs from it, or "unknown" outside git"""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", "sb3_ext", "benchmarks/*.py"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changes else head


# ---------------------------------------------------------------------- timing


def in_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """
    Time functions against each other. Each round calls every one of them, after one round that does not count.

    :param contestants: by name
    :param rounds: how often each is timed
    :param calls: calls per timing, for functions shorter than the clock's grain
    :param clock: of CPU seconds; `time.perf_counter` where the work is done elsewhere
    :return: [rounds] seconds per call of each
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds + 1):
        for name, work in contestants.items():
            begin = clock()
            for _ in range(calls):
                work()
            if i > 0:
                seconds[name].append((clock() - begin) / calls)
    return {name: np.array(values) for name, values in seconds.items()}


def median_ratio(numerator: np.ndarray, denominator: np.ndarray) -> float:
    """:return: median over rounds of the ratio inside each round"""
    return float(np.median(numerator / denominator))


# ---------------------------------------------------------------------- what is said about it


class Bound(NamedTuple):
    """A number and what it has to keep to."""

    label: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def kept(self) -> bool:
        """NaN (not measured) is not kept."""
        below = self.at_most is None or self.value <= self.at_most
        above = self.at_least is None or self.value >= self.at_least
        return bool(below and above) and not np.isnan(self.value)


def verdict(bounds: list[Bound]) -> int:
    """
    Print which bounds are kept.

    :return: exit status, 0 if all are
    """
    print()
    for bound in bounds:
        limit = f"<= {bound.at_most:g}" if bound.at_most is not None else f">= {bound.at_least:g}"
        shown = "not measured" if np.isnan(bound.value) else f"{bound.value:.3g}{bound.unit}"
        print(f"{'pass' if bound.kept else 'FAIL'}  {bound.label}: {shown} (bound {limit}{bound.unit})")
    return 0 if all(bound.kept for bound in bounds) else 1


def print_rows(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table; the first column is aligned to the left, numbers to the right."""
    cells = [header, *[tuple(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        padded = [
            row[0].ljust(widths[0]),
            *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)],
        ]
        print("  ".join(padded).rstrip())


# ---------------------------------------------------------------------- plots


def panels(n: int, width: float = 3.6, height: float = 3.2, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """
    :param n: number of panels
    :param width: of one, in inches
    :param height: of one, in inches
    :param columns: panels in a row, None = all
    """
    plt.rcParams.update(STYLE)
    columns = n if columns is None else columns
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    for unused in axes.flat[n:]:
        unused.set_axis_off()
    return figure, list(axes.flat)[:n]


def save(figure: Figure, name: str) -> None:
    """Write ``docs/images/<name>.png``."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with whole(IMAGES / f"{name}.png") as temporary:
        figure.savefig(temporary)
    plt.close(figure)


def plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis, written out: a short one may hold no power of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_log_slope(x: np.ndarray, y: np.ndarray) -> float:
    """:return: exponent p of the least-squares fit y ~ x^p"""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
