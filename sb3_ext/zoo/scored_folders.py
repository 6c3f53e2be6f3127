"""
Runs with their scores from log folders, `logs/ALGO/ENV_N`. A run counts once and only if it has ended; whatever is left
out, or may count twice, is said in a line.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import WINDOW, Curve
from sb3_ext.viz.score_table import Run
from sb3_ext.zoo.manifests import Manifest, read_earlier
from sb3_ext.zoo.run_curves import Source, common_end, curves_of, of_several_folders


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
    notes = of_several_folders(groups, "row")
    for (task, algorithm), folders in groups.items():
        ended = [run for run in folders if unfinished or _has_ended(run, notes)]
        read = curves_of(ended, source, notes)
        curves = {run: curve for run, curve in read.items() if _is_independent(run, read, notes)}
        notes += _of_one_seed(curves)
        runs += _at_common_step(task, algorithm, curves, window, notes)
    return runs, notes


def _has_ended(run: Path, notes: list[str]) -> bool:
    try:
        manifest = Manifest.read(run) or read_earlier(run)
    except UserError as error:
        notes.append(f"{error}; the run is left out")
        return False
    if manifest is None or manifest.ended == "finished":
        return True
    steps = f"{manifest.num_timesteps} of {manifest.n_timesteps} steps"
    notes.append(f"{run}: has not ended ({steps}), and is left out; --unfinished counts it")
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
    step = common_end(task, algorithm, curves, notes)
    return [
        Run(task, algorithm, str(run), float(np.interp(step, curve.steps, curve.smoothed(window))), step)
        for run, curve in curves.items()
    ]
