"""The best policy of a training, kept beside the last one: checkpoints of TD7 (Fujimoto et al., 2023, section 4.2)."""

from __future__ import annotations

import copy
import io
import math
import pathlib
from typing import Any

import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.td3.policies import Actor

from sb3_ext.td3.assessment import Assessment


class BestPolicyMixin(stable_baselines3.TD3):
    """
    Goes before TD3 among the bases of a class. With ``checkpoint_episodes`` N > 0 a policy acts unchanged for N whole
    episodes; the one whose worst episode was best is what `predict(deterministic=True)` asks.
    """

    checkpoint_episodes: int = 0
    best_actor: Actor
    _worst_of_best: float = -math.inf

    def _setup_best_policy(self) -> None:
        """After the networks."""
        self.best_actor = copy.deepcopy(self.actor) if self.checkpoint_episodes > 0 else self.actor
        self.best_actor.set_training_mode(False)
        self._assessment = Assessment(self.checkpoint_episodes, self.n_envs)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """Adds: an episode under way was not seen from its beginning."""
        self._assessment.begin()
        if reset_num_timesteps or self._last_obs is None:  # SB3 resets the environments then
            self._assessment.environments_were_reset()
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _assess(self, reward: np.ndarray, dones: np.ndarray) -> None:
        """
        One step of the policy.

        :param reward: [E], the environments' own
        :param dones: [E]
        """
        if self.checkpoint_episodes == 0:
            return
        acts = self.num_timesteps - self.n_envs >= self.learning_starts
        worst = self._assessment.add(reward, dones, acts)
        if worst is not None:
            if worst >= self._worst_of_best:
                self._worst_of_best = worst
                self.best_actor.load_state_dict(self.actor.state_dict())
            self.logger.record("train/worst_return_of_best", self._worst_of_best)

    def _may_change_policy(self) -> bool:
        """:return: whether the policy that acts has been assessed; the next one's assessment begins then"""
        if self.checkpoint_episodes > 0:
            if not self._assessment.is_over(self._worst_of_best):
                return False
            self._assessment.begin()
        return True

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Parameters as in SB3. Adds: with ``checkpoint_episodes``, ``deterministic`` asks the best policy."""
        policy = self.best_actor if deterministic and self.checkpoint_episodes > 0 else self.policy
        return policy.predict(observation, state, episode_start, deterministic)

    def set_parameters(
        self,
        load_path_or_dict: str | pathlib.Path | io.BufferedIOBase | dict[str, Any],
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """Parameters as in SB3. Adds: ``checkpoint_episodes`` may be switched on, the best policy is then the last."""
        if isinstance(load_path_or_dict, dict):
            params = dict(load_path_or_dict)
        else:
            _, params, _ = load_from_zip_file(load_path_or_dict, device=device, load_data=False)
        last = {key[len("actor.") :]: x for key, x in params.get("policy", {}).items() if key.startswith("actor.")}
        if self.checkpoint_episodes == 0:
            params.pop("best_actor", None)
        elif last:
            params.setdefault("best_actor", last)
        super().set_parameters(params, exact_match, device)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "best_actor", "_assessment"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, tensors = super()._get_torch_save_params()
        return [*state_dicts, *(["best_actor"] if self.checkpoint_episodes > 0 else [])], tensors
