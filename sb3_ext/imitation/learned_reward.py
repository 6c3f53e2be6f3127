"""A frozen discriminator as an environment's reward: train any new policy on what the imitation learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ext import nested
from sb3_ext.imitation.discriminator import ShapedDiscriminator
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.steps import Steps
from sb3_ext.vec_envs import keep_final_observations


class LearnedReward(VecEnvWrapper):
    """
    Puts the reward of a trained imitation in place of the environment's, which goes to ``infos[i]["env_reward"]``.

    A termination pays what follows it in the absorbing state of its final observation, as in training. A shaped
    discriminator (AIRL) gives its g(s), the part that holds under other dynamics (Fu et al., 2018).

    :param venv: of raw observations; put VecNormalize around this wrapper, not inside it
    :param adversary: of a trained model: ``model.adversary``
    :raises ValueError: for other spaces, or a VecNormalize below
    """

    def __init__(self, venv: VecEnv, adversary: AdversarialReward) -> None:
        super().__init__(venv)
        below: Any = venv
        while isinstance(below, VecEnvWrapper):
            if isinstance(below, VecNormalize) and below.norm_obs:
                raise ValueError("LearnedReward judges raw observations: VecNormalize(LearnedReward(env), ...)")
            below = below.venv
        for name in ("observation_space", "action_space"):
            if getattr(venv, name) != getattr(adversary, name):
                raise ValueError(f"{name} {getattr(venv, name)}, the reward was learned on {getattr(adversary, name)}")
        keep_final_observations(venv)
        self.adversary = adversary

    def reset(self) -> VecEnvObs:
        self.current: Any = self.venv.reset()  # Any: an array or a dictionary of arrays
        return self.current

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        following, env_rewards, dones, infos = self.venv.step_wait()
        final: Any = nested.map(np.copy, following)  # Any: as above
        terminated = np.zeros(len(dones), dtype=bool)
        for i in np.flatnonzero(dones):
            terminated[i] = not infos[i].get("TimeLimit.truncated", False)
            nested.put(final, i, infos[i]["terminal_observation"])
        adversary = self.adversary
        steps = Steps.of(self.current, self.actions, final, np.zeros(len(dones), bool), terminated, adversary.device)
        rewards = self._judged(steps) + adversary.values_of_absorbing(steps, self._judged)
        if adversary.settings.normalize_reward:
            rewards = rewards / adversary.scale.divisor
        for info, reward in zip(infos, env_rewards, strict=True):
            info["env_reward"] = float(reward)
        self.current = following
        return following, rewards.astype(np.float32), dones, infos

    def _judged(self, steps: Steps) -> np.ndarray:
        """:return: [N] float64 rewards of steps, not scaled"""
        discriminator = self.adversary.discriminator
        if not isinstance(discriminator, ShapedDiscriminator):
            return self.adversary.rewards(steps)
        with th.no_grad():
            return discriminator.state_reward(steps).double().cpu().numpy()
