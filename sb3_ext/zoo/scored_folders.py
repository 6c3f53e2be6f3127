"""
Runs with their scores from log folders, `logs/ALGO/ENV_N`. A run counts once and only if it has ended; whatever is left
out, or may count twice, is said in a line.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import WINDOW, Curve, read_evaluations, read_monitor
from sb3_ext.viz.score_table import Run
from sb3_ext.zoo.checkpoints import Interrupted
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


def scored(
    groups: Mapping[tuple[str, str], Sequence[Path]],
    source: Source = "evaluations",
    *,
    window: int = WINDOW,
    unfinished: bool = False,
) -> tuple[list[Run], list[str]]:
    """
    The runs of a group are compared at the step at which the first of them ends.

    :param groups: folders of runs by task and algorithm
    :param source: of the scores: mean return of the evaluation, or of the latest training episodes
    :param window: training episodes to take the mean of
    :param unfinished: runs that have not ended count too; one that was resumed is in two folders then
    :return: runs, and lines about what was left out
    :raises UserError: for runs of a group without a common step
    """
    runs: list[Run] = []
    notes: list[str] = []
    notes += _of_several_folders(groups)
    for (task, algorithm), folders in groups.items():
        ended = [run for run in folders if unfinished or _has_ended(run, notes)]
        read = _curves(ended, source, notes)
        curves = {run: curve for run, curve in read.items() if _is_independent(run, read, notes)}
        notes += _of_one_seed(curves)
        runs += _at_common_step(task, algorithm, curves, window, notes)
    return runs, notes


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


def _of_several_folders(groups: Mapping[tuple[str, str], Sequence[Path]]) -> list[str]:
    """:return: a line for each algorithm whose runs may be those of several experiments; one with a label was asked"""
    lines = []
    for (task, algorithm), runs in groups.items():
        parents = list(dict.fromkeys(str(run.parent) for run in runs))
        if len(parents) > 1 and {run.resolve().parent.name for run in runs} == {algorithm}:
            lines.append(f"{algorithm} on {task}: one row of {' and '.join(parents)}; LABEL=FOLDER makes two")
    return lines


def _has_ended(run: Path, notes: list[str]) -> bool:
    """`train` leaves a note while a run is under way, which the folder of one that was resumed keeps."""
    if not (run / Interrupted.NAME).is_file():
        return True
    steps = ""
    with contextlib.suppress(UserError):
        read = Interrupted.read(run)
        made = "" if read.num_timesteps is None else f"{read.num_timesteps} of "
        steps = f" ({made}{read.n_timesteps} steps)"
    notes.append(f"{run}: has not ended{steps}, and is left out; --unfinished counts it")
    return False


def _is_independent(run: Path, others: Iterable[Path], notes: list[str]) -> bool:
    """:return: False where it went on, by ``-i``, from a run that counts itself"""
    words = _command_of(run)
    for flag in ("-i", "--trained-agent"):
        if flag in words[:-1]:
            parent = Path(words[words.index(flag) + 1]).parent.parts[-2:]
            if any(other != run and other.resolve().parts[-2:] == parent for other in others):
                notes.append(f"{run}: goes on, by {flag}, from {'/'.join(parent)}, and is left out beside it")
                return False
    return True


def _command_of(run: Path) -> list[str]:
    """:return: words of the command that made it, none where it is not known"""
    path = next(run.glob("*/command.txt"), None)
    try:
        return [] if path is None else shlex.split(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):  # it is a note for people, who may have edited it
        return []


def _curves(folders: Sequence[Path], source: Source, notes: list[str]) -> dict[Path, Curve]:
    curves = {}
    for run in folders:
        try:
            curves[run] = READERS[source](run)
        except ValueError as error:
            notes.append(f"{error}; the run is left out")
    return curves


def _of_one_seed(curves: Mapping[Path, Curve]) -> list[str]:
    """:return: a line for each seed that was typed for several runs"""
    runs: dict[str, list[Path]] = {}
    for run in curves:
        words = _command_of(run)
        if "--seed" in words[:-1]:
            runs.setdefault(words[words.index("--seed") + 1], []).append(run)
    same = {seed: found for seed, found in runs.items() if len(found) > 1}
    return [f"{', '.join(map(str, x))}: all of --seed {seed}, and each counts as a run" for seed, x in same.items()]


def _at_common_step(
    task: str, algorithm: str, curves: Mapping[Path, Curve], window: int, notes: list[str]
) -> list[Run]:
    if not curves:
        notes.append(f"{algorithm} on {task}: no run is left, and so no row")
        return []
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
    return [
        Run(task, algorithm, str(run), float(np.interp(step, curve.steps, curve.smoothed(window))), step)
        for run, curve in curves.items()
    ]
