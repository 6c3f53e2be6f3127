"""
rl-zoo3's `ExperimentManager` as `sb3-ext train` uses it.

Adds: our yml where no ``-conf`` is given, unknown keywords are named before anything is created, one torch thread for
small networks, the latest of the best models, an evaluation of the result at the end; and no run writes into another
one's folder, or loses what it has learnt to Ctrl-C, SIGTERM, a full disk or a dead worker.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import inspect
import os
import shlex
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rl_zoo3 import exp_manager
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS, get_wrapper_class
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, sync_envs_normalization

from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.errors import UserError
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.exchange.redaction import BLANK, redacted_arguments, redacted_data
from sb3_ext.exchange.trust import load_statistics, say_trusted
from sb3_ext.metrics import LearnerMetrics
from sb3_ext.replaced import replaced
from sb3_ext.saving import remove_leftovers, whole_saves
from sb3_ext.td3.noise import Laddered, Scheduled
from sb3_ext.zoo.checkpoints import Interrupted, SavedSet, WholeCheckpointCallback, saved_with
from sb3_ext.zoo.configs import config_path, read_presets
from sb3_ext.zoo.experts import default_path, recorded
from sb3_ext.zoo.interrupts import StopAtStep
from sb3_ext.zoo.run_folders import take_folder
from sb3_ext.zoo.vec_wrappers import normalized_last
from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv, deaths

# Keys of a yml that rl-zoo3 uses up itself; all others are keywords of the algorithm.
ZOO_KEYS = {
    "callback",
    "env_kwargs",
    "env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "n_envs",
    "n_timesteps",
    "noise_final",
    "noise_fraction",
    "noise_ladder",
    "noise_std",
    "noise_type",
    "normalize",
    "policy",
    "vec_env_wrapper",
}
NOISE_KEYS = ("noise_final", "noise_fraction", "noise_ladder")
FINAL_EVAL_EPISODES = 20
FINAL_EVAL_SEED_OFFSET = 100_000  # away from the episodes that chose the best model, which start at the run's seed
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Experiment(ExperimentManager):
    """
    :param final_eval_episodes: episodes of the evaluation at the end, 0 = none; the other parameters are rl-zoo3's
    :param preset: settings under ``presets`` in the yml, laid over the block of the environment; None = none
    :param demonstrations: what an imitating algorithm learns from, in place of the yml's; None = the yml's, or
        demos/ENV.npz
    :param command: that was typed, to say how to go on
    :param resume: folder of an interrupted run, which goes on to the steps that it was to make; None = a new run
    """

    # Any: rl-zoo3's forty parameters pass through unread.
    def __init__(
        self,
        *args: Any,
        final_eval_episodes: int = FINAL_EVAL_EPISODES,
        preset: str | None = None,
        demonstrations: str | None = None,
        resume: str | None = None,
        command: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.vec_env_class is SubprocVecEnv:
            self.vec_env_class = UninterruptedSubprocVecEnv
        self.has_folder = False
        self.stop = StopAtStep()
        self.is_interrupted = False
        self.trouble: str | None = None
        """that ended training"""
        self._until_saved = contextlib.ExitStack()
        self.command = list(command)
        self.resume = None if resume is None else Interrupted.read(Path(resume))
        self.saved: SavedSet | None = None
        """to go on with"""
        if self.continue_training:
            self.saved = saved_with(Path(self.trained_agent), str(self.env_name))
        self.final_eval_episodes = final_eval_episodes
        self.preset = preset
        self.demonstrations = demonstrations
        if self.args.conf_file is None and self.algo in ALGORITHMS:
            self.config = str(config_path(self.algo))

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Adds: a run without a model leaves no folder behind, where `enjoy` would look for the latest model."""
        try:
            result = super().setup_experiment()
        except BaseException:  # Ctrl-C too; the folder goes, the error is raised again
            self._drop_folder()
            raise
        if result is None:  # -optimize, whose reports lie elsewhere
            self._drop_folder()
        return result

    def create_log_folder(self) -> None:
        """Adds: the folder is this run's alone. rl-zoo3 has counted those that were there some time ago."""
        folder = take_folder(Path(self.save_path))
        self.save_path, self.params_path = str(folder), f"{folder}/{self.env_name}"
        self.has_folder = True
        super().create_log_folder()  # type: ignore[no-untyped-call] # rl-zoo3's has no annotation

    def _drop_folder(self) -> None:
        if self.has_folder:
            shutil.rmtree(self.save_path, ignore_errors=True)

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Adds: the preset, that ``--trial-id 0`` means the first trial, which rl-zoo3 takes for none given, and that
        algorithms which keep raw observations are normalised last.
        """
        if self.preset is not None:
            presets = read_presets(self.config)
            check_keywords([self.preset], set(presets), f"preset of {self.algo}")
            self.custom_hyperparams = {**presets[self.preset], **(self.custom_hyperparams or {})}
        if self.trial_id == 0 and self.storage and self.study_name:
            from_trial = self.load_trial(self.storage, self.study_name, 0)
            self.custom_hyperparams = {**from_trial, **(self.custom_hyperparams or {})}
        hyperparams, saved = super().read_hyperparameters()
        keeps_raw = issubclass(ALGOS[self.algo], OffPolicyAlgorithm) or self.algo in IMITATORS
        if hyperparams.get("normalize") and keeps_raw:
            space = self._observation_space(hyperparams)
            hyperparams, saved = normalized_last(hyperparams, space), normalized_last(saved, space)
        return hyperparams, saved

    def _observation_space(self, hyperparams: dict[str, Any]) -> gym.Space[Any]:
        """:return: of one environment in the wrappers of the yml"""
        kwargs = {**(hyperparams.get("env_kwargs") or {}), **self.env_kwargs}
        env = gym.spec(self.env_name.gym_id).make(**kwargs)
        wrap = get_wrapper_class(hyperparams)
        wrapped = env if wrap is None else wrap(env)
        wrapped.close()
        return wrapped.observation_space

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
            command = redacted_arguments(_without_resume(self.command))
            (Path(self.params_path) / "command.txt").write_text(shlex.join(command))

    def _preprocess_hyperparams(
        self, hyperparams: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[..., Any] | None, list[BaseCallback], Callable[..., Any] | None]:
        """
        Adds: missing and unknown keys are named, and `env_kwargs` hold for evaluation too. What `super` returns are the
        keywords of the algorithm.
        """
        for key in ("policy", "n_timesteps"):
            if key not in hyperparams:
                raise ValueError(f"the block for {self.env_name.gym_id} in {self.config} lacks {key!r}")
        policy = hyperparams["policy"]
        processed = super()._preprocess_hyperparams(hyperparams)
        if self._eval_env_kwargs_args is None:  # rl-zoo3 evaluates on the default environment if they come from the yml
            self.eval_env_kwargs = self.env_kwargs
        if self.algo in IMITATORS:
            processed[0]["demonstrations"] = self._demonstrations(processed[0].get("demonstrations"))
        algorithm = ALGOS[self.algo]
        check_keywords(processed[0], keywords_of(algorithm) | ZOO_KEYS, f"hyperparameter of {self.algo}")
        policy_class = algorithm.policy_aliases.get(policy) if isinstance(policy, str) else policy
        if policy_class is not None:
            known = keywords_of(policy_class)
            check_keywords(processed[0].get("policy_kwargs") or {}, known, f"key of policy_kwargs for {policy}")
        if self.resume is not None:
            needs_replay = issubclass(algorithm, OffPolicyAlgorithm)
            self.saved = self.resume.newest_whole(str(self.env_name), needs_replay, bool(self.normalize))
            self.trained_agent, self.continue_training = str(self.saved.model), True
            remove_leftovers(self.resume.folder)
        if self.saved is not None:
            say_trusted([self.saved.model, self.saved.replay, self.saved.statistics])
        return processed

    @staticmethod
    def _preprocess_schedules(hyperparams: dict[str, Any]) -> dict[str, Any]:
        """Adds: the discriminator's rate may be ``lin_1e-3`` as the policy's."""
        key = "discriminator_learning_rate"
        if isinstance(hyperparams.get(key), str):
            rate = ExperimentManager._preprocess_schedules({"learning_rate": hyperparams[key]})
            hyperparams[key] = rate["learning_rate"]
        return ExperimentManager._preprocess_schedules(hyperparams)

    def _preprocess_action_noise(
        self, hyperparams: dict[str, Any], saved_hyperparams: dict[str, Any], env: VecEnv
    ) -> dict[str, Any]:
        """
        Adds: ``noise_final`` and ``noise_fraction``, a schedule of the noise, and ``noise_ladder``, its factors in the
        first and the last environment.
        """
        given = {key: hyperparams.pop(key) for key in NOISE_KEYS if key in hyperparams}
        processed = super()._preprocess_action_noise(hyperparams, saved_hyperparams, env)
        if given:
            processed["action_noise"] = scaled_noise(processed.get("action_noise"), **given)
        return processed

    def _demonstrations(self, given: str | dict[str, Any] | None) -> dict[str, Any] | Demonstrations:
        """
        :param given: in the yml: a path, ``source:`` and other keywords of `sb3_ext.demonstrations.load`, or ``model:``
            with the algorithm of a trained agent and how to record it
        :return: keywords of `load`, for a file or a folder that is there, or fresh recordings
        """
        env_id = self.env_name.gym_id
        if self.demonstrations is not None:
            given = self.demonstrations
        if isinstance(given, dict):
            return {"env_id": env_id, **given} if "source" in given else recorded(env_id, given)
        path = default_path(env_id) if given is None else Path(given)
        if not path.exists():
            raise UserError(
                f"{self.algo} learns from demonstrations, and there is no {path}. Record them from a trained agent: "
                f"`sb3-ext train --algo ppo --env {env_id}`, then `sb3-ext demos record --algo ppo --env {env_id} "
                f"-o {path}`; or play yourself: `sb3-ext demos play {env_id} -o {path}`"
            )
        return {"source": str(path), "env_id": env_id}

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """
        Adds: a single torch thread, unless the user chose a number or the observations are images; and that frames
        which are skipped twice are named.
        """
        env = super().create_envs(n_envs, eval_env=eval_env, no_log=no_log)
        skipped = frames_skipped_twice(env)
        if skipped is not None and not eval_env:
            print(
                f"WARNING: {self.env_name.gym_id} skips {skipped[0]} frames by itself and its wrapper {skipped[1]}: an "
                f"action lasts {skipped[0] * skipped[1]} frames. --env-kwargs frameskip:1 leaves it to the wrapper"
            )
        chosen = self.args.num_threads > 0 or "OMP_NUM_THREADS" in os.environ
        if not chosen and not has_image(env.observation_space) and th.get_num_threads() > 1:
            th.set_num_threads(1)
            if self.verbose > 0:
                print("Using 1 torch thread: small networks are slower with more (--num-threads changes it)")
        return env

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

    def create_callbacks(self) -> None:
        """
        Adds: checkpoints are whole sets, with statistics, and with the replay where it is saved at all; for our
        algorithms the later of two equally good models is kept as the best.
        """
        checkpoints = functools.partial(
            WholeCheckpointCallback, save_replay_buffer=self.save_replay_buffer, save_vecnormalize=True
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(replaced(exp_manager, "CheckpointCallback", checkpoints))
            if self.algo in ALGORITHMS:
                stack.enter_context(replaced(exp_manager, "EvalCallback", LatestBestCallback))
            super().create_callbacks()  # type: ignore[no-untyped-call] # nor this

    def hyperparameters_optimization(self) -> None:
        """Adds: a study in a storage has a name; rl-zoo3 warns of one without and shows the storage's password."""
        if self.storage is not None and self.study_name is None:
            self.study_name = f"{self.algo}-{self.env_name}-{int(time.time())}"
            print(f"The study is called {self.study_name}; --study-name chooses, and goes on with one")
        super().hyperparameters_optimization()

    def learn(self, model: BaseAlgorithm) -> None:
        """
        Adds: Ctrl-C ends training at a step, not in the middle of one; a full disk and a dead worker end it too, and
        what was learnt is saved; a run goes on where it was. Signals are heard until all is saved.
        """
        self.callbacks += [LearnerMetrics(), self.stop]
        with contextlib.ExitStack() as stack:
            stack.push(self._drop_folder_of_a_failure)
            stack.enter_context(whole_saves())
            stack.enter_context(self.stop.listening())
            tensorboard = self._log_to_tensorboard(model)
            with self._going_on(model) as n_timesteps:
                self.run = Interrupted(Path(self.save_path), n_timesteps, tensorboard=tensorboard)
                self.run.write()
                try:
                    super().learn(model)
                except (OSError, EOFError) as error:
                    self.trouble = self._trouble(error, model)
            self.stop.is_saving = True
            asked = self.stop.is_asked or self.trouble is not None
            self.is_interrupted = asked and model.num_timesteps < n_timesteps
            self._until_saved = stack.pop_all()

    def _log_to_tensorboard(self, model: BaseAlgorithm) -> str | None:
        """
        SB3 counts folders as rl-zoo3 does, and goes on in the latest one, whoever's it is. Here each run has its own,
        and an interrupted run goes on in that.

        :return: the folder, None where nothing is logged
        """
        if model.tensorboard_log is None:
            return None
        folder = None if self.resume is None else self.resume.tensorboard
        if folder is None or not Path(folder).is_dir():
            name = inspect.signature(type(model).learn).parameters["tb_log_name"].default or type(model).__name__
            folder = str(take_folder(Path(model.tensorboard_log) / f"{name}_1"))
        model.set_logger(configure(folder, ["stdout", "tensorboard"] if self.verbose > 0 else ["tensorboard"]))
        return folder

    def _drop_folder_of_a_failure(self, kind: type[BaseException] | None, *_: object) -> None:
        """A run that failed before its first step leaves none; what failed is raised again."""
        if kind is not None and self.stop.n_calls == 0:
            self._drop_folder()

    def _trouble(self, error: OSError | EOFError, model: BaseAlgorithm) -> str:
        """
        :return: in a line, why training ended, where that is nothing in the code
        :raises OSError: or `EOFError`, the same, for any other reason
        """
        evaluation = [callback.eval_env for callback in self.callbacks if isinstance(callback, EvalCallback)]
        dead = [line for env in (model.env, *evaluation) for line in deaths(env)]
        if dead:
            return "; ".join(dead)
        if self._is_about_the_disk(error):
            assert isinstance(error, OSError)
            return f"{error.strerror}{f', writing {error.filename}' if error.filename else ''}"
        raise error

    def _is_about_the_disk(self, error: Exception) -> bool:
        """:return: whether it is full, or does not let a file of this run be written"""
        if not isinstance(error, OSError):
            return False
        is_ours = isinstance(error.filename, str) and Path(self.save_path) in Path(error.filename).parents
        return is_ours or error.errno in DISK_FULL

    @contextlib.contextmanager
    def _going_on(self, model: BaseAlgorithm) -> Iterator[int]:
        """
        For a checkpoint and an interrupted run: `learn` counts on from where it was; rl-zoo3 would begin at 0.

        :return: steps that the model shall have in the end
        """
        if self.saved is None or self.saved.num_timesteps is None:
            yield self.n_timesteps
            return
        if self.resume is not None:
            self.n_timesteps = self.resume.n_timesteps - model.num_timesteps
            self._take_over_the_best(self.resume)
        goal = model.num_timesteps + self.n_timesteps
        print(f"Going on after {model.num_timesteps} of {goal} steps")
        cls = type(model)
        learn = cls.learn

        def learn_on(*args: Any, **kwargs: Any) -> Any:  # Any: SB3's arguments, unread
            return learn(*args, **{**kwargs, "reset_num_timesteps": False})

        # On the class: an attribute of the model would be saved with it.
        with replaced(cls, "learn", learn_on):
            yield goal

    def _take_over_the_best(self, resume: Interrupted) -> None:
        """The best model so far and its score; a worse one of the steps that are left does not replace it."""
        evaluations = resume.folder / "evaluations.npz"
        if not zipfile.is_zipfile(evaluations):  # none, or the run was killed while it wrote them
            return
        for name in ("best_model.zip", "evaluations.npz"):
            if (resume.folder / name).is_file():
                shutil.copyfile(resume.folder / name, Path(self.save_path) / name)
        with np.load(evaluations, allow_pickle=False) as file:
            best = float(file["results"].mean(axis=1).max())
        for callback in self.callbacks:
            if isinstance(callback, EvalCallback):
                callback.best_mean_reward = best

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Adds: all that an interrupted run needs to go on; or the evaluation, for our algorithms."""
        with self._until_saved:
            if self.is_interrupted and self.stop.n_calls == 0:
                self._drop_folder()
                print("Ended before the first step: nothing is kept")
                return
            self._save(model)
        if self.trouble is not None:
            raise UserError(f"{self.trouble}: training ended after {model.num_timesteps} steps, and all is saved")
        ends_here = self.is_interrupted or self.stop.is_asked
        if not ends_here and self.algo in ALGORITHMS and self.final_eval_episodes > 0:
            self.evaluate_result(model)

    def _save(self, model: BaseAlgorithm) -> None:
        """:raises UserError: where the disk does not take it; the replay, which is large, comes last"""
        saves_replay = self.save_replay_buffer or self.is_interrupted
        self.save_replay_buffer = False
        try:
            super().save_trained_model(model)
            if saves_replay and isinstance(model, OffPolicyAlgorithm):
                print("Saving replay buffer")
                model.save_replay_buffer(Path(self.save_path) / "replay_buffer.pkl")
            if not self.is_interrupted:
                self.run.remove()
                return
            replace(self.run, num_timesteps=model.num_timesteps).write()
        except OSError as error:
            if not self._is_about_the_disk(error):
                raise
            raise UserError(
                f"{error.strerror}, writing {error.filename}: what was saved before is whole; once that is mended, "
                f"`--resume {self.save_path}` goes on from the newest checkpoint"
            ) from error
        print(f"Interrupted after {model.num_timesteps} of {self.run.n_timesteps} steps. Go on with")
        print("  " + shlex.join(_without_secrets([*_without_resume(self.command), "--resume", str(self.save_path)])))

    def evaluate_result(self, model: BaseAlgorithm) -> None:
        """
        Print the mean return of the best model that `EvalCallback` kept, or of the final one where it kept none.

        :param model: at the end of training, for its class and its observation statistics
        """
        path = Path(self.save_path) / "best_model.zip"
        if not path.is_file():
            path = Path(self.save_path) / f"{self.env_name}.zip"
        n_episodes = self.final_eval_episodes
        env = self.create_envs(min(n_episodes, 10), eval_env=True)
        try:
            env.seed(self.seed + FINAL_EVAL_SEED_OFFSET)
            if self.normalize:
                train_env = model.get_env()
                assert train_env is not None
                sync_envs_normalization(train_env, env)
            returns, _ = evaluate_policy(
                type(model).load(path, device=self.device),
                env,
                n_eval_episodes=n_episodes,
                deterministic=self.deterministic_eval,
                return_episode_rewards=True,
            )
            print(
                f"Evaluation of {path.name}: mean return {np.mean(returns):.2f} +- {np.std(returns):.2f} "
                f"over {n_episodes} episodes, lowest {np.min(returns):.2f}"
            )
        except KeyboardInterrupt:
            print("Evaluation interrupted; the model is saved")
        finally:
            env.close()


def scaled_noise(
    noise: ActionNoise | None,
    noise_final: float = 1.0,
    noise_fraction: float = 1.0,
    noise_ladder: Sequence[float] = (1.0, 1.0),
) -> ActionNoise:
    """
    :param noise: of ``noise_type`` and ``noise_std``, or None
    :param noise_final: see `Scheduled`
    :param noise_fraction: see `Scheduled`
    :param noise_ladder: the two of `Laddered`
    :return: the scaled noise
    :raises UserError: without a noise
    :raises ValueError: for values out of range
    """
    if noise is None:
        raise UserError(f"{', '.join(NOISE_KEYS)} scale the noise of noise_type and noise_std: give these too")
    if len(noise_ladder) != 2:
        raise UserError(f"noise_ladder {noise_ladder} must be two factors, of the first and the last environment")
    if noise_ladder[0] != 1.0 or noise_ladder[1] != 1.0:
        noise = Laddered(noise, *noise_ladder)
    return Scheduled(noise, noise_final, noise_fraction) if noise_final != 1.0 else noise


def _without_resume(arguments: list[str]) -> list[str]:
    """:return: without ``--resume FOLDER``"""
    if "--resume" not in arguments:
        return arguments
    at = arguments.index("--resume")
    return arguments[:at] + arguments[at + 2 :]


def _without_secrets(arguments: list[str]) -> list[str]:
    """:return: for the terminal, where paths are needed and passwords would reach a log"""
    pairs = zip(arguments, redacted_arguments(arguments), strict=True)
    return [blanked if BLANK in blanked else given for given, blanked in pairs]


class LatestBestCallback(EvalCallback):
    """
    Adds: an evaluation that equals the best one so far counts as better. Where a task has a highest return, a lucky
    early model would stay the best for ever; later ones have seen more, and the final observation statistics are
    theirs.
    """

    def _on_step(self) -> bool:
        best = self.best_mean_reward
        self.best_mean_reward = float(np.nextafter(best, -np.inf))
        going_on = super()._on_step()
        self.best_mean_reward = max(self.best_mean_reward, best)
        return going_on


def has_image(space: gym.Space[Any]) -> bool:
    """:return: whether a convolutional network will read it"""
    if isinstance(space, spaces.Dict):
        return any(has_image(part) for part in space.values())
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def frames_skipped_twice(env: VecEnv) -> tuple[int, int] | None:
    """:return: frames that an Atari environment and SB3's wrapper around it skip, None unless both do"""
    if not env.env_is_wrapped(MaxAndSkipEnv)[0]:
        return None
    # ALE keeps it in its constructor's arguments; those of tests and other emulators may have none.
    spec = env.get_attr("spec")[0]
    own = (spec.kwargs if spec is not None else {}).get("frameskip", 1)
    wrapped = env.get_attr("_skip")[0]
    return (own, wrapped) if isinstance(own, int) and own > 1 and wrapped > 1 else None
