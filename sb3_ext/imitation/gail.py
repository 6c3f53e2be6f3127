"""GAIL: PPO on a reward that a discriminator learns from demonstrations (Ho and Ermon, 2016)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.ppo import PPO

from sb3_ext.imitation.behaviour_cloning import behaviour_cloning
from sb3_ext.imitation.imitation import Imitation
from sb3_ext.imitation.rollouts import RolloutRecorder, learn_reward


class GAIL(Imitation, PPO):
    """
    PPO whose rewards come from a discriminator between its own steps and an expert's.

    A rollout is PPO's. Before PPO trains on it, the discriminator trains on it, its rewards replace the
    environment's, and returns and advantages are computed anew. `rollout/ep_rew_mean` stays the environment's.

        GAIL("MlpPolicy", env, demonstrations="expert.npz", n_steps=128).learn(30_000)

    :param bc_epochs: passes of behaviour cloning over the demonstrations before the first rollout

    The other parameters are `Imitation`'s and PPO's.
    """

    # Any: keywords that Imitation and PPO name.
    def __init__(self, *args: Any, bc_epochs: int = 0, **kwargs: Any) -> None:
        if bc_epochs < 0:
            raise ValueError(f"bc_epochs {bc_epochs} must not be negative")
        self.bc_epochs = bc_epochs
        super().__init__(*args, **kwargs)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """Adds: the recorder before all others, so that none of theirs changes what it sees."""
        self._recorder = RolloutRecorder()
        given = callback if isinstance(callback, list) else [] if callback is None else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([self._recorder, *callbacks], progress_bar)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:  # Any: SB3's arguments, unread
        """Adds: behaviour cloning before the first step."""
        if self.bc_epochs > 0 and self.num_timesteps == 0:
            behaviour_cloning(self, self._loaded_demonstrations(), self.bc_epochs, seed=self.seed or 0)
        return super()._setup_learn(*args, **kwargs)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "GAIL",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> GAIL:
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
