"""
What the Q-learning algorithms share: SB3's off-policy loop, replay drawn by a sampler, an online and a target network
with the same head, exploration by a strategy object.

One update: sample -> the learner's update (`learners/q.py`) -> priorities. Subclasses say what is stored and which
learner is made of it, and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, Schedule, TrainFreq
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import nn

from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.replay import check_same_layout
from sb3_ext.buffers.samplers import SAMPLERS, SamplerLike
from sb3_ext.buffers.sampling import DIVERGED, Sampler
from sb3_ext.clock import ClampedClockMixin
from sb3_ext.compiled import CompiledMixin
from sb3_ext.fitting import SaysWhatFitsMixin, saying_what_fits
from sb3_ext.learners.captured import Compile
from sb3_ext.learners.q import QLearner, Settings
from sb3_ext.networks.head_table import HEADS, HeadLike
from sb3_ext.networks.heads import Head
from sb3_ext.ops.exploration import Exploration, ExplorationLike, epsilon_greedy
from sb3_ext.ops.reward_units import LargestReturn, fitted_scale
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.q_settings import QSettingsMixin
from sb3_ext.remote import source_of
from sb3_ext.saving import AtomicReplaySaveMixin
from sb3_ext.specs import resolve
from sb3_ext.vec_envs import RawTransitionsMixin


class DeepQLearning(
    QSettingsMixin,
    CompiledMixin,
    ClampedClockMixin,
    RawTransitionsMixin,
    AtomicReplaySaveMixin,
    SaysWhatFitsMixin,
    OffPolicyAlgorithm,
):
    """
    Base of `R2D2`, `Rainbow` and `RainbowR`, which document the parameters.

    :raises ValueError: for a setting out of range, in the constructor and in `load`
    """

    replay_buffer: LaneReplayBuffer | None
    learner: QLearner[Any, Any]

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *,
        learning_rate: float | Schedule,
        buffer_size: int,
        learning_starts: int,
        batch_size: int,
        tau: float,
        gamma: float,
        train_freq: int | tuple[int, str],
        gradient_steps: int,
        n_steps: int,
        value_rescaling: bool | ValueTransform,
        normalize_reward: bool | None,
        head: HeadLike,
        sampler: SamplerLike,
        exploration: ExplorationLike | None,
        double_q: bool,
        target_update_interval: int,
        max_grad_norm: float,
        evaluation_eps: float,
        replay_buffer_class: type[LaneReplayBuffer],
        replay_buffer_kwargs: dict[str, Any] | None,
        optimize_memory_usage: bool,
        policy_kwargs: dict[str, Any] | None,
        stats_window_size: int,
        tensorboard_log: str | None,
        verbose: int,
        seed: int | None,
        device: th.device | str,
        compile: Compile,
        prefetch: int,
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
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
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
        self.n_steps = n_steps
        self.value_rescaling = value_rescaling
        self.normalize_reward = normalize_reward
        self.head = resolve(Head, head, HEADS)
        self.sampler = resolve(Sampler, sampler, SAMPLERS)
        given: Any = exploration  # Any: a name, or None, until the networks are known
        self.exploration = given
        self._by_default: Exploration | None = None
        self.double_q = double_q
        self.compile = compile
        self.prefetch = prefetch
        self.target_update_interval = target_update_interval
        self.max_grad_norm = max_grad_norm
        self.evaluation_eps = evaluation_eps
        self.return_scale = 0.0  # 0 = not fitted yet
        self._in_flight = False

    # ------------------------------------------------------------------ building

    def _check_settings(self) -> None:
        super()._check_settings()
        self._check_compile()

    def _setup_model(self) -> None:
        """Adds: where something is refused, the model stays as it was."""
        self._check_settings()
        head = resolve(Head, self.head, HEADS)  # again: `load` takes short names too
        sampler = resolve(Sampler, self.sampler, SAMPLERS)
        explored = self._told_exploration()
        with saying_what_fits(self._what_was_given):  # a replay reads spaces before SB3 does
            replay_buffer = self._make_replay_buffer() if self.replay_buffer is None else self.replay_buffer
        # `load` compares `policy_kwargs` with those that the user gave.
        given = {"replay_buffer": replay_buffer, "policy_kwargs": {**self.policy_kwargs, "head": head}}
        with self._lent(**given), warnings.catch_warnings():
            # SB3's advice about its own replay: ours has been made, with these n_steps.
            warnings.filterwarnings("ignore", "`n_steps=.*` is ignored because a custom `replay_buffer_class`")
            super()._setup_model()
        self.replay_buffer = replay_buffer
        self.head, self.sampler = head, sampler
        self.q_net, self.q_net_target = self.policy.q_net, self.policy.q_net_target
        self._largest_return = LargestReturn(self.n_envs) if self._normalizes_reward() else None
        self._choose_exploration(explored)
        self.learner = self._make_learner()
        self._setup_capture()
        source = source_of(self.env)
        if source is None:
            self._say_fewer_updates()
        else:  # actors say their updates per step when training begins
            source.check(self)
        self._built = {name: getattr(self, name) for name in (*self.built_in, "learning_rate")}

    @contextlib.contextmanager
    def _lent(self, **attributes: Any) -> Iterator[None]:  # Any: of whatever kind they are
        """:param attributes: values that ours have meanwhile"""
        before = {name: getattr(self, name) for name in attributes}
        vars(self).update(attributes)
        try:
            yield
        finally:
            vars(self).update(before)

    @abstractmethod
    def _make_learner(self) -> QLearner[Any, Any]:
        """:return: a learner of the policy's networks and optimizer"""

    @property
    def _learner_settings(self) -> Settings:
        return Settings(self.gamma, self.tau, self.double_q, self.max_grad_norm, self.transform, eta=1.0)

    def _make_replay_buffer(self) -> LaneReplayBuffer:
        """
        :return: empty replay of ``replay_buffer_class``
        :raises ValueError: for another class, or a keyword that is said elsewhere
        """
        assert self.replay_buffer_class is not None
        if not issubclass(self.replay_buffer_class, self.replay_base):
            raise ValueError(
                f"replay_buffer_class {self.replay_buffer_class.__name__} must be {self.replay_base.__name__} "
                "or a subclass"
            )
        ours = self._replay_settings()
        for name, value in self.replay_buffer_kwargs.items():
            if name in ours:
                raise ValueError(
                    f"replay_buffer_kwargs {name!r} is a keyword of {type(self).__name__} itself: {name}={value!r}"
                )
        return self.replay_buffer_class(**ours, **self.replay_buffer_kwargs)

    def _replay_settings(self) -> dict[str, Any]:
        """:return: what the replay gets of the model's keywords"""
        return {
            "buffer_size": self.buffer_size,
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "device": self._host,
            "n_envs": self.n_envs,
            "optimize_memory_usage": self.optimize_memory_usage,
            "n_steps": self.n_steps,
            "sampler": self.sampler,
        }

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
        self._take_changed_settings()
        if self.replay_buffer is None:
            self.replay_buffer = self._make_replay_buffer()
        if self._in_flight:  # a callback stopped, or something raised, between the step and its storage
            self._last_obs = None
            self._in_flight = False
        self.replay_buffer.check_size()
        source = source_of(self.env)
        if source is not None:
            source.check(self)
            source.attach(self)
        self.replay_buffer.cut()
        if self._largest_return is not None:
            self._largest_return.restart()
        with warnings.catch_warnings():
            # SB3's advice to set optimize_memory_usage=False is for its own buffer: this one is cut in any case.
            warnings.filterwarnings("ignore", "The last trajectory in the replay buffer will be truncated")
            if source is not None and not isinstance(
                self.env, VecEnvWrapper
            ):  # it stands for environments of the kind that evaluate
                warnings.filterwarnings("ignore", "Training and eval env are not of the same type")
            total, callback = super()._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        if total > 0:  # SB3's is still where the last training ended
            self._update_current_progress_remaining(self.num_timesteps, total)
        return total, callback

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        Parameters as in SB3.

        :raises ValueError: for actors that cannot collect for this model, which keeps its environments then
        """
        source = source_of(env)
        if source is not None:
            source.check(self)
        super().set_env(env, force_reset)

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
        """Adds: what actors collect is taken from them."""
        source = source_of(env)
        if source is not None:
            return source.collect_for(self, callback, train_freq, log_interval)
        return super().collect_rollouts(
            env, callback, train_freq, replay_buffer, action_noise, learning_starts, log_interval
        )

    def acting_module(self) -> nn.Module:
        """:return: the network that acts; its state is all that an actor needs of the learner"""
        return self.q_net

    def _choose(self, q_values: Callable[[], np.ndarray], learning_starts: int) -> np.ndarray:
        """
        :param q_values: gives [E, A]; not called where actions are random
        :param learning_starts: environment steps with random actions
        :return: [E] actions of the exploring agent
        """
        self._in_flight = True
        if self.num_timesteps < learning_starts:
            return np.random.randint(int(self.action_space.n), size=self.n_envs)
        return self.exploration.choose(q_values(), self._current_progress_remaining)

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
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._in_flight = False
        if self._largest_return is not None:
            env = self._vec_normalize_env
            if env is None:
                self._largest_return.add(reward, dones, self.gamma)
            elif not env.norm_reward:  # where it is on, what is drawn from the replay has a scale already
                self._largest_return.add(env.get_original_reward(), dones, self.gamma)

    def store_block(self, block: LaneBlock) -> None:
        """
        Store what an actor recorded, as step by step.

        :param block: of some environments
        :raises ValueError: as the replay does
        """
        assert self.replay_buffer is not None
        self.replay_buffer.add_block(block)
        env = self._vec_normalize_env
        if self._largest_return is not None and (env is None or not env.norm_reward):
            self._largest_return.restart(block.lanes[~block.opened])
            self._largest_return.add_steps(block.by_step("reward"), block.ended_by_step(), self.gamma, block.lanes)

    def _on_step(self) -> None:
        rate = self.exploration.rate(self._current_progress_remaining, self.n_envs)
        self.logger.record("rollout/exploration_rate", rate)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: Any = None,  # Any: a tree of arrays, where SB3 says a tuple
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """
        Depends on its arguments alone, never on the state of training.

        :param observation: one observation or a batch of n
        :param state: what the last call returned, arrays [n, ...]; None = that of a new episode
        :param episode_start: [n], true where a new episode begins: there the state is made new
        :param deterministic: greedy with the mean weights, or with noisy ones and epsilon-greedy with
            ``evaluation_eps``
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

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """
        :param gradient_steps: number of updates
        :param batch_size: B, None = the model's
        :raises ValueError: when the network has diverged
        """
        replay = self.replay_buffer
        assert replay is not None
        if replay.n_drawable == 0:  # warm-up ended before the first item was complete
            return
        self._fit_return_scale()
        self.policy.set_training_mode(True)
        self.learner.settings = self._learner_settings
        size, env = self.batch_size if batch_size is None else batch_size, self._vec_normalize_env
        draw = partial(replay.sample, size, env, self._current_progress_remaining)
        self._try_capture(draw, True)
        self._update_learning_rate(self.policy.optimizer)
        update, logs = self._begin_updates(), []
        for _ in range(gradient_steps):
            self._n_updates += 1
            with self._batch((replay, size, env, self.gamma), draw) as batch:  # the next one is drawn beside
                told = update(batch, self._n_updates % self.target_update_interval == 0)
                priorities = told.priorities.cpu().numpy() if replay.reads_priorities else None
            if priorities is not None:
                replay.update_priorities(batch.handle, priorities)
            logs.append(told.log.clone())  # a graph writes the next one there, too

        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        means = th.stack(logs).mean(dim=0).tolist()
        for name, mean in zip(("loss", "priority", "q_mean"), means, strict=True):
            self.logger.record(f"train/{name}", mean)
        if not all(map(math.isfinite, means)):  # what is drawn is finite: it was looked at when it was stored
            raise ValueError(f"loss {means[0]} after {self._n_updates} updates: {DIVERGED}")
        self.logger.record("train/n_drawable", replay.n_drawable)

    def _fit_return_scale(self) -> None:
        if self._largest_return is not None:
            self.return_scale = fitted_scale(self._rescaling, self.return_scale, self._largest_return.value)

    # ------------------------------------------------------------------ files

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        :param path: file written by `save_replay_buffer`
        :param truncate_last_traj: accepted for SB3's sake; the next `learn` cuts the stored trajectories in any case
        :raises ValueError: when the file does not fit this model; the present replay is kept then
        """
        loaded = load_from_pkl(path, self.verbose)
        ours = self._make_replay_buffer() if self.replay_buffer is None else self.replay_buffer
        if not isinstance(loaded, type(ours)):
            raise ValueError(
                f"{path} holds a {type(loaded).__name__}, not a {type(ours).__name__}: "
                "it was saved by another algorithm"
            )
        check_same_layout(path, loaded.layout(), ours.layout())
        self._check_loaded_replay(loaded, path)
        loaded.device = self._host
        self.replay_buffer = loaded

    def _check_loaded_replay(self, loaded: LaneReplayBuffer, path: Any) -> None:
        """More to compare than the layout."""

    def _excluded_save_params(self) -> list[str]:
        # What was chosen by default is chosen anew where the file is loaded, for other environments perhaps.
        chosen = ["exploration"] if self.exploration == self._by_default else []
        return [
            *super()._excluded_save_params(),
            *chosen,
            "_by_default",
            "q_net",
            "q_net_target",
            "_largest_return",
            "_built",
            "_in_flight",
        ]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
