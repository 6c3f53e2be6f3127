"""
Curves of the runs that lie in log folders, `logs/ALGO/ENV_N` and `logs/ALGO/ENV_N_uuid`: found, put into groups by task
and algorithm, read. What is left out, and which run cuts the others short, is said in a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import Curve, read_evaluations, read_monitor
from sb3_ext.zoo.run_folders import task_of

Source = Literal["evaluations", "monitor"]
READERS = {"evaluations": read_evaluations, "monitor": read_monitor}
SAME_LENGTH = 0.99  # of the longest run: training episodes and rounds of several environments end where they end


def find_runs(folder: Path) -> list[Path]:
    """
    :param folder: of a run, or with runs below
    :return: folders of runs, also of those that have no return yet
    """
    of_returns = (path.parent for pattern in ("evaluations.npz", "*monitor.csv") for path in folder.rglob(pattern))
    of_settings = (path.parent.parent for path in folder.rglob("args.yml"))
    return sorted({*of_returns, *of_settings})


def groups_of(folders: Iterable[tuple[str | None, Path]], env: str | None) -> dict[tuple[str, str], list[Path]]:
    """
    :param folders: with the name that takes the place of the algorithm's, if any
    :param env: only its runs, as in the names of files
    :return: folders of runs by task and algorithm, each once
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    seen: set[Path] = set()
    for label, folder in folders:
        for run in find_runs(folder):
            whole = run.resolve()
            task = task_of(whole.name)
            if whole not in seen and env in (None, task):
                seen.add(whole)
                groups.setdefault((task, label or whole.parent.name), []).append(run)
    return groups


def of_several_folders(groups: Mapping[tuple[str, str], Sequence[Path]], joined: str) -> list[str]:
    """
    :param groups: of `groups_of`
    :param joined: what is made of a group
    :return: a line for each algorithm whose runs may be those of several experiments; one with a label was asked for
    """
    lines = []
    for (task, algorithm), runs in groups.items():
        parents = list(dict.fromkeys(str(run.parent) for run in runs))
        if len(parents) > 1 and {run.resolve().parent.name for run in runs} == {algorithm}:
            lines.append(f"{algorithm} on {task}: one {joined} of {' and '.join(parents)}; LABEL=FOLDER makes two")
    return lines


def curves_of(runs: Sequence[Path], source: Source, notes: list[str]) -> dict[Path, Curve]:
    """
    :param runs: folders
    :param source: evaluations on the way, or training episodes
    :param notes: gets a line for each that has none, or broken ones
    """
    curves = {}
    for run in runs:
        try:
            curves[run] = READERS[source](run)
        except ValueError as error:
            notes.append(f"{error}; the run is left out")
    return curves


def common_end(task: str, algorithm: str, curves: Mapping[Path, Curve], notes: list[str]) -> int:
    """
    :param curves: of one task and algorithm, one at least
    :param notes: gets a line about a run that cuts the others short
    :return: step at which the first of them ends
    :raises UserError: for runs without a common step
    """
    first = min(curves, key=lambda run: curves[run].steps[-1])
    begins_last = max(curves, key=lambda run: curves[run].steps[0])
    step, begin = int(curves[first].steps[-1]), int(curves[begins_last].steps[0])
    if begin > step:
        raise UserError(
            f"{first} ends at step {step}, before {begins_last} begins at {begin}: there is no step to compare them "
            "at; leave one out"
        )
    longest = max(int(curve.steps[-1]) for curve in curves.values())
    if step < SAME_LENGTH * longest:
        notes.append(f"{first} ends at step {step}, where all runs of {algorithm} on {task} are cut; one has {longest}")
    return step
