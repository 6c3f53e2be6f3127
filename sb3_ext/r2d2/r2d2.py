"""
R2D2 (Kapturowski et al., 2019) on SB3's off-policy loop, which is used as it is.

One environment step: `_sample_action` steps the core (always, also for random actions) -> env -> callbacks ->
`_store_transition` commits the new state -> replay. One gradient step: sample windows -> burn-in -> unroll both
networks -> double-Q targets -> loss -> priorities.
"""

from __future__ import annotations

import io
import pathlib
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import LinearSchedule, obs_as_tensor, polyak_update

from sb3_ext.buffers.samplers import ProportionalSampler, Sampler, UniformSampler
from sb3_ext.buffers.sequence import SequenceReplayBuffer, SequenceSamples, check_window_geometry
from sb3_ext.networks.cores import RecurrentState
from sb3_ext.networks.heads import DuelingMode
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.ops.exploration import epsilon_greedy, epsilon_ladder
from sb3_ext.ops.priorities import mix_priorities
from sb3_ext.ops.returns import n_step_returns
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling, ValueTransform
from sb3_ext.r2d2.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy, R2D2Policy, zero_where
from sb3_ext.saving import AtomicSaveMixin

SelfR2D2 = TypeVar("SelfR2D2", bound="R2D2")


