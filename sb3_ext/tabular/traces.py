"""
SARSA(lambda) in a table, on SB3's on-policy loop. Where the values of a rollout are those of the actions that were
taken, SB3's advantage estimates are its errors: ``values + advantages`` are lambda-returns.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.clock import ClampedClockMixin
from sb3_ext.ops.exploration import EpsilonGreedy, EpsilonLadder, ExplorationLike, KnownExploration, Rungs
from sb3_ext.saving import AtomicSaveMixin
from sb3_ext.tabular.base import TableMixin
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.rollouts import RolloutTablePolicy, TableRollout


class TraceAlgorithm(TableMixin, ClampedClockMixin, AtomicSaveMixin, OnPolicyAlgorithm):
    """Base of the tables that learn from rollouts; `SARSA` documents the parameters."""

    policy: RolloutTablePolicy  # type: ignore[assignment]  # SB3's own are actor-critics
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"TablePolicy": RolloutTablePolicy}
    policy_base: ClassVar[type[QTablePolicy]] = RolloutTablePolicy

    def __init__(
        self,
        policy: str | type[RolloutTablePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule,
        visit_power: float,
        n_steps: int,
        gamma: float,
        gae_lambda: float,
        exploration: ExplorationLike | None,
        initial_value: float,
        stats_window_size: int,
        tensorboard_log: str | None,
        policy_kwargs: dict[str, Any] | None,
        verbose: int,
        seed: int | None,
    ) -> None:
        super().__init__(
            policy=policy,  # type: ignore[arg-type]  # as above
            env=env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=0.0,
            use_sde=False,
            sde_sample_freq=-1,
            rollout_buffer_class=TableRollout,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device="cpu",  # whatever is given: a step of a table is a few numbers
            _init_setup_model=False,
        )
        self._keep_settings(visit_power, exploration, initial_value)
        self._in_flight = False

    def _setup_model(self) -> None:
        with self._building():
            super()._setup_model()

    def _check_numbers(self) -> None:
        """Adds: the length of a rollout."""
        super()._check_numbers()
        n: Any = self.n_steps  # Any: of a yml
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"n_steps {n!r} must be an integer >= 1")

    # ------------------------------------------------------------------ collecting

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: where a callback stopped inside a rollout, its steps are lost, and episodes begin anew."""
        if self._in_flight:
            self._last_obs = None
            self._in_flight = False
        if reset_num_timesteps or self._last_obs is None:
            self._forget_episodes()
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _forget_episodes(self) -> None:
        """The environments are reset: what is under way will not be ended."""

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """SB3's. Adds: its policy asks us."""
        self._in_flight = True
        with self.policy.asking(self):
            goes_on = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        self._in_flight = not goes_on
        return goes_on

    def choose(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [E] numbers
        :return: [E] the exploring actions
        """
        return self.explore(states)

    def chances(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """:return: [E] NaN: who learns what it does itself need not know how probable that was"""
        return np.full(len(states), np.nan)

    def worth(self, states: np.ndarray) -> np.ndarray:
        """
        Expected under the exploring policy; of a strategy that does not tell its probabilities, the value of one action
        that it takes; of a ladder, under its mean epsilon, for SB3 does not say which environment asks.

        :param states: [n] numbers
        :return: [n] float64
        """
        q = self.policy.values(states)
        exploration, progress = self.exploration, self._current_progress_remaining
        if isinstance(exploration, EpsilonLadder | Rungs):
            epsilon = exploration.rate(progress, self.n_envs)
            exploration = EpsilonGreedy(epsilon, epsilon)
        if isinstance(exploration, KnownExploration):
            expected: np.ndarray = (exploration.probabilities(q, progress) * q).sum(axis=1)
            return expected
        of_one: np.ndarray = q[np.arange(len(q)), self.explore(states)]
        return of_one

    # ------------------------------------------------------------------ learning

    def _rollout_cells(self) -> np.ndarray:
        """:return: [T, E] the cell of each step of the rollout"""
        buffer = self.rollout_buffer
        self._check_rewards(buffer.rewards.reshape(-1))
        actions = buffer.actions[..., 0].astype(np.int64)  # [T, E]
        n_rows = actions.size
        states = self.policy.states.numbers(buffer.observations.reshape(n_rows, -1))
        return states.reshape(actions.shape) * int(self.action_space.n) + actions

    def dump_logs(self, iteration: int = 0) -> None:
        """Adds: how it explores and steps now."""
        self._record_settings()
        super().dump_logs(iteration)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_in_flight"]


class SARSA(TraceAlgorithm):
    """
    SARSA(lambda). Papers: Rummery & Niranjan, "On-line Q-learning using connectionist systems", 1994; Sutton & Barto,
    "Reinforcement Learning", 2nd ed., sections 6.4 and 12.3. It learns what the policy that explores is worth, and
    that policy is greedy in what is learned: with a constant epsilon the table goes to the values of the best policy
    that explores so, `sb3_ext.planning.epsilon_soft_value_iteration`, and not to the best values there are.

    Rollouts of ``n_steps`` in each environment are learned from as they end. The return of a step looks as far as its
    rollout goes, and the last one of a rollout bootstraps from the action that is really taken next: it is drawn
    before the table moves and opens the next rollout. So with ``n_steps=1`` and ``lambda_=0`` each step is that of the
    book, on-line. A time limit bootstraps from what its last observation is worth to the exploring policy; SB3 adds
    that to the reward in single precision. All other returns are exact to double precision.

    :param policy: "TablePolicy" or a subclass of `RolloutTablePolicy`
    :param env: environment, or its id, with Discrete actions and observations that are Discrete, MultiDiscrete or a
        Tuple of Discrete ones
    :param learning_rate: in [0, 1], a number or a function of the remaining progress
    :param visit_power: as in `QLearning`: the n-th update of a cell moves it by ``learning_rate * n ** -visit_power``
    :param n_steps: per environment, that a rollout has
    :param gamma: discount per step
    :param lambda_: in [0, 1]: 0 = one step and the next action's value, 1 = all rewards of the rollout
    :param exploration: as in `QLearning`; None = epsilon-greedy, from 1 to 0.1 over the whole training
    :param initial_value: of each cell; larger than any return it makes greedy agents try everything
    :param stats_window_size: episodes that logged means are over
    :param tensorboard_log: folder, None = no log
    :param policy_kwargs: more keywords of the policy
    :param verbose: 0 = nothing, 1 = what is used, 2 = more
    :param seed: of all random generators
    :param device: SB3's; a table stays in the memory of the host
    :param _init_setup_model: make the table now
    """

    fractions: ClassVar[tuple[str, ...]] = (*TableMixin.fractions, "lambda_")

    def __init__(
        self,
        policy: str | type[RolloutTablePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1.0,
        visit_power: float = 0.6,
        n_steps: int = 4,
        gamma: float = 0.99,
        lambda_: float = 0.0,
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
            policy,
            env,
            learning_rate,
            visit_power,
            n_steps,
            gamma,
            lambda_,
            exploration,
            initial_value,
            stats_window_size,
            tensorboard_log,
            policy_kwargs,
            verbose,
            seed,
        )
        self.lambda_ = lambda_
        self._next_actions: np.ndarray | None = None  # [E], those that open the next rollout
        if _init_setup_model:
            self._setup_model()

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: lambda, where it was changed since the last `learn`."""
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        self.gae_lambda = self.rollout_buffer.gae_lambda = self.lambda_
        return result

    def _forget_episodes(self) -> None:
        self._next_actions = None

    def choose(self, states: np.ndarray) -> np.ndarray:
        """Adds: what was drawn already is taken."""
        drawn, self._next_actions = self._next_actions, None
        if drawn is None:
            return super().choose(states)
        if self._last_episode_starts is not None and self._last_episode_starts.any():
            drawn = np.where(self._last_episode_starts, super().choose(states), drawn)
        return drawn

    def train(self) -> None:
        """The box of section 6.4: A' is chosen before the table moves, the first action of an episode after it has."""
        self._n_updates += 1
        assert isinstance(self._last_obs, np.ndarray) and self._last_episode_starts is not None
        buffer, ended = self.rollout_buffer, self._last_episode_starts
        next_values = np.zeros(self.n_envs)
        if not ended.all():
            states = self.policy.states.numbers(self._last_obs)
            self._next_actions = self.explore(states)
            next_values = self.policy.q.numpy()[states, self._next_actions]
        buffer.compute_returns_and_advantage(th.as_tensor(next_values), ended)
        self._move(self._rollout_cells().reshape(-1), buffer.returns.reshape(-1))
        self.logger.record("train/td_error", float(np.abs(buffer.advantages).mean()))
