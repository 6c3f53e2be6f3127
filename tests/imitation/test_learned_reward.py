"""A frozen discriminator as an environment's reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.experts import BoxActions, gail, tagged

from sb3_ext.imitation import LearnedReward
from sb3_ext.imitation.discriminator import ShapedDiscriminator
from sb3_ext.imitation.steps import Steps


@pytest.mark.parametrize("keywords", [{}, {"inputs": "ss"}, {"shaped": True}], ids=str)
def test_the_learned_reward_goes_with_a_new_policy(keywords: dict[str, Any]) -> None:
    shaped = "shaped" in keywords
    model = gail(reward="airl", **keywords)
    model.learn(96)
    env = LearnedReward(tagged(), model.adversary)
    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    adversary = model.adversary
    ended = 0
    for _ in range(12):
        actions = np.array([0, 1, 2])
        before = observations
        observations, rewards, dones, infos = env.step(actions)
        assert isinstance(observations, np.ndarray) and isinstance(before, np.ndarray)
        final = np.array(
            [i["terminal_observation"] if d else o for i, d, o in zip(infos, dones, observations, strict=True)]
        )
        ends = np.array([d and not i["TimeLimit.truncated"] for i, d in zip(infos, dones, strict=True)])
        steps = Steps.of(before, actions, final, np.zeros(3, dtype=bool), ends, adversary.device)
        one = np.ones(3, dtype=bool)
        for_ever = Steps.of(final, np.zeros(3, dtype=np.int64), final, one, one, adversary.device)
        if shaped:
            assert isinstance(adversary.discriminator, ShapedDiscriminator)
            wanted, after = (adversary.discriminator.state_reward(x).detach().numpy() for x in (steps, for_ever))
        else:
            wanted, after = adversary.logits(steps).numpy(), adversary.logits(for_ever).numpy()
        wanted = (wanted + ends * 99.0 * after) / adversary.scale.divisor
        np.testing.assert_allclose(rewards, wanted, rtol=1e-4, atol=1e-5)
        assert [info["env_reward"] for info in infos] == (final[:, 2] * 16).tolist()
        ended += int(ends.sum())
    assert ended > 0
    PPO("MlpPolicy", VecNormalize(env), n_steps=16, batch_size=16, device="cpu").learn(48)


def test_the_learned_reward_wants_raw_observations_of_the_same_task() -> None:
    model = gail()
    with pytest.raises(ValueError, match=r"VecNormalize\(LearnedReward\(env\)"):
        LearnedReward(VecNormalize(tagged()), model.adversary)
    with pytest.raises(ValueError, match="action_space Box"):
        LearnedReward(DummyVecEnv([BoxActions]), model.adversary)
