"""What a Q-learner may be told, when it counts, and what it means: settings are checked here and become objects."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.moved_keywords import refuse_moved
from sb3_ext.networks.heads import Head
from sb3_ext.networks.noisy import has_noise
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.ops.exploration import EXPLORATIONS, CountedExploration, EpsilonGreedy, Exploration, Greedy
from sb3_ext.ops.value_rescaling import IDENTITY, ScaledTransform, ValueRescaling, ValueTransform
from sb3_ext.specs import resolve
from sb3_ext.vec_envs import check_discrete_starts


class QSettingsMixin(OffPolicyAlgorithm):
    """The settings of `DeepQLearning`, whose constructor sets them."""

    policy: QPolicy
    action_space: spaces.Discrete
    head: Head
    sampler: Sampler
    exploration: Exploration
    value_rescaling: bool | ValueTransform
    normalize_reward: bool | None
    max_grad_norm: float
    return_scale: float
    """factor of returns for the network, 0 = not fitted"""
    _by_default: Exploration | None
    """what was chosen where nothing was given"""
    _built: dict[str, Any]

    policy_base: ClassVar[type[QPolicy]]
    """of the policies that the algorithm can train"""
    replay_base: ClassVar[type[LaneReplayBuffer]]
    """of the replays that it can train on"""
    default_epsilon: ClassVar[EpsilonGreedy]
    """what explores if nothing else is asked for, and no noise does"""
    fractions: ClassVar[tuple[str, ...]] = ("gamma", "tau", "evaluation_eps")
    """settings in [0, 1]"""
    counts: ClassVar[tuple[tuple[str, int], ...]] = (
        ("buffer_size", 1),
        ("batch_size", 1),
        ("n_steps", 1),
        ("target_update_interval", 1),
        ("gradient_steps", -1),
    )
    """integer settings and their minimum"""
    built_in: ClassVar[tuple[str, ...]] = (
        "buffer_size",
        "n_steps",
        "value_rescaling",
        "normalize_reward",
        "head",
        "sampler",
        "policy_kwargs",
    )
    """settings that networks and replay are built with; all others may be changed between two calls of `learn`"""

    # ------------------------------------------------------------------ checked

    def _check_settings(self) -> None:
        """
        Called by `_setup_model`, not by the constructor: `load` takes new settings too.

        :raises ValueError: naming the one that cannot be
        """
        self._check_numbers()
        if not isinstance(self.value_rescaling, bool) and not hasattr(self.value_rescaling, "invert"):
            raise ValueError(f"value_rescaling {self.value_rescaling!r} must be True, False or a ValueTransform")
        refuse_moved(self.policy_kwargs, ())
        if "head" in self.policy_kwargs:
            head = self.policy_kwargs["head"]
            raise ValueError(f"policy_kwargs 'head' is a keyword of {type(self).__name__} itself: head={head!r}")
        if not issubclass(self.policy_class, self.policy_base):
            raise ValueError(
                f"policy {self.policy_class.__name__} is not for {type(self).__name__}: "
                f"use {' or '.join(self.policy_aliases)}, or load the file with the algorithm that saved it"
            )
        if int(self.action_space.start) != 0:
            raise ValueError(f"action space {self.action_space} must begin at 0: shift the actions in a wrapper")
        check_discrete_starts(self.observation_space)

    def _say_fewer_updates(self) -> None:
        """
        Of many environments with the default of one update: SB3's `train_freq` counts the steps of each, so n
        environments make one n-th of the updates to a step. Chosen on purpose, that is faster; by default, it is a
        surprise. A model that is loaded has said it when it was made.
        """
        rounds: Any = self.train_freq  # of which SB3 has made a `TrainFreq`
        by_steps = rounds.unit == TrainFrequencyUnit.STEP
        if self.verbose > 0 and by_steps and self.n_envs > 1 and self.gradient_steps == 1 and self.num_timesteps == 0:
            n = self.n_envs
            print(
                f"One update to {rounds.frequency * n} steps of {n} environments together; gradient_steps={n} makes as "
                "many updates to a step as with one environment"
            )

    def _check_numbers(self) -> None:
        for name in self.fractions:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} {value} must lie in [0.0, 1.0]")
        for name, least in self.counts:
            count = getattr(self, name)
            if not isinstance(count, (int, np.integer)) or count < least:
                raise ValueError(f"{name} {count} must be an integer >= {least}")
        frequency: Any = self.train_freq[0] if isinstance(self.train_freq, tuple) else self.train_freq
        if not isinstance(frequency, (int, np.integer)) or frequency < 1:
            raise ValueError(f"train_freq {self.train_freq} must count at least 1 step or episode")
        if not self.max_grad_norm > 0.0:
            raise ValueError(f"max_grad_norm {self.max_grad_norm} must be > 0; inf does not clip")

    # ------------------------------------------------------------------ meant

    def _told_exploration(self) -> Exploration | None:
        told: Any = self.exploration  # Any: of the constructor, of `load`, or set since
        if told is None:
            return None
        found = resolve(Exploration, told, EXPLORATIONS)
        if isinstance(found, CountedExploration):
            raise ValueError(
                f"exploration {found} must know how often each action was tried in a state, which "
                f"{type(self).__name__} does not count: use EpsilonGreedy, EpsilonLadder, Boltzmann or Greedy, or a "
                "table, sb3_ext.QLearning"
            )
        return found

    def _choose_exploration(self, given: Exploration | None) -> None:
        """:param given: None, or what was chosen by default, gives way to the default"""
        if given is None or given == self._by_default:
            given = self._by_default = self._default_exploration()
        self.exploration = given

    def _default_exploration(self) -> Exploration:
        return Greedy() if has_noise(self.policy.q_net) else self.default_epsilon

    def _take_changed_settings(self) -> None:
        """
        What was changed since the last `learn` counts from now on.

        :raises ValueError: for a setting of `built_in`, or out of range
        """
        self._check_settings()
        explored = self._told_exploration()
        for name in self.built_in:
            built, now = self._built[name], getattr(self, name)
            if now != built:
                raise ValueError(
                    f"{name} is now {now}, but the networks and the replay were built with {built}: "
                    f"give it to the constructor or to load(..., {name}=...)"
                )
        self._choose_exploration(explored)
        if self.learning_rate is not self._built["learning_rate"]:  # SB3 reads it once
            self._setup_lr_schedule()
            self._built["learning_rate"] = self.learning_rate
        self._convert_train_freq()  # SB3, too

    def _normalizes_reward(self) -> bool:
        """A range or a transform of the user's own is meant for returns as they are."""
        if self.normalize_reward is not None:
            return self.normalize_reward
        return isinstance(self.value_rescaling, bool) and not self.head.has_own_range

    @property
    def transform(self) -> ValueTransform:
        """Between returns in units of the reward and what the network predicts."""
        inner = self._rescaling
        return inner if self.return_scale == 0.0 else ScaledTransform(inner, self.return_scale)

    @property
    def _rescaling(self) -> ValueTransform:
        if not isinstance(self.value_rescaling, bool):
            return self.value_rescaling
        return ValueRescaling() if self.value_rescaling else IDENTITY
