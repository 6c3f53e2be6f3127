"""Demonstrations for the tests of imitation, and what an absorbing state is worth, one by one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from support.demo_worlds import sampled
from support.worlds import TaggedEnv

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.rollouts import RolloutRecorder
from sb3_ext.imitation.steps import Steps


def demonstrations_of(env: gym.Env) -> Demonstrations:
    return sampled(env.observation_space, env.action_space)


def absorbed(adversary: AdversarialReward, steps: Steps) -> np.ndarray:
    """:return: [N] gamma / (1 - gamma) r(absorbing | s_T) of each termination, one by one, and 0 elsewhere"""
    values = np.zeros(len(steps.absorbing))
    for i in np.flatnonzero(steps.next_absorbing.numpy()):
        last: Any = steps.next_observations[i : i + 1]  # type: ignore[index]  # of a Box
        action, one = th.zeros_like(steps.actions[i : i + 1]), th.ones(1)
        reward = adversary.rewards(Steps(last, action, last, one, one, th.zeros(1)))
        values[i] = reward[0] * sum(adversary.gamma**k for k in range(1, 5000))
    return values


def upright(n_episodes: int, seed: int = 0) -> Demonstrations:
    """CartPole-v1 by a rule that keeps the pole up for the whole 500 steps."""
    env = gym.make("CartPole-v1")
    episodes = []
    for i in range(n_episodes):
        observation, _ = env.reset(seed=seed + i)
        observations, actions, over = [observation], [], False
        while not over:
            position, speed, angle, spin = observation
            actions.append(int(angle + 0.3 * spin + 0.02 * position + 0.05 * speed > 0))
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            over = terminated or truncated
        assert truncated, "the rule must keep it up"
        ones = np.ones(len(actions))
        episodes.append(Episode(np.array(observations), np.array(actions), ones, terminated, truncated, seed + i))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, "CartPole-v1")


SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu"}


def tagged(n_envs: int = 3) -> VecEnv:
    """Ends alternate between terminations and truncations."""
    return DummyVecEnv([lambda i=i: TaggedEnv(i, lengths=(5, 2, 7, 3)) for i in range(n_envs)])  # type: ignore[misc]


def gail(env: VecEnv | None = None, demonstrations: Demonstrations | None = None, **keywords: Any) -> GAIL:
    env = tagged() if env is None else env
    if demonstrations is None:
        demonstrations = demonstrations_of(TaggedEnv())
    return GAIL("MlpPolicy", env, demonstrations, **{**SMALL, **keywords})


class Collected(RolloutRecorder):
    """Keeps what SB3 computed, and what relabelling with the environment's own reward makes of it."""

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        self.before = self._contents()
        self.relabel(self.env_rewards)
        self.after = self._contents()

    def _contents(self) -> dict[str, np.ndarray]:
        buffer = self.model.rollout_buffer
        return {name: getattr(buffer, name).copy() for name in ("rewards", "advantages", "returns")}


class BoxActions(TaggedEnv):
    """The same observations, other actions."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
