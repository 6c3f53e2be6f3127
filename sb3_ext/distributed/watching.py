"""What an actor sees of its own acting, at the places where SB3 passes it by: no algorithm has a hook for it."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ext.buffers.recorder import BlockRecorder
from sb3_ext.distributed.messages import Ended, Moments, Obs
from sb3_ext.distributed.statistics import Shown
from sb3_ext.ops.exploration import Exploration

TOLD = ("episode", "is_success", "TimeLimit.truncated")
"""keys of infos that travel"""


class Seen:
    """
    An exploration strategy that chooses as another one and shows a recorder the Q-values of what it chose.

    :param recorder: of the steps
    """

    def __init__(self, recorder: BlockRecorder) -> None:
        self._recorder = recorder
        self._values: tuple[np.ndarray, np.ndarray] | None = None

    def choosing_by(self, exploration: Exploration) -> Seen:
        """:return: itself, which chooses so from now on"""
        self._exploration = exploration
        return self

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        actions = self._exploration.choose(q_values, progress_remaining)
        self._values = q_values[np.arange(len(actions)), actions], q_values.max(axis=1)
        return actions

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return self._exploration.rate(progress_remaining, n_envs)

    def note(self, n_envs: int) -> None:
        """:param n_envs: E, whose step is about to be stored; in the warm-up nothing was chosen by Q-values"""
        unknown = np.full(n_envs, np.nan, np.float32)
        self._recorder.saw(*(self._values or (unknown, unknown)))
        self._values = None


class Remembers(VecEnvWrapper):
    """Keeps the first observations as the environments gave them."""

    first_observations: Obs

    def reset(self) -> VecEnvObs:
        observations = self.venv.reset()
        assert not isinstance(observations, tuple)
        self.first_observations = observations
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        return self.venv.step_wait()


class Watch(BaseCallback):
    """
    Moves an actor's clock as the learner's, and notes what episodes end and what is to be normalised by.

    :param clock_step: by which a step moves the clock
    :param first_lane: number of the actor's first
    :param shown: None where nothing is normalised
    :param seen: None where no priorities are made
    """

    def __init__(self, clock_step: int, first_lane: int, shown: Shown | None, seen: Seen | None) -> None:
        super().__init__()
        self._clock_step, self._first_lane, self._shown, self._seen = clock_step, first_lane, shown, seen
        self._step = 0
        self._ended: list[Ended] = []

    def _init_callback(self) -> None:
        self.steps = np.zeros(self.model.n_envs, dtype=np.int64)
        """[E] of the present episodes"""

    def _on_step(self) -> bool:
        self.model.num_timesteps += self._clock_step - self.model.n_envs  # SB3 has counted the actor's own
        rewards, dones, infos = (self.locals[name] for name in ("rewards", "dones", "infos"))
        self.steps += 1
        self.steps[dones] = 0
        for lane in np.flatnonzero(dones).tolist():
            told = {key: infos[lane][key] for key in TOLD if key in infos[lane]}
            self._ended.append(Ended(self._step, self._first_lane + lane, told))
        if self._shown is not None:
            self._shown.add(rewards, dones)
        if self._seen is not None:
            self._seen.note(self.model.n_envs)
        self._step += 1
        return True

    def take(self) -> tuple[tuple[Ended, ...], Moments | None]:
        """:return: episodes that ended, and moments, since the last call"""
        ended, self._ended, self._step = tuple(self._ended), [], 0
        return ended, None if self._shown is None else self._shown.take()
