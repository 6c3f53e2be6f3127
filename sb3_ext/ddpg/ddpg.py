"""DDPG (Lillicrap et al., 2016) as SB3 has it: TD3 without its three tricks. All keywords of our TD3 hold here too."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.td3.policies import TD3Policy

from sb3_ext.buffers.samplers import SamplerLike
from sb3_ext.learners.captured import Compile
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.td3.td3 import TD3


class DDPG(TD3):
    """
    Positional parameters are those of `stable_baselines3.DDPG`: one critic, an actor that is updated every time, no
    noise in the target. The others are those of our `TD3`.
    """

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
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        policy_delay: int = 1,
        target_policy_noise: float = 0.1,  # SB3 draws it and clips it to nothing
        target_noise_clip: float = 0.0,
        stats_window_size: int = 100,
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
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
            policy_delay=policy_delay,
            target_policy_noise=target_policy_noise,
            target_noise_clip=target_noise_clip,
            stats_window_size=stats_window_size,
            target_update_interval=target_update_interval,
            sampler=sampler,
            update_ratio=update_ratio,
            checkpoint_episodes=checkpoint_episodes,
            scale_reward=scale_reward,
            compile=compile,
        )
        self.policy_kwargs = {"n_critics": 1, **self.policy_kwargs}
        if _init_setup_model:
            self._setup_model()
