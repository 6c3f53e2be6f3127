"""
Runs with their scores from log folders, `logs/ALGO/ENV_N`. A run counts once, however many folders it is in, and only
if it has ended; whatever is left out, or may count twice, is said in a line.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import WINDOW, Curve
from sb3_ext.viz.score_table import Run
from sb3_ext.zoo.runs.chain_curves import Source
from sb3_ext.zoo.runs.chains import Chain
from sb3_ext.zoo.runs.curves import SAME_LENGTH, Groups, common_end, curves_of, of_several_folders
from sb3_ext.zoo.runs.manifests import Manifest, read_earlier


def scored(
    groups: Groups, source: Source = "evaluations", *, window: int = WINDOW, unfinished: bool = False
) -> tuple[list[Run], list[str]]:
    """
    The runs of a group are compared at the step at which the first of them ends.

    :param groups: runs by task and algorithm
    :param source: of the scores: mean return of the evaluation, or of the latest training episodes
    :param window: training episodes to take the mean of
    :param unfinished: runs that have not ended count too
    :return: runs, and lines about what was left out
    :raises UserError: for runs of a group without a common step
    """
    runs: list[Run] = []
    notes = of_several_folders(groups, "row")
    for (task, algorithm), chains in groups.items():
        ended = [chain for chain in chains if unfinished or _has_ended(chain.last, notes)]
        read = curves_of(_without_shared_steps(ended, notes), source, notes)
        curves = {run: curve for run, curve in read.items() if _is_independent(run, read, notes)}
        counted = [chain for chain in chains if chain.last in curves]
        notes += _of_one_seed(counted)
        runs += _at_common_step(task, algorithm, counted, curves, window, notes)
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


def _without_shared_steps(chains: Sequence[Chain], notes: list[str]) -> list[Chain]:
    """:return: of runs with the same beginning the first, and before it the one that the others go on from"""
    owners: dict[Path, Path] = {}
    for chain in sorted(chains, key=lambda chain: len(chain.parts)):
        shared = next((part for part in reversed(chain.parts) if part in owners), None)
        if shared is None:
            owners.update(dict.fromkeys(chain.parts, chain.last))
        else:
            begin = f"its first {chain.cuts[chain.parts.index(shared)]:.0f} steps"
            notes.append(f"{chain.last}: shares {begin} with {owners[shared]}, and is left out beside it")
    return [chain for chain in chains if owners.get(chain.last) == chain.last]


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


def _of_one_seed(chains: Sequence[Chain]) -> list[str]:
    """:return: a line for each seed of several runs; where no manifest tells, one that was typed"""
    runs: dict[str, list[Path]] = {}
    for chain in chains:
        words = _command_of(chain.last)
        if chain.manifest is not None:
            runs.setdefault(str(chain.manifest.seed), []).append(chain.last)
        elif "--seed" in words[:-1]:
            runs.setdefault(words[words.index("--seed") + 1], []).append(chain.last)
    same = {seed: found for seed, found in runs.items() if len(found) > 1}
    return [f"{', '.join(map(str, x))}: all of seed {seed}, and each counts as a run" for seed, x in same.items()]


def _at_common_step(
    task: str, algorithm: str, chains: Sequence[Chain], curves: Mapping[Path, Curve], window: int, notes: list[str]
) -> list[Run]:
    if not chains:
        notes.append(f"{algorithm} on {task}: no run is left, and so no row")
        return []
    step = common_end(task, algorithm, chains, curves, notes)
    runs = []
    for chain in chains:
        curve = curves[chain.last]
        score = float(np.interp(step, curve.steps, curve.smoothed(window)))
        seconds = _cpu_seconds(chain) if step >= SAME_LENGTH * curve.steps[-1] else None
        runs.append(Run(task, algorithm, str(chain.last), score, step, seconds))
    return runs


def _cpu_seconds(chain: Chain) -> float | None:
    """:return: of all that counts; None where that is not known: of the beginning of a run that was made to its end"""
    seconds = 0.0
    for manifest, cut in zip(chain.manifests, chain.cuts, strict=True):
        if manifest is None or manifest.cpu_seconds is None or manifest.num_timesteps > cut:
            return None
        seconds += manifest.cpu_seconds
    first = chain.manifests[0]
    return seconds if first is not None and first.parent_steps == 0 else None
