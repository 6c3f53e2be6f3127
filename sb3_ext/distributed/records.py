"""What actors do, for the learner's log: how old what they bring is, who waits for whom, how fast the slowest is."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_ext import nested
from sb3_ext.distributed.messages import Delivery

SECONDS = 2.0  # between two records
RECENT = 1000  # deliveries that the lag is told of
EPISODES = 20  # that an actor's return is the mean of
MAX_CURVES = 16  # actors that have curves of their own
MIB = 2**20


class Counts(Protocol):
    """What `Dispatcher` counts."""

    @property
    def alive(self) -> int:
        """Actors that run now."""

    @property
    def restarts(self) -> int:
        """of all actors since the start"""

    @property
    def broken(self) -> int:
        """Deliveries that did not continue the ones before."""

    @property
    def learner_waits(self) -> float:
        """seconds that the learner has waited for deliveries"""


class _OfActor:
    """What is known of one actor. Sums are since the last record."""

    def __init__(self) -> None:
        self.steps = 0
        self.collected = self.waited = 0.0
        self.version = self.rss = 0
        self.returns: deque[float] = deque(maxlen=EPISODES)

    @property
    def speed(self) -> float:
        """environment steps per second of its own work, NaN where it has brought nothing"""
        return self.steps / self.collected if self.collected > 0 else math.nan


class ActorRecords:
    """
    Is shown each delivery, and records every 2 s at most, for the logger's files:

    - ``actors/alive``, ``actors/restarts``, ``actors/broken``: actors that run; how many were begun anew, and how many
      deliveries did not continue what was there, since the start
    - ``actors/lag_updates``, ``_p95``, ``_max``: updates that the learner was ahead of the weights by which a block was
      collected, when it stored it, over the last 1 000 blocks; ``actors/lag_steps``, its mean in environment steps
    - ``actors/learner_waits``, ``actors/ingest``: shares of the learner's time; ``actors/actors_wait``: of the actors'
    - ``actors/bytes_per_s`` of blocks; ``actors/weights_version``, the newest that was published
    - ``actors/updates_per_step``; ``actors/samples_per_insert``, draws for each item that is stored
    - ``actors/slowest_steps_per_s``: by its own clock, without its waiting; ``actors/rss_max``, MiB of the largest
    - of each actor, where they are at most 16: ``actors/speed_I`` in environment steps per second; ``actors/return_I``,
      of its last 20 episodes; ``actors/version_I`` of the weights that it acted with last

    :param n_actors: how many
    :param envs_per_actor: lanes of each
    :param clock: in seconds
    """

    def __init__(self, n_actors: int, envs_per_actor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.envs_per_actor = envs_per_actor
        self.clock = clock
        self.lags: deque[int] = deque(maxlen=RECENT)
        self.ingested = 0.0
        """seconds that storing took, since the start"""
        self._bytes = self._steps = 0  # that were stored
        self._actors = [_OfActor() for _ in range(n_actors)]
        self._draws_per_update = 0.0
        self._began = False

    @property
    def bytes_per_step(self) -> float:
        """of all blocks since the start, NaN before the first"""
        return self._bytes / self._steps if self._steps else math.nan

    def begin(self, model: OffPolicyAlgorithm, n_updates: int, learner_waits: float) -> None:
        """
        A training begins.

        :param model: the learner
        :param n_updates: that it has made
        :param learner_waits: as `Counts` has it
        """
        self._draws_per_update = model.batch_size * _steps_per_item(model)
        if model.verbose >= 1 and not self._began:
            print(f"{len(self._actors)} actors of {self.envs_per_actor} environments: {described_ratio(model)}")
        self._began = True
        self._mark(model.num_timesteps, n_updates, learner_waits)

    def stored(self, delivery: Delivery, n_updates: int, seconds: float) -> None:
        """
        :param delivery: whose block has been stored
        :param n_updates: that the learner had made by then
        :param seconds: that storing took
        """
        self.lags.append(n_updates - delivery.n_updates)
        self.ingested += seconds
        self._bytes += n_bytes(delivery)
        actor = self._actors[delivery.actor]
        self._steps += delivery.n_steps * self.envs_per_actor
        actor.steps += delivery.n_steps * self.envs_per_actor
        actor.collected += delivery.collect_seconds
        actor.waited += delivery.waited_seconds
        actor.version, actor.rss = delivery.version, delivery.rss
        actor.returns.extend(ended.info["episode"]["r"] for ended in delivery.ended if "episode" in ended.info)

    def log(self, logger: Logger, counts: Counts, num_timesteps: int, n_updates: int, version: int) -> bool:
        """
        :param logger: of the model
        :param counts: of now
        :param num_timesteps: the learner's clock
        :param n_updates: that the learner has made
        :param version: of the weights that were published last
        :return: whether it was time
        """
        seconds = self.clock() - self._since
        if seconds < SECONDS:
            return False
        steps, updates = num_timesteps - self._steps_then, n_updates - self._updates_then
        values: dict[str, float] = {
            "alive": counts.alive,
            "restarts": counts.restarts,
            "broken": counts.broken,
            "learner_waits": (counts.learner_waits - self._waits_then) / seconds,
            "ingest": (self.ingested - self._ingested_then) / seconds,
            "bytes_per_s": (self._bytes - self._bytes_then) / seconds,
            "weights_version": version,
            **self._lags(updates / steps if steps else 0.0),
            **self._speeds(),
        }
        if steps:
            values["updates_per_step"] = updates / steps
            values["samples_per_insert"] = self._draws_per_update * updates / steps
        if len(self._actors) <= MAX_CURVES:
            for index, actor in enumerate(self._actors):
                values[f"speed_{index}"], values[f"version_{index}"] = actor.speed, actor.version
                values[f"return_{index}"] = float(np.mean(actor.returns)) if actor.returns else math.nan
        for name, value in values.items():
            if math.isfinite(value):
                logger.record(f"actors/{name}", value, exclude="stdout")
        self._mark(num_timesteps, n_updates, counts.learner_waits)
        return True

    def _lags(self, updates_per_step: float) -> dict[str, float]:
        if not self.lags:
            return {}
        lags = np.array(self.lags)
        mean = float(lags.mean())
        told = {
            "lag_updates": mean,
            "lag_updates_p95": float(np.quantile(lags, 0.95)),
            "lag_updates_max": int(lags.max()),
        }
        return {**told, "lag_steps": mean / updates_per_step} if updates_per_step else told

    def _speeds(self) -> dict[str, float]:
        collected, waited = (sum(getattr(x, name) for x in self._actors) for name in ("collected", "waited"))
        speeds = [actor.speed for actor in self._actors if actor.steps]
        largest = max(actor.rss for actor in self._actors)
        return {
            "actors_wait": waited / (collected + waited) if collected + waited else math.nan,
            "slowest_steps_per_s": min(speeds, default=math.nan),
            "rss_max": largest / MIB if largest else math.nan,
        }

    def _mark(self, num_timesteps: int, n_updates: int, learner_waits: float) -> None:
        self._since = self.clock()
        self._steps_then, self._updates_then, self._waits_then = num_timesteps, n_updates, learner_waits
        self._ingested_then, self._bytes_then = self.ingested, self._bytes
        for actor in self._actors:
            actor.steps, actor.collected, actor.waited = 0, 0.0, 0.0


def n_bytes(delivery: Delivery) -> int:
    """:return: of the arrays of its block"""
    return sum(leaf.nbytes for leaf in nested.leaves(delivery.block._asdict()) if isinstance(leaf, np.ndarray))


def described_ratio(model: OffPolicyAlgorithm) -> str:
    """:return: how much is learned from a step, by the settings, in words"""
    updates, steps = _ratio(model)
    return f"{updates} updates per {steps} environment steps, {samples_per_insert(model):.3g} samples per insert"


def samples_per_insert(model: OffPolicyAlgorithm) -> float:
    """:return: how often an item of the replay is drawn, in the mean, by the settings"""
    updates, steps = _ratio(model)
    return model.batch_size * _steps_per_item(model) * updates / steps


def _ratio(model: OffPolicyAlgorithm) -> tuple[int, int]:
    """:return: updates, and environment steps between them"""
    given = model.train_freq
    steps = (given[0] if isinstance(given, tuple) else given) * model.n_envs
    return (model.gradient_steps if model.gradient_steps >= 0 else steps), steps


def _steps_per_item(model: OffPolicyAlgorithm) -> int:
    """:return: environment steps that bring one more item of the replay: a window each period, or a transition"""
    period: int = getattr(model.replay_buffer, "period", 1)
    return period
