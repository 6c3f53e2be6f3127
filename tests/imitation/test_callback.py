"""The learned reward with other generators than PPO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.envs import InvalidActionEnvDiscrete
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from support.demo_worlds import sampled
from support.experts import SMALL, absorbed, demonstrations_of, tagged
from support.worlds import TaggedEnv

from sb3_ext.imitation import AdversarialCallback, RewardSettings


@pytest.mark.parametrize("algorithm", [A2C, TRPO, RecurrentPPO, PPO])
def test_other_generators_learn_through_the_callback(algorithm: Callable[..., OnPolicyAlgorithm]) -> None:
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, tagged(4), n_steps=32, seed=0, device="cpu")
    adversarial = AdversarialCallback(demonstrations_of(TaggedEnv()), RewardSettings(normalize_reward=False), seed=0)
    model.learn(256, callback=adversarial)
    assert adversarial.adversary is not None
    adversary = adversarial.adversary
    steps = adversarial.steps(adversary)
    shape = adversarial.terminated.shape
    wanted = (adversary.rewards(steps) + absorbed(adversary, steps)).reshape(shape)
    wanted += model.gamma * adversarial.timeout_values
    np.testing.assert_allclose(model.rollout_buffer.rewards.reshape(shape), wanted, rtol=1e-4, atol=1e-4)


def test_maskable_ppo_learns_through_the_callback() -> None:
    env = DummyVecEnv([lambda: InvalidActionEnvDiscrete(dim=6, n_invalid_actions=2)])
    model = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    demonstrations = sampled(env.observation_space, env.action_space)
    adversarial = AdversarialCallback(demonstrations, seed=0)
    model.learn(32, callback=adversarial)
    assert adversarial.adversary is not None and adversarial.actions.max() < 6


def test_a_rollout_of_one_step_is_not_divided_by_nothing() -> None:
    model = A2C("MlpPolicy", tagged(1), n_steps=1, seed=0, device="cpu")
    largest: list[float] = []

    class Watch(AdversarialCallback):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            largest.append(float(np.abs(self.model.rollout_buffer.rewards).max()))

    model.learn(20, callback=Watch(sampled(TaggedEnv().observation_space, spaces.Discrete(3)), seed=0))
    assert 0 < max(largest) < 50


def test_the_callback_refuses_what_it_cannot_relabel() -> None:
    with pytest.raises(ValueError, match="DQN has not; DAC is for a replay"):
        DQN("MlpPolicy", TaggedEnv()).learn(1, callback=AdversarialCallback(demonstrations_of(TaggedEnv())))
    recurrent = RecurrentPPO("MlpLstmPolicy", TaggedEnv(), n_steps=16, device="cpu")
    with pytest.raises(ValueError, match="a recurrent policy has not"):
        recurrent.learn(1, callback=AdversarialCallback(demonstrations_of(TaggedEnv()), RewardSettings(shaped=True)))


def test_masks_of_the_experts_steps_are_not_known() -> None:
    env = DummyVecEnv([lambda: InvalidActionEnvDiscrete(dim=6, n_invalid_actions=2)])
    model = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, device="cpu")
    adversarial = AdversarialCallback(sampled(env.observation_space, env.action_space), RewardSettings(shaped=True))
    with pytest.raises(ValueError, match="shaped=True needs the masks of the expert's steps"):
        model.learn(1, callback=adversarial)


def test_the_callback_does_not_go_from_one_task_to_another() -> None:
    adversarial = AdversarialCallback(demonstrations_of(TaggedEnv()), seed=0)
    PPO("MlpPolicy", tagged(), **SMALL).learn(1, callback=adversarial)
    with pytest.raises(ValueError, match=r"demonstrations: actions of Discrete\(3\), the policy has Discrete\(2\)"):
        PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(1, callback=adversarial)
