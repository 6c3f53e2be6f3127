"""
Curves of the runs that lie in log folders, `logs/ALGO/ENV_N` and `logs/ALGO/ENV_N_uuid`: found, put into groups by task
and algorithm, read. A run that was interrupted and gone on with is one, in the group of its last folder. What is left
out, and which run cuts the others short, is said in a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import Curve
from sb3_ext.zoo.runs.chain_curves import Source, read_chain
from sb3_ext.zoo.runs.chains import Chain, chains_of, state_of
from sb3_ext.zoo.runs.folders import task_of

Groups: TypeAlias = dict[tuple[str, str], list[Chain]]
"""runs by task and algorithm"""
ENDED = ("finished", "-")
"""states of runs that nobody need go on with; those of rl-zoo3 itself have none"""
SAME_LENGTH = 0.99  # of the longest run: training episodes and rounds of several environments end where they end


def find_runs(folder: Path) -> list[Path]:
    """
    :param folder: of a run, or with runs below
    :return: folders of runs, also of those that have no return yet
    """
    of_returns = (path.parent for pattern in ("evaluations.npz", "*monitor.csv") for path in folder.rglob(pattern))
    of_settings = (path.parent.parent for path in folder.rglob("args.yml"))
    return sorted({*of_returns, *of_settings})


def groups_of(folders: Iterable[tuple[str | None, Path]], env: str | None, notes: list[str]) -> Groups:
    """
    :param folders: with the name that takes the place of the algorithm's, if any
    :param env: only its runs, as in the names of files
    :param notes: gets a line about each that is odd
    :return: runs by task and algorithm, each once
    """
    found: dict[str | None, list[Path]] = {}
    seen: set[Path] = set()
    for label, folder in folders:
        for run in find_runs(folder):
            whole = run.resolve()
            if whole not in seen and env in (None, task_of(whole.name)):
                seen.add(whole)
                found.setdefault(label, []).append(run)
    groups: Groups = {}
    for label, runs in found.items():
        chains, lines = chains_of(runs)
        notes += [line for line in lines if line not in notes]
        for chain in chains:
            whole = chain.last.resolve()
            groups.setdefault((task_of(whole.name), label or whole.parent.name), []).append(chain)
    return groups


def of_several_folders(groups: Groups, joined: str) -> list[str]:
    """
    :param groups: of `groups_of`
    :param joined: what is made of a group
    :return: a line for each algorithm whose runs may be those of several experiments; one with a label was asked for
    """
    lines = []
    for (task, algorithm), chains in groups.items():
        parents = list(dict.fromkeys(str(chain.last.parent) for chain in chains))
        if len(parents) > 1 and {chain.last.resolve().parent.name for chain in chains} == {algorithm}:
            lines.append(f"{algorithm} on {task}: one {joined} of {' and '.join(parents)}; LABEL=FOLDER makes two")
    return lines


def curves_of(chains: Iterable[Chain], source: Source, notes: list[str]) -> dict[Path, Curve]:
    """
    :param chains: runs
    :param source: evaluations on the way, or training episodes
    :param notes: gets a line for each that has none, or broken ones
    :return: by the folder that the run ends in
    """
    curves = {}
    for chain in chains:
        try:
            curves[chain.last] = read_chain(chain, source, notes)
        except ValueError as error:
            notes.append(f"{error}; the run is left out")
    return curves


def common_end(
    task: str, algorithm: str, chains: Iterable[Chain], curves: Mapping[Path, Curve], notes: list[str]
) -> int:
    """
    :param chains: runs of one task and algorithm
    :param curves: of `curves_of`, one at least
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
        states = {chain.last: state_of(chain.last, chain.manifest) for chain in chains}
        state = "" if states[first] in ENDED else f" ({states[first]})"
        all_runs = f"all runs of {algorithm} on {task}"
        notes.append(f"{first}{state} ends at step {step}, where {all_runs} are cut; one has {longest}")
    return step
