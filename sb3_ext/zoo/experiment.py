"""
rl-zoo3's `ExperimentManager` as `sb3-ext train` uses it.

Adds: our yml where no ``-conf`` is given, unknown keywords are named before anything is created, one torch thread for
small networks, the latest of the best models, an evaluation of the result at the end, and Ctrl-C loses nothing.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar
from unittest import mock

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rl_zoo3 import exp_manager
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, sync_envs_normalization

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.metrics import LearnerMetrics
from sb3_ext.saving import write_whole
from sb3_ext.zoo.configs import config_path, read_presets
from sb3_ext.zoo.demos import default_path, recorded
from sb3_ext.zoo.errors import UserError
from sb3_ext.zoo.keywords import check_keywords, keywords_of
from sb3_ext.zoo.registry import ALGORITHMS, IMITATORS

# Keys of a yml that rl-zoo3 uses up itself; all others are keywords of the algorithm.
ZOO_KEYS = {
    "callback",
    "env_kwargs",
    "env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "n_envs",
    "n_timesteps",
    "noise_std",
    "noise_type",
    "normalize",
    "policy",
    "vec_env_wrapper",
}
FINAL_EVAL_EPISODES = 20
FINAL_EVAL_SEED_OFFSET = 100_000  # away from the episodes that chose the best model, which start at the run's seed


class Experiment(ExperimentManager):
    """
    :param final_eval_episodes: episodes of the evaluation at the end, 0 = none; the other parameters are rl-zoo3's
    :param preset: settings under ``presets`` in the yml, laid over the block of the environment; None = none
    :param demonstrations: file of an imitating algorithm's, in place of the yml's; None = the yml's, or demos/ENV.npz
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
        self.is_interrupted = False
        self.command = list(command)
        self.resume = None if resume is None else Interrupted.read(Path(resume))
        if self.resume is not None:
            self.trained_agent = str(self.resume.model_of(str(self.env_name)))
            self.continue_training = True
        self.final_eval_episodes = final_eval_episodes
        self.preset = preset
        self.demonstrations = demonstrations
        if self.args.conf_file is None and self.algo in ALGORITHMS:
            self.config = str(config_path(self.algo))

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Adds: a run without a model leaves no folder behind, where `enjoy` would look for the latest model."""
        try:
            result = super().setup_experiment()
        except Exception:  # whatever went wrong, the folder goes; the error is raised again
            shutil.rmtree(self.save_path, ignore_errors=True)
            raise
        if result is None:  # -optimize, whose reports lie elsewhere
            shutil.rmtree(self.save_path, ignore_errors=True)
        return result

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Adds: the preset, and that ``--trial-id 0`` means the first trial; rl-zoo3 takes it for none given."""
        if self.preset is not None:
            presets = read_presets(self.config)
            check_keywords([self.preset], set(presets), f"preset of {self.algo}")
            self.custom_hyperparams = {**presets[self.preset], **(self.custom_hyperparams or {})}
        if self.trial_id == 0 and self.storage and self.study_name:
            from_trial = self.load_trial(self.storage, self.study_name, 0)
            self.custom_hyperparams = {**from_trial, **(self.custom_hyperparams or {})}
        return super().read_hyperparameters()

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        """Adds: the command as it was typed. rl-zoo3 writes the paths of this machine, and the command is published."""
        super()._save_config(saved_hyperparams)
        if self.command:
            (Path(self.params_path) / "command.txt").write_text(shlex.join(_without_resume(self.command)))

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
        return processed

    @staticmethod
    def _preprocess_schedules(hyperparams: dict[str, Any]) -> dict[str, Any]:
        """Adds: the discriminator's rate may be ``lin_1e-3`` as the policy's."""
        key = "discriminator_learning_rate"
        if isinstance(hyperparams.get(key), str):
            rate = ExperimentManager._preprocess_schedules({"learning_rate": hyperparams[key]})
            hyperparams[key] = rate["learning_rate"]
        return ExperimentManager._preprocess_schedules(hyperparams)

    def _demonstrations(self, given: str | dict[str, Any] | None) -> str | Demonstrations:
        """
        :param given: in the yml: a path, or ``model:`` with the algorithm of a trained agent and how to record it
        :return: a file that is there, or fresh recordings
        """
        env_id = self.env_name.gym_id
        if self.demonstrations is not None:
            given = self.demonstrations
        if isinstance(given, dict):
            return recorded(env_id, given)
        path = default_path(env_id) if given is None else Path(given)
        if not path.is_file():
            raise UserError(
                f"{self.algo} learns from demonstrations, and there is no {path}. Record them from a trained agent: "
                f"`sb3-ext train --algo ppo --env {env_id}`, then `sb3-ext demos record --algo ppo --env {env_id} "
                f"-o {path}`; or play yourself: `sb3-ext demos play {env_id} -o {path}`"
            )
        return str(path)

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

    def create_callbacks(self) -> None:
        """Adds: for our algorithms the later of two equally good models is kept as the best."""
        if self.algo not in ALGORITHMS:
            super().create_callbacks()
            return
        with mock.patch.object(exp_manager, "EvalCallback", LatestBestCallback):
            super().create_callbacks()

    def learn(self, model: BaseAlgorithm) -> None:
        """Adds: Ctrl-C ends training at a step, not in the middle of one; an interrupted run goes on where it was."""
        stop = StopAtStep()
        self.callbacks += [LearnerMetrics(), stop]
        with stop.listening(), self._going_on(model):
            super().learn(model)
        self.is_interrupted = stop.is_asked

    @contextlib.contextmanager
    def _going_on(self, model: BaseAlgorithm) -> Iterator[None]:
        """For an interrupted run: `learn` counts on from where the model was; rl-zoo3 would begin at 0."""
        if self.resume is None:
            yield
            return
        self.n_timesteps = self.resume.n_timesteps - model.num_timesteps
        self._take_over_the_best(self.resume)
        print(f"Going on after {model.num_timesteps} of {self.resume.n_timesteps} steps")
        cls = type(model)
        learn = cls.learn

        def learn_on(*args: Any, **kwargs: Any) -> Any:  # Any: SB3's arguments, unread
            return learn(*args, **{**kwargs, "reset_num_timesteps": False})

        # On the class: an attribute of the model would be saved with it.
        with mock.patch.object(cls, "learn", learn_on):
            yield

    def _take_over_the_best(self, resume: Interrupted) -> None:
        """The best model so far and its score; a worse one of the steps that are left does not replace it."""
        for name in ("best_model.zip", "evaluations.npz"):
            if (resume.folder / name).is_file():
                shutil.copyfile(resume.folder / name, Path(self.save_path) / name)
        for callback in self.callbacks:
            if isinstance(callback, EvalCallback) and (resume.folder / "evaluations.npz").is_file():
                with np.load(resume.folder / "evaluations.npz", allow_pickle=False) as file:
                    callback.best_mean_reward = float(file["results"].mean(axis=1).max())

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Adds: all that an interrupted run needs to go on; or the evaluation, for our algorithms."""
        if self.is_interrupted:
            self.save_replay_buffer = True
        super().save_trained_model(model)
        if self.is_interrupted:
            n_timesteps = self.n_timesteps if self.resume is None else self.resume.n_timesteps
            Interrupted(Path(self.save_path), model.num_timesteps, n_timesteps).write()
            print(f"Interrupted after {model.num_timesteps} of {n_timesteps} steps. Go on with")
            print("  " + shlex.join([*_without_resume(self.command), "--resume", str(self.save_path)]))
        elif self.algo in ALGORITHMS and self.final_eval_episodes > 0:
            self.evaluate_result(model)

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


@dataclass(frozen=True)
class Interrupted:
    """What is known of an interrupted run beside its model and replay."""

    folder: Path
    num_timesteps: int
    """that it made"""
    n_timesteps: int
    """that it was to make"""

    NAME: ClassVar[str] = "interrupted.json"

    def write(self) -> None:
        """Whole or not at all."""
        content = json.dumps({"num_timesteps": self.num_timesteps, "n_timesteps": self.n_timesteps}).encode()

        def write(file: io.BufferedIOBase) -> None:
            file.write(content)

        write_whole(self.folder / self.NAME, "json", write)

    @classmethod
    def read(cls, folder: Path) -> Interrupted:
        """
        :param folder: of the run
        :raises UserError: where no run was interrupted
        """
        path = folder / cls.NAME
        if not path.is_file():
            raise UserError(f"{folder} holds no interrupted run: there is no {path.name}; -i goes on from any model")
        try:
            data = json.loads(path.read_text())
            return cls(folder, int(data["num_timesteps"]), int(data["n_timesteps"]))
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is broken; -i goes on from any model") from None

    def model_of(self, env_name: str) -> Path:
        """
        :param env_name: as in the names of files
        :raises UserError: where the run was of another environment
        """
        path = self.folder / f"{env_name}.zip"
        if not path.is_file():
            raise UserError(f"{self.folder} has no {path.name}: it was a run of another environment")
        return path


class UninterruptedSubprocVecEnv(SubprocVecEnv):
    """
    Ctrl-C in the terminal reaches the worker processes too; these leave it to the main one. Each worker is told on its
    own: what it would inherit depends on when the process began that it is forked from.
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env]], start_method: str | None = None) -> None:
        super().__init__([functools.partial(_without_interrupts, env_fn) for env_fn in env_fns], start_method)


