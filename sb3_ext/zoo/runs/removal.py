"""
Which folders of runs may be deleted. What others go on from stays, and so does all that is no run of `sb3-ext train`,
that a process is at, or that lies outside of the log folder, by a link too.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.chains import Chain
from sb3_ext.zoo.runs.curves import find_runs
from sb3_ext.zoo.runs.manifests import NAME, is_under_way


def to_remove(named: Sequence[Path], chains: Sequence[Chain], folder: Path, whole: bool) -> list[Path]:
    """
    :param named: folders of runs
    :param chains: all of the log folder
    :param folder: of logs
    :param whole: with all parts of the runs that they are of
    :return: folders to delete, those first that go on from others: what is left is whole whenever it is interrupted
    :raises UserError: for one that must stay
    """
    of_named = [chain for chain in chains if not set(named).isdisjoint(chain.parts)]
    parts = dict.fromkeys(part for chain in of_named for part in chain.parts if whole or part in named)
    for chain in chains:
        for part, child in pairwise(chain.parts):
            if part in parts and child not in parts:
                raise UserError(f"{child} goes on from {part}: name both, or --chain takes the whole run")
        if chain.last in parts and chain not in of_named:
            raise UserError(f"{chain.last} is a run of its own, from which others go on: name it too, or keep it")
    for part in parts:
        _check(part, folder)
    age = {part: i for chain in of_named for i, part in enumerate(chain.parts)}
    return sorted(parts, key=lambda part: -age[part])


def _check(part: Path, folder: Path) -> None:
    """:raises UserError: where nothing may be deleted"""
    inside = part.is_relative_to(folder) and part != folder
    if not inside:
        raise UserError(f"{part} does not lie in {folder}: -f names the log folder")
    if part.resolve() != folder.resolve() / part.relative_to(folder):
        raise UserError(f"{part} is a link, or behind one: only {folder}'s own folders are deleted")
    if not (part / NAME).is_file() and next(part.glob("*/args.yml"), None) is None:
        raise UserError(f"{part} is no run of `sb3-ext train`: it has no {NAME} and no args.yml")
    below = [run for run in find_runs(part) if run != part]
    if below:
        raise UserError(f"{part} has runs below it, as {below[0]}")
    if is_under_way(part):
        raise UserError(f"{part} is under way: end it first, by Ctrl-C or SIGTERM")


def remove(part: Path) -> None:
    """
    :param part: folder of a run, of `to_remove`
    :raises OSError: where it cannot be deleted
    """
    shutil.rmtree(part)
    with contextlib.suppress(OSError):  # other runs of the algorithm are in it
        part.parent.rmdir()


def size_of(path: Path) -> int:
    """:return: bytes of a file, or of all below a folder; a link has none"""
    if path.is_symlink():
        return 0
    return path.stat().st_size if path.is_file() else sum(size_of(inner) for inner in path.iterdir())


def readable(n_bytes: int) -> str:
    """:return: in the largest unit of which there is one, "1.2 MB" """
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= length:
            return f"{n_bytes / length:.1f} {unit}"
    return f"{n_bytes} B"
