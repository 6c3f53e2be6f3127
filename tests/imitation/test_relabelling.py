"""Which rewards reach PPO: the learned ones, as if the environment had given them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import TRPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize
from support.experts import SMALL, Collected, absorbed, gail, tagged
from support.worlds import TaggedEnv

from sb3_ext.imitation.rollouts import discounted_returns


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO, RecurrentPPO])
def test_relabelling_with_the_environments_own_reward_changes_nothing(
    algorithm: Callable[..., OnPolicyAlgorithm], normalized: bool
) -> None:
    env = VecNormalize(tagged(4)) if normalized else tagged(4)
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, env, n_steps=32, seed=0, device="cpu")
    recorder = Collected()
    model.learn(1, callback=recorder)
    assert (recorder.timeout_values != 0).sum() > 3 and recorder.terminated.sum() > 3
    for name, wanted in recorder.before.items():
        np.testing.assert_allclose(recorder.after[name], wanted, atol=1e-5, rtol=1e-5, err_msg=name)


class IntegerRewards(VecEnvWrapper):
    """As SubprocVecEnv stacks the rewards of environments that give integers."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards.astype(np.int64), dones, infos


def test_integer_rewards_do_not_round_the_value_at_timeouts() -> None:
    model = PPO("MlpPolicy", IntegerRewards(tagged()), n_steps=32, batch_size=32, seed=0, device="cpu")
    recorder = Collected()
    model.learn(1, callback=recorder)
    wanted = recorder.env_rewards + model.gamma * recorder.timeout_values
    assert (wanted != np.round(wanted)).sum() == (recorder.timeout_values != 0).sum() > 0
    np.testing.assert_allclose(recorder.after["rewards"], wanted, rtol=1e-6)


def test_only_terminations_pay_and_each_for_the_state_in_which_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail(normalize_reward=False)
    monkeypatch.setattr(PPO, "train", lambda self: None)
    model.learn(1)
    recorder, adversary = model._recorder, model.adversary
    steps = recorder.steps(adversary)
    shape = recorder.terminated.shape
    ended = recorder.terminated.reshape(-1)
    assert 0 < ended.sum() < (recorder.terminated | (recorder.timeout_values != 0)).sum()
    paid = absorbed(adversary, steps)
    assert (paid[ended] > 0).all() and len(np.unique(paid[ended])) > 1 and not paid[~ended].any()
    wanted = adversary.rewards(steps) + paid + model.gamma * recorder.timeout_values.reshape(-1)
    np.testing.assert_allclose(model.rollout_buffer.rewards, wanted.reshape(shape), rtol=1e-4)


def test_the_environments_reward_is_mixed_in_and_logged_as_it_is() -> None:
    learned, mixed = (gail(normalize_reward=False, env_reward_coef=c).learn(1) for c in (0.0, 2.0))
    assert (learned._recorder.actions == mixed._recorder.actions).all()
    difference = mixed.rollout_buffer.rewards - learned.rollout_buffer.rewards
    np.testing.assert_allclose(difference, 2.0 * mixed._recorder.env_rewards, rtol=1e-4, atol=1e-4)
    assert mixed._recorder.env_rewards.max() == 7


@pytest.mark.parametrize("unit", [1 / 500, 100.0])
def test_nothing_depends_on_the_unit_of_the_environments_reward(unit: float) -> None:
    def scaled(i: int) -> gym.Env:
        return gym.wrappers.TransformReward(TaggedEnv(i, lengths=(5, 2, 7, 3)), lambda r: unit * float(r))

    env = DummyVecEnv([lambda i=i: scaled(i) for i in range(3)])  # type: ignore[misc]
    other, plain = gail(env).learn(96), gail().learn(96)
    np.testing.assert_allclose(other._recorder.env_rewards, unit * plain._recorder.env_rewards, rtol=1e-6)
    for a, b in zip(other.policy.parameters(), plain.policy.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_an_environment_may_have_no_reward_to_mix_in() -> None:
    env = DummyVecEnv([lambda: gym.wrappers.TransformReward(TaggedEnv(), lambda _: float("nan"))])
    assert np.isfinite(gail(env).learn(1).rollout_buffer.advantages).all()


def test_returns_that_set_the_scale_stop_at_the_ends_of_episodes() -> None:
    n_steps = 30
    model = PPO("MlpPolicy", tagged(2), **{**SMALL, "n_steps": n_steps, "batch_size": 60})
    recorder = Collected()
    model.learn(1, callback=recorder)
    ends = recorder.terminated | (recorder.timeout_values != 0)
    rewards = np.random.default_rng(0).normal(size=(n_steps, 2))
    wanted = np.zeros((n_steps, 2))
    for t, e in np.ndindex(n_steps, 2):
        for step in range(t, n_steps):
            wanted[t, e] += 0.9 ** (step - t) * rewards[step, e]
            if ends[step, e]:
                break
    np.testing.assert_allclose(discounted_returns(rewards, recorder, 0.9), wanted, rtol=1e-9)


def test_scaling_keeps_the_sign_of_rewards() -> None:
    for form, sign in (("gail", 1), ("logd", -1)):
        model = gail(reward=form, absorbing=False)
        model.learn(48)
        at_timeouts = model._recorder.timeout_values
        rewards = model.rollout_buffer.rewards - model.gamma * at_timeouts
        assert (np.sign(rewards) == sign).all(), form
        assert model.adversary.scale.divisor != 1.0
