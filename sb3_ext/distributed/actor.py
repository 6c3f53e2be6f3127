"""
An actor: environments, a copy of the learner's model that acts in them by SB3's own loop, and a small replay of the
model's own class, from which blocks are taken.

```
Actor(spec) -> apply(weights) -> first() -> apply -> collect(order) -> apply -> collect(order) ...
                    ^                                                       |
                    +--------------- renew(spec), a new training <----------+
```
"""

from __future__ import annotations

import io
import os
import time
import traceback
from dataclasses import replace

import numpy as np
import torch as th
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_ext.buffers.acting_values import ActedItems
from sb3_ext.buffers.recorder import BlockRecorder
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.building import built, lane_that_raised
from sb3_ext.distributed.carried import Acts
from sb3_ext.distributed.generators import seed_generators
from sb3_ext.distributed.messages import (
    ActorFailed,
    ActorSpec,
    Delivery,
    EnvCall,
    Order,
    Ready,
    Weights,
)
from sb3_ext.distributed.statistics import Shown, frozen_copy, normalized_rewards
from sb3_ext.distributed.watching import Remembers, Seen, Watch
from sb3_ext.distributed.weights import load_weights
from sb3_ext.ops.exploration import SharedExploration
from sb3_ext.ops.priorities import acting_td, mix_priorities
from sb3_ext.vec_envs import raw_observations

GENERATOR_STEPS = 2**20
"""of the learner's clock, after which the generators are seeded anew: what an actor draws is a matter of the clock and
of nothing that happened longer ago"""


