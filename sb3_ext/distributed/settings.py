"""How a learner collects from actors: the keywords of `ActorEnvs`, and what a model must be for them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.faults import RestartPolicy
from sb3_ext.distributed.messages import ActorSpec
from sb3_ext.distributed.records import samples_per_insert
from sb3_ext.distributed.registered import registered

USUAL_CHUNK = 16
"""steps of a block where updates are few: what an order costs is then a few percent of what it brings"""
MOST_AHEAD = 16
"""updates that the chunk may put actors behind the learner: where these are many, they take the time, and blocks may be
short"""
FEW_SAMPLES = 8.0
"""per item that is stored, below which it matters with which priority it begins: see docs/scale_out.md"""
InitialPriorities = Literal["auto", "highest", "actor"]


@dataclass(frozen=True)
class Settings:
    """Of `ActorEnvs`, which documents them."""

    make_env: Callable[[int], VecEnv]
    n_actors: int
    envs_per_actor: int
    chunk: int | None
    orders: int
    lockstep: bool
    publish_every: int
    publish_seconds: float | None
    initial_priorities: InitialPriorities
    restarts: RestartPolicy
    order_timeout: float

    def __post_init__(self) -> None:
        self._check_kinds()
        for name in ("n_actors", "envs_per_actor", "orders", "publish_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk {self.chunk} must be at least 1 step, or None")
        if self.chunk is not None and self.lockstep:
            raise ValueError(
                f"chunk {self.chunk} with lockstep=True: blocks are of train_freq steps then, leave it out"
            )
        if self.publish_seconds is not None and not self.publish_seconds >= 0.0:
            raise ValueError(f"publish_seconds {self.publish_seconds} must be at least 0, or None")
        if not self.order_timeout > 0.0:
            raise ValueError(f"order_timeout {self.order_timeout} must be positive: it is in seconds")
        if self.initial_priorities not in ("auto", "highest", "actor"):
            raise ValueError(f'initial_priorities {self.initial_priorities!r} must be "auto", "highest" or "actor"')

    def _check_kinds(self) -> None:
        """:raises TypeError: for a value of another kind"""
        if not callable(self.make_env):
            raise TypeError(
                f"make_env is a {type(self.make_env).__name__}: it must be a function from a number of environments to "
                'a VecEnv of so many, like partial(make_vec_env, "CartPole-v1")'
            )
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("n_actors", Integral, "an integer"),
            ("envs_per_actor", Integral, "an integer"),
            ("orders", Integral, "an integer"),
            ("publish_every", Integral, "an integer"),
            ("chunk", Integral | None, "an integer, or None"),
            ("publish_seconds", Real | None, "a number, or None"),
            ("order_timeout", Real, "a number"),
            ("restarts", RestartPolicy, "a RestartPolicy, like RestartPolicy(max_in=10)"),
        )
        for name, kind, what in kinds:
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} {value!r} must be {what}")

    @property
    def n_envs(self) -> int:
        """Lanes over all actors."""
        return self.n_actors * self.envs_per_actor

    def check(self, model: OffPolicyAlgorithm) -> None:
        """:raises ValueError: for a model that cannot learn from such actors, before anything is started"""
        if not isinstance(model, DeepQLearning):
            raise ValueError(f"{type(model).__name__} does not learn from actors: use R2D2, Rainbow or RainbowR")
        if model.n_envs != self.n_envs:
            raise ValueError(
                f"{self.n_actors} actors with {self.envs_per_actor} environments each are {self.n_envs}, the model has "
                f"{model.n_envs}: n_actors * envs_per_actor must be that number"
            )
        frequency, unit = _train_freq(model)
        if unit is not TrainFrequencyUnit.STEP:
            raise ValueError(
                f"train_freq {(frequency, unit.value)} counts episodes, actors collect steps: give a number"
            )
        if hasattr(model.exploration, "choose") and not hasattr(model.exploration, "for_lanes"):
            raise ValueError(
                f"exploration {model.exploration} has no method for_lanes(first, n, total), which says what it is for "
                "the environments of one actor: see SharedExploration"
            )
        if model.replay_buffer is not None:
            model.replay_buffer.check_size(self.chunk_for(model))
        if self.initial_priorities == "actor" and not _has_acting_priorities(model):
            raise ValueError(
                f'initial_priorities="actor" gives td errors, which are no priorities of {model.head} with '
                f'{model.sampler}: use "auto", or a sampler that reads priorities and a head whose priority is "td"'
            )

    def chunk_for(self, model: DeepQLearning) -> int:
        """:return: steps of each lane in a block"""
        if self.lockstep:
            return _train_freq(model)[0]
        if self.chunk is not None:
            return self.chunk
        most = max(USUAL_CHUNK, getattr(model, "period", 1))  # then a block completes a window
        frequency = _train_freq(model)[0]
        updates = model.gradient_steps if model.gradient_steps >= 0 else frequency * self.n_envs
        if updates == 0:
            return most
        return min(max(MOST_AHEAD * frequency // (self.orders * updates), 1), most)

    def spec_for(
        self,
        model: DeepQLearning,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        env_seeds: tuple[int | None, ...],
        training: int,
    ) -> ActorSpec:
        """
        :param model: the learner
        :param observation_space: of the environments as they are made
        :param action_space: of these
        :param env_seeds: [n_envs], None = of the system
        :param training: how many began before
        """
        file = io.BytesIO()
        # What is the learner's own affair stays here.
        model.save(file, exclude=["_last_obs", "_last_original_obs", "ep_info_buffer", "ep_success_buffer"])
        normalizer = model.get_vec_normalize_env()
        assert model.replay_buffer is not None
        return ActorSpec(
            algorithm=type(model),
            model=file.getvalue(),
            make_env=self.make_env,
            observation_space=observation_space,
            action_space=action_space,
            envs_per_actor=self.envs_per_actor,
            n_lanes=self.n_envs,
            clock_step=self.n_envs if self.lockstep else self.envs_per_actor,
            recorder_cells=model.replay_buffer.recorder_cells(self.chunk_for(model)),
            env_seeds=env_seeds,
            seed=model.seed,
            training=training,
            normalizer=None if normalizer is None else pickle.dumps(normalizer),
            norm_reward=normalizer is not None and normalizer.norm_reward,
            registered=registered(),
            records_priorities=self._records_priorities(model),
        )

    def _records_priorities(self, model: DeepQLearning) -> bool:
        if self.initial_priorities != "auto":
            return self.initial_priorities == "actor"
        # In lockstep a training is to be what it is without actors.
        return not self.lockstep and _has_acting_priorities(model) and samples_per_insert(model) < FEW_SAMPLES


def _has_acting_priorities(model: DeepQLearning) -> bool:
    """:return: whether errors by the Q-values of acting have the unit of the learner's priorities"""
    reads = getattr(model.sampler, "reads_priorities", False)  # a name, before it is resolved, reads nothing
    return reads and getattr(model.head, "priority", "td") == "td"


def _train_freq(model: OffPolicyAlgorithm) -> tuple[int, TrainFrequencyUnit]:
    """:return: also before SB3 has made an object of what the user gave"""
    given: Any = model.train_freq  # Any: a number, or a pair with a name
    return (given[0], TrainFrequencyUnit(given[1])) if isinstance(given, tuple) else (given, TrainFrequencyUnit.STEP)
