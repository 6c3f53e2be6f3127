"""
Learning curves: read from a run's folder, put together over runs.

The x axis is always environment steps, over all environments of a run.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sb3_ext.viz.bootstrap import N_BOOTSTRAP, seeded

WINDOW = 100  # episodes: of `ep_rew_mean` in SB3's log
MOST_POINTS = 200  # of a curve over runs


class NoReturns(ValueError):
    """A folder has no file of returns, or none in it yet."""


@dataclass(frozen=True)
class Curve:
    """
    Returns of one run.

    :raises ValueError: for shapes that do not fit, no returns, returns that are not finite, and steps that go back
    """

    name: str
    steps: np.ndarray
    """[N] int64, environment steps so far"""
    returns: np.ndarray
    """[N] of training episodes, or [N, K] of K episodes of each evaluation"""
    source: Literal["monitor", "evaluations"]

    def __post_init__(self) -> None:
        n_dims = 1 if self.source == "monitor" else 2
        if self.steps.ndim != 1 or self.returns.ndim != n_dims or len(self.steps) != len(self.returns):
            raise ValueError(
                f"curve {self.name!r} from {self.source}: steps {self.steps.shape} and returns {self.returns.shape} "
                f"must be [N] and {'[N]' if n_dims == 1 else '[N, episodes]'}"
            )
        if self.returns.size == 0:
            raise ValueError(f"curve {self.name!r} from {self.source}: no returns yet")
        if not np.isfinite(self.returns).all():
            raise ValueError(f"curve {self.name!r} from {self.source}: returns must be finite")
        if (np.diff(self.steps) < 0).any():
            raise ValueError(f"curve {self.name!r} from {self.source}: its steps go back")

    def smoothed(self, window: int = WINDOW) -> np.ndarray:
        """
        :param window: training episodes to take the mean of, the latest ones up to each; fewer at the start
        :return: [N] means, of evaluations over their episodes and nothing else
        """
        if self.source == "evaluations":
            mean: np.ndarray = self.returns.mean(axis=1)
            return mean
        sums = np.concatenate([[0.0], np.cumsum(self.returns, dtype=np.float64)])
        last = np.arange(1, len(self.returns) + 1)
        first = np.maximum(last - window, 0)
        slopes: np.ndarray = (sums[last] - sums[first]) / (last - first)
        return slopes


def read_monitor(folder: str | os.PathLike[str], name: str | None = None) -> Curve:
    """
    Read what SB3's `Monitor` wrote. Episodes are in the order in which they ended, over all files; the steps are those
    of the episodes that have ended, as `Monitor` counts them: below its wrappers, so one that skips frames makes them
    more than the learner's. A last line that is being written is left out.

    :param folder: of a run, with ``*monitor.csv``
    :param name: of the curve; None = the folder's
    :raises NoReturns: where there are no such files, or no episodes
    :raises ValueError: where a file is broken, which is named
    """
    folder = pathlib.Path(folder)
    files = sorted(folder.glob("*monitor.csv"))
    if not files:
        raise NoReturns(f"{folder}: no *monitor.csv; the folder of a run is needed, in which Monitor wrote")
    rows = np.concatenate([_read_monitor_file(file) for file in files])
    if len(rows) == 0:
        raise NoReturns(f"{folder}: no episode has ended yet in its {len(files)} *monitor.csv")
    returns, lengths, _ = rows[np.argsort(rows[:, 2], kind="stable")].T
    return Curve(name or folder.resolve().name, np.cumsum(lengths).astype(np.int64), returns, "monitor")


def _read_monitor_file(path: pathlib.Path) -> np.ndarray:
    """:return: [N, 3] return, length, and end in seconds since 1970"""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        text = file.read()
    whole = text[: text.rfind("\n") + 1]  # a line without its end is being written
    if not whole:
        return np.zeros((0, 3))
    head, _, table = whole.partition("\n")
    try:
        start = float(json.loads(head.removeprefix("#"))["t_start"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: line 1 is not the one that Monitor writes: {head[:80]!r}") from error
    reader = csv.DictReader(io.StringIO(table))
    rows = []
    for row in reader:
        try:
            values = [float(row[key]) for key in ("r", "l", "t")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: line {reader.line_num + 1} has no numbers r, l and t: {row}") from error
        if not np.isfinite(values).all() or values[1] < 1:
            raise ValueError(f"{path}: line {reader.line_num + 1} is no episode: r, l, t = {values}")
        rows.append(values)
    found = np.array(rows).reshape(-1, 3)
    # A run that goes on in the same file starts its clock anew, although its episodes come later.
    found[:, 2] = start + np.maximum.accumulate(found[:, 2])
    return found


def read_evaluations(folder: str | os.PathLike[str], name: str | None = None) -> Curve:
    """
    Read what SB3's `EvalCallback` wrote, as rl-zoo3 uses it.

    :param folder: of a run, with ``evaluations.npz``
    :param name: of the curve; None = the folder's
    :raises NoReturns: where there is no such file
    :raises ValueError: where it is broken, which is named
    """
    arrays = read_evaluation_arrays(folder)
    name = name or pathlib.Path(folder).resolve().name
    return Curve(name, arrays["timesteps"], arrays["results"], "evaluations")


def read_evaluation_arrays(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """
    :param folder: as in `read_evaluations`
    :return: by name, [N] int64 `timesteps`, and [N, K] of the K episodes of each evaluation: `results`, and of
        `ep_lengths` and `successes` what there is
    :raises ValueError: as in `read_evaluations`
    """
    path = pathlib.Path(folder) / "evaluations.npz"
    if not path.is_file():
        raise NoReturns(f"{path}: no such file; EvalCallback writes it (`sb3-ext train --eval-freq ...`)")
    try:
        # A file of ours, because NumPy leaves its own open where the content is broken.
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            steps, returns = file["timesteps"].astype(np.int64), file["results"].astype(np.float64)
            others = {key: file[key].astype(np.float64) for key in ("ep_lengths", "successes") if key in file}
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not what EvalCallback writes: {error}") from error
    try:
        Curve(pathlib.Path(folder).resolve().name, steps, returns, "evaluations")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    same = {key: x for key, x in others.items() if x.shape == returns.shape}
    return {"timesteps": steps, "results": returns, **same}


@dataclass(frozen=True)
class Band:
    """Several runs as one curve of G points."""

    steps: np.ndarray
    """[G]"""
    iqm: np.ndarray
    """[G] interquartile mean over runs"""
    low: np.ndarray | None
    """[G] lower end of the 95 % interval; None of a single run, which has no interval"""
    high: np.ndarray | None
    """[G] upper end"""
    n_runs: int


def aggregate(
    groups: Mapping[str, Sequence[Curve]], *, window: int = WINDOW, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> dict[str, Band]:
    """
    The interquartile mean over the runs of each group, with the 95 % interval of the stratified bootstrap (Agarwal et
    al., 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"). Below 4 runs the interquartile
    mean is the mean, and few runs make an interval that is too narrow.

    Runs are compared at the same steps: at all those of any run, or at 200 even ones where there are more, linearly
    interpolated. The curve begins with the run that begins last and ends with the run that ends first, so that every
    point is made of all runs.

    :param groups: runs by the name of what is compared
    :param window: episodes of a training curve to smooth over, see `Curve.smoothed`
    :param n_bootstrap: resamplings
    :param seed: of them
    :return: a band for each group
    :raises ValueError: for a group without runs, of runs without a common step, or of both kinds of curves; for
        ``window`` or ``n_bootstrap`` < 1
    """
    for argument, value in (("window", window), ("n_bootstrap", n_bootstrap)):
        if value < 1:
            raise ValueError(f"{argument} {value} must be >= 1")
    return {name: _band(name, curves, window, n_bootstrap, seed) for name, curves in groups.items()}


def _band(name: str, curves: Sequence[Curve], window: int, n_bootstrap: int, seed: int) -> Band:
    sources = {curve.source for curve in curves}
    if len(sources) != 1:
        found = " and ".join(sorted(sources)) or "no curve"
        raise ValueError(f"group {name!r}: {found}; give it runs, all from monitor or all from evaluations")
    steps = _common_steps(name, curves)
    scores = np.stack([np.interp(steps, curve.steps, curve.smoothed(window)) for curve in curves])  # [runs, G]
    if len(curves) == 1:
        return Band(steps, scores[0], None, None, 1)
    from rliable.library import get_interval_estimates
    from scipy.stats import trim_mean

    with seeded(seed):
        points, intervals = get_interval_estimates(
            {name: scores[:, None]},  # of one task
            # rliable's own interquartile mean takes one point at a time; this is the same of all at once.
            lambda x: trim_mean(x[:, 0], proportiontocut=0.25, axis=0),
            reps=n_bootstrap,
        )
    low, high = intervals[name]
    return Band(steps, points[name], low, high, len(curves))


def _common_steps(name: str, curves: Sequence[Curve]) -> np.ndarray:
    first = max(curve.steps[0] for curve in curves)
    last = min(curve.steps[-1] for curve in curves)
    if first > last:
        raise ValueError(f"group {name!r}: one run ends at step {last}, before another begins at {first}")
    steps = np.unique(np.concatenate([curve.steps for curve in curves]))
    steps = steps[(steps >= first) & (steps <= last)]
    return steps if len(steps) <= MOST_POINTS else np.linspace(first, last, MOST_POINTS)
