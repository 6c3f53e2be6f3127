"""What `plot_train` will draw, looked for before it is run: without a run that is long enough it shows empty axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sb3_ext.errors import UserError, did_you_mean

COLUMNS = {"reward": "r", "length": "l", "success": "is_success"}
"""of a monitor.csv, by what ``-y`` calls them"""


def check_runs(runs: Path, envs: Sequence[str]) -> None:
    """
    :param runs: folder of an algorithm
    :param envs: as in the names of folders
    :raises UserError: for an environment without a run
    """
    if not runs.is_dir():
        raise UserError(f"there is no {runs}: -f names the log folder, -a an algorithm that was trained there")
    names = [path.name for path in _folders(runs)]
    for env in envs:
        if not any(env in name for name in names):
            raise UserError(f"no run of {env} in {runs}{did_you_mean(env, names)}")


def check_curves(runs: Path, envs: Sequence[str], shown: str, window: int, max_steps: int | None) -> None:
    """
    Runs of which no curve is drawn, although others of their environment have one, are named.

    :param runs: folder of an algorithm, with a run of each environment; a run is one folder
    :param envs: as in the names of folders
    :param shown: one of `COLUMNS`
    :param window: episodes that one point is the mean of
    :param max_steps: the curves end there; None = nowhere
    :raises UserError: for an environment of which there would be no curve
    """
    for env in envs:
        lengths = {path.name: _n_episodes(path, shown, max_steps) for path in _folders(runs) if env in path.name}
        if not any(lengths.values()):
            until = "" if max_steps is None else f" in its first {max_steps} steps"
            raise UserError(f"no run of {env} noted the {shown} of an episode{until}")
        longest = max(lengths, key=lengths.__getitem__)
        if lengths[longest] < window:
            raise UserError(
                f"a point of the curve is the mean of {window} episodes, and {longest}, the longest run of {env}, has "
                f"{lengths[longest]}: take fewer with -w {min(10, lengths[longest])}"
            )
        for name, length in lengths.items():
            if length < window:
                print(f"{name} is not drawn: it has {length} episodes, and a point is the mean of {window} (-w)")


def _folders(runs: Path) -> list[Path]:
    """:return: with episodes"""
    return sorted(path for path in runs.glob("*") if any(path.glob("*monitor.csv")))


def _n_episodes(run: Path, shown: str, max_steps: int | None) -> int:
    """:return: of all its monitor files, with the column"""
    from stable_baselines3.common.monitor import load_results

    table = load_results(str(run))
    if COLUMNS[shown] not in table:
        return 0
    return len(table) if max_steps is None else int((table.l.cumsum() <= max_steps).sum())
