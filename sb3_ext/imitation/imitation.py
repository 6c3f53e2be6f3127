"""What all imitating algorithms share: their keywords, their demonstrations, and which of it is saved."""

from __future__ import annotations

import math
from dataclasses import fields, replace

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_ext.clock import ClampedClockMixin
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.fitting import SaysWhatFitsMixin
from sb3_ext.imitation.discriminator import Discriminator
from sb3_ext.imitation.doors import check_starts
from sb3_ext.imitation.expert import Source, check_spaces, read_expert
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.settings import RewardSettings
from sb3_ext.remote import refuse_source
from sb3_ext.saving import AtomicSaveMixin

SETTINGS = [field.name for field in fields(RewardSettings)]


class Imitation(ClampedClockMixin, AtomicSaveMixin, SaysWhatFitsMixin):
    """
    Goes before an SB3 algorithm among the bases of a class. The discriminator, its optimizer and the reward's scale are
    saved with the model, the demonstrations are not: `predict` needs none.
    """

    gamma: float

    def _learn_from(self, demonstrations: Source | None, settings: RewardSettings, env_reward_coef: float) -> None:
        """
        The first thing in a constructor: what follows builds the discriminator.

        :param demonstrations: expert episodes or where they are
        :param settings: how their reward is learned
        :param env_reward_coef: weight of the environment's own reward, added to the learned one
        :raises ValueError: for a weight that is no number
        """
        if not math.isfinite(env_reward_coef):
            raise ValueError(f"env_reward_coef {env_reward_coef} must be a finite number")
        self.reward_settings = settings
        self.demonstrations = demonstrations
        self.env_reward_coef = env_reward_coef

    def _setup_model(self) -> None:
        refuse_source(self.env, type(self).__name__)
        # SB3's `load`, and with it rl-zoo3's -i, makes attributes of keywords: they replace what was saved.
        given = {name: vars(self).pop(name) for name in SETTINGS if name in vars(self)}
        self.reward_settings = replace(self.reward_settings, **given)
        check_starts(self.observation_space, self.action_space)
        super()._setup_model()
        self.adversary = AdversarialReward(
            self.observation_space, self.action_space, self.gamma, self.device, self.seed, self.reward_settings
        )
        if self.demonstrations is not None:
            check_spaces(self._loaded_demonstrations(), self.observation_space, self.action_space)

    @property
    def discriminator(self) -> Discriminator:
        """Logits of steps, high where they look like the expert's."""
        return self.adversary.discriminator

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """
        Adds: the demonstrations become the discriminator's.

        :raises ValueError: without demonstrations, or for those of another task
        """
        refuse_source(self.env, type(self).__name__)
        self.adversary.set_demonstrations(self._loaded_demonstrations(), seed=self.seed or 0)
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _loaded_demonstrations(self) -> Demonstrations:
        """What is named becomes the episodes there, once."""
        if self.demonstrations is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} learns from demonstrations and has none: {name}(..., demonstrations=...), or after saving "
                f"{name}.load(path, env=env, demonstrations=...); sb3_ext.demonstrations.record makes them from a model"
            )
        if not isinstance(self.demonstrations, Demonstrations):
            self.demonstrations = read_expert(self.demonstrations, self.observation_space, self.action_space)
        return self.demonstrations

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "demonstrations", "adversary"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, tensors = super()._get_torch_save_params()
        return [*state_dicts, "adversary.discriminator", "adversary.optimizer", "adversary.scale"], tensors
