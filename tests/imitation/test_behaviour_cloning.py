"""Behaviour cloning, and GAIL that begins with it."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.experts import SMALL, upright

from sb3_ext.imitation import GAIL, behaviour_cloning


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
def test_behaviour_cloning_fits_the_demonstrations(normalized: bool) -> None:
    env: VecEnv = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    env = VecNormalize(env, norm_reward=False) if normalized else env
    demonstrations = upright(n_episodes=5)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    losses = behaviour_cloning(model, demonstrations, n_epochs=10)
    assert losses[-1] < 0.5 * losses[0]
    steps = demonstrations.transitions(absorbing=False)
    observations = env.normalize_obs(steps.observations) if isinstance(env, VecNormalize) else steps.observations
    actions, _ = model.predict(observations, deterministic=True)
    assert (actions == steps.actions).mean() > 0.8  # of a rule that switches at every step


def test_the_entropy_bonus_keeps_a_clone_from_being_sure() -> None:
    demonstrations = upright(n_episodes=1)
    observations = th.as_tensor(demonstrations.transitions(absorbing=False).observations)
    entropies = []
    for ent_coef in (0.0, 10.0):
        model = PPO("MlpPolicy", gym.make("CartPole-v1"), seed=0, device="cpu")
        behaviour_cloning(model, demonstrations, n_epochs=10, ent_coef=ent_coef)
        with th.no_grad():
            entropy = model.policy.get_distribution(observations).entropy()
        assert entropy is not None
        entropies.append(float(entropy.mean()))
    assert entropies[1] > 0.65 > 0.5 > entropies[0]


def test_gail_starts_from_behaviour_cloning_once() -> None:
    model = GAIL("MlpPolicy", gym.make("CartPole-v1"), upright(5), bc_epochs=10, learning_rate=0.0, **SMALL)
    untrained = next(model.policy.parameters()).detach().clone()
    model.learn(16)
    cloned = next(model.policy.parameters()).detach().clone()
    assert (untrained != cloned).any()
    model.learn(16, reset_num_timesteps=False)
    th.testing.assert_close(next(model.policy.parameters()).detach(), cloned, rtol=0, atol=0)
