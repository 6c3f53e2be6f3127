"""DAC (Kostrikov et al., 2019): `OffPolicyImitation` on our TD3, as in the paper, and on SAC."""

from __future__ import annotations

import os
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
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.imitation.off_policy import OffPolicyImitation
from sb3_ext.learners.captured import Compile
from sb3_ext.td3.td3 import TD3


class DAC(OffPolicyImitation, TD3):
    """
    Discriminator-actor-critic on our TD3, as in the paper.

    The parameters are `OffPolicyImitation`'s, `Imitation`'s and TD3's. ``shaped``, ``normalize_reward``, ``n_steps``,
    ``sampler`` and ``scale_reward`` cannot be other than they are: an error says why.
    """

    def __init__(
        self,
        policy: str | type[TD3Policy],
        env: GymEnv | str,
        demonstrations: Demonstrations | str | os.PathLike[str] | None = None,
        *,
        reward: str = "gail",
        absorbing: bool = True,
        inputs: str = "sa",
        shaped: bool = False,
        env_reward_coef: float = 0.0,
        normalize_reward: bool = False,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = 1e-3,
        discriminator_batch_size: int = 256,
        discriminator_updates: int = 1,
        gradient_penalty: float = 10.0,  # Kostrikov et al. (2019)
        discriminator_entropy_coef: float = 1e-3,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        held_out: float = 0.1,
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
        target_update_interval: int | None = None,
        sampler: SamplerLike = "uniform",
        update_ratio: float | None = None,
        checkpoint_episodes: int = 0,
        scale_reward: bool = False,
        compile: Compile = "auto",
    ) -> None:
        super().__init__(
            policy=policy,
            env=env,
            demonstrations=demonstrations,
            reward=reward,
            absorbing=absorbing,
            inputs=inputs,
            shaped=shaped,
            env_reward_coef=env_reward_coef,
            normalize_reward=normalize_reward,
            discriminator_kwargs=discriminator_kwargs,
            discriminator_learning_rate=discriminator_learning_rate,
            discriminator_batch_size=discriminator_batch_size,
            discriminator_updates=discriminator_updates,
            gradient_penalty=gradient_penalty,
            discriminator_entropy_coef=discriminator_entropy_coef,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            held_out=held_out,
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
            target_update_interval=target_update_interval,
            sampler=sampler,
            update_ratio=update_ratio,
            checkpoint_episodes=checkpoint_episodes,
            scale_reward=scale_reward,
            compile=compile,
        )


class DACSAC(OffPolicyImitation, SAC):
    """
    The same on SAC.

    The parameters are `OffPolicyImitation`'s, `Imitation`'s and SAC's; ``shaped``, ``normalize_reward`` and ``n_steps``
    as for `DAC`.
    """

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str,
        demonstrations: Demonstrations | str | os.PathLike[str] | None = None,
        *,
        reward: str = "gail",
        absorbing: bool = True,
        inputs: str = "sa",
        shaped: bool = False,
        env_reward_coef: float = 0.0,
        normalize_reward: bool = False,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = 1e-3,
        discriminator_batch_size: int = 256,
        discriminator_updates: int = 1,
        gradient_penalty: float = 10.0,  # Kostrikov et al. (2019)
        discriminator_entropy_coef: float = 1e-3,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        held_out: float = 0.1,
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
        super().__init__(
            policy=policy,
            env=env,
            demonstrations=demonstrations,
            reward=reward,
            absorbing=absorbing,
            inputs=inputs,
            shaped=shaped,
            env_reward_coef=env_reward_coef,
            normalize_reward=normalize_reward,
            discriminator_kwargs=discriminator_kwargs,
            discriminator_learning_rate=discriminator_learning_rate,
            discriminator_batch_size=discriminator_batch_size,
            discriminator_updates=discriminator_updates,
            gradient_penalty=gradient_penalty,
            discriminator_entropy_coef=discriminator_entropy_coef,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            held_out=held_out,
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
