"""The learner's side of actors: what goes out, what comes in and when, while SB3's `learn` is the loop."""

from __future__ import annotations

import time
import weakref
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq

from sb3_ext import nested
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.backend import Backend
from sb3_ext.distributed.dispatch import Dispatcher, MakeOrder
from sb3_ext.distributed.env_calls import EnvCalls
from sb3_ext.distributed.faults import in_words
from sb3_ext.distributed.messages import Delivery, Obs, Order, Weights
from sb3_ext.distributed.pacing import Window
from sb3_ext.distributed.records import ActorRecords
from sb3_ext.distributed.settings import Settings
from sb3_ext.distributed.statistics import learn_moments
from sb3_ext.distributed.ticks import Credit, Ticking
from sb3_ext.distributed.weights import Packer


class Collector:
    """
    Always: what a delivery brought is in the replay before it counts as steps, and counts once.

    :param settings: of `ActorEnvs`
    :param backend: that runs the actors
    """

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self.settings, self.backend = settings, backend
        self.records = ActorRecords(settings.n_actors, settings.envs_per_actor)
        self.calls = EnvCalls(settings.n_actors, settings.envs_per_actor)
        self.dispatcher: Dispatcher | None = None
        self._credit = Credit(settings.n_actors, settings.n_envs)
        self._model: weakref.ref[DeepQLearning] | None = None
        self._packer: Packer | None = None
        self._chunk = 0
        self._runs = False  # the actors are those of the model, and their episodes go on
        self._torn = False  # something was raised between a delivery and its storage
        self._cuts: set[int] = set()  # actors whose next order begins new trajectories
        self._trainings = 0  # that were begun with a reset
        self._closings = 0  # of all actors
        self._seen: tuple[int, int] | None = None  # replay and clock as they were left
        self._begins = False
        self._version, self._published_updates, self._published_at = 0, 0, 0.0
        self._publish_seconds = 0.0
        self._is_stale = False  # what is published is not what the model has, whatever it counts

    # ------------------------------------------------------------------ a training begins

    def attach(self, model: DeepQLearning) -> None:
        """Parameters as in `RolloutSource`."""
        chunk = self.settings.chunk_for(model)
        if self.dispatcher is not None and (self._model is None or self._model() is not model or chunk != self._chunk):
            self._runs = False
        if self._runs and not self._torn:
            self._drain(model)
        else:
            self._forget()
            self._runs = False
        self._model, self._packer = weakref.ref(model), Packer(model.acting_module())
        if self.dispatcher is None or chunk != self._chunk:
            self._make_dispatcher(chunk)
        if not self._runs:
            model._last_obs = None  # SB3 resets where there is none
        self._begins = self._is_stale = True

    def _make_dispatcher(self, chunk: int) -> None:
        settings = self.settings
        if self.dispatcher is not None:
            self.close()
        block = chunk * settings.envs_per_actor
        window = None if settings.lockstep else Window(settings.n_actors, block, settings.orders, settings.n_envs)
        self.dispatcher = Dispatcher(
            self.backend,
            settings.n_actors,
            window=window,
            restarts=settings.restarts,
            order_timeout=settings.order_timeout,
        )
        self._chunk = chunk

    def _drain(self, model: DeepQLearning) -> None:
        """What is under way for the model is stored, unless its replay is not the one it was."""
        assert self.dispatcher is not None
        goes_on = self._seen == (id(model.replay_buffer), model.num_timesteps)
        self._torn = True
        for delivery in self.dispatcher.drain():
            if goes_on:
                try:
                    self._store(model, delivery)
                except ValueError:  # the user has cut or emptied the replay meanwhile
                    goes_on = False
                else:
                    self._credit.add([delivery])
        self._torn = False
        if not goes_on:
            self._forget()
        self._cuts = set(range(self.settings.n_actors))

    def _forget(self) -> None:
        """What is in hand belongs to another model, or to another replay."""
        self._credit.clear()
        if self.dispatcher is not None and self.dispatcher.window is not None:
            self.dispatcher.taken(self.dispatcher.window.credit)
        self._torn = False

    def start(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        env_seeds: tuple[int | None, ...],
    ) -> Obs:
        """
        All environments begin an episode.

        :param observation_space: of the environments as they are made
        :param action_space: of these
        :param env_seeds: [n_envs], None = of the system, or as it goes on
        :return: [n_envs, ...] first observations
        :raises RuntimeError: where no model learns from them
        """
        model = None if self._model is None else self._model()
        if model is None or self.dispatcher is None:
            raise RuntimeError(
                "ActorEnvs has no model whose policy acts: give it to R2D2, Rainbow or RainbowR and learn"
            )
        self._runs = False
        spec = self.settings.spec_for(model, observation_space, action_space, env_seeds, self._trainings)
        self._trainings += 1
        weights = self._next_weights(model)
        size = sum(vector.nbytes for vector in weights.vectors)
        given = self.settings.publish_seconds
        self._publish_seconds = self.backend.publish_seconds(size) if given is None else given
        observations = self.dispatcher.start(spec, weights)
        self._cuts.clear()
        self._runs = True
        self._is_stale = True  # VecNormalize takes in the first observations
        joined: Obs = nested.cat(observations)
        return joined

    # ------------------------------------------------------------------ collecting

    def collect_for(
        self, model: DeepQLearning, callback: BaseCallback, train_freq: TrainFreq, log_interval: int | None
    ) -> RolloutReturn:
        """Parameters as in `RolloutSource`."""
        assert self.dispatcher is not None and model.env is not None
        self._check_runs(model)
        if self._begins:
            self.records.begin(model, model._n_updates, self.dispatcher.learner_waits)
            self._begins = False
        model.policy.set_training_mode(False)
        ticking = Ticking(model, model.env, callback, log_interval)
        callback.on_rollout_start()
        goes_on = self._collect(model, ticking, train_freq.frequency)
        if goes_on:
            callback.on_rollout_end()
        self.records.log(model.logger, self.dispatcher, model.num_timesteps, model._n_updates, self._version)
        return RolloutReturn(ticking.n_ticks * self.settings.n_envs, ticking.n_episodes, goes_on)

    def _check_runs(self, model: DeepQLearning) -> None:
        """:raises RuntimeError: where a callback has taken the actors away"""
        if not self._runs or self._model is None or self._model() is not model:
            raise RuntimeError("ActorEnvs was closed, or given to another model, while a model learns from it")

    def _collect(self, model: DeepQLearning, ticking: Ticking, n_ticks: int) -> bool:
        """:return: False where the callback ends the training"""
        dispatcher = self.dispatcher
        assert dispatcher is not None
        self._publish(model)  # before the first order
        if not self.settings.lockstep:
            self._receive(model, timeout=0.0)
        while ticking.n_ticks < n_ticks:
            while not self._credit.has_tick:
                self._receive(model, timeout=None)
            tick = self._credit.take()
            dispatcher.taken(self.settings.n_envs)
            goes_on = ticking.count(tick)
            self._seen = id(model.replay_buffer), model.num_timesteps
            if not goes_on:
                return False
        if not self.settings.lockstep:
            dispatcher.send(self._order_of(model))  # for the time in which the learner trains
        return True

    def _receive(self, model: DeepQLearning, timeout: float | None) -> None:
        """:param timeout: seconds to wait for a delivery, None = until there is one"""
        dispatcher = self.dispatcher
        assert dispatcher is not None
        self._check_runs(model)
        self._torn = True
        try:
            if self.settings.lockstep:
                deliveries = dispatcher.round(self._order_of(model))
                for delivery in deliveries:
                    self._store(model, delivery)
                self._credit.add(deliveries)
            else:
                dispatcher.send(self._order_of(model))
                for delivery in dispatcher.receive(timeout):
                    self._store(model, delivery)
                    self._credit.add([delivery])
        finally:
            self._tell_failures(model)
        self._torn = False

    def _tell_failures(self, model: DeepQLearning) -> None:
        """Of actors that are started anew: who looks at curves alone would never learn why."""
        assert self.dispatcher is not None
        endured, self.dispatcher.endured = self.dispatcher.endured, []
        for failure in endured if model.verbose >= 1 else ():
            print(f"{in_words(failure)}: it is started anew")
            if failure.traceback and model.verbose >= 2:
                print(failure.traceback)

    def _store(self, model: DeepQLearning, delivery: Delivery) -> None:
        began = time.perf_counter()
        model.store_block(delivery.block)
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None and delivery.moments is not None:
            learn_moments(normalizer, delivery.moments)
            self._is_stale = True
        self.records.stored(delivery, model._n_updates, time.perf_counter() - began)

    def _order_of(self, model: DeepQLearning) -> MakeOrder:
        def make(actor: int, ahead: int) -> Order:
            cuts = actor in self._cuts
            self._cuts.discard(actor)
            dispatcher = self.dispatcher
            assert dispatcher is not None
            who = self._closings, dispatcher.incarnations[actor], dispatcher.pids[actor : actor + 1]
            return Order(
                n_steps=self._chunk,
                num_timesteps=model.num_timesteps + ahead,
                total_timesteps=model._total_timesteps,
                learning_starts=model.learning_starts,
                exploration=model.exploration,
                return_scale=model.return_scale,
                cuts=cuts,
                calls=self.calls.take(actor, who),
            )

        return make

    # ------------------------------------------------------------------ weights

    def _next_weights(self, model: DeepQLearning) -> Weights:
        self._version += 1
        self._published_updates, self._published_at = model._n_updates, time.monotonic()
        self._is_stale = False
        assert self._packer is not None
        return self._packer.pack(model.get_vec_normalize_env(), self._version, model._n_updates)

    def _publish(self, model: DeepQLearning) -> None:
        """The model's weights, where they are new enough and the last ones old enough."""
        assert self.dispatcher is not None
        is_due = self._is_stale or model._n_updates - self._published_updates >= self.settings.publish_every
        if self.settings.lockstep:
            is_due = is_due or model._n_updates > self._published_updates
        elif time.monotonic() - self._published_at < self._publish_seconds:
            return
        if is_due:
            self.dispatcher.publish(self._next_weights(model))

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """End all actors; a training that goes on begins with new ones."""
        self._runs = False
        self._closings += 1
        if self.dispatcher is not None:
            self.dispatcher.close()
