"""What all imitating algorithms share: their keywords, their demonstrations, and which of it is saved."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_ext.clock import ClampedClockMixin
from sb3_ext.demonstrations import Demonstrations, load
from sb3_ext.imitation.discriminator import Discriminator
from sb3_ext.imitation.doors import check_starts
from sb3_ext.imitation.reward import AdversarialReward, RewardSettings, check_spaces
from sb3_ext.saving import AtomicSaveMixin

SETTINGS = [field.name for field in fields(RewardSettings)]


class Imitation(ClampedClockMixin, AtomicSaveMixin):
    """
    Goes before an SB3 algorithm among the bases of a class. The discriminator, its optimizer and the reward's scale are
    saved with the model, the demonstrations are not: `predict` needs none.

    :param policy: of the algorithm
    :param env: of the algorithm
    :param demonstrations: expert episodes or their file; needed by `learn` only
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    :param kwargs: the algorithm's

    The other parameters are those of `RewardSettings`.
    """

    gamma: float

    def __init__(
        self,
        policy: Any,  # Any: each algorithm has its own kind
        env: GymEnv | str | None,
        demonstrations: Demonstrations | str | os.PathLike[str] | None = None,
        reward: str = "gail",
        absorbing: bool = True,
        inputs: str = "sa",
        shaped: bool = False,
        env_reward_coef: float = 0.0,
        normalize_reward: bool = True,
        discriminator_kwargs: Mapping[str, Any] | None = None,
        discriminator_learning_rate: float | Schedule = 3e-3,
        discriminator_batch_size: int = 256,
        discriminator_updates: int = 8,
        gradient_penalty: float = 0.2,
        discriminator_entropy_coef: float = 1e-3,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        held_out: float = 0.1,
        _init_setup_model: bool = True,
        **kwargs: Any,  # Any: the algorithm's keywords pass through unread
    ) -> None:
        self.reward_settings = RewardSettings(
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
        if not math.isfinite(env_reward_coef):
            raise ValueError(f"env_reward_coef {env_reward_coef} must be a finite number")
        self.demonstrations = demonstrations
        self.env_reward_coef = env_reward_coef
        super().__init__(policy=policy, env=env, _init_setup_model=False, **kwargs)  # type: ignore[call-arg]
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        # SB3's `load`, and with it rl-zoo3's -i, makes attributes of keywords: they replace what was saved.
        given = {name: vars(self).pop(name) for name in SETTINGS if name in vars(self)}
        self.reward_settings = replace(self.reward_settings, **given)
        check_starts(self.observation_space, self.action_space)
        super()._setup_model()  # type: ignore[safe-super]  # the algorithm's
        self.adversary = AdversarialReward(
            self.observation_space, self.action_space, self.gamma, self.device, self.seed, self.reward_settings
        )
        if self.demonstrations is not None:
            check_spaces(self._loaded_demonstrations(), self.observation_space, self.action_space)

    @property
    def discriminator(self) -> Discriminator:
        """Logits of steps, high where they look like the expert's."""
        return self.adversary.discriminator

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:  # Any: SB3's arguments, unread
        """
        Adds: the demonstrations become the discriminator's.

        :raises ValueError: without demonstrations, or for those of another task
        """
        self.adversary.set_demonstrations(self._loaded_demonstrations(), seed=self.seed or 0)
        return super()._setup_learn(*args, **kwargs)

    def _loaded_demonstrations(self) -> Demonstrations:
        """A path becomes the episodes in it, once."""
        if self.demonstrations is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} learns from demonstrations and has none: {name}(..., demonstrations=...), or after saving "
                f"{name}.load(path, env=env, demonstrations=...); sb3_ext.demonstrations.record makes them from a model"
            )
        if not isinstance(self.demonstrations, Demonstrations):
            self.demonstrations = load(self.demonstrations)
        return self.demonstrations

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "demonstrations", "adversary"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, tensors = super()._get_torch_save_params()
        return [*state_dicts, "adversary.discriminator", "adversary.optimizer", "adversary.scale"], tensors
