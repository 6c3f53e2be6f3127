"""Films the agent while it trains."""

from __future__ import annotations

import os
import pathlib

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from sb3_ext.viz.trace import watch
from sb3_ext.viz.video import SUFFIXES, write_video


class RecordEpisodeCallback(BaseCallback):
    """
    Every so many steps one episode goes to ``folder/ID-STEPS-steps.mp4``. The training environment is not touched.

    :param env: of its own, made with ``render_mode="rgb_array"`` and the wrappers of the training; the statistics of a
        `VecNormalize` are taken over from the training's
    :param folder: for the videos
    :param every: env steps from one video to the next, counted over all environments
    :param suffix: ".mp4" or ".gif"
    :param deterministic: without exploration
    :param max_steps: of a video; None = whole episodes
    :param max_side: of a frame, in pixels
    :param seed: of every episode, so that they begin alike; None = each as it comes
    :param name: ID in the names; None = the environment's
    :param verbose: 1 = say what was written
    :raises ValueError: for ``every`` < 1 or another suffix, before anything is trained
    """

    def __init__(
        self,
        env: gym.Env | VecEnv,
        folder: str | os.PathLike[str],
        every: int,
        *,
        suffix: str = ".mp4",
        deterministic: bool = True,
        max_steps: int | None = 1000,
        max_side: int = 480,
        seed: int | None = 0,
        name: str | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if every < 1:
            raise ValueError(f"every {every} must be >= 1 env steps")
        if suffix not in SUFFIXES:
            raise ValueError(f"suffix {suffix!r} must be one of {', '.join(SUFFIXES)}")
        # Not public, but what every SB3 algorithm calls on its environment (2.7 to 2.9).
        self.env: VecEnv = BaseAlgorithm._wrap_env(env, verbose=0, monitor_wrapper=False)
        self.folder = pathlib.Path(folder)
        self.every = every
        self.suffix = suffix
        self.deterministic = deterministic
        self.max_steps = max_steps
        self.max_side = max_side
        self.seed = seed
        self.name = name
        self._next = 0

    def _init_callback(self) -> None:
        self._next = self.num_timesteps + self.every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self.every * ((self.num_timesteps - self._next) // self.every + 1)
            self._record()
        return True

    def _record(self) -> None:
        if unwrap_vec_normalize(self.env) is not None and self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.env)
        trace = watch(
            self.model,
            self.env,
            seed=self.seed,
            deterministic=self.deterministic,
            max_steps=self.max_steps,
            max_side=self.max_side,
        )
        name = self.name or (trace.env_id or "episode").replace("/", "-")
        path = self.folder / f"{name}-{self.num_timesteps}-steps{self.suffix}"
        write_video(trace.frames, path, trace.fps)
        if self.verbose > 0:
            print(f"Filmed {len(trace)} steps, return {trace.episode_return:.2f}: {path}")