def _without_interrupts(env_fn: Callable[[], gym.Env]) -> gym.Env:
    """:return: the environment, in a process that does not hear Ctrl-C"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return env_fn()


class StopAtStep(BaseCallback):
    """
    The first Ctrl-C ends training after the step under way, or after the update of the rollout under way where an
    algorithm learns from whole rollouts. The second one ends it at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Outside the main thread Ctrl-C does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        print("Ctrl-C: ending after this step or rollout; once more ends at once", flush=True)

    def _on_rollout_start(self) -> None:
        self.is_first_step = True

    def _on_step(self) -> bool:
        may_end = self.is_first_step or isinstance(self.model, OffPolicyAlgorithm)
        self.is_first_step = False
        ends = self.is_asked and may_end
        if ends and not isinstance(self.model, OffPolicyAlgorithm | OnPolicyAlgorithm):
            raise KeyboardInterrupt  # ARS does not listen to its callbacks; rl-zoo3 catches this
        return not ends


def _without_resume(arguments: list[str]) -> list[str]:
    """:return: without ``--resume FOLDER``"""
    if "--resume" not in arguments:
        return arguments
    at = arguments.index("--resume")
    return arguments[:at] + arguments[at + 2 :]


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


def has_image(space: gym.Space) -> bool:
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
