"""
What a run that goes on has in its own folder from the beginning: the evaluations so far and the best model of them, up
to the step with which it goes on. So its folder tells the whole of the run, also once the earlier ones are gone, and
what was made after that step, and is made again, counts once.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback

from sb3_ext.saving import write_whole
from sb3_ext.zoo.runs.folders import steps_of

EVALUATIONS, BEST = "evaluations.npz", "best_model.zip"


def keep_pace(callbacks: Iterable[BaseCallback], n_calls: int) -> None:
    """
    Evaluations and checkpoints come at the steps at which they would have come, however often a run is stopped.

    :param callbacks: of a run that goes on
    :param n_calls: of each so far, one for a step of all environments
    """
    for callback in callbacks:
        if isinstance(callback, EvalCallback | CheckpointCallback):
            callback.n_calls = n_calls


def take_over(before: Path, folder: Path, env_name: str, steps: int, callbacks: Iterable[BaseCallback]) -> None:
    """
    The evaluations of ``folder`` become those of ``before`` and its own, where both are of as many episodes. A model
    that is worse than the best so far does not replace it.

    :param before: folder that it goes on from
    :param folder: of the run
    :param env_name: as in the names of files
    :param steps: with which it goes on
    :param callbacks: of the run
    """
    path = before / EVALUATIONS
    if not zipfile.is_zipfile(path):  # none, or the run was killed while it wrote them
        return
    with np.load(path, allow_pickle=False) as file:
        told = {name: file[name] for name in file.files}
    for callback in callbacks:
        if isinstance(callback, EvalCallback):
            _take_evaluations(told, folder / EVALUATIONS, steps, callback)
            _take_best(told, before, folder, steps, callback)
            statistics = Path(env_name) / "vecnormalize.pkl"
            if (before / statistics).is_file():
                shutil.copyfile(before / statistics, folder / statistics)


def _take_evaluations(told: dict[str, np.ndarray], path: Path, steps: int, callback: EvalCallback) -> None:
    kept = told["timesteps"] <= steps
    if not kept.any() or told["results"].shape[1:] != (callback.n_eval_episodes,):
        return
    rows = {name: x[kept] for name, x in told.items() if len(x) == len(kept)}
    callback.evaluations_timesteps = rows["timesteps"].tolist()
    callback.evaluations_results = rows["results"].tolist()
    callback.evaluations_length = rows["ep_lengths"].tolist()
    if "successes" in rows:
        callback.evaluations_successes = rows["successes"].tolist()

    def write(file: io.BufferedIOBase) -> None:
        np.savez(file, allow_pickle=False, **rows)

    write_whole(path, "npz", write)


def _take_best(told: dict[str, np.ndarray], before: Path, folder: Path, steps: int, callback: EvalCallback) -> None:
    made = steps_of(before / BEST)
    if made is None:
        return
    (rows,) = np.nonzero(told["timesteps"] == made)
    if made <= steps and len(rows) > 0:
        shutil.copyfile(before / BEST, folder / BEST)
        callback.best_mean_reward = float(told["results"][rows[-1]].mean())
    else:
        print(f"The best model so far, of step {made}, stays in {before}: this run goes on from step {steps}")
