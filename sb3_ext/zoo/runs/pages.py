"""A run in words: what it was, how far it came, which files it left, and what to do next."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from sb3_ext.zoo.runs.chains import Chain, state_of
from sb3_ext.zoo.runs.listing import Evaluation, Listed, name_of
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.runs.next_steps import going_on, next_steps
from sb3_ext.zoo.runs.removal import readable, size_of


def page_of(run: Listed, part: Path, folder: Path) -> str:
    """
    :param run: to show
    :param part: of it, whose own steps, command and files are shown
    :param folder: of logs
    :return: lines
    """
    manifest = run.chain.manifests[run.chain.parts.index(part)]
    lines = [f"{name_of(part, folder)}: {run.algorithm} on {run.env_id}", ""]
    pairs = [*_of_manifest(part, manifest), *_of_scores(run)]
    lines += [f"{title:14}{text}" for title, text in pairs]
    if len(run.chain.parts) > 1:
        lines += ["", "Parts:", *(f"  {line}" for line in parts_of(run.chain, folder))]
    files = sorted(part.iterdir())
    sizes = [readable(size_of(path)) for path in files]
    lines += ["", f"Files in {part}:"]
    lines += [f"  {size:>9}  {path.name}{'/' * path.is_dir()}" for path, size in zip(files, sizes, strict=True)]
    commands = _next(run)
    if commands:
        lines += ["", "Next:", *(f"  {command}" for command in commands)]
    return "\n".join(lines)


def _next(run: Listed) -> list[str]:
    """:return: commands about the run as it stands"""
    manifest = run.chain.manifest
    shows = next_steps(run.algorithm, run.env_id, run.chain.last)
    if manifest is None or manifest.ended == "finished" or run.state == "running" or not manifest.command:
        return shows
    return [going_on(manifest.command, run.chain.last), *shows]


def _of_manifest(part: Path, manifest: Manifest | None) -> Iterator[tuple[str, str]]:
    if manifest is None:
        yield "manifest", "none: a run of rl-zoo3 itself, or of an earlier version"
        return
    yield "id", manifest.id
    yield "seed", str(manifest.seed)
    yield "steps", f"{manifest.num_timesteps} of {manifest.n_timesteps}"
    yield "ended", state_of(part, manifest) + (f": {manifest.trouble}" if manifest.trouble else "")
    yield "from, to", f"{manifest.began}, {manifest.ended_at or '-'}"
    if manifest.cpu_seconds is not None:
        yield "CPU time", f"{manifest.cpu_seconds:.0f} s"
    if manifest.actors is not None:
        yield "actors", f"{manifest.actors.n_actors} x {manifest.actors.envs_per_actor} ({manifest.actors.backend})"
    yield "command", manifest.command or "none: from code"
    yield "versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    if manifest.commit is not None:
        yield "commit", manifest.commit
    curves = tensorboard_of(part, manifest)
    if curves is not None:
        yield "TensorBoard", str(curves)


def tensorboard_of(part: Path, manifest: Manifest | None) -> Path | None:
    """
    :param part: folder of a run
    :param manifest: its own
    :return: folder of its curves, None where there is none or its place was blanked
    """
    if manifest is None or manifest.tensorboard is None:
        return None
    folder = Path(os.path.normpath(part / manifest.tensorboard))
    return folder if folder.is_dir() else None


def _of_scores(run: Listed) -> Iterator[tuple[str, str]]:
    def text(found: Evaluation) -> str:
        kept = f", {found.model}" if found.model is not None else ""
        return f"mean return {found.mean:.2f} of {found.n_episodes} episodes at step {found.step}{kept}"

    if run.best is not None and run.latest is not None:
        yield "best", text(run.best)
        yield "latest", text(run.latest)


def parts_of(chain: Chain, folder: Path) -> list[str]:
    """
    :param chain: a run
    :param folder: of logs
    :return: a line for each part, with the env steps for which it stands
    """
    names = [name_of(part, folder) for part in chain.parts]
    width = max(map(len, names))
    lines = []
    for part, name, cut, manifest in zip(chain.parts, names, chain.cuts, chain.manifests, strict=True):
        begin = 0 if manifest is None else manifest.parent_steps
        end = "-" if manifest is None else f"{manifest.num_timesteps if math.isinf(cut) else cut:.0f}"
        lines.append(f"{name:{width}}  steps {begin} to {end}, {state_of(part, manifest)}")
    return lines
