"""
R2D2 (Kapturowski et al., 2019) on SB3's off-policy loop, which is used as it is.

One environment step: `_sample_action` steps the core (always, also for random actions) -> env -> callbacks ->
`_store_transition` commits the new state -> replay. One gradient step: sample windows -> burn-in -> unroll both
networks -> double-Q targets -> loss -> priorities.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import LinearSchedule, obs_as_tensor

from sb3_ext import nested
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.samplers import Proportional, SamplerLike
from sb3_ext.buffers.sequence import SequenceReplayBuffer
from sb3_ext.buffers.windows import check_window_geometry
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.learners.captured import Compile
from sb3_ext.learners.q import SequenceLearner, Settings, Windows
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.networks.cores import RecurrentState
from sb3_ext.networks.head_table import HeadLike
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.ops.exploration import EpsilonGreedy, EpsilonLadder, Exploration, ExplorationLike
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.r2d2.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy, R2D2Policy

# The paper's is 1e-4 throughout. In the updates of one process that learns too little on CartPole, and a constant rate
# large enough now and then forgets at the end.
LEARNING_RATE = LinearSchedule(start=5e-4, end=0.0, end_fraction=1.0)


class R2D2(DeepQLearning):
    """
    Recurrent Replay Distributed DQN. Paper: Kapturowski et al., "Recurrent experience replay in distributed
    reinforcement learning", ICLR 2019. Defaults are the paper's, except where one process differs from 256 actors: see
    docs/r2d2.md.

    DRQN (Hausknecht & Stone, 2015) is two settings: random updates are ``state_init="zero", burn_in=0``; sequential
    updates are ``state_init="zero", burn_in=0`` with ``sequence_length`` and ``period`` at least the longest episode.

    :param policy: "MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy" or a class
    :param env: environment, with Discrete actions, or its id
    :param learning_rate: a number or a function of the remaining progress
    :param buffer_size: stored observations over all environments
    :param learning_starts: environment steps (over all environments) with random actions before the first update
    :param batch_size: windows per update
    :param tau: 1 = hard target copies (the paper), < 1 = soft ones
    :param gamma: discount per step
    :param train_freq: steps of each environment between calls of `train`
    :param gradient_steps: updates per call of `train`; -1 = as many as environment steps since the last one. n
        environments make n steps to a step of each, so the same number of updates is one n-th to a step
    :param burn_in: l, steps that only refresh the recurrent state
    :param sequence_length: m, trained steps of a window
    :param period: steps between the trained beginnings of neighbouring windows; must divide ``sequence_length``
    :param n_steps: n, steps to bootstrap over
    :param state_init: "stored" replays the recurrent state of acting, "zero" starts windows from the core's initial
        state, which is zeros for `LSTMCore` and `GRUCore`
    :param value_rescaling: True = the paper's h with eps 1e-3, False = none, or any `ValueTransform`
    :param normalize_reward: let the network predict returns in a unit that is found from the data (`LargestReturn`), so
        that learning does not depend on the unit of the reward; False = as they are (the paper). None = True, unless
        ``v_min``, ``v_max`` of `C51` or a `ValueTransform` of your own say what returns are like. Under `VecNormalize`
        with ``norm_reward`` its scale is the one in force
    :param head: what the network predicts and how it is trained: `Scalar`, `C51`, `Quantile`, `IQN`, another `Head`, or
        its short name ("scalar", "c51", "quantile", "iqn"), or ``{"c51": {"noise": 0.5}}``
    :param sampler: which windows are drawn: `Uniform`, `Proportional`, `RankBased`, another `Sampler`, or a short name
        as above
    :param exploration: how actions are chosen in training: `EpsilonGreedy`, `EpsilonLadder`, `Boltzmann`, `Greedy`,
        another `Exploration`, or a short name as above; None = greedy with noisy layers, the ladder for several
        environments, epsilon from 1 to 0.01 over a tenth of training for a single one
    :param eta: share of the maximum in a window's priority, in [0, 1]; the rest is the mean
    :param double_q: choose the bootstrap action by the online network
    :param target_update_interval: gradient updates between target copies
    :param max_grad_norm: clipping of the gradient's norm
    :param evaluation_eps: epsilon of ``predict(deterministic=False)``
    :param replay_buffer_class: `SequenceReplayBuffer` or a subclass
    :param replay_buffer_kwargs: more keywords of it
    :param optimize_memory_usage: accepted for SB3's sake; every observation is stored once in any case
    :param policy_kwargs: keywords of the policy: ``lstm_hidden_size``, ``n_lstm_layers``, ``net_arch``, ``core_class``,
        ...
    :param stats_window_size: episodes in the logged means
    :param tensorboard_log: folder, or None
    :param verbose: 0 nothing, 1 information, 2 debugging
    :param seed: of all random generators
    :param device: "auto", "cpu", "cuda", ...
    :param compile: "auto" = on CUDA each kind of update is captured as one graph; "on" = the same, and an error where
        that cannot be; "off" = nothing of this
    :param prefetch: on CUDA, batches that a thread draws ahead while the device works: 1, or 0 = none
    :param _init_setup_model: build the networks now
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": MlpLstmPolicy,
        "CnnLstmPolicy": CnnLstmPolicy,
        "MultiInputLstmPolicy": MultiInputLstmPolicy,
    }
    policy: R2D2Policy
    replay_buffer: SequenceReplayBuffer | None
    learner: SequenceLearner
    q_net: RecurrentQNetwork
    q_net_target: RecurrentQNetwork
    policy_base = R2D2Policy
    replay_base = SequenceReplayBuffer
    default_epsilon = EpsilonGreedy(1.0, 0.01, 0.1)
    fractions = (*DeepQLearning.fractions, "eta")
    built_in = (*DeepQLearning.built_in, "burn_in", "sequence_length", "period", "state_init")

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[R2D2Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = LEARNING_RATE,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 64,
        tau: float = 1.0,
        gamma: float = 0.997,
        train_freq: int | tuple[int, str] = 16,
        gradient_steps: int = 1,
        burn_in: int = 40,
        sequence_length: int = 80,
        period: int = 40,
        n_steps: int = 5,
        state_init: str = "stored",
        value_rescaling: bool | ValueTransform = True,
        normalize_reward: bool | None = None,
        head: HeadLike = "scalar",
        sampler: SamplerLike = Proportional(0.9, 0.6),
        exploration: ExplorationLike | None = None,
        eta: float = 0.9,
        double_q: bool = True,
        target_update_interval: int = 100,
        max_grad_norm: float = 40.0,
        evaluation_eps: float = 1e-3,
        replay_buffer_class: type[SequenceReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        compile: Compile = "auto",
        prefetch: int = 1,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            n_steps=n_steps,
            value_rescaling=value_rescaling,
            normalize_reward=normalize_reward,
            head=head,
            sampler=sampler,
            exploration=exploration,
            double_q=double_q,
            target_update_interval=target_update_interval,
            max_grad_norm=max_grad_norm,
            evaluation_eps=evaluation_eps,
            replay_buffer_class=replay_buffer_class or SequenceReplayBuffer,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=False,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=device,
            compile=compile,
            prefetch=prefetch,
        )
        self.burn_in = burn_in
        self.sequence_length = sequence_length
        self.period = period
        self.state_init = state_init
        self.eta = eta
        self._state: RecurrentState | None = None  # before `_last_obs` is fed
        self._next_state: RecurrentState | None = None  # after it
        if _init_setup_model:
            self._setup_model()
            assert self.replay_buffer is not None
            self.replay_buffer.check_size()

    # ------------------------------------------------------------------ building

    def _check_settings(self) -> None:
        super()._check_settings()
        check_window_geometry(self.burn_in, self.sequence_length, self.n_steps, self.period)
        if self.state_init not in ("stored", "zero"):
            raise ValueError(f"state_init {self.state_init!r} must be 'stored' or 'zero'")

    def _replay_settings(self) -> dict[str, Any]:
        return {
            **super()._replay_settings(),
            "burn_in": self.burn_in,
            "sequence_length": self.sequence_length,
            "period": self.period,
        }

    def _make_learner(self) -> SequenceLearner:
        assert self.replay_buffer is not None
        windows = Windows(self.sequence_length, self.n_steps, self.replay_buffer.burn_in_offsets)
        return SequenceLearner(self.q_net, self.q_net_target, self.policy.optimizer, self._learner_settings, windows)

    @property
    def _learner_settings(self) -> Settings:
        return super()._learner_settings._replace(eta=self.eta)

    def _default_exploration(self) -> Exploration:
        """Adds: several environments share out epsilon."""
        default = super()._default_exploration()
        return EpsilonLadder() if self.n_envs > 1 and default == self.default_epsilon else default

    # ------------------------------------------------------------------ acting

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: a reset begins with a fresh state, and where there is no state there is a reset."""
        continues = not reset_num_timesteps and self._last_obs is not None and not self._in_flight
        if continues and self._state is None:
            warnings.warn(
                "the environments are reset: force_reset=False goes on in the middle of an episode, for which files "
                "hold no recurrent state",
                stacklevel=3,
            )
            self._last_obs, continues = None, False
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        if not continues:
            self._state = self.q_net.initial_state(self.n_envs)
        return result

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The core is stepped for every observation, also where the action is random."""
        assert self._last_obs is not None and self._state is not None
        obs = obs_as_tensor(self._last_obs, self.device)
        q_values, self._next_state = self.policy.act(obs, self._state)
        actions = self._choose(lambda: q_values, learning_starts)
        return actions, actions

    def _more_to_store(self) -> dict[str, Any]:
        """Adds: the state before the observation."""
        return {**super()._more_to_store(), "states": self._state if self.state_init == "stored" else None}

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Adds: the state after the observation becomes current."""
        assert self._next_state is not None
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._state = self.q_net.core.reset_where(self._next_state, np.asarray(dones, dtype=bool))
        self._next_state = None

    # ------------------------------------------------------------------ files

    def _check_loaded_replay(self, loaded: LaneReplayBuffer, path: Any) -> None:
        """Adds: the recurrent states that are stored with the windows."""
        shapes = None
        if self.state_init == "stored":
            shapes = nested.map(lambda s: tuple(s.shape[1:]), self.q_net.initial_state(1))
        if loaded.size() > 0 and loaded.state_shapes != shapes:
            raise ValueError(f"{path} has recurrent states of shapes {loaded.state_shapes}, the model stores {shapes}")

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_state", "_next_state"]