class R2D2(AtomicSaveMixin, OffPolicyAlgorithm):
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
    :param gradient_steps: updates per call of `train`; -1 = as many as environment steps since the last one
    :param burn_in: l, steps that only refresh the recurrent state
    :param sequence_length: m, trained steps of a window
    :param period: steps between the trained beginnings of neighbouring windows; must divide ``sequence_length``
    :param n_step: n, steps to bootstrap over
    :param state_init: "stored" replays the recurrent state of acting, "zero" starts windows from zeros
    :param value_rescaling: True = the paper's h with eps 1e-3, False = none, or any `ValueTransform`
    :param prioritized: draw windows by priority, or uniformly
    :param priority_exponent: exponent of the priorities, in [0, 1]
    :param importance_exponent: exponent of the importance weights at the start of training, in [0, 1]; 0 = none
    :param importance_exponent_final: the same at the end, reached linearly; None = constant
    :param eta: share of the maximum in a window's priority, in [0, 1]; the rest is the mean
    :param dueling: baseline of the dueling head, "avg", "max", "naive", or None for a single stream
    :param double_q: choose the bootstrap action by the online network
    :param target_update_interval: gradient updates between target copies
    :param max_grad_norm: clipping of the gradient's norm
    :param exploration_initial_eps: epsilon at the start, for a single environment
    :param exploration_final_eps: epsilon after ``exploration_fraction``, for a single environment
    :param exploration_fraction: part of training over which epsilon falls linearly, in (0, 1]
    :param ladder_base: epsilon of the first of several environments
    :param ladder_alpha: spread of the ladder; the last environment has ``ladder_base ** (1 + ladder_alpha)``
    :param evaluation_eps: epsilon of ``predict(deterministic=False)``
    :param replay_buffer_class: `SequenceReplayBuffer` or a subclass
    :param replay_buffer_kwargs: more keywords of it
    :param policy_kwargs: keywords of the policy: ``lstm_hidden_size``, ``n_lstm_layers``, ``net_arch``, ``core_class``,
        ...
    :param stats_window_size: episodes in the logged means
    :param tensorboard_log: folder, or None
    :param verbose: 0 nothing, 1 information, 2 debugging
    :param seed: of all random generators
    :param device: "auto", "cpu", "cuda", ...
    :param _init_setup_model: build the networks now
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": MlpLstmPolicy,
        "CnnLstmPolicy": CnnLstmPolicy,
        "MultiInputLstmPolicy": MultiInputLstmPolicy,
    }
    policy: R2D2Policy
    replay_buffer: SequenceReplayBuffer | None
    action_space: spaces.Discrete
    q_net: RecurrentQNetwork
    q_net_target: RecurrentQNetwork

    def __init__(
        self,
        policy: str | type[R2D2Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-4,
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
        n_step: int = 5,
        state_init: str = "stored",
        value_rescaling: bool | ValueTransform = True,
        prioritized: bool = True,
        priority_exponent: float = 0.9,
        importance_exponent: float = 0.6,
        importance_exponent_final: float | None = None,
        eta: float = 0.9,
        dueling: DuelingMode | None = "avg",
        double_q: bool = True,
        target_update_interval: int = 100,
        max_grad_norm: float = 40.0,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.01,
        exploration_fraction: float = 0.1,
        ladder_base: float = 0.4,
        ladder_alpha: float = 7.0,
        evaluation_eps: float = 1e-3,
        replay_buffer_class: type[SequenceReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            replay_buffer_class=replay_buffer_class or SequenceReplayBuffer,
            replay_buffer_kwargs=replay_buffer_kwargs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            support_multi_env=True,
        )
        self.burn_in = burn_in
        self.sequence_length = sequence_length
        self.period = period
        self.n_step = n_step  # not SB3's `n_steps`, which would configure SB3's own buffer
        self.state_init = state_init
        self.value_rescaling = value_rescaling
        self.prioritized = prioritized
        self.priority_exponent = priority_exponent
        self.importance_exponent = importance_exponent
        self.importance_exponent_final = importance_exponent_final
        self.eta = eta
        self.dueling = dueling
        self.double_q = double_q
        self.target_update_interval = target_update_interval
        self.max_grad_norm = max_grad_norm
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.ladder_base = ladder_base
        self.ladder_alpha = ladder_alpha
        self.evaluation_eps = evaluation_eps
        self._state: RecurrentState | None = None  # before `_last_obs` is fed
        self._next_state: RecurrentState | None = None  # after it; not None = a transition is on its way
        if _init_setup_model:
            self._setup_model()
            assert self.replay_buffer is not None
            self.replay_buffer.check_size()

    # ------------------------------------------------------------------ building

    def _check_settings(self) -> None:
        """Here and not in the constructor: `load` takes new settings too. :raises ValueError: naming the setting"""
        check_window_geometry(self.burn_in, self.sequence_length, self.n_step, self.period)
        if self.state_init not in ("stored", "zero"):
            raise ValueError(f"state_init {self.state_init!r} must be 'stored' or 'zero'")
        for name in (
            "gamma",
            "tau",
            "eta",
            "priority_exponent",
            "importance_exponent",
            "importance_exponent_final",
            "exploration_initial_eps",
            "exploration_final_eps",
            "ladder_base",
            "evaluation_eps",
        ):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} {value} must lie in [0.0, 1.0]")
        for name, least in (
            ("buffer_size", 1),
            ("batch_size", 1),
            ("target_update_interval", 1),
            ("gradient_steps", -1),
        ):
            count = getattr(self, name)
            if not isinstance(count, (int, np.integer)) or count < least:
                raise ValueError(f"{name} {count} must be an integer >= {least}")
        frequency: Any = self.train_freq[0] if isinstance(self.train_freq, tuple) else self.train_freq
        if not isinstance(frequency, (int, np.integer)) or frequency < 1:
            raise ValueError(f"train_freq {self.train_freq} must count at least 1 step or episode")
        if not self.max_grad_norm > 0.0:
            raise ValueError(f"max_grad_norm {self.max_grad_norm} must be > 0; inf does not clip")
        if not 0.0 < self.exploration_fraction <= 1.0:
            raise ValueError(f"exploration_fraction {self.exploration_fraction} must lie in (0, 1]")

    def _setup_model(self) -> None:
        self._check_settings()
        if int(self.action_space.start) != 0:
            raise ValueError(f"action space {self.action_space} must begin at 0: shift the actions in a wrapper")
        if self.replay_buffer is None:
            self.replay_buffer = self._make_replay_buffer()
        # Only while the policy is built: `load` compares `policy_kwargs` with those that the user gave.
        given = self.policy_kwargs
        self.policy_kwargs = {"dueling": self.dueling, **given}
        super()._setup_model()
        self.policy_kwargs = given
        self.q_net, self.q_net_target = self.policy.q_net, self.policy.q_net_target
        self.transform: ValueTransform
        if isinstance(self.value_rescaling, bool):
            self.transform = ValueRescaling() if self.value_rescaling else IDENTITY
        elif not hasattr(self.value_rescaling, "invert"):
            raise ValueError(f"value_rescaling {self.value_rescaling!r} must be True, False or a ValueTransform")
        else:
            self.transform = self.value_rescaling
        self._set_epsilons()

    def _make_replay_buffer(self) -> SequenceReplayBuffer:
        sampler: Sampler = UniformSampler()
        if self.prioritized:
            sampler = ProportionalSampler(
                self.priority_exponent, self.importance_exponent, self.importance_exponent_final
            )
        keywords: dict[str, Any] = {"sampler": sampler, **self.replay_buffer_kwargs}
        assert self.replay_buffer_class is not None
        if not issubclass(self.replay_buffer_class, SequenceReplayBuffer):
            raise ValueError(
                f"replay_buffer_class {self.replay_buffer_class.__name__} must be SequenceReplayBuffer or a subclass: "
                "R2D2 replays windows, not single transitions"
            )
        return self.replay_buffer_class(
            self.buffer_size,
            self.observation_space,
            self.action_space,
            device=self.device,
            n_envs=self.n_envs,
            burn_in=self.burn_in,
            sequence_length=self.sequence_length,
            n_step=self.n_step,
            period=self.period,
            **keywords,
        )

    def _set_epsilons(self) -> None:
        """Epsilon per environment, [E]: a ladder over several environments, a linear schedule for a single one."""
        if self.n_envs > 1:
            self.epsilons = epsilon_ladder(self.n_envs, self.ladder_base, self.ladder_alpha)
        else:
            schedule = LinearSchedule(
                self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
            )
            self.epsilons = np.array([schedule(self._current_progress_remaining)])

    # ------------------------------------------------------------------ acting

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        """Adds: whatever comes next does not continue the stored trajectories; a lost transition forces a reset."""
        assert self.replay_buffer is not None
        self.replay_buffer.check_size()
        self.replay_buffer.cut()
        if self._next_state is not None:  # a callback stopped, or something raised, between the step and its storage
            self._last_obs = None
            self._next_state = None
        fresh_start = reset_num_timesteps or self._last_obs is None
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        if fresh_start or self._state is None:
            self._state = self.q_net.initial_state(self.n_envs)
        return result

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The core is stepped for every observation, also where the action is random."""
        assert self._last_obs is not None and self._state is not None
        obs = obs_as_tensor(self._last_obs, self.device)
        greedy, self._next_state = self.policy.act(obs, self._state)
        epsilons = np.ones(n_envs) if self.num_timesteps < learning_starts else self.epsilons
        actions = epsilon_greedy(greedy, epsilons, int(self.action_space.n))
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
        """Adds: the state before the observation goes to the replay with it, and the state after it becomes current."""
        assert self._next_state is not None and isinstance(replay_buffer, SequenceReplayBuffer)
        stored = self._state if self.state_init == "stored" else None
        writer = _WriterWithState(replay_buffer, stored)
        super()._store_transition(writer, buffer_action, new_obs, reward, dones, infos)  # type: ignore[arg-type]
        self._state = zero_where(self._next_state, dones)
        self._next_state = None

    def _on_step(self) -> None:
        if self.n_envs == 1:  # the ladder of several environments does not move
            self._set_epsilons()
        self.logger.record("rollout/exploration_rate", float(self.epsilons.mean()))

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Depends on its arguments alone, never on the state of training.

        :param observation: one observation or a batch of n
        :param state: arrays [L, n, H] from the last call; None = zeros
        :param episode_start: [n], true where a new episode begins: the state is zeroed there
        :param deterministic: greedy, or epsilon-greedy with ``evaluation_eps``
        :return: actions and the next state
        """
        actions, state = self.policy.predict(observation, state, episode_start, deterministic)
        if not deterministic:
            flat = epsilon_greedy(
                actions.reshape(-1), np.full(actions.size, self.evaluation_eps), int(self.action_space.n)
            )
            actions = flat.reshape(actions.shape)
        return actions, state

    # ------------------------------------------------------------------ learning

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """
        :param gradient_steps: number of updates
        :param batch_size: windows per update
        """
        assert self.replay_buffer is not None
        if self.replay_buffer.n_windows == 0:  # warm-up ended before the first window
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        updates = []
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, self._vec_normalize_env, self._current_progress_remaining)
            update = self._gradient_step(batch)
            self.replay_buffer.update_priorities(batch.handle, update.priorities.cpu().numpy())
            self._n_updates += 1
            if self._n_updates % self.target_update_interval == 0:
                self._update_target()
            updates.append(update)

        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", th.stack([update.loss for update in updates]).mean().item())
        self.logger.record("train/abs_td", th.stack([update.abs_td for update in updates]).mean().item())
        self.logger.record("train/q_mean", th.stack([update.q_mean for update in updates]).mean().item())
        self.logger.record("train/n_windows", self.replay_buffer.n_windows)

    def _gradient_step(self, batch: SequenceSamples) -> Update:
        """Tensors in and out, fixed shapes, and nothing waits for the device: it can be captured as one CUDA graph."""
        mask = batch.mask[:, : self.sequence_length]  # [B, M]
        out = self._unroll(self.q_net, batch)  # [B, M + n + 1, A, ...]
        with th.no_grad():
            target_out = self._unroll(self.q_net_target, batch)
            returns = n_step_returns(
                batch.rewards, batch.terminated, batch.mask, self.gamma, self.n_step, self.sequence_length
            )
            chooser = self.q_net.head.q_values(out if self.double_q else target_out)
            next_action = _at_steps(chooser, returns.bootstrap_index).argmax(dim=-1, keepdim=True)  # [B, M, 1]
            next_out = _at_steps(target_out, returns.bootstrap_index)

        step_loss, abs_td = self.q_net.head.loss(
            out[:, : self.sequence_length], batch.actions, returns, next_out, next_action, self.transform
        )
        # As in Ape-X and R2D2: sum over the window's real steps, weighted mean over windows.
        loss = (batch.weights * (step_loss * mask).sum(dim=1)).mean()
        self.policy.optimizer.zero_grad()
        loss.backward()
        th.nn.utils.clip_grad_norm_(self.q_net.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        priorities = mix_priorities(abs_td, mask, self.eta)
        return Update(priorities, loss.detach(), (abs_td * mask).sum() / mask.sum(), chooser.mean())

    def _unroll(self, net: RecurrentQNetwork, batch: SequenceSamples) -> th.Tensor:
        """
        Each network refreshes the stored state with its own weights.

        :return: head output [B, M + n + 1, A, ...]
        """
        assert self.replay_buffer is not None
        state = net.initial_state(len(batch.weights)) if batch.states is None else batch.states
        state = net.burn_in(
            batch.burn_in_observations, state, batch.burn_in_lengths, self.replay_buffer.burn_in_offsets
        )
        return net.unroll(batch.observations, state)[0]

    def _update_target(self) -> None:
        polyak_update(self.q_net.parameters(), self.q_net_target.parameters(), self.tau)
        # Running statistics, if there are any; BatchNorm's counter is an integer, which `polyak_update` cannot take.
        for ours, theirs in zip(self.q_net.buffers(), self.q_net_target.buffers(), strict=True):
            theirs.copy_(ours)

    def learn(
        self: SelfR2D2,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "R2D2",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfR2D2:
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    # ------------------------------------------------------------------ files

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        :param path: file written by `save_replay_buffer`
        :param truncate_last_traj: accepted for SB3's sake; the next `learn` cuts the stored trajectories in any case
        :raises ValueError: when the file does not fit this model; the present replay is kept then
        """
        loaded = load_from_pkl(path, self.verbose)
        assert self.replay_buffer is not None
        if not isinstance(loaded, SequenceReplayBuffer):
            raise ValueError(
                f"{path} holds a {type(loaded).__name__}, not a SequenceReplayBuffer: it was saved by another algorithm"
            )
        for name, ours in self.replay_buffer.layout().items():
            theirs = loaded.layout()[name]
            if theirs != ours:
                raise ValueError(
                    f"{path} has {name} {theirs}, the model {ours}: load it into a model of the same settings"
                )
        shapes = (
            tuple((s.shape[0], s.shape[2]) for s in self.q_net.initial_state(1))
            if self.state_init == "stored"
            else None
        )
        if loaded.size() > 0 and loaded.state_shapes != shapes:
            raise ValueError(f"{path} has recurrent states of shapes {loaded.state_shapes}, the model stores {shapes}")
        loaded.device = self.device
        self.replay_buffer = loaded

    def _excluded_save_params(self) -> list[str]:
        derived = ["q_net", "q_net_target", "transform", "epsilons", "_state", "_next_state"]
        return [*super()._excluded_save_params(), *derived]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


class Update(NamedTuple):
    """What one gradient step tells."""

    priorities: th.Tensor
    """[B], of the windows it was trained on"""
    loss: th.Tensor
    abs_td: th.Tensor
    """mean over real steps"""
    q_mean: th.Tensor


class _WriterWithState:
    """Carries the acting state through SB3's `_store_transition`, which calls ``add`` with fixed arguments."""

    def __init__(self, replay_buffer: SequenceReplayBuffer, states: RecurrentState | None) -> None:
        self.replay_buffer = replay_buffer
        self.states = states

    def add(
        self,
        obs: np.ndarray | dict[str, np.ndarray],
        next_obs: np.ndarray | dict[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        self.replay_buffer.add(obs, next_obs, action, reward, done, infos, states=self.states)


def _at_steps(x: th.Tensor, index: th.Tensor) -> th.Tensor:
    """
    :param x: [B, T, ...]
    :param index: [B, M] int64 into T
    :return: [B, M, ...]
    """
    return x[th.arange(len(x), device=x.device).unsqueeze(1), index]
