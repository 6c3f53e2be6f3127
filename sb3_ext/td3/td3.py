"""
TD3 (Fujimoto et al., 2018) as SB3's, with what makes it learn faster as keywords. With none of them given it *is*
SB3's: the same random numbers, the same weights to the last bit.

Here are keywords, hooks and files; the update itself is `learners/td3.py`. Losses stay on the device until the log is
written.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.td3.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, TD3Policy

from sb3_ext.buffers import as_replay
from sb3_ext.buffers.samplers import SamplerLike, Uniform
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.clock import ClampedClockMixin
from sb3_ext.compiled import CompiledMixin
from sb3_ext.fitting import SaysWhatFitsMixin
from sb3_ext.learners.captured import Compile
from sb3_ext.learners.td3 import Batch, Settings, TD3Learner
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.remote import refuse_source
from sb3_ext.replay_files import FittingReplayMixin
from sb3_ext.saving import AtomicReplaySaveMixin
from sb3_ext.td3.best_policy import BestPolicyMixin
from sb3_ext.td3.finite import check_step
from sb3_ext.td3.noise import schedule_of, tell
from sb3_ext.td3.policies import LayerNormPolicy, SimbaPolicy
from sb3_ext.td3.replays import Wanted, blank_batch, make_replay, sampler_of, unless_stock
from sb3_ext.td3.settings import CheckedSettingsMixin
from sb3_ext.td3.weights import NamedWeightsMixin
from sb3_ext.vec_envs import RawTransitionsMixin


class TD3(
    CheckedSettingsMixin,
    CompiledMixin,
    BestPolicyMixin,
    NamedWeightsMixin,
    ClampedClockMixin,
    RawTransitionsMixin,
    FittingReplayMixin,
    AtomicReplaySaveMixin,
    SaysWhatFitsMixin,
    stable_baselines3.TD3,
):
    """
    Twin delayed DDPG. Positional parameters are those of `stable_baselines3.TD3`; the others are off by default.

    :param n_steps: as in SB3; with ``sampler`` and ``optimize_memory_usage`` too
    :param optimize_memory_usage: `PrioritizedReplayBuffer` with uniform draws: each observation is stored once, and
        timeouts stay right
    :param action_noise: as in SB3; `Scheduled` and `Laddered` scale it over training and over environments
    :param target_update_interval: updates between those of the targets, ``tau=1`` copies; None = with the actor
    :param sampler: "uniform" is SB3's replay. With priorities it is loss-adjusted prioritized replay (Fujimoto et al.,
        2020): priorities ``max(|td|, 1)``, and Huber's loss in place of importance weights, whose exponent is set to 0;
        the paper's is ``Proportional(alpha=0.4)``, or "proportional"
    :param update_ratio: updates per env step over all environments, in place of ``gradient_steps``; 0.5 is one every
        second step; None = ``gradient_steps``
    :param checkpoint_episodes: N > 0: a policy acts unchanged for N whole episodes; if the worst of them beats the
        worst of the best policy so far, `predict(deterministic=True)` uses it from then on (Fujimoto et al., 2023,
        section 4.2); the updates that were due meanwhile follow. 0 = off
    :param scale_reward: rewards of a batch are divided by the root mean square of all so far, so that learning does
        not depend on their unit; not with a VecNormalize that normalises them
    :param compile: "auto" = on CUDA each kind of update is captured as one graph and the replay lies in the device's
        memory where it fits; "on" = the same, and an error elsewhere; "off" = nothing of this
    :raises ValueError: for values out of range, noise of another size than the actions, a policy that is not TD3's
    """

    learner: TD3Learner
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "LayerNormPolicy": LayerNormPolicy,
        "SimbaPolicy": SimbaPolicy,
    }

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[TD3Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        policy_delay: int = 2,
        target_policy_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        target_update_interval: int | None = None,
        sampler: SamplerLike = "uniform",
        update_ratio: float | None = None,
        checkpoint_episodes: int = 0,
        scale_reward: bool = False,
        compile: Compile = "auto",
    ) -> None:
        self.target_update_interval = target_update_interval
        self.sampler: Sampler = sampler_of(sampler)
        self.update_ratio = update_ratio
        self.checkpoint_episodes = checkpoint_episodes
        self.scale_reward = scale_reward
        self.compile = compile
        self._reward_squares = 0.0
        self._n_rewards = 0
        self._updates_due = 0.0
        self._steps_since_train = 0
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
            action_noise=action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_delay=policy_delay,
            target_policy_noise=target_policy_noise,
            target_noise_clip=target_noise_clip,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    # ------------------------------------------------------------------ building

    def _setup_model(self) -> None:
        """Adds: where something is refused, the model stays as it was."""
        refuse_source(self.env, type(self).__name__)
        self._check_settings()
        self._check_compile()
        changed = ("sampler", "replay_buffer", "replay_buffer_class", "replay_buffer_kwargs", "n_steps")
        before = {name: getattr(self, name) for name in changed}
        try:
            self._build_model()
        except BaseException:
            vars(self).update(before)
            raise

    def _build_model(self) -> None:
        self.sampler = sampler_of(self.sampler)  # of a file, or a keyword of `load`
        given_class, given_kwargs = unless_stock(self.replay_buffer_class, self.replay_buffer_kwargs, self.n_steps)
        n_steps = self.n_steps
        if self.replay_buffer is None:
            self.replay_buffer = make_replay(self._wanted, given_class, given_kwargs)
            if self.replay_buffer is not None:
                self.n_steps = 1  # SB3 refuses more for dictionaries, which is for its own replay
        self.replay_buffer_class, self.replay_buffer_kwargs = given_class, dict(given_kwargs)
        super()._setup_model()
        self.replay_buffer_class, self.replay_buffer_kwargs, self.n_steps = given_class, given_kwargs, n_steps
        self._setup_best_policy()
        self.learner = TD3Learner(
            self.actor,
            self.actor_target,
            self.critic,
            self.critic_target,
            self.critic.q1_forward,
            self.actor.optimizer,
            self.critic.optimizer,
            self._settings,
        )
        self._setup_capture()
        if self.compile == "on":
            self._try_capture(lambda: blank_batch(self._wanted, self.batch_size), True, True)

    @property
    def _wanted(self) -> Wanted:
        """Of the replay."""
        return Wanted(
            buffer_size=self.buffer_size,
            observation_space=self.observation_space,
            action_space=self.action_space,
            device=self.device,
            n_envs=self.n_envs,
            n_steps=self.n_steps,
            gamma=self.gamma,
            sampler=self.sampler,
            optimize_memory_usage=self.optimize_memory_usage,
            is_normalized=self._vec_normalize_env is not None,
            may_lie_on_the_device=self.device.type == "cuda" and self.compile != "off",
        )

    @property
    def _settings(self) -> Settings:
        return Settings(
            self.gamma, self.tau, self.target_policy_noise, self.target_noise_clip, self.sampler.reads_priorities
        )

    # ------------------------------------------------------------------ acting

    @property
    def noise_scale(self) -> float:
        """Factor of the schedule of ``action_noise`` now."""
        return 1.0 if self.action_noise is None else schedule_of(self.action_noise, self._done)

    @property
    def _done(self) -> float:
        """Share of training that is over."""
        # Not SB3's `_current_progress_remaining`, which is still the last training's when a new one begins.
        return min(self.num_timesteps / max(self._total_timesteps, 1), 1.0)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds: scaled noise is told the time."""
        tell(action_noise, self._done)
        return super()._sample_action(learning_starts, action_noise, n_envs)

    def _on_step(self) -> None:
        if self.action_noise is not None:
            self.logger.record("rollout/noise_scale", self.noise_scale)

    @property
    def reward_size(self) -> float:
        """What rewards of a batch are divided by: with ``scale_reward`` their root mean square so far, else 1."""
        normalized = self._vec_normalize_env is not None and self._vec_normalize_env.norm_reward
        if not self.scale_reward or normalized or self._reward_squares == 0.0:
            return 1.0
        return math.sqrt(self._reward_squares / self._n_rewards)

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """
        Adds: statistics of observations, returns of the policy that is assessed, and that nothing broken is stored.

        :raises ValueError: for NaN or infinity
        """
        raw_obs, raw_reward = new_obs, reward
        if self._vec_normalize_env is not None:
            raw_obs = self._vec_normalize_env.get_original_obs()
            raw_reward = self._vec_normalize_env.get_original_reward()
        check_step(raw_obs, raw_reward, dones, infos, self.num_timesteps)
        if isinstance(self.policy, SimbaPolicy):
            assert self._last_obs is not None
            self.policy.update_statistics(self._last_obs)
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._reward_squares += float(np.square(raw_reward, dtype=np.float64).sum())
        self._n_rewards += self.n_envs
        self._steps_since_train += self.n_envs
        self._assess(raw_reward, dones)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """
        Adds: what is stored is not continued.

        :raises ValueError: where ``sampler`` was changed since the replay was made
        """
        refuse_source(self.env, type(self).__name__)
        assert self.replay_buffer is not None
        given: object = self.replay_buffer
        replay = as_replay(self.replay_buffer)
        self.sampler, drawn_by = sampler_of(self.sampler), replay.layout().get("sampler", Uniform())
        if self.sampler != drawn_by:
            raise ValueError(
                f"sampler is now {self.sampler}, but the replay draws by {drawn_by}: give it to the constructor or to "
                "load(..., sampler=...)"
            )
        replay.check_size()
        replay.cut()
        with warnings.catch_warnings():
            if replay is given:  # SB3's advice to set optimize_memory_usage=False is for its own
                warnings.filterwarnings("ignore", "The last trajectory in the replay buffer will be truncated")
            return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _now_due(self, gradient_steps: int) -> int:
        """:return: updates to make now, of those that are due"""
        steps, self._steps_since_train = self._steps_since_train, 0
        # The first call comes with all the random steps.
        steps = min(steps, max(self.num_timesteps - self.learning_starts, 0))
        self._updates_due += gradient_steps if self.update_ratio is None else steps * self.update_ratio
        if not self._may_change_policy():
            return 0
        due = int(self._updates_due)
        self._updates_due -= due
        return due

    # ------------------------------------------------------------------ learning

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """
        :param gradient_steps: updates, unless ``update_ratio`` or ``checkpoint_episodes`` says otherwise
        :param batch_size: B
        """
        replay = self.replay_buffer
        assert replay is not None
        due = self._now_due(gradient_steps)
        if due == 0 or as_replay(replay).n_drawable == 0:
            return
        self._try_capture(lambda: blank_batch(self._wanted, batch_size), True, True)
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        self.learner.settings = self._settings
        update = self._begin_updates()
        every = self.policy_delay if self.target_update_interval is None else self.target_update_interval
        if getattr(replay, "gamma", None) not in (None, self.gamma) and "gamma" not in self.replay_buffer_kwargs:
            replay.gamma = self.gamma  # type: ignore[attr-defined]  # n-step rewards are summed when they are drawn
        size = self.reward_size
        for _ in range(due):
            self._n_updates += 1
            drawn = replay.sample(batch_size, env=self._vec_normalize_env)
            batch = Batch(*(getattr(drawn, name) for name in Batch._fields))
            if size != 1.0:
                batch = batch._replace(rewards=batch.rewards / size)
            told = update(batch, self._n_updates % self.policy_delay == 0, self._n_updates % every == 0)
            if told.priorities is not None:
                as_replay(replay).update_priorities(drawn.handle, told.priorities.cpu().numpy())  # type: ignore[attr-defined]
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if self.device.type == "cpu":  # elsewhere it would wait for the device
            self._record_losses()

    def _record_losses(self) -> None:
        means = self.learner.sums.means()
        if "q_mean" in means:
            means["q_mean"] *= self.reward_size  # in units of the reward
        for name, mean in means.items():
            self.logger.record(f"train/{name}", mean)

    def dump_logs(self) -> None:
        """Adds: losses since the last log, which are read from a GPU here alone."""
        self._record_losses()
        self.learner.sums.reset()
        super().dump_logs()
