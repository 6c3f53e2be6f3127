"""Panels of scale_out.py: what a killed actor costs, and the memory of processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
from common import Bound, Table, print_rows
from processes import MIB, load_average, memory_mib
from scale_out_runs import CONDITIONS, available, make_envs, pole_model
from scale_out_worlds import frames, poles
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.messages import Delivery
from sb3_ext.distributed.records import ActorRecords

FAULTS = ("condition", "repeat", "seconds_to_block", "others_gap", "others_usual_gap", "others_blocks", "steps", "load")
FAULTS_KEY = ("condition", "repeat")
MEMORY = ("world", "condition", "repeat", "actor_uss", "actor_rss", "learner_uss", "load")
MEMORY_KEY = ("world", "condition", "repeat")
WITH_ACTORS = ("process_2", "ray_2")
PATIENCE = 120.0  # seconds for the new actor


class Watched(ActorRecords):
    """Writes down when whose blocks came."""

    def __init__(self, n_actors: int, envs_per_actor: int) -> None:
        super().__init__(n_actors, envs_per_actor)
        self.seen: list[tuple[float, int, int]] = []
        """time, actor, incarnation"""

    def stored(self, delivery: Delivery, n_updates: int, seconds: float) -> None:
        super().stored(delivery, n_updates, seconds)
        self.seen.append((time.monotonic(), delivery.actor, delivery.incarnation))


class KillFirst(BaseCallback):
    """
    Kills the first actor at an env step, and ends the training when its successor has brought a block.

    :param envs: with `Watched` records
    :param at: env step
    """

    def __init__(self, envs: ActorEnvs, at: int) -> None:
        super().__init__()
        self.envs, self.at = envs, at
        self.killed = float("inf")
        self.steps = 0

    def _on_step(self) -> bool:
        watched = self.envs.records
        assert isinstance(watched, Watched)
        now = time.monotonic()
        if self.num_timesteps >= self.at and self.killed > now:
            os.kill(self.envs.pids[0], signal.SIGKILL)
            self.killed, self.steps = time.monotonic(), self.num_timesteps
        if now > self.killed + PATIENCE:
            return False
        return not any(actor == 0 and incarnation > 0 for _, actor, incarnation in watched.seen)


def kill_one(condition: str, repeat: int, quick: bool) -> dict[str, object]:
    """:return: one row"""
    known = CONDITIONS[condition]
    envs = make_envs(poles, known)
    assert isinstance(envs, ActorEnvs)
    watched = envs._collector.records = Watched(known.n_actors, envs.num_envs // known.n_actors)
    callback = KillFirst(envs, 1_200 if quick else 4_000)
    model = pole_model(envs, 1)
    try:
        model.learn(10**7, callback=callback, log_interval=10**9)
    finally:
        envs.close()
    back = [when for when, actor, incarnation in watched.seen if actor == 0 and incarnation > 0]
    others = np.array([when for when, actor, _ in watched.seen if actor == 1])
    gaps, after = np.diff(others), others[1:] > callback.killed
    return {
        "condition": condition,
        "repeat": repeat,
        "seconds_to_block": round(back[0] - callback.killed, 3) if back else "",
        "others_gap": round(float(gaps[after].max()), 3) if after.any() else "",
        "others_usual_gap": round(float(np.median(gaps[~after])), 4),
        "others_blocks": int(after.sum()),
        "steps": model.num_timesteps - callback.steps,
        "load": load_average(),
    }


class Weigh(BaseCallback):
    """
    :param envs: whose actors are weighed
    :param at: env step
    """

    def __init__(self, envs: ActorEnvs, at: int) -> None:
        super().__init__()
        self.envs, self.at = envs, at
        self.actors: list[tuple[float, float]] = []
        self.learner = 0.0

    def _on_step(self) -> bool:
        if self.num_timesteps < self.at:
            return True
        self.actors = [memory_mib(pid) for pid in self.envs.pids]
        self.learner = memory_mib(os.getpid())[0]
        return False


def pixel_model(env: VecEnv) -> R2D2:
    """:return: with the paper's network and windows"""
    settings: dict[str, Any] = {
        "learning_starts": 10**6,
        "buffer_size": 20_000,
        "policy_kwargs": {"lstm_hidden_size": 512},
    }
    model = R2D2("CnnLstmPolicy", env, seed=0, device="cpu", **settings)
    model.set_logger(Logger(None, []))
    return model


def weigh(world: str, condition: str, repeat: int, quick: bool) -> dict[str, object]:
    """:return: one row"""
    envs = make_envs(poles if world == "vector" else frames, CONDITIONS[condition])
    assert isinstance(envs, ActorEnvs)
    callback = Weigh(envs, 1_200 if quick else 8_000 if world == "vector" else 6_000)
    model = pole_model(envs, 1) if world == "vector" else pixel_model(envs)
    try:
        model.learn(10**6, callback=callback, log_interval=10**9)
    finally:
        envs.close()
    uss, rss = zip(*callback.actors, strict=True)
    sizes = {"actor_uss": max(uss), "actor_rss": max(rss), "learner_uss": callback.learner}
    row = {"world": world, "condition": condition, "repeat": repeat, "load": load_average()}
    return {**row, **{name: round(size, 1) for name, size in sizes.items()}}


def measure_faults(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing."""
    for repeat in range(repeats):
        for condition in available():
            if condition in WITH_ACTORS and not table.has(condition=condition, repeat=repeat):
                table.add(kill_one(condition, repeat, quick))


def measure_memory(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing; two repeats tell as much as ten."""
    for repeat in range(min(repeats, 2)):
        for world in ("vector", "pixels"):
            for condition in available():
                where = {"world": world, "condition": condition, "repeat": repeat}
                if condition in WITH_ACTORS and not table.has(**where):
                    table.add(weigh(world, condition, repeat, quick))


def report_faults(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached"""
    rows: list[tuple[object, ...]] = []
    for condition in WITH_ACTORS:
        columns = ("seconds_to_block", "others_gap", "others_usual_gap", "steps", "load")
        middle = [table.median(name, condition=condition) for name in columns]
        if not np.isnan(middle[-1]):
            worst = table.values("seconds_to_block", condition=condition).max()
            rows.append((CONDITIONS[condition].label, middle[0], float(worst), *middle[1:]))
    header = ("SIGKILL of one", "s to its next block", "worst", "the other's longest gap", "usual gap", "steps", "load")
    print_rows(header, rows)
    longest, usual = (table.median(name, condition="process_2") for name in ("others_gap", "others_usual_gap"))
    return [
        Bound(
            "SIGKILL of a process actor to its next block",
            table.median("seconds_to_block", condition="process_2"),
            at_most=5.0,
            unit=" s",
        ),
        Bound("the other actor's longest pause, in usual ones", longest / usual, at_most=10.0),
    ]


def report_memory(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached"""
    rows: list[tuple[object, ...]] = []
    bounds: list[Bound] = []
    for world, label in (("vector", "CartPole, H 64, 8 lanes"), ("pixels", "84x84, H 512, 8 lanes")):
        for condition in WITH_ACTORS:
            sizes = [
                table.median(x, world=world, condition=condition) for x in ("actor_uss", "actor_rss", "learner_uss")
            ]
            if not np.isnan(sizes[0]):
                rows.append((label, CONDITIONS[condition].label, *(round(size) for size in sizes)))
            if condition == "process_2":
                bounds.append(
                    Bound(f"memory of a process actor, {label}", sizes[0], at_most=round(250e6 / MIB), unit=" MiB")
                )
    print_rows(("MiB", "", "actor, USS", "actor, RSS", "learner, USS"), rows)
    return bounds
