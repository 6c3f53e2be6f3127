"""
Files that run code when they are read: SB3's zips, pickles of statistics and replays, rl-zoo3's yml.

Safe files are read in their place where they are there; of the others it is said whose they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stable_baselines3.common.vec_env import VecEnv, VecNormalize


def say_trusted(paths: Iterable[str | os.PathLike[str] | None]) -> None:
    """
    Print one line about those of the files that are there, and have no safe files beside them.

    :param paths: about to be read; None is passed over
    """
    given = (Path(path) for path in paths if path is not None)
    there = [path for path in given if path.is_file() and _safe_statistics(path) is None]
    if not there:
        return
    owners = sorted({_owner(path) for path in there})
    print(f"Trusting {', '.join(owners)}, whose files may run code when they are read: {', '.join(map(str, there))}")


def beside(folder: Path) -> list[Path]:
    """
    :param folder: of a run's settings
    :return: files in it that are read with a model
    """
    return [folder / name for name in ("vecnormalize.pkl", "config.yml", "args.yml")]


def load_statistics(path: str | os.PathLike[str], env: VecEnv) -> VecNormalize:
    """
    :param path: of a pickle that `VecNormalize.save` wrote
    :param env: to be normalised
    :return: with the statistics of the safe files beside the pickle, where there are some; else with the pickle's
    """
    pickled = Path(path)
    safe = _safe_statistics(pickled)
    if safe is not None:
        from sb3_ext.exchange.safe_files import load_vec_normalize  # which needs another extra

        normalized = load_vec_normalize(safe, env)
        normalized.training = True  # as in a pickle; whoever only watches sets it
        return normalized
    return _load_pickle(str(pickled), env)


def _safe_statistics(pickled: Path) -> Path | None:
    """
    :param pickled: of `VecNormalize.save`
    :return: folder with the same as safe files, None where it has none
    """
    is_safe = all((pickled.parent / f"vec_normalize.{suffix}").is_file() for suffix in ("json", "safetensors"))
    return pickled.parent if is_safe and pickled.name == "vecnormalize.pkl" else None


_load_pickle = VecNormalize.load  # as it is when `load_statistics` stands in its place


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError, OSError):  # a user without a name, a system without users
        return f"user {path.stat().st_uid}"
