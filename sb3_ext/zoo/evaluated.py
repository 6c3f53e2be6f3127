"""What `all_plots` finds, looked for before it is run: for runs that are not there it writes `0.0 +/- 0.0`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import read_evaluations


def check_cells(algos: Sequence[str], envs: Sequence[str], folders: Sequence[str]) -> None:
    """
    :param algos: of its table
    :param envs: as in the names of folders
    :param folders: log folders
    :raises UserError: where one is missing, and for cells of its table that no run fills
    :raises ValueError: for evaluations that are broken, which are named
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"-f {folder}: there is no such folder")
    cells = product(envs, algos, folders)
    empty = [f"{algo} on {env} in {folder}" for env, algo, folder in cells if not any(_used(algo, env, folder))]
    if empty:
        needed = "all_plots needs a run with two evaluations or more (evaluations.npz) for each"
        raise UserError(
            f"nothing to put in the table for {', '.join(empty)}: {needed}; `sb3-ext table` takes what there is"
        )


def _used(algo: str, env: str, folder: str) -> Iterator[bool]:
    """As rl-zoo3 looks for runs: by a part of their names, and it skips those of a single evaluation."""
    for run in sorted(Path(folder, algo.lower()).glob("*")):
        if env in run.name and (run / "evaluations.npz").is_file():
            yield len(read_evaluations(run).steps) > 1
