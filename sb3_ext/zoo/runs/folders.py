"""Folders of runs, `logs/ALGO/ENV_1` and so on: each is taken by one process; and which of them hold an agent."""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

_NAME = re.compile(r"(.*)_(\d+)((?:_[0-9a-f-]{36})?)", re.DOTALL)


def take_folder(first: Path) -> Path:
    """
    Make a folder that nobody else has, however many try at once.

    :param first: choice, "ENV_3" or "ENV_3_uuid"
    :return: it, or the next number that is free
    """
    name, number, rest = _parts(first.name)
    for n in itertools.count(number):
        folder = first.with_name(f"{name}_{n}{rest}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # numbers do not end


def latest_run(runs: Path, name: str, wanted: Sequence[str]) -> int:
    """
    :param runs: folder of an algorithm
    :param name: of the environment, as in the names of files
    :param wanted: patterns of files, one of which the run must have: one that was killed early has no model
    :return: number of the newest such run, 0 = there is none
    """
    folders = {}
    for folder in runs.glob("*_*"):
        found = re.fullmatch(rf"{re.escape(name)}_(\d+)", folder.name)
        if found is not None:
            folders[int(found[1])] = folder
    skipped: list[str] = []
    for number, folder in sorted(folders.items(), reverse=True):
        if any(next(folder.glob(pattern), None) is not None for pattern in wanted):
            if skipped:
                print(f"No model in {', '.join(skipped)}: taking {folder.name}")
            return number
        skipped.append(folder.name)
    return 0


def task_of(run: str) -> str:
    """
    :param run: name of its folder
    :return: its environment, as in the names of files: "ENV" of "ENV_3" and of "ENV_3_uuid"; a name without a number is
        all of it
    """
    found = _NAME.fullmatch(run)
    return run if found is None else found[1]


def steps_of(model: Path) -> int | None:
    """
    :param model: zip of SB3
    :return: env steps that it has made; None where that cannot be read
    """
    try:
        with zipfile.ZipFile(model) as file:
            steps = json.loads(file.read("data"))["num_timesteps"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return steps if isinstance(steps, int) else None


def _parts(name: str) -> tuple[str, int, str]:
    """:return: of "ENV_3_uuid": "ENV", 3 and "_uuid" """
    found = _NAME.fullmatch(name)
    assert found is not None, name  # rl-zoo3 made it
    return found[1], int(found[2]), found[3]
