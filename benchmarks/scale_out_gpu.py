"""Panel of scale_out.py: Pong with the learner on a GPU, environments beside it or with actors. Runs where CUDA is."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from common import Bound, Table, print_rows
from processes import load_average, others_cpu_seconds
from scale_out_worlds import of_the_zoo
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs

COLUMNS = (
    "condition",
    "repeat",
    "env_steps",
    "updates",
    "steps_per_s",
    "updates_per_s",
    "learner_waits",
    "ingest",
    "learner_cores",
    "actors_cores",
    "load",
)
KEY = ("condition", "repeat")


@dataclass(frozen=True)
class Size:
    """Of a run."""

    n_actors: int
    envs_per_actor: int
    hidden: int
    batch_size: int
    learning_starts: int
    seconds: float
    device: str


FULL = Size(14, 8, 512, 64, 10_000, 90.0, "cuda")
SMALL = Size(2, 2, 16, 4, 400, 4.0, "cpu")  # does it run?


class Timed(BaseCallback):
    """
    Measures so many seconds from the first update on, then ends the training.

    :param seconds: to measure
    :param envs: actors, None in one process
    """

    def __init__(self, seconds: float, envs: ActorEnvs | None) -> None:
        super().__init__()
        self.seconds, self.envs = seconds, envs
        self.then: np.ndarray | None = None
        self.spent = np.zeros(7)

    def _now(self) -> np.ndarray:
        """:return: wall, env steps, updates, CPU of the learner and of others, seconds of waiting and of storing"""
        dispatcher = None if self.envs is None else self.envs.dispatcher
        waited = 0.0 if dispatcher is None else dispatcher.learner_waits
        waits = waited, 0.0 if self.envs is None else self.envs.records.ingested
        updates = getattr(self.model, "_n_updates", 0)
        cpu = time.process_time(), others_cpu_seconds()
        return np.array([time.monotonic(), self.num_timesteps, updates, *cpu, *waits])

    def _on_step(self) -> bool:
        if self.then is None:
            if getattr(self.model, "_n_updates", 0) > 0:
                self.then = self._now()
            return True
        self.spent = self._now() - self.then
        return bool(self.spent[0] < self.seconds)


def run(condition: str, repeat: int, size: Size) -> dict[str, object]:
    """:return: one row"""
    make = functools.partial(of_the_zoo, env_id="ALE/Pong-v5", env_kwargs={"frameskip": 1})
    n_envs = size.n_actors * size.envs_per_actor
    actors = ActorEnvs(make, size.n_actors, size.envs_per_actor) if condition == "actors" else None
    env: VecEnv = make(n_envs) if actors is None else actors
    settings: dict[str, Any] = {"batch_size": size.batch_size, "learning_starts": size.learning_starts}
    model = R2D2(
        "CnnLstmPolicy",
        env,
        buffer_size=max(400 * n_envs, 200_000 if size.device == "cuda" else 0),
        train_freq=4,
        gradient_steps=1,
        policy_kwargs={"lstm_hidden_size": size.hidden},
        seed=0,
        device=size.device,
        **settings,
    )
    model.set_logger(Logger(None, []))
    timed = Timed(size.seconds, actors)
    try:
        model.learn(10**9, callback=timed, log_interval=10**9)
    finally:
        env.close()
    wall, steps, updates, learner, others, waits, ingest = timed.spent.tolist()
    return {
        "condition": condition,
        "repeat": repeat,
        "env_steps": int(steps),
        "updates": int(updates),
        "steps_per_s": round(steps / wall, 1),
        "updates_per_s": round(updates / wall, 2),
        "learner_waits": round(waits / wall, 3),
        "ingest": round(ingest / wall, 3),
        "learner_cores": round(learner / wall, 2),
        "actors_cores": round(others / wall, 2),
        "load": load_average(),
    }


def measure(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing."""
    if not (quick or th.cuda.is_available()):
        print("gpu: no CUDA device (torch.cuda.is_available() is False), so nothing was measured")
        return
    for repeat in range(min(repeats, 2)):
        for condition in ("plain", "actors"):
            if not table.has(condition=condition, repeat=repeat):
                table.add(run(condition, repeat, SMALL if quick else FULL))


def report(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached, where it was measured"""
    if not table.rows:
        return []
    columns = ("steps_per_s", "updates_per_s", "learner_waits", "ingest", "learner_cores", "actors_cores")
    values = {x: [table.median(column, condition=x) for column in columns] for x in ("plain", "actors")}
    print_rows(("Pong", *columns), [(name, *row) for name, row in values.items()])
    return [
        Bound("Pong on a GPU: env steps/s to plain", values["actors"][0] / values["plain"][0], at_least=10),
        Bound("Pong on a GPU: share of time that the learner waits", values["actors"][2], at_most=0.1),
    ]
