"""
What a run leaves behind: a folder that is its own, and all that it has learnt, whatever ends it: Ctrl-C, SIGTERM, a
full disk, a dead worker, actors that fail. An interrupted run goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rl_zoo3.utils import ALGOS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.distributed.faults import ActorsFailed
from sb3_ext.errors import UserError
from sb3_ext.exchange.redaction import redacted_arguments, redacted_data
from sb3_ext.exchange.trust import load_statistics, say_trusted
from sb3_ext.metrics import LearnerMetrics
from sb3_ext.replaced import replaced
from sb3_ext.saving import remove_leftovers, whole_saves
from sb3_ext.zoo.actors import ActorSettings
from sb3_ext.zoo.interrupts import StopAtStep
from sb3_ext.zoo.runs.checkpoints import SavedSet, newest_whole, saved_with
from sb3_ext.zoo.runs.folders import take_folder
from sb3_ext.zoo.runs.manifests import Ended, Manifest, under_way
from sb3_ext.zoo.runs.records import RunRecord
from sb3_ext.zoo.runs.resuming import newest_part_with, to_resume
from sb3_ext.zoo.runs.taken_over import keep_pace, take_over
from sb3_ext.zoo.runs.tensorboards import curves_of_before, take_curves
from sb3_ext.zoo.runs.troubles import is_about_the_disk, trouble_of
from sb3_ext.zoo.settings import SettingsReader
from sb3_ext.zoo.streams import readers_may_go
from sb3_ext.zoo.typed_command import without_resume, without_secrets
from sb3_ext.zoo.workers import deaths


class RunKeeper(SettingsReader):
    """
    A training that keeps what it has learnt.

    :param command: that was typed, to say how to go on
    :param resume: folder of a run that has not finished, or "latest" of its algorithm and environment in the log
        folder: it goes on to the steps that it was to make; None = a new run
    :param resume_seed: of the latest; None = any, and the run keeps the seed that it has
    """

    # Any: what is passed on, unread.
    def __init__(
        self,
        *args: Any,
        command: Sequence[str] = (),
        resume: str | None = None,
        resume_seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if resume is not None and self.trained_agent:
            raise UserError("--resume goes on with a run, -i with a model: leave one of both out")
        if resume is not None and self.optimize_hyperparameters:
            raise UserError("--resume goes on with one training: -optimize makes many")
        self._typed_n_timesteps = int(self.n_timesteps)
        """or -1 or 0, where the yml's count"""
        self.has_folder = False
        self._made_above: list[Path] = []
        """folders that were made for its own, innermost first"""
        self.stop = StopAtStep()
        self.is_interrupted = False
        self.trouble: str | None = None
        """that ended training"""
        self.cause: Exception | None = None
        """of the trouble"""
        self.record: RunRecord | None = None
        """once training has begun"""
        self.actors: ActorSettings | None = None
        """that collect for it"""
        self._new_tensorboard: str | None = None
        self._until_saved = contextlib.ExitStack()
        self.command = list(command)
        self._resuming = contextlib.ExitStack()
        self.resume: Path | None = None
        """folder of the run that goes on"""
        self.resumed: Manifest | None = None
        """its manifest"""
        if resume is not None:
            runs, env_id = Path(self.log_path), self.env_name.gym_id
            self.resume, self.resumed = to_resume(resume, runs, self.algo, env_id, resume_seed)
            if resume_seed is None and self.resumed.id:  # of an earlier version it is not known
                self.seed = self.args.seed = self.resumed.seed
            # Nobody else goes on with it until this process has ended, or given up.
            self._resuming.enter_context(under_way(self.resume))
        self.saved: SavedSet | None = None
        """to go on with"""
        if self.continue_training:
            self.saved = saved_with(Path(self.trained_agent), str(self.env_name))

    @property
    def stopped_by(self) -> int | None:
        """number of the signal that ended training before all steps were made"""
        return self.stop.asked_by if self.is_interrupted else None

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Adds: a run without a model leaves no folder behind, where `enjoy` would look for the latest model."""
        try:
            result = super().setup_experiment()
        except BaseException:  # Ctrl-C too; the folder goes, the error is raised again
            self._drop_folder()
            self._resuming.close()
            raise
        if result is None:  # -optimize, whose reports lie elsewhere
            self._drop_folder()
        return result

    def create_log_folder(self) -> None:
        """Adds: the folder is this run's alone. rl-zoo3 has counted those that were there some time ago."""
        self._made_above = [above for above in Path(self.save_path).parents if not above.exists()]
        folder = take_folder(Path(self.save_path))
        self.save_path, self.params_path = str(folder), f"{folder}/{self.env_name}"
        self.has_folder = True
        super().create_log_folder()  # type: ignore[no-untyped-call] # rl-zoo3's has no annotation

    def _drop_folder(self) -> None:
        if self.has_folder:
            shutil.rmtree(self.save_path, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run has come into them
                for above in self._made_above:
                    above.rmdir()

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        """
        Adds: the command as it was typed, and no passwords, tokens and paths of this machine: these files are
        published. The settings that `enjoy` reads stay as they are, and `--resume` reads none of them.
        """
        kept = {"env_kwargs", "eval_env_kwargs", "hyperparams"}
        shown = {key: value if key in kept else redacted_data(value) for key, value in vars(self.args).items()}
        given, self.args = self.args, argparse.Namespace(**shown)
        super()._save_config(saved_hyperparams)
        self.args = given
        if self.command:
            command = redacted_arguments(without_resume(self.command))
            (Path(self.params_path) / "command.txt").write_text(shlex.join(command))

    def _preprocess_hyperparams(
        self, hyperparams: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[..., Any] | None, list[BaseCallback], Callable[..., Any] | None]:
        """Adds: what an interrupted run goes on with, and whose files are trusted."""
        processed = super()._preprocess_hyperparams(hyperparams)
        if self.resume is not None and self.resumed is not None:
            needs_replay = issubclass(ALGOS[self.algo], OffPolicyAlgorithm)
            name, has_statistics = str(self.env_name), bool(self.normalize)
            named = self.resume

            def find(part: Path, manifest: Manifest) -> SavedSet:
                return newest_whole(part, manifest, name, needs_replay, has_statistics)

            self.resume, self.resumed, saved = newest_part_with(find, named, self.resumed)
            if self.resume != named:
                self._resuming.enter_context(under_way(self.resume))
                remove_leftovers(named)
            self.saved, self.trained_agent, self.continue_training = saved, str(saved.model), True
            remove_leftovers(self.resume)
        if self.saved is not None:
            say_trusted([self.saved.model, self.saved.replay, self.saved.statistics])
        return processed

    def _maybe_normalize(self, env: VecEnv, eval_env: bool) -> VecEnv:
        """Adds: statistics of the checkpoint that is gone on with, not of the end of its run; and safe files."""
        if self.saved is None or self.saved.statistics is None:
            return super()._maybe_normalize(env, eval_env)
        normalized = load_statistics(self.saved.statistics, env)
        if eval_env:
            normalized.training = normalized.norm_reward = False
        return normalized

    def _load_pretrained_agent(self, hyperparams: dict[str, Any], env: VecEnv) -> BaseAlgorithm:
        """
        In place of rl-zoo3 2.9's, which takes the replay of the run's end for every checkpoint.
        """
        assert self.saved is not None
        fixed = ("policy", "policy_kwargs")
        model = ALGOS[self.algo].load(
            self.saved.model,
            env=env,
            seed=self.seed,
            tensorboard_log=self.tensorboard_log,
            verbose=self.verbose,
            device=self.device,
            **{key: value for key, value in hyperparams.items() if key not in fixed},
        )
        if isinstance(model, OffPolicyAlgorithm):
            if self.saved.replay is not None:
                print(f"Loading replay buffer {self.saved.replay}")
                model.load_replay_buffer(self.saved.replay, truncate_last_traj=self.truncate_last_trajectory)
            elif self.saved.num_timesteps is not None:
                print(f"No replay of step {self.saved.num_timesteps} beside {self.saved.model}: an empty one fills")
        return model

    def learn(self, model: BaseAlgorithm) -> None:
        """
        Adds: Ctrl-C ends training at a step, not in the middle of one; a full disk, a dead worker and failing actors
        end it too, and what was learnt is saved; a run goes on where it was. Signals are heard, and
        nobody needs to read what is printed, until all is saved.
        """
        self.callbacks += [LearnerMetrics(), self.stop]
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._resuming)
            stack.enter_context(readers_may_go())
            stack.push(self._note_a_failure)
            stack.enter_context(under_way(Path(self.save_path)))
            stack.enter_context(whole_saves())
            stack.enter_context(self.stop.listening())
            tensorboard = self._log_to_tensorboard(model)
            with self._going_on(model) as n_timesteps:
                self.record = self._begin_record(model, n_timesteps, tensorboard)
                try:
                    super().learn(model)
                except (OSError, EOFError, ActorsFailed) as error:
                    trouble, dead = trouble_of(error, self._envs(model), self.save_path), map(deaths, self._envs(model))
                    # A signal to the whole process group, as SLURM sends it, ends the workers, too: that is no trouble.
                    if not (self.stop.is_asked and any(dead)):
                        self.trouble, self.cause = trouble, error
            self.stop.is_saving = True
            asked = self.stop.is_asked or self.trouble is not None
            self.is_interrupted = asked and model.num_timesteps < n_timesteps
            self._until_saved = stack.pop_all()

    def _begin_record(self, model: BaseAlgorithm, n_timesteps: int, tensorboard: str | None) -> RunRecord:
        counts_on = self.saved is not None and self.saved.num_timesteps is not None
        return RunRecord(
            Path(self.save_path),
            algorithm=self.algo,
            env_id=self.env_name.gym_id,
            seed=self.seed,
            n_timesteps=n_timesteps,
            num_timesteps=model.num_timesteps if counts_on else 0,
            model=None if self.saved is None else self.saved.model,
            command=self.command,
            tensorboard=tensorboard,
            actors=self.actors,
        )

    def _envs(self, model: BaseAlgorithm) -> list[VecEnv | None]:
        return [model.env, *(callback.eval_env for callback in self.callbacks if isinstance(callback, EvalCallback))]

    def note_checkpoint(self, num_timesteps: int) -> None:
        """:param num_timesteps: of the checkpoint that was written"""
        if self.record is not None:
            self.record.saved(num_timesteps)

    def _log_to_tensorboard(self, model: BaseAlgorithm) -> str | None:
        """:return: the folder, None where nothing is logged"""
        if model.tensorboard_log is None:
            return None
        folder = None
        if self.resume is not None and self.resumed is not None:
            folder = curves_of_before(self.resume, self.resumed)
        if folder is None:
            folder = self._new_tensorboard = take_curves(model, model.tensorboard_log)
        model.set_logger(configure(folder, [*self._log_formats(), "tensorboard"]))
        return folder

    def _log_formats(self) -> list[str]:
        """:return: of SB3's logger, beside TensorBoard's"""
        return ["stdout"] if self.verbose > 0 else []

    def _note_a_failure(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """A run that failed before its first step leaves no folder; what failed is raised again."""
        if error is not None and self.stop.n_calls > 0 and self.record is not None:
            self.record.failed(error)
        if kind is not None and self.stop.n_calls == 0:
            self._drop_folder()
            if self._new_tensorboard is not None:
                shutil.rmtree(self._new_tensorboard, ignore_errors=True)

    @contextlib.contextmanager
    def _going_on(self, model: BaseAlgorithm) -> Iterator[int]:
        """
        For a checkpoint and an interrupted run: `learn` counts on from where it was; rl-zoo3 would begin at 0.

        :return: steps that the model shall have in the end
        """
        if self.saved is None or self.saved.num_timesteps is None:
            yield self.n_timesteps
            return
        if self.resume is not None and self.resumed is not None:
            if self._typed_n_timesteps not in (-1, 0, self.resumed.n_timesteps):
                print(
                    f"-n {self._typed_n_timesteps} changes nothing: the run goes on to the {self.resumed.n_timesteps} "
                    "steps that it was to make; -i goes on for more"
                )
            self.n_timesteps = self.resumed.n_timesteps - model.num_timesteps
            folder, name = Path(self.save_path), str(self.env_name)
            take_over(self.resume, folder, name, model.num_timesteps, self.callbacks)
        keep_pace(self.callbacks, model.num_timesteps // model.n_envs)
        goal = model.num_timesteps + self.n_timesteps
        print(f"Going on after {model.num_timesteps} of {goal} steps")
        cls = type(model)
        learn = cls.learn

        def learn_on(*args: Any, **kwargs: Any) -> Any:  # Any: SB3's arguments, unread
            return learn(*args, **{**kwargs, "reset_num_timesteps": False})

        # On the class: an attribute of the model would be saved with it.
        with replaced(cls, "learn", learn_on):
            yield goal

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """
        Adds: all that an interrupted run needs to go on.

        :raises UserError: after all is saved, where it was not the user who ended training
        """
        kept = not self.is_interrupted or self.stop.n_calls > 0
        with self._until_saved:
            if kept:
                self._save(model)
            else:
                self._drop_folder()
                print("Ended before the first step: nothing is kept")
        if self.trouble is not None:
            ended = f"after {model.num_timesteps} steps, and all is saved" if kept else "before the first step"
            raise UserError(f"{self.trouble}: training ended {ended}") from self.cause

    def _save(self, model: BaseAlgorithm) -> None:
        """:raises UserError: where the disk does not take it; the replay, which is large, comes last"""
        assert self.record is not None  # it has learnt
        saves_replay = self.save_replay_buffer or self.is_interrupted
        self.save_replay_buffer = False
        try:
            super().save_trained_model(model)
            if saves_replay and isinstance(model, OffPolicyAlgorithm):
                print("Saving replay buffer")
                model.save_replay_buffer(Path(self.save_path) / "replay_buffer.pkl")
            how: Ended = "finished" if not self.is_interrupted else "interrupted" if self.trouble is None else "failed"
            self.record.ended(how, model.num_timesteps, self.trouble)
        except OSError as error:
            if not is_about_the_disk(error, self.save_path):
                raise
            raise UserError(
                f"{error.strerror}, writing {error.filename}: what was saved before is whole; once that is mended, "
                f"`--resume {self.save_path}` goes on from the newest checkpoint"
            ) from error
        if not self.is_interrupted:
            return
        print(f"Interrupted after {model.num_timesteps} of {self.record.manifest.n_timesteps} steps. Go on with")
        print("  " + shlex.join(without_secrets([*without_resume(self.command), "--resume", str(self.save_path)])))
