"""
N actors as one VecEnv for R2D2, Rainbow and RainbowR: it is collected from instead of stepped, and everything else of
SB3, from `learn` to callbacks and files, is as it was.

```
learn -> collect_rollouts -> ActorEnvs.collect_for            actors, each with its environments and a policy copy
             |                   | orders, weights  -------->   collect K steps of E lanes
             |                   | blocks, episodes <--------   (the window of advance bounds what is under way)
             |                   v
             |               replay.add_block, ticks: clock, callbacks, logs
             v
           train
```
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.backend import Backend
from sb3_ext.distributed.backends import backend_named
from sb3_ext.distributed.building import built
from sb3_ext.distributed.collecting import Collector
from sb3_ext.distributed.dispatch import Dispatcher
from sb3_ext.distributed.faults import RestartPolicy
from sb3_ext.distributed.messages import EnvCall
from sb3_ext.distributed.records import ActorRecords
from sb3_ext.distributed.settings import InitialPriorities, Settings
from sb3_ext.distributed.statistics import same_around

NOT_STEPPED = "ActorEnvs is not stepped but collected from: learn with R2D2, Rainbow or RainbowR"


class ActorEnvs(VecEnv):
    """
    Environments of N actors, each in a process of its own with a copy of the policy.

        model = R2D2("MlpLstmPolicy", ActorEnvs(make_env, n_actors=8, envs_per_actor=4)).learn(1_000_000)

    VecNormalize goes around it; whatever else wraps environments goes into ``make_env``.

    :param make_env: number of environments -> a VecEnv of so many, as `make_vec_env` gives it with Monitor, without
        VecNormalize. It is called in each actor, and here with 1 for their spaces and for what is asked of them
    :param n_actors: N
    :param envs_per_actor: E; the model's ``n_envs`` are N * E
    :param backend: "process" = processes of this machine, "ray" = a Ray cluster, "inline" = within this process, or a
        `Backend`
    :param chunk: K, steps of each environment in a block; None = as many as keep actors within 16 updates of the
        learner, at most 16, or more where a window's period is longer
    :param orders: blocks that an actor may be ahead, at most; what all are ahead together is at most ``orders * N * K *
        E`` transitions, so that the ratio of updates to steps is exact up to these
    :param lockstep: all actors collect ``train_freq`` steps with the newest weights, then the learner trains: slower,
        and the same in every backend
    :param publish_every: updates between two versions of weights, at least
    :param publish_seconds: seconds between two versions, at least; None = as the backend says
    :param initial_priorities: of what is new in the replay: "highest" of all so far; "actor" = from the Q-values that
        it acted by (Ape-X, Horgan et al., 2018); "auto" = the latter below 8 samples per insert, except in lockstep,
        with a sampler that reads priorities and a head whose priority is a td error
    :param restarts: when actors that failed are restarted
    :param order_timeout: seconds without a sign of life after which an actor that has an order is taken for hung
    :param backend_kwargs: keywords of the backend's class, where it is given by its name
    :raises ValueError: for numbers out of range, or another kind of environments than can be collected from
    """

    def __init__(
        self,
        make_env: Callable[[int], VecEnv],
        n_actors: int,
        envs_per_actor: int = 1,
        *,
        backend: Literal["inline", "process", "ray"] | Backend = "process",
        chunk: int | None = None,
        orders: int = 2,
        lockstep: bool = False,
        publish_every: int = 1,
        publish_seconds: float | None = None,
        initial_priorities: InitialPriorities = "auto",
        restarts: RestartPolicy = RestartPolicy(),
        order_timeout: float = 300.0,
        backend_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.settings = Settings(
            make_env,
            n_actors,
            envs_per_actor,
            chunk,
            orders,
            lockstep,
            publish_every,
            publish_seconds,
            initial_priorities,
            restarts,
            order_timeout,
        )
        self._backend_name = backend if isinstance(backend, str) else type(backend).__name__
        runs = backend_named(backend, backend_kwargs or {})
        self._example = built(make_env, 1)
        super().__init__(self.settings.n_envs, self._example.observation_space, self._example.action_space)
        self._collector = Collector(self.settings, runs)
        self._finalizer = weakref.finalize(self, runs.close)  # also at the interpreter's end

    # ------------------------------------------------------------------ what a learner asks

    def check(self, model: OffPolicyAlgorithm) -> None:
        self.settings.check(model)

    def attach(self, model: OffPolicyAlgorithm) -> None:
        assert isinstance(model, DeepQLearning)
        self._collector.attach(model)

    def collect_for(
        self, model: OffPolicyAlgorithm, callback: BaseCallback, train_freq: TrainFreq, log_interval: int | None
    ) -> RolloutReturn:
        assert isinstance(model, DeepQLearning)
        return self._collector.collect_for(model, callback, train_freq, log_interval)

    def describe(self) -> dict[str, Any]:
        """:return: what they are, as plain data"""
        names = ("n_actors", "envs_per_actor", "chunk", "orders", "lockstep")
        return {"backend": self._backend_name, **{name: getattr(self.settings, name) for name in names}}

    @property
    def records(self) -> ActorRecords:
        """Of what actors brought."""
        return self._collector.records

    @property
    def dispatcher(self) -> Dispatcher | None:
        """Who gets orders, and who failed; None before the first training."""
        return self._collector.dispatcher

    @property
    def pids(self) -> list[int]:
        """Process of each actor; empty before the first training."""
        return [] if self.dispatcher is None else self.dispatcher.pids

    # ------------------------------------------------------------------ what SB3 asks of a VecEnv

    def reset(self) -> VecEnvObs:
        """
        :return: first observations; actors are started where they do not run
        :raises RuntimeError: where no model learns from them
        """
        space, actions = self.observation_space, self.action_space
        observations = self._collector.start(space, actions, tuple(self._seeds))
        self._reset_seeds()  # they count once
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        raise RuntimeError(NOT_STEPPED)

    def step_wait(self) -> VecEnvStepReturn:
        raise RuntimeError(NOT_STEPPED)

    def close(self) -> None:
        """End all actors. They are started again where training goes on."""
        self._collector.close()
        self._example.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Of an environment here that is made as theirs are, as it stands before its first step."""
        return self._example.get_attr(attr_name) * len(self._lanes(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Takes effect with the next order of each actor."""
        self._collector.calls.add(EnvCall("set_attr", attr_name, self._lanes(indices), (value,), {}))
        self._example.set_attr(attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Is called with the next order of each actor; what it returns stays there, here it is None."""
        lanes = self._lanes(indices)
        self._collector.calls.add(EnvCall("env_method", method_name, lanes, method_args, method_kwargs))
        return [None] * len(lanes)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        return self._example.env_is_wrapped(wrapper_class) * len(self._lanes(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        return self._example.get_images()

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """:raises RuntimeError: there is no way for them to the actors"""
        if options:
            raise RuntimeError(f"ActorEnvs takes no options of reset ({options}): set them in make_env")

    def _lanes(self, indices: VecEnvIndices) -> tuple[int, ...]:
        return tuple(int(lane) for lane in self._get_indices(indices))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """:raises pickle.PicklingError: processes are neither copied nor written to a file"""
        raise pickle.PicklingError(
            "ActorEnvs can be neither pickled nor copied: make another one, ActorEnvs(make_env, ...)"
        )


def distribute(
    model: DeepQLearning,
    make_env: Callable[[int], VecEnv],
    n_actors: int,
    envs_per_actor: int | None = None,
    **kwargs: Any,  # those of ActorEnvs
) -> ActorEnvs:
    """
    A model goes on with actors. ``model.set_env(env)`` is the way back.

    :param model: keeps its networks, replay and clock; the statistics of its VecNormalize go on, too
    :param make_env: as for `ActorEnvs`
    :param n_actors: must divide the model's ``n_envs``
    :param envs_per_actor: None = as many as make the model's ``n_envs``
    :param kwargs: more keywords of `ActorEnvs`
    :return: the actors
    :raises ValueError: for another number of environments than the model's, or an algorithm that steps them itself
    """
    if not isinstance(model, DeepQLearning):
        raise ValueError(f"{type(model).__name__} does not learn from actors: use R2D2, Rainbow or RainbowR")
    if envs_per_actor is None:
        if n_actors < 1 or model.n_envs % n_actors:
            raise ValueError(f"n_actors {n_actors} must divide the model's n_envs {model.n_envs}")
        envs_per_actor = model.n_envs // n_actors
    envs = ActorEnvs(make_env, n_actors, envs_per_actor, **kwargs)
    normalizer = model.get_vec_normalize_env()
    try:
        model.set_env(envs if normalizer is None else same_around(pickle.dumps(normalizer), envs))
    except BaseException:
        envs.close()
        raise
    return envs
