"""Imitation that must work, and imitation that must not."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from support.experts import upright

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL

FAST: dict[str, Any] = {
    "n_steps": 128,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "seed": 0,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = th.get_num_threads()
    th.set_num_threads(1)
    yield
    th.set_num_threads(before)


def final_return(env_id: str, demonstrations: Demonstrations, n_steps: int, **keywords: Any) -> float:
    model = GAIL("MlpPolicy", make_vec_env(env_id, 8, seed=0), demonstrations, **{**FAST, **keywords})
    model.learn(n_steps)
    mean, _ = evaluate_policy(model, make_vec_env(env_id, 10, seed=1000), 20)
    return float(mean)  # type: ignore[arg-type]


def swung(n_episodes: int) -> Demonstrations:
    """Acrobot-v1 by pushing with the spin of the lower link, which pumps energy until the tip is up."""
    env = gym.make("Acrobot-v1")
    episodes = []
    for i in range(n_episodes):
        observation, _ = env.reset(seed=i)
        observations, actions, over = [observation], [], False
        while not over:
            actions.append(2 if observation[5] > 0 else 0)
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            over = terminated or truncated
        rewards = -np.ones(len(actions))
        episodes.append(Episode(np.array(observations), np.array(actions), rewards, terminated, truncated, i))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, "Acrobot-v1")


def constant(n_episodes: int) -> Demonstrations:
    """CartPole-v1 by always pushing to the right."""
    env = gym.make("CartPole-v1")
    episodes = []
    for i in range(n_episodes):
        observation, _ = env.reset(seed=i)
        observations, over = [observation], False
        while not over:
            observation, _, terminated, truncated, _ = env.step(1)
            observations.append(observation)
            over = terminated or truncated
        n = len(observations) - 1
        episodes.append(Episode(np.array(observations), np.ones(n, dtype=np.int64), None, terminated, truncated, i))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, "CartPole-v1")


def test_gail_learns_cartpole() -> None:
    assert final_return("CartPole-v1", upright(10), 25_000) > 300


def test_constant_actions_do_not_teach_to_survive() -> None:
    assert final_return("CartPole-v1", constant(50), 25_000) < 60


@pytest.mark.slow
def test_gail_learns_to_end_an_episode_with_the_same_settings() -> None:
    demonstrations = swung(10)
    assert demonstrations.returns.mean() > -150
    assert final_return("Acrobot-v1", demonstrations, 50_000) > -150


@pytest.mark.slow
def test_absorbing_states_take_away_the_bias_of_negative_rewards() -> None:
    with_them, without = (
        final_return("CartPole-v1", upright(10), 50_000, reward="logd", absorbing=absorbing)
        for absorbing in (True, False)
    )
    assert without < 60 < 300 < with_them
