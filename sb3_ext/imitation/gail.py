"""GAIL: PPO on a reward that a discriminator learns from demonstrations (Ho and Ermon, 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.ppo import PPO

from sb3_ext.imitation.behaviour_cloning import behaviour_cloning
from sb3_ext.imitation.expert import Source
from sb3_ext.imitation.imitation import Imitation
from sb3_ext.imitation.rollouts import RolloutRecorder, learn_reward
from sb3_ext.imitation.settings import RewardSettings
from sb3_ext.moved_keywords import names_moved_keywords

SelfGAIL = TypeVar("SelfGAIL", bound="GAIL")


class GAIL(Imitation, PPO):
    """
    PPO whose rewards come from a discriminator between its own steps and an expert's.

    A rollout is PPO's. Before PPO trains on it, the discriminator trains on it, its rewards replace the
    environment's, and returns and advantages are computed anew. `rollout/ep_rew_mean` stays the environment's.

        GAIL("MlpPolicy", env, demonstrations="expert.npz", n_steps=128).learn(30_000)

    The parameters of the reward are those of `RewardSettings`, those of the policy are PPO's.

    :param policy: of PPO
    :param env: to learn in
    :param demonstrations: expert episodes or where they are, see `Source`; needed by `learn` only
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    :param bc_epochs: passes of behaviour cloning over the demonstrations before the first rollout
    :raises ValueError: for values out of range, demonstrations of another task
    """

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        demonstrations: Source | None = None,
        *,
        reward: str = RewardSettings.reward,
        absorbing: bool = RewardSettings.absorbing,
        inputs: str = RewardSettings.inputs,
        shaped: bool = RewardSettings.shaped,
        env_reward_coef: float = 0.0,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = RewardSettings.discriminator_learning_rate,
        discriminator_batch_size: int = RewardSettings.discriminator_batch_size,
        discriminator_updates: int = RewardSettings.discriminator_updates,
        gradient_penalty: float = RewardSettings.gradient_penalty,
        discriminator_entropy_coef: float = RewardSettings.discriminator_entropy_coef,
        weight_decay: float = RewardSettings.weight_decay,
        label_smoothing: float = RewardSettings.label_smoothing,
        normalize_reward: bool = RewardSettings.normalize_reward,
        held_out: float = RewardSettings.held_out,
        bc_epochs: int = 0,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if bc_epochs < 0:
            raise ValueError(f"bc_epochs {bc_epochs} must not be negative")
        self.bc_epochs = bc_epochs
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
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            target_kl=target_kl,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """Adds: the recorder before all others, so that none of theirs changes what it sees."""
        self._recorder = RolloutRecorder()
        given = callback if isinstance(callback, list) else [] if callback is None else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([self._recorder, *callbacks], progress_bar)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """Adds: behaviour cloning before the first step."""
        if self.bc_epochs > 0 and self.num_timesteps == 0:
            behaviour_cloning(self, self._loaded_demonstrations(), self.bc_epochs, seed=self.seed or 0)
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def learn(
        self: SelfGAIL,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "GAIL",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfGAIL:
        """
        Parameters as in SB3.

        :raises ValueError: without demonstrations, or for those of another task
        """
        return super().learn(
            total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def train(self) -> None:
        """Adds: the discriminator first, then its rewards in place of the environment's."""
        learn_reward(self, self._recorder, self.adversary, self.env_reward_coef)
        super().train()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recorder"]
