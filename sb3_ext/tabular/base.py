"""
What the algorithms with tables share, whatever loop of Stable-Baselines3 they stand on: settings checked at the door,
exploration with ties broken at random, steps towards targets, files that a training can go on from.
"""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_ext.envs.tuple_observations import TupleToMultiDiscrete
from sb3_ext.ops.exploration import (
    EXPLORATIONS,
    EpsilonGreedy,
    EpsilonLadder,
    Exploration,
    ExplorationLike,
    KnownExploration,
    Rungs,
)
from sb3_ext.ops.tabular import choose_breaking_ties, move_towards
from sb3_ext.specs import resolve
from sb3_ext.tabular.observations import StateNumbers, VecTupleToMultiDiscrete
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.vec_envs import keep_final_observations

NUMBER = (int, float, np.number)


class TableMixin(BaseAlgorithm):
    """
    Stands before one of SB3's algorithms, whose constructor is called first; `_keep_settings` comes after it.

    :raises ValueError: for a setting out of range, in the constructor, in `load` and in `learn`
    """

    policy: QTablePolicy
    action_space: spaces.Discrete
    gamma: float
    visit_power: float
    exploration: Exploration
    initial_value: float

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"TablePolicy": QTablePolicy}
    policy_base: ClassVar[type[QTablePolicy]] = QTablePolicy
    """of the policies that the algorithm can train"""
    default_exploration: ClassVar[Exploration] = EpsilonGreedy(1.0, 0.1, 1.0)
    """if nothing else is asked for"""
    fractions: ClassVar[tuple[str, ...]] = ("gamma", "visit_power")
    """settings in [0, 1]"""

    def _keep_settings(self, visit_power: float, exploration: ExplorationLike | None, initial_value: float) -> None:
        """:param exploration: an object, its name, or None, until `_building` makes one of it"""
        self.visit_power = visit_power
        given: Any = exploration  # Any: as it was given
        self.exploration = given
        self.initial_value = initial_value
        self._generator: dict[str, Any] | None = None  # of NumPy, where a file was saved that this model comes from

    # ------------------------------------------------------------------ building

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Every environment that a model is given comes through here. Adds: a Tuple of numbers is shown as an array."""
        if isinstance(env.observation_space, spaces.Tuple):
            env = VecTupleToMultiDiscrete(env) if isinstance(env, VecEnv) else TupleToMultiDiscrete(env)
        wrapped = BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        if not isinstance(wrapped.observation_space, spaces.Discrete):  # numbers cannot be written into
            keep_final_observations(wrapped)
        return wrapped

    @contextlib.contextmanager
    def _building(self) -> Iterator[None]:
        """Around SB3's `_setup_model`: where something is refused, the model stays as it was."""
        self._check_settings()
        exploration, given = self._told_exploration(), self.policy_kwargs
        if "initial_value" in given:
            value = given["initial_value"]
            raise ValueError(
                f"policy_kwargs 'initial_value' is a keyword of {type(self).__name__} itself: initial_value={value!r}"
            )
        self.policy_kwargs = {**given, "initial_value": self.initial_value}
        try:
            yield
        finally:
            self.policy_kwargs = given  # `load` compares them with those that the user gave
        self.exploration = exploration

    def _check_settings(self) -> None:
        """:raises ValueError: naming the one that cannot be"""
        name = type(self).__name__
        policy = self.policy_class
        if not (issubclass(policy, self.policy_base) and policy.n_tables == self.policy_base.n_tables):
            raise ValueError(f"policy {policy.__name__} is not for {name}: use {' or '.join(self.policy_aliases)}")
        StateNumbers(self.observation_space, name)
        if len(self.observation_space.shape or ()) > 1:  # SB3's buffers would flatten it, and not what is seen
            raise ValueError(
                f"{name} keeps a table: MultiDiscrete observations must have one axis, got "
                f"{self.observation_space.shape}: flatten them in a gymnasium.ObservationWrapper"
            )
        if not isinstance(self.action_space, spaces.Discrete):
            raise ValueError(
                f"{name} keeps a table: it needs Discrete actions, got {type(self.action_space).__name__}"
                f"{self.action_space.shape or ''}: number them in a gymnasium.ActionWrapper, or use "
                "stable_baselines3.PPO"
            )
        if int(self.action_space.start) != 0:
            raise ValueError(f"action space {self.action_space} must begin at 0: shift the actions in a wrapper")
        self._check_numbers()
        self._check_env(self.env)

    def _check_env(self, env: GymEnv | None) -> None:
        if isinstance(env, VecEnv) and unwrap_vec_normalize(env) is not None:
            raise ValueError(
                f"{type(self).__name__} keeps a table, which learns in any unit of the reward: take VecNormalize off"
            )

    def _check_numbers(self) -> None:
        for name in self.fractions:
            value = getattr(self, name)
            if not _is_fraction(value):
                raise ValueError(f"{name} {value!r} must lie in [0.0, 1.0]")
        initial: Any = self.initial_value  # Any: of a yml
        if not (isinstance(initial, NUMBER) and math.isfinite(initial)):
            raise ValueError(f"initial_value {initial!r} must be a finite number")
        if not callable(self.learning_rate):
            _check_rate(self.learning_rate)

    def _told_exploration(self) -> Exploration:
        told: Any = self.exploration  # Any: of the constructor, of `load`, or set since
        return self.default_exploration if told is None else resolve(Exploration, told, EXPLORATIONS)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        Parameters as in SB3.

        :raises ValueError: for one with VecNormalize
        """
        self._check_env(env)
        super().set_env(env, force_reset)

    # ------------------------------------------------------------------ acting

    @property
    def progress_remaining(self) -> float:
        """:return: SB3's clock, from 1 to 0, by which it explores: safe files keep it"""
        return self._current_progress_remaining

    @progress_remaining.setter
    def progress_remaining(self, progress: float) -> None:
        self._current_progress_remaining = progress

    def explore(self, states: np.ndarray) -> np.ndarray:
        """
        The strategy's choice at its present rate, ties at random.

        :param states: [E] numbers
        :return: [E] actions
        """
        # Not `isinstance`, which takes longer of a protocol than all the rest together.
        is_counted = hasattr(self.exploration, "choose_counted")
        seen = self.policy.counts(states) if is_counted else self.policy.values(states)
        return choose_breaking_ties(self.exploration, seen, self._current_progress_remaining)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: Any = None,  # Any: SB3's, of recurrent policies
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """
        Depends on its arguments and, without ``deterministic``, on NumPy's generator.

        :param observation: one observation or a batch of n
        :param deterministic: the first of the best actions; else what the exploration strategy does now, ties at random
        :return: actions, and the state as it came
        """
        if deterministic:
            return self.policy.predict(observation, state, episode_start, deterministic)
        obs, is_batch = self.policy.obs_to_tensor(observation)
        assert isinstance(obs, th.Tensor)
        actions = self.explore(self.policy.states.numbers(obs.numpy()))
        return actions if is_batch else actions[0], state

    def probabilities(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n] numbers; of n environments, where a strategy tells them apart
        :return: [n, A] of the actions that the exploration strategy takes now; tied ones share
        :raises ValueError: for a strategy that does not tell its probabilities
        """
        exploration = self._check_probabilities(self.exploration)
        return exploration.probabilities(self.policy.values(states), self._current_progress_remaining)

    def _check_probabilities(self, exploration: Exploration) -> KnownExploration:
        """
        :return: the same
        :raises ValueError: for a strategy that does not tell its probabilities
        """
        if not isinstance(exploration, KnownExploration):
            raise ValueError(
                f"exploration {type(exploration).__name__} does not tell its probabilities, which are needed here: use "
                "another one, such as EpsilonGreedy"
            )
        return exploration

    def action_probabilities(self, obs: PyTorchObs) -> th.Tensor:
        """
        Of `predict` without ``deterministic``, for `sb3_ext.planning`.

        :param obs: observations, [B], [B, 1] or [B, k]
        :return: [B, A] float64
        :raises ValueError: for a strategy that does not tell its probabilities, or acts otherwise in each environment
        """
        if isinstance(self.exploration, EpsilonLadder | Rungs):
            raise ValueError("an epsilon ladder acts otherwise in each environment: use deterministic=True")
        assert isinstance(obs, th.Tensor)
        return th.as_tensor(self.probabilities(self.policy.states.numbers(obs.cpu().numpy())))

    # ------------------------------------------------------------------ learning

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: what was changed since the last `learn` counts; a training that goes on draws what it would have."""
        self._check_settings()
        self.exploration = self._told_exploration()
        self._setup_lr_schedule()
        if self._generator is not None:
            if not reset_num_timesteps:
                np.random.set_state(self._generator)
            self._generator = None
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _move(self, cells: np.ndarray, targets: np.ndarray) -> None:
        """
        Learn: towards these targets, by the step of this visit.

        :param cells: [n] of the policy's `cells`, ``s * A + a``
        :param targets: [n] float64
        """
        q, visits, second_moment = self.policy.cells
        move_towards(q, visits, cells, targets, self._rate(), self.visit_power, second_moment)

    def _rate(self) -> float:
        """:return: the learning rate now"""
        rate = self.lr_schedule(self._current_progress_remaining)
        if callable(self.learning_rate):
            _check_rate(rate)
        return rate

    def _check_rewards(self, rewards: np.ndarray) -> None:
        """
        :param rewards: [n]
        :raises ValueError: for one that would spoil the table
        """
        if not np.isfinite(rewards).all():
            wrong = rewards[~np.isfinite(rewards)][0]
            raise ValueError(f"the environment gave a reward of {wrong}: {type(self).__name__} learns from numbers")

    def _record_settings(self) -> None:
        """Log how it explores and steps now."""
        progress = self._current_progress_remaining
        self.logger.record("rollout/exploration_rate", self.exploration.rate(progress, self.n_envs))
        self.logger.record("train/learning_rate", self.lr_schedule(progress))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    # ------------------------------------------------------------------ files

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Parameters as in SB3. Adds: where NumPy's generator is, so that a training goes on as if it had not ended."""
        with self._with_generator():
            super().save(path, exclude, include)

    @contextlib.contextmanager
    def _with_generator(self) -> Iterator[None]:
        loaded = self._generator
        self._generator = loaded if loaded is not None else _plain_generator()
        try:
            yield
        finally:
            self._generator = loaded

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def _is_fraction(value: Any) -> bool:  # Any: of a yml, where 1e-3 is a text
    return isinstance(value, NUMBER) and bool(0.0 <= value <= 1.0)


def _check_rate(rate: float) -> None:
    if not _is_fraction(rate):
        raise ValueError(f"learning_rate {rate!r} must lie in [0.0, 1.0]: it is the part of the way to a target")


def _plain_generator() -> dict[str, Any]:  # Any: of JSON
    """:return: NumPy's global generator as numbers and texts, which `numpy.random.set_state` takes"""
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    inner = state["state"]
    return {**state, "state": {**inner, "key": inner["key"].tolist()}}
