"""
Numbers of several runs with their 95 % intervals, by the stratified bootstrap: runs are drawn anew within each task
(Agarwal et al., 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

N_BOOTSTRAP = 2000


class Estimate(NamedTuple):
    """A number and its 95 % interval. One run has no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def interquartile_mean(tasks: Sequence[np.ndarray], *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0) -> Estimate:
    """
    The mean without the lowest and the highest quarter of all scores, of all tasks together. Below 4 scores it is the
    mean.

    :param tasks: [runs] scores of each task, on one scale; a task of more runs weighs more
    :param n_bootstrap: resamplings
    :param seed: of them
    :return: with an interval where every task has two runs or more
    """

    def of(*drawn: np.ndarray) -> np.ndarray:
        scores = np.sort(np.concatenate(drawn), axis=None)
        cut = len(scores) // 4
        return np.array([scores[cut : len(scores) - cut].mean()])

    return _estimate(of, tasks, n_bootstrap, seed)


def improvement(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> Estimate:
    """
    Probability that a run of ours scores higher than one of theirs, where equal scores count half; the mean over tasks.

    :param ours: [runs] scores of each task
    :param theirs: the same of the same tasks
    :param n_bootstrap: resamplings
    :param seed: of them
    :return: with an interval where every task has two runs or more of both
    """
    n_tasks = len(ours)

    def of(*drawn: np.ndarray) -> np.ndarray:
        pairs = zip(drawn[:n_tasks], drawn[n_tasks:], strict=True)
        # rliable asks a U test for each of the resamplings, which gives the same in a hundred times as long.
        wins = [np.mean((x > y.T) + 0.5 * (x == y.T)) for x, y in pairs]  # [runs, 1] and [1, runs]
        return np.array([np.mean(wins)])

    return _estimate(of, [*ours, *theirs], n_bootstrap, seed)


def _estimate(of: Callable[..., np.ndarray], tasks: Sequence[np.ndarray], n_bootstrap: int, seed: int) -> Estimate:
    columns = [np.asarray(scores, dtype=np.float64)[:, None] for scores in tasks]
    if min(map(len, columns)) < 2:
        return Estimate(float(of(*columns)[0]))
    from rliable.library import get_interval_estimates

    with seeded(seed):
        points, intervals = get_interval_estimates({"": columns}, of, reps=n_bootstrap)
    low, high = intervals[""][:, 0]
    return Estimate(float(points[""][0]), float(low), float(high))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """rliable draws from NumPy's global generator, whatever ``random_state`` it is given. It is put back as it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
