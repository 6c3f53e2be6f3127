"""DAC: discriminator-actor-critic (Kostrikov et al., 2019), on TD3 as in the paper and on SAC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.sac import SAC
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from sb3_ext.buffers.samplers import SamplerLike
from sb3_ext.imitation.expert import Source
from sb3_ext.imitation.off_policy import OffPolicyImitation
from sb3_ext.imitation.settings import RewardSettings
from sb3_ext.learners.captured import Compile
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.td3.td3 import TD3


class DAC(OffPolicyImitation, TD3):
    """
    Discriminator-actor-critic on our TD3, as in the paper.

    The parameters of the reward are those of `RewardSettings`, those of the policy are TD3's. ``normalize_reward``
    and ``shaped`` need a rollout, ``scale_reward``, ``n_steps`` and priorities the environment's rewards: refused here.

    :param policy: of TD3
    :param env: to learn in
    :param demonstrations: expert episodes or where they are, see `Source`; needed by `learn` only
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    :param discriminator_updates: for each call of `train`, which is one for every ``train_freq`` steps
    :raises ValueError: for values out of range, demonstrations of another task
    """

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[TD3Policy],
        env: GymEnv | str,
        demonstrations: Source | None = None,
        *,
        reward: str = RewardSettings.reward,
        absorbing: bool = RewardSettings.absorbing,
        inputs: str = RewardSettings.inputs,
        shaped: bool = RewardSettings.shaped,
        env_reward_coef: float = 0.0,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = 1e-3,
        discriminator_batch_size: int = RewardSettings.discriminator_batch_size,
        discriminator_updates: int = 1,
        gradient_penalty: float = 10.0,  # Kostrikov et al. (2019)
        discriminator_entropy_coef: float = RewardSettings.discriminator_entropy_coef,
        weight_decay: float = RewardSettings.weight_decay,
        label_smoothing: float = RewardSettings.label_smoothing,
        normalize_reward: bool = False,
        held_out: float = RewardSettings.held_out,
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
        target_update_interval: int | None = None,
        sampler: SamplerLike = "uniform",
        update_ratio: float | None = None,
        checkpoint_episodes: int = 0,
        scale_reward: bool = False,
        compile: Compile = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        settings = RewardSettings(
            reward=reward,
            absorbing=absorbing,
            inputs=inputs,
            shaped=shaped,
            discriminator_kwargs=discriminator_kwargs,
            discriminator_learning_rate=discriminator_learning_rate,
            discriminator_batch_size=discriminator_batch_size,
            discriminator_updates=discriminator_updates,
            gradient_penalty=gradient_penalty,
            discriminator_entropy_coef=discriminator_entropy_coef,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            normalize_reward=normalize_reward,
            held_out=held_out,
        )
        self._learn_from(demonstrations, settings, env_reward_coef)
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
            target_update_interval=target_update_interval,
            sampler=sampler,
            update_ratio=update_ratio,
            checkpoint_episodes=checkpoint_episodes,
            scale_reward=scale_reward,
            compile=compile,
            _init_setup_model=_init_setup_model,
        )


class DACSAC(OffPolicyImitation, SAC):
    """
    The same on SAC.

    The parameters of the reward are those of `RewardSettings`, those of the policy are SAC's. ``normalize_reward``
    and ``shaped`` need a rollout, ``n_steps`` the environment's rewards: refused here.

    :param policy: of SAC
    :param env: to learn in
    :param demonstrations: expert episodes or where they are, see `Source`; needed by `learn` only
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    :param discriminator_updates: for each call of `train`, which is one for every ``train_freq`` steps
    :raises ValueError: for values out of range, demonstrations of another task
    """

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str,
        demonstrations: Source | None = None,
        *,
        reward: str = RewardSettings.reward,
        absorbing: bool = RewardSettings.absorbing,
        inputs: str = RewardSettings.inputs,
        shaped: bool = RewardSettings.shaped,
        env_reward_coef: float = 0.0,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = 1e-3,
        discriminator_batch_size: int = RewardSettings.discriminator_batch_size,
        discriminator_updates: int = 1,
        gradient_penalty: float = 10.0,  # Kostrikov et al. (2019)
        discriminator_entropy_coef: float = RewardSettings.discriminator_entropy_coef,
        weight_decay: float = RewardSettings.weight_decay,
        label_smoothing: float = RewardSettings.label_smoothing,
        normalize_reward: bool = False,
        held_out: float = RewardSettings.held_out,
        learning_rate: float | Schedule = 3e-4,
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
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        settings = RewardSettings(
            reward=reward,
            absorbing=absorbing,
            inputs=inputs,
            shaped=shaped,
            discriminator_kwargs=discriminator_kwargs,
            discriminator_learning_rate=discriminator_learning_rate,
            discriminator_batch_size=discriminator_batch_size,
            discriminator_updates=discriminator_updates,
            gradient_penalty=gradient_penalty,
            discriminator_entropy_coef=discriminator_entropy_coef,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            normalize_reward=normalize_reward,
            held_out=held_out,
        )
        self._learn_from(demonstrations, settings, env_reward_coef)
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
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            target_entropy=target_entropy,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )
