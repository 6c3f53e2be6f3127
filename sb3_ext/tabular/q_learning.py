"""
Q-learning in a table (Watkins & Dayan, 1992), on SB3's off-policy loop: after each step of the environments, the newest
transition of each of them is learned from, once.
"""

from __future__ import annotations

import io
import pathlib
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, Schedule, TrainFreq
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.clock import ClampedClockMixin
from sb3_ext.ops.exploration import ExplorationLike
from sb3_ext.ops.tabular import bootstrapped
from sb3_ext.saving import AtomicReplaySaveMixin
from sb3_ext.tabular.base import TableMixin
from sb3_ext.tabular.latest import LatestTransitions
from sb3_ext.tabular.places import place_of, put_back
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.stopping import HeardAfterTheStep


class Steps(NamedTuple):
    """One transition of each of n environments."""

    state: np.ndarray
    """[n] numbers"""
    action: np.ndarray
    """[n]"""
    reward: np.ndarray
    """[n] float64"""
    next_state: np.ndarray
    """[n], the true final one where an episode ended"""
    terminated: np.ndarray
    """[n] bool, ended and not by a limit of steps"""
    lane: np.ndarray
    """[n], of which environment"""


class TableAlgorithm(TableMixin, ClampedClockMixin, AtomicReplaySaveMixin, OffPolicyAlgorithm):
    """Base of the tables that learn off-policy; `QLearning` documents the parameters."""

    replay_buffer: LatestTransitions | None

    def __init__(
        self,
        policy: str | type[QTablePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1.0,
        visit_power: float = 0.6,
        gamma: float = 0.99,
        exploration: ExplorationLike | None = None,
        initial_value: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            buffer_size=1,
            learning_starts=0,
            batch_size=1,
            gamma=gamma,
            train_freq=1,
            gradient_steps=1,
            replay_buffer_class=LatestTransitions,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device="cpu",  # whatever is given: a step of a table is a few numbers
            seed=seed,
            sde_support=False,
            support_multi_env=True,
        )
        self._keep_settings(visit_power, exploration, initial_value)
        self._in_flight = False
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        with self._building():
            if self.replay_buffer is None:
                self.replay_buffer = LatestTransitions(self.observation_space, self.action_space, self.n_envs)
            super()._setup_model()

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: where something was raised between a step and its storage, it is lost, and episodes begin anew."""
        if self._in_flight:
            self._last_obs = None
            self._in_flight = False
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Adds: a step at which a callback ends training is learned from before it ends."""
        patient = HeardAfterTheStep(callback)
        rollout = super().collect_rollouts(
            env,
            patient,  # type: ignore[arg-type]  # what SB3 calls of it
            train_freq,
            replay_buffer,
            action_noise,
            learning_starts,
            log_interval,
        )
        if not patient.is_going_on:
            self.train(self.gradient_steps)
        return rollout._replace(continue_training=patient.is_going_on)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The exploration strategy's choice."""
        self._in_flight = True
        assert self._last_obs is not None and not isinstance(self._last_obs, dict)
        actions = self.explore(self.policy.states.numbers(self._last_obs))
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Adds: the transition that was under way has arrived."""
        self._check_rewards(reward)
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._in_flight = False

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """
        Learn from the newest transition of each environment.

        :param gradient_steps: of SB3's loop; always 1
        :param batch_size: of SB3's loop; it is the number of environments
        """
        replay, numbers = self.replay_buffer, self.policy.states.numbers
        assert replay is not None
        self._n_updates += 1
        self._learn(
            Steps(
                state=numbers(replay.observations[0]),
                action=replay.actions[0, :, 0].copy(),
                reward=replay.rewards[0].astype(np.float64),
                next_state=numbers(replay.next_observations[0]),
                terminated=replay.terminated,
                lane=np.arange(self.n_envs),
            )
        )

    @abstractmethod
    def _learn(self, steps: Steps) -> None:
        """:param steps: to learn from, once"""

    def _move_by(self, steps: Steps, targets: np.ndarray) -> None:
        """
        :param steps: whose cells move
        :param targets: [n] float64, where to
        """
        self._move(steps.state * int(self.action_space.n) + steps.action, targets)

    def dump_logs(self) -> None:
        """Adds: how it explores and steps now."""
        self._record_settings()
        super().dump_logs()

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        What a training goes on from beside the model's own file: where its environments are.

        :param path: file to write; ``.pkl`` is added where there is no suffix
        """
        replay = self.replay_buffer
        assert replay is not None
        is_between_steps = self.env is not None and self._last_obs is not None and not self._in_flight
        if is_between_steps:
            assert self.env is not None and isinstance(self._last_obs, np.ndarray)
            replay.place, replay.last_obs = place_of(self.env), self._last_obs.copy()
        try:
            super().save_replay_buffer(path)
        finally:
            replay.place = replay.last_obs = None

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Puts the environments where they were: with ``learn(..., reset_num_timesteps=False)`` training goes on as if it
        had not ended. Where they are not made in the same way, or out of reach, they begin new episodes.

        :param path: file
        :param truncate_last_traj: SB3's
        :raises ValueError: when the file is not of such a model; the present replay is kept then
        """
        loaded = load_from_pkl(path, self.verbose)
        if not isinstance(loaded, LatestTransitions) or loaded.n_envs != self.n_envs:
            found = f"{type(loaded).__name__} of {getattr(loaded, 'n_envs', '?')} environments"
            raise ValueError(
                f"{path} holds a {found}, not {LatestTransitions.__name__} of {self.n_envs}: it was saved by another "
                "algorithm, or with another number of environments"
            )
        is_there = self.env is not None and loaded.place is not None and put_back(self.env, loaded.place)
        if is_there:
            self._last_obs = loaded.last_obs
        elif self.verbose > 0:
            print(f"{path} does not say where these environments were: they begin new episodes")
        loaded.place = loaded.last_obs = None
        self.replay_buffer = loaded

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_in_flight"]


class QLearning(TableAlgorithm):
    """
    Q-learning. Paper: Watkins & Dayan, "Q-learning", Machine Learning 1992. Its table goes to the best values there
    are, whatever explores.

    Several environments are several lanes of experience for one table. The table is in ``model.policy.q``; how far it
    is from the exact one, `sb3_ext.planning.OptimalityGap` says.

    :param policy: "TablePolicy" or a subclass of `QTablePolicy`
    :param env: environment, or its id, with Discrete actions and observations that are Discrete, MultiDiscrete or a
        Tuple of Discrete ones
    :param learning_rate: in [0, 1], a number or a function of the remaining progress
    :param visit_power: the n-th update of a cell moves it by ``learning_rate * n ** -visit_power`` of the way to its
        target: 0 = by the learning rate, 1 = to the mean of its targets, where the learning rate is 1
    :param gamma: discount per step
    :param exploration: how actions are chosen in training: `EpsilonGreedy`, `EpsilonLadder`, `Boltzmann`, `Greedy`,
        `UCB1` and others that count, another `Exploration`, or a short name ("ucb1"), or
        ``{"epsilon_greedy": {"final": 0.05}}``; None = epsilon-greedy, from 1 to 0.1 over the whole training
    :param initial_value: of each cell; larger than any return it makes greedy agents try everything
    :param stats_window_size: episodes that logged means are over
    :param tensorboard_log: folder, None = no log
    :param policy_kwargs: more keywords of the policy
    :param verbose: 0 = nothing, 1 = what is used, 2 = more
    :param seed: of all random generators
    :param device: SB3's; a table stays in the memory of the host
    :param _init_setup_model: make the table now
    """

    def _learn(self, steps: Steps) -> None:
        next_value = self.policy.values(steps.next_state).max(axis=1)
        self._move_by(steps, bootstrapped(steps.reward, steps.terminated, next_value, self.gamma))