class Actor:
    """
    :param spec: of all actors
    :param index: number of this one
    :param incarnation: 0, or how often it has been started anew
    :param own_generators: seeds the global generators; False = acts with them as they are
    :raises ValueError: for environments other than the learner's
    """

    def __init__(self, spec: ActorSpec, index: int, incarnation: int = 0, *, own_generators: bool = True) -> None:
        self.index, self.incarnation, self.own_generators = index, incarnation, own_generators
        self.version = self._n_updates = 0
        self._seed = spec.seed if spec.seed is not None else _any_seed()
        self._env = Remembers(built(spec.make_env, spec.envs_per_actor, spec.registered))
        self._check_spaces(spec)
        self.renew(spec)

    def _check_spaces(self, spec: ActorSpec) -> None:
        env = self._env
        for name in ("observation_space", "action_space"):
            ours, theirs = getattr(env, name), getattr(spec, name)
            if ours != theirs:
                raise ValueError(
                    f"make_env gave actor {self.index} environments with {name} {ours}, the learner's is {theirs}: "
                    "it must make the same ones everywhere"
                )

    def renew(self, spec: ActorSpec) -> None:
        """
        A training begins, in the same environments.

        :param spec: with the learner's model
        """
        self._first_lane = self.index * spec.envs_per_actor
        self._normalizer = None if spec.normalizer is None else frozen_copy(spec.normalizer, self._env)
        self._model = spec.algorithm.load(
            io.BytesIO(spec.model),
            env=self._env if self._normalizer is None else self._normalizer,
            device="cpu",
            custom_objects={"verbose": 0},  # read before the keywords below
            buffer_size=spec.envs_per_actor * spec.recorder_cells,
            seed=None,
            tensorboard_log=None,
            compile="off",
            prefetch=0,
        )
        _keep_what_acts(self._model)
        self._spec = replace(spec, model=b"")
        self._model.set_logger(Logger(None, []))
        assert self._model.replay_buffer is not None
        self._recorder = BlockRecorder(
            self._model.replay_buffer, self._first_lane, self._priorities if spec.records_priorities else None
        )
        self._entropy = [self._seed, self.index, self.incarnation, spec.training]
        self._epoch: int | None = None  # of the generators
        self.version = 0

    # ------------------------------------------------------------------ what an actor is told

    def apply(self, weights: Weights) -> None:
        """:param weights: to act with from now on"""
        if weights.version == self.version:
            return
        changed = load_weights(self._model, self._normalizer, weights)
        self.version, self._n_updates = weights.version, weights.n_updates
        if changed and self._model._last_obs is not None:
            assert self._normalizer is not None and self._model.env is not None
            normalized = self._normalizer.normalize_obs(self._normalizer.old_obs)
            self._model._last_obs = raw_observations(self._model.env, normalized)

    def first(self) -> Ready:
        """:return: the first observations of new episodes in all environments"""
        seeds = self._env_seeds()
        if seeds[0] is not None:
            self._env.seed(seeds[0])  # those of an actor's lanes follow each other
        shown = None if self._normalizer is None else Shown(self._normalizer)
        self._seen = Seen(self._recorder) if self._spec.records_priorities else None
        self._seeds = seeds
        watch = Watch(self._spec.clock_step, self._first_lane, shown, self._seen)
        self._model._setup_learn(total_timesteps=0, callback=watch)
        self._watch = watch  # only now: an episode whose first reset raises has no steps
        self._recorder.cut()
        self._number, self._done_at = 0, time.perf_counter()
        return Ready(self.index, self.incarnation, self._env.first_observations, os.getpid())

    def _env_seeds(self) -> list[int | None]:
        lanes = range(self._first_lane, self._first_lane + self._spec.envs_per_actor)
        if self.incarnation == 0 or self._spec.seed is None:
            return [self._spec.env_seeds[lane] if self.incarnation == 0 else None for lane in lanes]
        first = int(np.random.SeedSequence(self._entropy).generate_state(1)[0]) >> 1
        return [first + i for i in range(len(lanes))]

    def collect(self, order: Order) -> Delivery:
        """
        :param order: what to collect
        :return: what an order brought; ``rss`` is left 0
        :raises ValueError: as the replay does, for NaN and the like
        """
        began = time.perf_counter()
        self._obey(order)
        model = self._model
        assert model.env is not None and model.replay_buffer is not None
        model.collect_rollouts(
            model.env,
            self._watch,
            TrainFreq(order.n_steps, TrainFrequencyUnit.STEP),
            model.replay_buffer,
            learning_starts=order.learning_starts,
        )
        block = self._recorder.take()
        ended, moments = self._watch.take()
        waited, self._done_at = began - self._done_at, time.perf_counter()
        self._number += 1
        return Delivery(
            actor=self.index,
            incarnation=self.incarnation,
            number=self._number - 1,
            n_steps=order.n_steps,
            version=self.version,
            n_updates=self._n_updates,
            block=block,
            ended=ended,
            moments=moments,
            collect_seconds=self._done_at - began,
            waited_seconds=waited,
            rss=0,
        )

    def _obey(self, order: Order) -> None:
        """Settings, clock and generators are those of the order."""
        if order.cuts:
            self._recorder.cut()
        for call in order.calls:
            self._call(call)
        model = self._model
        if self.own_generators and self._epoch != order.num_timesteps // GENERATOR_STEPS:
            self._epoch = order.num_timesteps // GENERATOR_STEPS
            seed_generators(np.random.SeedSequence([*self._entropy, self._epoch]))
        assert isinstance(order.exploration, SharedExploration)
        exploration = order.exploration.for_lanes(self._first_lane, model.n_envs, self._spec.n_lanes)
        model.exploration = exploration if self._seen is None else self._seen.choosing_by(exploration)
        model.return_scale = order.return_scale
        model.num_timesteps, model._total_timesteps = order.num_timesteps, order.total_timesteps
        model._update_current_progress_remaining(order.num_timesteps, order.total_timesteps)

    def _priorities(self, items: ActedItems) -> th.Tensor:
        """:return: [N] as the learner would make them, by the Q-values of acting"""
        model, normalizer = self._model, self._normalizer
        if normalizer is not None and self._spec.norm_reward:
            items = items._replace(rewards=th.from_numpy(normalized_rewards(normalizer, items.rewards.numpy())))
        errors = acting_td(*items, gamma=model.gamma, n=model.n_steps, transform=model.transform)
        return mix_priorities(errors, items.mask[:, : errors.shape[1]], getattr(model, "eta", 1.0))

    def _call(self, call: EnvCall) -> None:
        here = [lane - self._first_lane for lane in call.lanes if 0 <= lane - self._first_lane < self._env.num_envs]
        getattr(self._env, call.kind)(call.name, *call.args, indices=here, **call.kwargs)

    def close(self) -> None:
        """End the environments."""
        self._env.close()

    def where(self, error: BaseException) -> str:
        """:return: in which environment an error was raised, in words"""
        lane = lane_that_raised(error)
        if lane is None:
            return f"lanes {self._first_lane} to {self._first_lane + self._env.num_envs - 1}"
        seeds, watch = getattr(self, "_seeds", None), getattr(self, "_watch", None)
        seed = "" if seeds is None or seeds[lane] is None else f"env seed {seeds[lane]}, "
        step = "" if watch is None else f", step {watch.steps[lane] + 1} of its episode"
        return f"{seed}lane {self._first_lane + lane}{step}"


def failure_of(error: Exception, index: int, incarnation: int, actor: Acts | None) -> ActorFailed:
    """
    :param error: that is being handled
    :param index: number of the actor
    :param incarnation: of it
    :param actor: None where it could not be made
    :return: the report
    """
    message = (str(error).strip().splitlines() or [""])[0]
    return ActorFailed(
        index,
        incarnation,
        "raised",
        f"{type(error).__name__}: {message}" if message else type(error).__name__,
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        "" if actor is None else actor.where(error),
    )


def _keep_what_acts(model: DeepQLearning) -> None:
    """What only a learner needs, of images three times what acts, takes no memory."""
    model.policy.q_net_target = model.q_net_target = model.q_net
    model.policy.optimizer.state.clear()
    del model.learner


def _any_seed() -> int:
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy
