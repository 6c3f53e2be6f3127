"""R2D2 in one process and with actors, by name: what the panels of scale_out.py and scale_out_learning.py run."""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from processes import others_cpu_seconds
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs
from sb3_ext.zoo.configs import read_block

N_ENVS = 16  # lanes, however many actors share them
CHUNK = 16
SHORT = 4  # what is less far ahead, for more work at each block
ORDERS = 2


@dataclass(frozen=True)
class Condition:
    """Where the environments are stepped."""

    label: str
    backend: Literal["process", "ray"] | None = None
    """None = by the learner itself"""
    n_actors: int = 0
    chunk: int = CHUNK

    @property
    def window(self) -> int:
        """transitions that may be under way or not yet learned from"""
        return ORDERS * self.n_actors * self.chunk * (N_ENVS // max(self.n_actors, 1))


CONDITIONS = {
    "plain": Condition("one process"),
    "process_1": Condition("1 process actor", "process", 1),
    "process_2": Condition("2 process actors", "process", 2),
    "process_2_short": Condition(f"2 process actors, chunk {SHORT}", "process", 2, SHORT),
    "ray_2": Condition("2 Ray actors", "ray", 2),
}


def available() -> dict[str, Condition]:
    """:return: those that run here; Ray without telling anybody, with a token of its own"""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    ray = importlib.util.find_spec("ray") is not None
    if not ray:
        print("Ray is not installed (pip install 'sb3-ext[ray]'): its rows are left out")
    return {name: condition for name, condition in CONDITIONS.items() if ray or condition.backend != "ray"}


def keywords_of(condition: Condition) -> dict[str, Any]:
    """:return: of `ActorEnvs` and `distribute`"""
    told = {"backend": condition.backend, "chunk": condition.chunk, "orders": ORDERS}
    return {**told, "backend_kwargs": {"address": "local"}} if condition.backend == "ray" else told


def make_envs(make: Callable[[int], VecEnv], condition: Condition) -> VecEnv:
    """
    :param make: number of environments -> these
    :param condition: who steps them
    """
    if condition.backend is None:
        return make(N_ENVS)
    n = condition.n_actors
    return ActorEnvs(make, n, N_ENVS // n, **keywords_of(condition))


def pole_model(env: VecEnv, gradient_steps: int, **keywords: Any) -> R2D2:
    """:return: with the tuned settings of CartPoleNoVel-v1, and so many updates per 16 environment steps"""
    elsewhere = ("n_envs", "n_timesteps", "policy", "normalize", "learning_rate", "gradient_steps")
    block = {name: value for name, value in read_block("r2d2", "CartPoleNoVel-v1").items() if name not in elsewhere}
    normalized = VecNormalize(env, norm_reward=False)
    settings: dict[str, Any] = {**block, "learning_rate": 1e-3, "gradient_steps": gradient_steps, **keywords}
    model = R2D2("MlpLstmPolicy", normalized, seed=0, device="cpu", **settings)
    model.set_logger(Logger(None, []))
    return model


class Spent(NamedTuple):
    """What a stretch of training took."""

    env_steps: int
    updates: int
    learner_cpu: float
    updates_cpu: float
    """of the learner's, between two rollouts"""
    others_cpu: float
    wall: float
    lags: tuple[int, ...]
    """in updates, of each block that was stored"""


class Stretch(BaseCallback):
    """
    Measures a training from a step on, so that starting and warming up do not count.

    :param begin: env step
    :param envs: whose lags are written down, None in one process
    """

    spent: Spent

    def __init__(self, begin: int, envs: ActorEnvs | None = None) -> None:
        super().__init__()
        self.begin, self.envs = begin, envs
        self._then: Spent | None = None
        self._updates_cpu = self._rolled_out = 0.0

    def _on_rollout_end(self) -> None:
        self._rolled_out = time.process_time()

    def _on_rollout_start(self) -> None:
        if self._rolled_out:
            self._updates_cpu += time.process_time() - self._rolled_out

    def _now(self) -> Spent:
        lags = () if self.envs is None else tuple(self.envs.records.lags)
        updates: int = getattr(self.model, "_n_updates", 0)
        cpu = time.process_time(), self._updates_cpu, others_cpu_seconds(), time.monotonic()
        return Spent(self.num_timesteps, updates, *cpu, lags)

    def _on_step(self) -> bool:
        if self._then is None and self.num_timesteps >= self.begin:
            self._then = self._now()
        return True

    def _on_training_end(self) -> None:
        now, then = self._now(), self._then
        assert then is not None, f"the training ended before step {self.begin}"
        self.spent = Spent(
            now.env_steps - then.env_steps,
            now.updates - then.updates,
            now.learner_cpu - then.learner_cpu,
            now.updates_cpu - then.updates_cpu,
            now.others_cpu - then.others_cpu,
            now.wall - then.wall,
            now.lags[len(then.lags) :],
        )
