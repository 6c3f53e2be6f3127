"""What TD3 and DDPG may be told, looked at before anything is built."""

from __future__ import annotations

import math

import numpy as np
import stable_baselines3
from stable_baselines3.td3.policies import TD3Policy

from sb3_ext.td3.noise import layers_of


class CheckedSettingsMixin(stable_baselines3.TD3):
    """Goes before TD3 among the bases of a class."""

    target_update_interval: int | None
    update_ratio: float | None
    checkpoint_episodes: int

    def _check_settings(self) -> None:
        """Called by `_setup_model`, not by the constructor: `load` takes new settings too."""
        if not issubclass(self.policy_class, TD3Policy):
            raise ValueError(
                f"policy {self.policy_class.__name__} is not for {type(self).__name__}: "
                f"use {' or '.join(self.policy_aliases)}, or load the file with the algorithm that saved it"
            )
        for name in ("tau", "gamma"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")
        for name, least in (("policy_delay", 1), ("batch_size", 1), ("n_steps", 1), ("checkpoint_episodes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)} must be >= {least}")
        if self.target_update_interval is not None and self.target_update_interval < 1:
            raise ValueError(f"target_update_interval {self.target_update_interval} must be >= 1, or None")
        if self.update_ratio is not None and not 0.0 < self.update_ratio < math.inf:
            raise ValueError(f"update_ratio {self.update_ratio} must be > 0, or None for gradient_steps")
        if self.update_ratio is not None and self.gradient_steps == 0:
            raise ValueError(
                "gradient_steps 0 switches training off, and update_ratio with it: leave gradient_steps out"
            )
        mean = None if self.action_noise is None else getattr([*layers_of(self.action_noise)][-1], "_mu", None)
        if mean is not None and np.shape(mean) != self.action_space.shape:
            raise ValueError(
                f"action_noise of shape {np.shape(mean)} does not fit actions of shape {self.action_space.shape}"
            )
