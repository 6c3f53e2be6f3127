"""
Log folders for rl-zoo3's plots, which read folders themselves: copies of what they read, in which a run that was
interrupted and gone on with is one folder, of the name and age of its last one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from sb3_ext.errors import UserError
from sb3_ext.viz.curves import NoReturns
from sb3_ext.zoo.runs.chain_curves import chain_episodes, chain_evaluations
from sb3_ext.zoo.runs.chains import Chain, chains_of

Cell = tuple[str, str, str]
"""environment, algorithm and folder, as typed"""


@contextlib.contextmanager
def joined_evaluations(
    algos: Sequence[str],
    envs: Sequence[str],
    folders: Sequence[str],
    notes: list[str],
    *,
    key: str = "results",
    max_steps: float = math.inf,
    is_cut: bool = False,
) -> Iterator[list[str]]:
    """
    For `all_plots`, which writes `0.0 +/- 0.0` for runs that are not there, and leaves out, without a word, those with
    fewer evaluations than the longest.

    :param algos: of its table
    :param envs: as in the names of folders
    :param folders: log folders
    :param notes: gets a line for each run that it leaves out, and for what is odd
    :param key: what it reads of them
    :param max_steps: after which it looks at none
    :param is_cut: it makes runs of other lengths equal
    :return: in the block, a log folder for each
    :raises UserError: where one is missing, or a run without what is read; for cells of its table that no run fills
    :raises ValueError: for evaluations that are broken, which are named
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"-f {folder}: there is no such folder")
    with tempfile.TemporaryDirectory() as place:
        numbers: dict[Cell, dict[Path, int]] = {cell: {} for cell in product(envs, algos, folders)}
        for algo, (i, folder) in product(algos, enumerate(folders)):
            for chain in _chains(Path(folder, algo.lower()), envs, notes):
                try:
                    arrays = chain_evaluations(chain, notes)
                except NoReturns as error:
                    notes.append(f"{error}; the run is left out")
                    continue
                if key not in arrays:
                    raise UserError(f"-k {key}: {chain.last} has none, only {', '.join(list(arrays)[1:])}")
                with _copy_of(chain, Path(place, str(i), algo.lower())) as copy:
                    np.savez(copy / "evaluations.npz", allow_pickle=False, **arrays)
                for env in _named(chain, envs):
                    numbers[env, algo, folder][chain.last] = int((arrays["timesteps"] <= max_steps).sum())
        _check_cells(numbers)
        if not is_cut:
            notes += [line for cell, found in numbers.items() for line in _shorter(cell, found)]
        yield [str(Path(place, str(i))) for i in range(len(folders))]


def _check_cells(numbers: dict[Cell, dict[Path, int]]) -> None:
    """As rl-zoo3 counts: it skips runs of a single evaluation."""
    cells = [cell for cell, found in numbers.items() if max(found.values(), default=0) < 2]
    if cells:
        empty = ", ".join(f"{algo} on {env} in {folder}" for env, algo, folder in cells)
        needed = "all_plots needs a run with two evaluations or more (evaluations.npz) for each"
        raise UserError(f"nothing to put in the table for {empty}: {needed}; `sb3-ext table` takes what there is")


def _shorter(cell: Cell, numbers: dict[Path, int]) -> Iterator[str]:
    env, algo, _ = cell
    longest = max(numbers.values())
    for run, number in numbers.items():
        if number < longest:
            yield (
                f"{run}: {number} evaluations, and the longest run of {algo} on {env} has {longest}: all_plots leaves "
                "it out; -min cuts the others, as `sb3-ext plot` does"
            )


@contextlib.contextmanager
def joined_episodes(runs: Path, envs: Sequence[str], notes: list[str]) -> Iterator[str]:
    """
    For `plot_train`.

    :param runs: folder of an algorithm's runs
    :param envs: as in the names of folders
    :param notes: gets a line for each thing that is odd
    :return: in the block, a log folder with the algorithm in it
    :raises ValueError: for monitor files that are broken, which are named
    """
    with tempfile.TemporaryDirectory() as place:
        for chain in _chains(runs, envs, notes):
            with _copy_of(chain, Path(place, runs.name)) as copy, contextlib.suppress(NoReturns):
                if len(chain.parts) == 1:
                    for file in chain.last.glob("*monitor.csv"):
                        shutil.copyfile(file, copy / file.name)
                else:
                    _join_monitors(chain, copy / "0.monitor.csv", notes)
        yield place


def _join_monitors(chain: Chain, path: Path, notes: list[str]) -> None:
    """Seconds are those of training, without the time between its parts."""
    import pandas as pd
    from stable_baselines3.common.monitor import load_results

    tables = []
    seconds = 0.0
    for part, curve in chain_episodes(chain, notes):
        table = load_results(str(part)).drop(columns="index").iloc[: len(curve.steps)]
        table["t"] += seconds
        seconds = float(table["t"].max())
        tables.append(table)
    text = pd.concat(tables).to_csv(index=False)
    path.write_text(f"#{json.dumps({'t_start': 0.0})}\n{text}", encoding="utf-8")


def _chains(runs: Path, envs: Sequence[str], notes: list[str]) -> list[Chain]:
    """As rl-zoo3 looks for runs: by a part of their names."""
    folders = [path for path in sorted(runs.glob("*")) if path.is_dir() and any(env in path.name for env in envs)]
    chains, lines = chains_of(folders)
    notes += lines
    return chains


def _named(chain: Chain, envs: Sequence[str]) -> list[str]:
    return [env for env in envs if env in chain.last.name]


@contextlib.contextmanager
def _copy_of(chain: Chain, runs: Path) -> Iterator[Path]:
    """:return: in the block, a new folder, which is then as old as the run: plots are in that order"""
    folder = runs / chain.last.name
    folder.mkdir(parents=True)
    yield folder
    told = chain.last.stat()
    os.utime(folder, (told.st_atime, told.st_mtime))
