"""Which run goes on: the one that is named, or the latest that has not finished. What cannot go on is one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.chains import Chain, chains_of, is_idle
from sb3_ext.zoo.runs.manifests import NAME, Manifest, is_under_way, read_earlier

LATEST = "latest"
Found = TypeVar("Found")


def to_resume(named: str, runs: Path, algorithm: str, env_id: str, seed: int | None) -> tuple[Path, Manifest]:
    """
    :param named: folder, or "latest"
    :param runs: folder of the algorithm, in which the latest is looked for
    :param algorithm: the zoo's id
    :param env_id: as gymnasium knows it
    :param seed: of the latest; None = any
    :return: the run that goes on
    :raises UserError: where it cannot, or was a run of another algorithm or environment
    """
    is_latest = named == LATEST
    folder = latest_unfinished(runs, algorithm, env_id, seed) if is_latest else Path(named)
    manifest = read_unfinished(folder)
    is_told = manifest.id != ""  # runs of earlier versions do not say
    if is_told and (manifest.algorithm, manifest.env_id) != (algorithm, env_id):
        raise UserError(
            f"{folder} was a run of --algo {manifest.algorithm} --env {manifest.env_id}, and goes on as such; "
            "-i goes on from any model"
        )
    if not is_latest:
        _say_who_went_on(folder, manifest)
    return folder, manifest


def _say_who_went_on(folder: Path, manifest: Manifest) -> None:
    """A command that was typed for the first part would begin there again, and leave the later ones aside."""
    for chain in chains_of(path.parent for path in sorted(folder.resolve().parent.glob(f"*/{NAME}")))[0]:
        later = chain.manifest
        if folder.resolve() in chain.parts[:-1] and later is not None and later.num_timesteps > manifest.num_timesteps:
            there = folder.with_name(chain.last.name)
            print(
                f"{there} went on from {folder} already, to step {later.num_timesteps}: `--resume {there}` is that one"
            )


def newest_part_with(
    find: Callable[[Path, Manifest], Found], folder: Path, manifest: Manifest
) -> tuple[Path, Manifest, Found]:
    """
    A part that was killed before it had saved a step leaves its run where the part before it had come to.

    :param find: what to go on with, in a part of a run with this manifest; raises `UserError` where there is nothing
    :param folder: of a run that shall go on
    :param manifest: its
    :return: the newest part of it that has something, its manifest, and that
    :raises UserError: what `find` said of the folder, where no part has
    """
    try:
        return folder, manifest, find(folder, manifest)
    except UserError:
        (chain,), _ = chains_of([folder])
        earlier = list(zip(chain.parts, chain.manifests, strict=True))[-2::-1]
        for part, told in earlier:
            if not is_idle(manifest) or told is None:
                break
            with contextlib.suppress(UserError):
                found = find(part, told)
                print(f"{folder} has saved no step of its own: going on from {part}")
                return part, told, found
            manifest = told
        raise


def read_unfinished(folder: Path) -> Manifest:
    """
    :param folder: of a run that shall go on
    :return: its manifest, or what stands for it in a run of an earlier version
    :raises UserError: where no run is, or it has finished
    """
    if not folder.is_dir():
        raise UserError(f"--resume {folder}: there is no such folder")
    try:
        manifest = Manifest.read(folder) or read_earlier(folder)
    except UserError as error:
        raise UserError(f"{error}; -i goes on from any model") from error
    if manifest is None:
        raise UserError(f"{folder} holds no run to go on with: there is no {NAME}; -i goes on from any model")
    if manifest.ended == "finished":
        raise UserError(f"{folder} has finished, after {manifest.num_timesteps} steps; -i goes on from any model")
    return manifest


def latest_unfinished(runs: Path, algorithm: str, env_id: str, seed: int | None) -> Path:
    """
    One that another goes on from, or that a process is at, is not taken. Where a run was killed before it had saved
    anything, the part before it is.

    :param runs: folder of the algorithm
    :param algorithm: the zoo's id
    :param env_id: as gymnasium knows it
    :param seed: of the run; None = any
    :return: folder of the newest run that can go on; the line that is printed says which
    :raises UserError: where there is none, naming the newest of those that cannot
    """
    of_seed = "" if seed is None else f" of --seed {seed}"
    found = [
        (manifest.began, chain, manifest)
        for chain in chains_of(path.parent for path in sorted(runs.glob(f"*/{NAME}")))[0]
        if (manifest := chain.manifest) is not None
        and (manifest.algorithm, manifest.env_id) == (algorithm, env_id)
        and seed in (None, manifest.seed)
    ]
    reasons = []
    for _, chain, manifest in sorted(found, key=lambda x: x[0], reverse=True):
        reason, folder = _why_not(chain, manifest)
        if folder is not None:
            print(f"--resume {LATEST}: taking {folder}, {_how(manifest)}{of_seed}")
            return folder
        reasons.append(reason)
    none = f"--resume {LATEST}: no run of {algorithm} on {env_id}{of_seed} in {runs} can go on"
    raise UserError(f"{none}: {reasons[0]}" if reasons else f"{none}, there is none; leave --resume out to begin one")


def _why_not(chain: Chain, manifest: Manifest) -> tuple[str, Path | None]:
    """:return: why it cannot go on, or the folder that has something to go on with"""
    if manifest.ended == "finished":
        return f"the newest, {chain.last}, has finished, after {manifest.num_timesteps} steps", None
    if any(map(is_under_way, chain.parts)):
        return f"the newest, {chain.last}, is under way in another process", None
    saved = [part for part in chain.parts if any(part.glob("*.zip"))]
    return f"the newest, {chain.last}, had saved nothing yet; --save-every saves on the way", next(
        reversed(saved), None
    )


def _how(manifest: Manifest) -> str:
    how = "killed" if manifest.ended == "running" else manifest.ended
    return f"{how} after {manifest.num_timesteps} of {manifest.n_timesteps} steps"
