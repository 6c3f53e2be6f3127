"""
Runs with their scores from CSV files of benchmarks, a run a line, with columns for task, algorithm, seed and score.
Lines are told apart by task, algorithm and seed: two of the same are never one run more.
"""

from __future__ import annotations

import csv
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

from sb3_ext.viz.score_table import Run

TASKS = ("task", "env", "env_id", "player")
ALGORITHMS = ("agent", "algo", "algorithm", "method")
SCORE = "final_mean"
MEASURED = {SCORE, "mean", "final_std", "best", "worst", "late", "cpu_seconds", "curve", "commit", "hardware", "load"}


class NoResults(ValueError):
    """A file of other columns."""


def read_results(
    path: str | os.PathLike[str], *, score: str = SCORE, by: Sequence[str] = (), label: str | None = None
) -> tuple[list[Run], list[str]]:
    """
    :param path: of a CSV file with a header
    :param score: column of the numbers
    :param by: more columns that tell algorithms apart; their values stand behind the algorithm's name
    :param label: in front of it
    :return: runs, and lines about what was left out or is not known
    :raises NoResults: for missing columns
    :raises ValueError: for lines of the same task, algorithm and seed, and for what is no CSV file
    """
    path = pathlib.Path(path)
    rows = _rows(path)
    columns = list(rows[0])
    task_in = next((name for name in TASKS if name in columns), None)
    algorithm_in = next((name for name in ALGORITHMS if name in columns), None)
    missing = [name for name in (score, "seed", *by) if name not in columns]
    if missing:
        fix = "; --score names the one of the scores" if missing == [score] else ""
        raise NoResults(f"{path}: no column {', '.join(missing)} among {', '.join(columns)}{fix}")
    if algorithm_in is None and not by:
        raise NoResults(f"{path}: no column {', '.join(ALGORITHMS)}; --by names what tells algorithms apart")
    notes = [] if task_in else [f"{path}: no column {', '.join(TASKS)}; {path.stem} stands for the task"]
    runs: list[Run] = []
    seen: dict[tuple[str, str, str], int] = {}
    for number, row in enumerate(rows):
        names = [label or "", row[algorithm_in] if algorithm_in else ""]
        algorithm = ", ".join([" ".join(filter(None, names)), *(f"{name}={row[name]}" for name in by)]).lstrip(", ")
        task = row[task_in] if task_in else path.stem
        key = (task, algorithm, row["seed"])
        if key in seen:
            raise ValueError(f"{path}: {_two_of(key)}{_fix(rows[seen[key]], row)}")
        seen[key] = number
        value = _number(row[score])
        if value is None:
            notes.append(
                f"{path}: {task}, {algorithm}, seed {row['seed']}: {score} {row[score]!r}; the run is left out"
            )
            continue
        steps = _number(row.get("env_steps", ""))
        where = f"{path}: seed {row['seed']}"
        runs.append(
            Run(
                task,
                algorithm,
                where,
                value,
                None if steps is None else int(steps),
                _number(row.get("cpu_seconds", "")),
            )
        )
    return runs, notes + _of_other_lengths(path, runs)


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: value or "" for key, value in row.items() if key is not None} for row in csv.DictReader(file)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no CSV file: {error}") from error
    if not rows:
        raise ValueError(f"{path}: no line of results")
    return rows


def _number(text: str) -> float | None:
    """:return: None for what is no finite number"""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _two_of(key: tuple[str, str, str]) -> str:
    task, algorithm, seed = key
    return f"two lines of {task}, {algorithm}, seed {seed}"


def _fix(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    differ = [name for name in first if name not in MEASURED and first[name] != second[name]]
    return f"; `--by COLUMN` tells them apart, they differ in {', '.join(differ)}" if differ else ""


def _of_other_lengths(path: pathlib.Path, runs: Sequence[Run]) -> list[str]:
    lengths: dict[tuple[str, str], set[int]] = {}
    for run in runs:
        if run.steps is not None:
            lengths.setdefault((run.task, run.algorithm), set()).add(run.steps)
    return [
        f"{path}: runs of {algorithm} on {task} have {min(found)} to {max(found)} steps, and each counts at its own end"
        for (task, algorithm), found in lengths.items()
        if len(found) > 1
    ]
