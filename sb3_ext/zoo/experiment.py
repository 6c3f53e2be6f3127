"""
rl-zoo3's `ExperimentManager` as `sb3-ext train` uses it: its settings, what a run leaves behind, and here actors in
place of environments, one torch thread for small networks, the latest of the best models, and an evaluation of the
result at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rl_zoo3 import exp_manager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, sync_envs_normalization

from sb3_ext import nested
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.distributed.envs import ActorEnvs
from sb3_ext.distributed.monitor_file import MonitorFile
from sb3_ext.errors import UserError
from sb3_ext.planning import gap_file
from sb3_ext.planning.callbacks import OptimalityGap
from sb3_ext.replaced import replaced
from sb3_ext.zoo.actors import ActorSettings, check_possible, chosen, named, with_ratio
from sb3_ext.zoo.env_factory import EnvFactory
from sb3_ext.zoo.run_keeper import RunKeeper
from sb3_ext.zoo.runs.checkpoints import WholeCheckpointCallback
from sb3_ext.zoo.studies import opened_storage
from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv

FINAL_EVAL_EPISODES = 20
FINAL_EVAL_SEED_OFFSET = 100_000  # away from the episodes that chose the best model, which start at the run's seed


class Experiment(RunKeeper):
    """
    :param final_eval_episodes: episodes of the evaluation at the end, 0 = none
    :param actors: some of `ActorSettings`, by name: other processes collect; they are stronger than the yml's
    :param imports: modules that register environments, for actors
    :param save_every: env steps of all environments from one checkpoint to the next, with replay and statistics; it
        says ``save_freq`` and ``save_replay_buffer`` in one. None = these do
    :param optimality_gap: env steps from one measurement of `OptimalityGap` to the next; None = it is not added
    :param kwargs: of `RunKeeper`, `SettingsReader` and rl-zoo3's manager
    """

    # Any: what is passed on, unread.
    def __init__(
        self,
        *args: Any,
        final_eval_episodes: int = FINAL_EVAL_EPISODES,
        actors: Mapping[str, Any] | None = None,
        imports: Sequence[str] = (),
        optimality_gap: int | None = None,
        save_every: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if save_every is not None and self.save_freq > 0:
            raise UserError(
                f"--save-every {save_every} does what --save-freq and --save-replay-buffer do together: leave "
                f"--save-freq {self.save_freq} out"
            )
        if save_every is not None:
            self.save_freq, self.save_replay_buffer = save_every, True
        self.actors_given = dict(actors or {})
        self.imports = tuple(imports)
        if optimality_gap is not None and self.optimize_hyperparameters:
            raise UserError("--optimality-gap measures one training: -optimize makes many")
        if optimality_gap is not None and optimality_gap < 1:
            raise UserError(f"--optimality-gap {optimality_gap} must be at least 1: env steps between measurements")
        self.optimality_gap = optimality_gap
        if self.vec_env_class is SubprocVecEnv:
            self.vec_env_class = UninterruptedSubprocVecEnv
        self.final_eval_episodes = final_eval_episodes

    @classmethod
    def of(cls, algo: str, env_id: str, folder: str | os.PathLike[str] = "logs", **settings: Any) -> Experiment:
        """
        Without a command line: what it would hold is what is given, and one torch thread.

        :param algo: the zoo's id
        :param env_id: environment
        :param folder: of logs
        :param settings: of `Experiment`, other than rl-zoo3's ``args``; ``config`` is a yml in place of ours
        """
        typed = {"conf_file": settings.get("config"), "num_threads": 1, "env_kwargs": settings.get("env_kwargs")}
        args = argparse.Namespace(algo=algo, env=env_id, **typed)
        # As on the command line: rl-zoo3's manager alone has 0, by which SB3 divides.
        return cls(args, algo, env_id, os.fspath(folder), **{"log_interval": -1, **settings})

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Adds: actors, if any; what they cannot do is refused here."""
        hyperparams, saved = super().read_hyperparameters()
        self.wrappers = {key: hyperparams.get(key) for key in ("env_wrapper", "vec_env_wrapper")}
        of_yml, before = named(hyperparams.pop("actors", None)), None if self.resumed is None else self.resumed.actors
        saved.pop("actors", None)
        if of_yml or self.actors_given or before:
            has_workers = issubclass(self.vec_env_class, SubprocVecEnv)
            check_possible(self.algo, self.optimize_hyperparameters, has_workers)
        self.actors = chosen(of_yml, self.actors_given, before, hyperparams.get("n_envs"))
        if self.actors is None:
            return hyperparams, saved
        hyperparams, line = with_ratio(hyperparams, ALGOS[self.algo], self.actors)
        if line:
            print(line)
        saved, _ = with_ratio(saved, ALGOS[self.algo], self.actors)
        return hyperparams, {**saved, "actors": self.actors.to_publish()}

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """
        Adds: actors for training; a single torch thread, unless the user chose a number or the observations are images;
        and that frames which are skipped twice are named.
        """
        if self.actors is None or eval_env:
            env = super().create_envs(n_envs, eval_env=eval_env, no_log=no_log)
        else:
            env = self._maybe_normalize(self._create_actors(self.actors), eval_env)
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

    def _create_actors(self, settings: ActorSettings) -> ActorEnvs:
        """:return: in place of the environments below VecNormalize, which are made where the actors are"""
        factory = EnvFactory(
            self.env_name.gym_id,
            self.imports,
            env_kwargs=self.env_kwargs,
            monitor_kwargs=self.monitor_kwargs,
            frame_stack=self.frame_stack,
            **self.wrappers,
        )
        envs = ActorEnvs(
            factory,
            settings.n_actors,
            settings.envs_per_actor,
            backend=settings.backend,
            chunk=settings.chunk,
            orders=settings.orders,
            lockstep=settings.lockstep,
            backend_kwargs=None if settings.ray_address is None else {"address": settings.ray_address},
        )
        envs.seed(self.seed)
        return envs

    def create_callbacks(self) -> None:
        """
        Adds: checkpoints are whole sets, with statistics, and with the replay where it is saved at all; for our
        algorithms the later of two equally good models is kept as the best. What is measured against the best policy is
        kept in the run's folder. Checkpoints come last: a run that goes on from one measures nothing again of its step.
        """
        checkpoints = functools.partial(
            WholeCheckpointCallback,
            save_replay_buffer=self.save_replay_buffer,
            save_vecnormalize=True,
            wrote=self.note_checkpoint,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(replaced(exp_manager, "CheckpointCallback", checkpoints))
            if self.algo in ALGORITHMS:
                stack.enter_context(replaced(exp_manager, "EvalCallback", LatestBestCallback))
            super().create_callbacks()  # type: ignore[no-untyped-call] # nor this
        self._measure_optimality()
        self.callbacks.sort(key=lambda callback: isinstance(callback, CheckpointCallback))  # the rest stays in order

    def _measure_optimality(self) -> None:
        """What the yml or the command line asks to be measured against the best policy has a file, and a last line."""
        found = [callback for callback in self.callbacks if isinstance(callback, OptimalityGap)]
        if self.optimality_gap is not None and not found:
            found.append(OptimalityGap(every=self.optimality_gap))
            self.callbacks.append(found[0])
        path = Path(self.save_path) / gap_file.NAME
        for callback in found[:1]:
            callback.path, callback.verbose = path, 1
            if self.resume is not None and (self.resume / path.name).is_file():
                shutil.copyfile(self.resume / path.name, path)

    def learn(self, model: BaseAlgorithm) -> None:
        """Adds: with actors, the learner writes monitor.csv, and says what came over the wire."""
        if self.actors is None:
            super().learn(model)
            return
        keywords = [*self.monitor_kwargs.get("reset_keywords", ()), *self.monitor_kwargs.get("info_keywords", ())]
        with contextlib.closing(MonitorFile(self.save_path, self.env_name.gym_id, keywords)) as file:
            self.callbacks.append(file)
            super().learn(model)
        env = model.get_env()
        assert env is not None and isinstance(env.unwrapped, ActorEnvs)
        n_bytes = env.unwrapped.records.bytes_per_step
        if self.verbose > 0 and not math.isnan(n_bytes):
            print(f"Actors sent {n_bytes:.0f} bytes per env step")

    def hyperparameters_optimization(self) -> None:
        """Adds: a study in a storage has a name; rl-zoo3 warns of one without and shows the storage's password."""
        if self.storage is not None and self.study_name is None:
            self.study_name = f"{self.algo}-{self.env_name}-{int(time.time())}"
            print(f"The study is called {self.study_name}; --study-name chooses, and goes on with one")
        if self.storage is not None:
            opened_storage(self.storage)
        super().hyperparameters_optimization()

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Adds: the evaluation at the end, for our algorithms."""
        super().save_trained_model(model)
        ended = not self.is_interrupted and not self.stop.is_asked
        if ended and self.algo in ALGORITHMS and self.final_eval_episodes > 0:
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
        with replaced(self, "vec_env_class", DummyVecEnv):  # not ten workers more for a few episodes
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
    return any(isinstance(part, spaces.Box) and len(part.shape) == 3 for part in nested.leaves(space))


def frames_skipped_twice(env: VecEnv) -> tuple[int, int] | None:
    """:return: frames that an Atari environment and SB3's wrapper around it skip, None unless both do"""
    if not env.env_is_wrapped(MaxAndSkipEnv)[0]:
        return None
    # ALE keeps it in its constructor's arguments; those of tests and other emulators may have none.
    spec = env.get_attr("spec")[0]
    own = (spec.kwargs if spec is not None else {}).get("frameskip", 1)
    wrapped = env.get_attr("_skip")[0]
    return (own, wrapped) if isinstance(own, int) and own > 1 and wrapped > 1 else None
