"""What `sb3-ext train` makes of `Experiment`: little is shown unless more is asked for, and errors have one line."""

from __future__ import annotations

import contextlib
import math
import shlex
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import Logger

from sb3_ext.errors import setting_up
from sb3_ext.zoo.console import BRIEF, FULL, SILENT, Progress, hushed
from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.runs.next_steps import BEST_MODEL, next_steps


class TypedExperiment(Experiment):
    """
    :param verbose: see `sb3_ext.zoo.console`
    :param show_progress: the bar also where stderr is no terminal
    :param kwargs: of `Experiment`
    """

    def __init__(self, *args: Any, verbose: int = BRIEF, show_progress: bool = False, **kwargs: Any) -> None:
        """Any: what is passed on, unread."""
        self.is_brief = verbose < FULL
        super().__init__(*args, verbose=verbose, show_progress=show_progress and not self.is_brief, **kwargs)
        self.wants_bar = show_progress or (None if verbose > SILENT else False)
        self.evaluation: EvalCallback | None = None
        """that chooses the best model"""

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """
        Adds: below verbosity 2, what is about to be trained, in two lines.

        :raises CannotSetUp: for any error: what is wrong was typed, or stands in a yml
        """
        with setting_up(f"{self.algo} on {self.env_name.gym_id}"), hushed(self.is_brief):
            result = super().setup_experiment()
        if self.is_brief and result is not None:
            steps = f": {self.n_timesteps} steps" if self.resume is None else ""  # else it says how many are left
            print(f"Training {self.algo} on {self.env_name.gym_id}, seed {self.seed}{steps}")
            print(f"Settings of {self.config}, run in {self.save_path}")
        return result

    def create_callbacks(self) -> None:
        """Adds: below verbosity 2 the evaluation of rl-zoo3 does not print."""
        of_yml = len(self.callbacks)
        super().create_callbacks()
        for callback in self.callbacks[of_yml:]:
            if isinstance(callback, EvalCallback):
                self.evaluation = callback
                callback.verbose = int(not self.is_brief)

    def _log_formats(self) -> list[str]:
        return [] if self.is_brief else super()._log_formats()

    def learn(self, model: BaseAlgorithm) -> None:
        """Adds: below verbosity 2, no tables of SB3, and how far it is."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(hushed(self.is_brief))
            if self.is_brief:
                model.set_logger(Logger(None, []))  # with TensorBoard, it gets another
                progress = Progress(self.evaluation, table=self.verbose > SILENT, bar=self.wants_bar)
                self.callbacks.append(progress)
                stack.callback(progress.close)
            super().learn(model)

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Adds: of a run that has come to its end, where the model is, and what to do with it."""
        with hushed(self.is_brief):
            super().save_trained_model(model)
        run = Path(self.save_path)
        commands = next_steps(self.algo, self.env_name.gym_id, run, gym_packages=self.imports)
        if self.is_interrupted or not commands:
            return
        print(f"{saved(run / f'{self.env_name}.zip', self.evaluation)}. What comes next:")
        if self.args.tensorboard_log:
            commands.append(shlex.join(["tensorboard", "--logdir", self.args.tensorboard_log]))
        for command in commands:
            print(f"  {command}")


def saved(model: Path, evaluation: EvalCallback | None) -> str:
    """
    :param model: of the run's end
    :param evaluation: that chose the best one
    :return: says where they are, and how good the best one is; of one that another part of the run has chosen by other
        evaluations, that is not known
    """
    best = model.with_name(BEST_MODEL)
    if not best.is_file():
        return f"Saved {model}"
    score = -math.inf if evaluation is None else evaluation.best_mean_reward
    return f"Saved {model}, and {best.name}" + (f", mean return {score:.2f}" if math.isfinite(score) else "")
