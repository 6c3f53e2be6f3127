"""
Runs of log folders, a line for each, however often it was interrupted. All of it is read from small files: no model is
loaded, and what is not known is left open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.viz.curves import read_evaluations
from sb3_ext.zoo.runs.chains import Chain, chains_of, state_of
from sb3_ext.zoo.runs.curves import find_runs
from sb3_ext.zoo.runs.folders import steps_of, task_of
from sb3_ext.zoo.runs.next_steps import BEST_MODEL


@dataclass(frozen=True)
class Evaluation:
    """Of a model on the way."""

    mean: float
    """return of its episodes"""
    step: int
    """env steps that the model had made"""
    n_episodes: int
    model: Path | None
    """where that one was kept"""

    def to_json(self) -> dict[str, Any]:
        """:return: by name"""
        model = None if self.model is None else str(self.model)
        return {"mean": self.mean, "step": self.step, "episodes": self.n_episodes, "model": model}


@dataclass(frozen=True)
class Listed:
    """One run."""

    chain: Chain
    name: str
    """ALGO/ENV_3, by which it is found in the log folder"""
    evaluations: tuple[Evaluation, ...]
    """of all its parts"""

    @property
    def algorithm(self) -> str:
        """the zoo's id"""
        manifest = self.chain.manifest
        return self.chain.last.resolve().parent.name if manifest is None else manifest.algorithm

    @property
    def env_id(self) -> str:
        """of a run without a manifest as its folder is called, with "-" for "/" """
        manifest = self.chain.manifest
        return task_of(self.chain.last.resolve().name) if manifest is None else manifest.env_id

    @property
    def state(self) -> str:
        """of the last part, see `state_of`"""
        return state_of(self.chain.last, self.chain.manifest)

    @property
    def best(self) -> Evaluation | None:
        """the highest; of equal ones one whose model is there, else the latest"""
        return max(self.evaluations, key=lambda x: (x.mean, x.model is not None, x.step), default=None)

    @property
    def best_kept(self) -> Evaluation | None:
        """the highest of those whose models are there"""
        kept = [found for found in self.evaluations if found.model is not None]
        return max(kept, key=lambda x: (x.mean, x.step), default=None)

    @property
    def latest(self) -> Evaluation | None:
        """of the evaluations"""
        return max(self.evaluations, key=lambda x: x.step, default=None)

    @property
    def changed(self) -> datetime:
        """when it ended, or its files were written last"""
        manifest = self.chain.manifest
        if manifest is not None and manifest.ended_at is not None:
            with contextlib.suppress(ValueError):  # the file may have been edited
                return datetime.fromisoformat(manifest.ended_at).astimezone(timezone.utc)
        last = self.chain.last
        newest = max(path.lstat().st_mtime for path in (last, *last.iterdir()))
        return datetime.fromtimestamp(newest, timezone.utc)

    def to_json(self) -> dict[str, Any]:
        """:return: all that is known"""
        manifest, best, latest = self.chain.manifest, self.best, self.latest
        return {
            "name": self.name,
            "folder": str(self.chain.last),
            "id": None if manifest is None else manifest.id,
            "algorithm": self.algorithm,
            "env_id": self.env_id,
            "seed": None if manifest is None else manifest.seed,
            "num_timesteps": None if manifest is None else manifest.num_timesteps,
            "n_timesteps": None if manifest is None else manifest.n_timesteps,
            "state": self.state,
            "trouble": None if manifest is None else manifest.trouble,
            "best": None if best is None else best.to_json(),
            "latest": None if latest is None else latest.to_json(),
            "parts": [str(part) for part in self.chain.parts],
            "changed": self.changed.isoformat(timespec="seconds"),
        }


def listed(folder: Path) -> tuple[list[Listed], list[str]]:
    """
    :param folder: of logs
    :return: runs below it, the one that changed last at the end; and lines about what is odd
    """
    runs, notes = listed_of(find_runs(folder), folder)
    return sorted(runs, key=lambda run: (run.changed, run.name)), notes


def listed_of(runs: Iterable[Path], folder: Path) -> tuple[list[Listed], list[str]]:
    """
    :param runs: folders
    :param folder: of logs
    :return: runs, in that order; and lines about what is odd
    """
    chains, notes = chains_of(runs)
    return [Listed(chain, name_of(chain.last, folder), tuple(_evaluations(chain))) for chain in chains], notes


def name_of(run: Path, folder: Path) -> str:
    """
    :param run: its folder
    :param folder: of logs
    :return: the run's name in there; its path where it lies elsewhere
    """
    return run.relative_to(folder).as_posix() if run.is_relative_to(folder) else str(run)


def _evaluations(chain: Chain) -> Iterator[Evaluation]:
    """Each step once, from the part in which it counts; a copy of earlier ones has the model that was copied along."""
    found: dict[int, Evaluation] = {}
    for part, cut in zip(chain.parts, chain.cuts, strict=True):
        with contextlib.suppress(ValueError):  # none yet, or broken: `plot` and `table` say so
            curve = read_evaluations(part)
            means = curve.smoothed()
            model = part / BEST_MODEL
            best = _best_step(curve.steps, means, part) if model.is_file() else None
            for step, mean in zip(curve.steps.tolist(), means.tolist(), strict=True):
                if step > cut:
                    break
                kept = model if step == best else None
                before = found.get(step)
                if kept is not None or before is None:
                    found[step] = Evaluation(mean, step, curve.returns.shape[1], kept)
    yield from found.values()


def _best_step(steps: np.ndarray, means: np.ndarray, part: Path) -> int:
    """
    The model itself says: a run that went on without the best model so far kept one that is worse than evaluations of
    before. Where it cannot be read, it is the best; of equal ones ours keep the latest, and SB3 the first.

    :return: env steps of the model that was kept
    """
    told = steps_of(part / BEST_MODEL)
    if told is not None:
        return told
    at = np.flatnonzero(means == means.max())
    return int(steps[at[-1] if part.resolve().parent.name in ALGORITHMS else at[0]])


def table_of(runs: Sequence[Listed], now: datetime) -> str:
    """
    :param runs: to show
    :param now: in UTC
    :return: a line for each below a line of titles
    """
    rows = [("RUN", "SEED", "STEPS", "ENDED", "BEST", "LATEST", "AGE")]
    for run in runs:
        manifest, best, latest = run.chain.manifest, run.best, run.latest
        n_parts = len(run.chain.parts)
        rows.append(
            (
                run.name,
                "-" if manifest is None else str(manifest.seed),
                "-" if manifest is None else f"{manifest.num_timesteps}/{manifest.n_timesteps}",
                run.state + (f", {n_parts} parts" if n_parts > 1 else ""),
                "-" if best is None else f"{best.mean:.2f} at {best.step}",
                "-" if latest is None else f"{latest.mean:.2f}",
                age((now - run.changed).total_seconds()),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def age(seconds: float) -> str:
    """
    :param seconds: since something
    :return: in the largest unit that there is one of, "3 h"
    """
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now" if seconds < 1 else f"{seconds:.0f} s"
