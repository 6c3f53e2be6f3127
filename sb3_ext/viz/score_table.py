"""
A table of what runs have reached, task by task. Every number in it is made of runs; what no run tells is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sb3_ext.viz.bootstrap import Estimate, improvement, interquartile_mean


@dataclass(frozen=True)
class Run:
    """One finished training."""

    task: str
    algorithm: str
    where: str
    """it was read, for messages"""
    score: float
    steps: int | None = None
    """of the environment, after which it has that score"""
    cpu_seconds: float | None = None


class Reference(NamedTuple):
    """Scores of a task that are 0 and 1 once they are normalised."""

    random: float
    expert: float

    def normalised(self, scores: np.ndarray) -> np.ndarray:
        """:return: shares of the way from random to expert"""
        shares: np.ndarray = (scores - self.random) / (self.expert - self.random)
        return shares


@dataclass(frozen=True)
class Row:
    """Of an algorithm on a task, or on all of them, which have no scale in common: then it has normalised ones."""

    task: str
    algorithm: str
    n_runs: int
    steps: int | None = None
    mean: float | None = None
    deviation: float | None = None
    """standard deviation over runs, of n - 1"""
    iqm: Estimate | None = None
    cpu_seconds: float | None = None
    """mean over the runs"""
    normalised: Estimate | None = None
    """interquartile mean of normalised scores"""
    better: Estimate | None = None
    """probability of improvement over what it is compared with"""


def rows_of(runs: Sequence[Run], references: Mapping[str, Reference], versus: str | None = None) -> list[Row]:
    """
    :param runs: of any tasks and algorithms
    :param references: by task
    :param versus: the algorithm to compare the others with
    :return: by task and then by algorithm, in the order of the runs; then each algorithm on all tasks, where these are
        several and all have a reference or are compared
    :raises ValueError: for no runs, scores that are not finite, a reference whose expert is no better than random, and
        where no run is of ``versus``
    """
    if not runs:
        raise ValueError("runs: none, and so there is no number to write")
    for run in runs:
        if not np.isfinite(run.score):
            raise ValueError(f"{run.where}: score {run.score} must be finite")
    for task, (random, expert) in references.items():
        if not expert > random:
            raise ValueError(f"reference of {task}: expert {expert:g} must be above random {random:g}")
    algorithms = list(dict.fromkeys(run.algorithm for run in runs))
    if versus is not None and versus not in algorithms:
        raise ValueError(f"no run is of {versus!r}, to compare with; there are {', '.join(algorithms)}")
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.task, run.algorithm), []).append(run)
    tasks = list(dict.fromkeys(run.task for run in runs))
    pairs = [(task, algorithm) for task in tasks for algorithm in algorithms if (task, algorithm) in groups]
    rows = [_row(groups, pair, references.get(pair[0]), versus) for pair in pairs]
    if len(tasks) > 1:
        summaries = (_summary(groups, tasks, algorithm, references, versus) for algorithm in algorithms)
        rows += [row for row in summaries if row is not None]
    return rows


def _row(
    groups: Mapping[tuple[str, str], Sequence[Run]],
    pair: tuple[str, str],
    reference: Reference | None,
    versus: str | None,
) -> Row:
    runs = groups[pair]
    scores = _scores(runs)
    seconds = [run.cpu_seconds for run in runs]
    task, algorithm = pair
    other = None if versus in (None, algorithm) else groups.get((task, str(versus)))
    return Row(
        task,
        algorithm,
        len(runs),
        _common([run.steps for run in runs]),
        float(scores.mean()),
        float(scores.std(ddof=1)) if len(runs) > 1 else None,
        interquartile_mean([scores]),
        None if None in seconds else float(np.mean([x for x in seconds if x is not None])),
        None if reference is None else interquartile_mean([reference.normalised(scores)]),
        None if other is None else improvement([scores], [_scores(other)]),
    )


def _summary(
    groups: Mapping[tuple[str, str], Sequence[Run]],
    tasks: Sequence[str],
    algorithm: str,
    references: Mapping[str, Reference],
    versus: str | None,
) -> Row | None:
    """:return: None where the algorithm lacks a task, and where nothing can be said of all of them"""
    if any((task, algorithm) not in groups for task in tasks):
        return None
    scores = [_scores(groups[task, algorithm]) for task in tasks]
    normalised = better = None
    if all(task in references for task in tasks):
        shares = [references[task].normalised(x) for task, x in zip(tasks, scores, strict=True)]
        normalised = interquartile_mean(shares)
    if versus not in (None, algorithm) and all((task, versus) in groups for task in tasks):
        better = improvement(scores, [_scores(groups[task, str(versus)]) for task in tasks])
    if normalised is None and better is None:
        return None
    return Row(f"all {len(tasks)} tasks", algorithm, sum(map(len, scores)), normalised=normalised, better=better)


def _scores(runs: Sequence[Run]) -> np.ndarray:
    return np.array([run.score for run in runs], dtype=np.float64)


def _common(values: Sequence[int | None]) -> int | None:
    """:return: what all have"""
    return values[0] if len(set(values)) == 1 else None
