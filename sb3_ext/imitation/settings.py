"""How a reward is learned from demonstrations: what GAIL, DAC and the callback are told, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from sb3_ext.imitation.discriminator import INPUTS
from sb3_ext.ops.adversarial import (
    reward_form,
)


@dataclass(frozen=True)
class RewardSettings:
    """
    How a reward is learned from demonstrations.

    :param reward: form of the reward: ``"gail"``, ``"logd"``, ``"airl"``, ``"prob"`` or ``"fairl"``
    :param absorbing: whether states behind a termination count (Kostrikov et al., 2019): without, rewards that are
        positive pay for long episodes and negative ones for short ones, whatever the expert did
    :param inputs: of the discriminator: ``"sa"`` state and action, ``"s"``, ``"ss"`` state and next state, ``"sas"``
    :param shaped: AIRL's `ShapedDiscriminator`, which sets ``inputs`` itself
    :param discriminator_kwargs: network: ``net_arch``, ``activation_fn``, ``features_extractor_class`` and ``_kwargs``,
        ``normalize_observations``, ``spectral_norm``, ``dropout``
    :param discriminator_learning_rate: number, or schedule of the remaining progress
    :param discriminator_batch_size: steps of each side in an update
    :param discriminator_updates: for each training phase of the policy
    :param gradient_penalty: weight of ``(|grad| - 1)^2`` between the policy's and the expert's encoded steps
    :param discriminator_entropy_coef: weight of the discriminator's entropy bonus
    :param weight_decay: of the discriminator's AdamW
    :param label_smoothing: in [0, 0.5)
    :param normalize_reward: divide rewards by the standard deviation of their returns
    :param held_out: share of the episodes that is only used to measure accuracy, where it comes to one or more
    :raises ValueError: for values out of range
    """

    reward: str = "gail"
    absorbing: bool = True
    inputs: str = "sa"
    shaped: bool = False
    discriminator_kwargs: Mapping[str, Any] | None = None
    discriminator_learning_rate: float | Schedule = 3e-3
    discriminator_batch_size: int = 256
    discriminator_updates: int = 8
    gradient_penalty: float = 0.2
    discriminator_entropy_coef: float = 1e-3  # Ho and Ermon's code
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    normalize_reward: bool = True
    held_out: float = 0.1

    def __post_init__(self) -> None:
        reward_form(self.reward)
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs {self.inputs!r} must be one of {', '.join(INPUTS)}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing {self.label_smoothing} must be in [0, 0.5)")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out {self.held_out} must be in [0, 1)")
        for name in ("discriminator_batch_size", "discriminator_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("gradient_penalty", "discriminator_entropy_coef", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} must be a number, and not negative")
