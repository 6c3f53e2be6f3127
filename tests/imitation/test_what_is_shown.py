"""What the discriminator is shown: raw observations, executed actions, true ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.demo_worlds import sampled
from support.experts import SMALL, Collected, demonstrations_of, gail, tagged
from support.worlds import TaggedEnv

from sb3_ext.imitation import GAIL, RewardSettings
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.steps import Steps


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
def test_steps_are_raw_and_next_observations_are_the_true_ones(normalized: bool) -> None:
    model = gail(VecNormalize(tagged()) if normalized else tagged())
    model.learn(48)
    recorder = model._recorder
    assert isinstance(recorder.observations, np.ndarray) and isinstance(recorder.next_observations, np.ndarray)
    now, after = recorder.observations * 16, recorder.next_observations * 16  # [T, E, (env, episode, step)]
    np.testing.assert_allclose(now[..., 0], np.broadcast_to(np.arange(3), now.shape[:2]), atol=1e-4)
    np.testing.assert_allclose(after[..., :2], now[..., :2], atol=1e-4)
    np.testing.assert_allclose(after[..., 2], now[..., 2] + 1, atol=1e-4)
    lengths = np.array((5, 2, 7, 3))[np.round(now[..., 1]).astype(int) % 4]
    last = np.isclose(after[..., 2], lengths, atol=1e-3)
    np.testing.assert_array_equal(recorder.terminated, last & (np.round(now[..., 1]) % 2 == 0))
    steps = recorder.steps(model.adversary)
    np.testing.assert_array_equal(steps.next_absorbing.numpy().reshape(now.shape[:2]), recorder.terminated)


def test_executed_actions_are_judged_not_the_gaussians() -> None:
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    model = GAIL("MlpPolicy", env, demonstrations_of(gym.make("Pendulum-v1")), **SMALL)
    with th.no_grad():
        model.policy.log_std.fill_(2.0)
    model.learn(1)
    raw = model.rollout_buffer.actions.reshape(16, 1, 1)
    assert (np.abs(raw) > 2).any()
    np.testing.assert_array_equal(model._recorder.actions, np.clip(raw, -2, 2))


def test_the_discriminator_leaves_the_policys_random_numbers_alone() -> None:
    stock = PPO("MlpPolicy", tagged(), **SMALL)
    weights = [parameter.detach().clone() for parameter in stock.policy.parameters()]
    recorder = Collected()
    stock.learn(1, callback=recorder)
    ours = gail()
    for a, b in zip(ours.policy.parameters(), weights, strict=True):
        th.testing.assert_close(a.detach(), b, rtol=0, atol=0)
    ours.learn(1)
    np.testing.assert_array_equal(ours._recorder.actions, recorder.actions)


def test_the_discriminator_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail()
    seeded: list[int] = []
    monkeypatch.setattr(th.cuda, "manual_seed_all", seeded.append)
    AdversarialReward(model.observation_space, model.action_space, 0.99, model.device, 0, RewardSettings())
    assert not seeded


def test_a_user_sees_the_environments_return_and_the_discriminators_health() -> None:
    model = gail(held_out=0.4)
    logged: dict[str, float] = {}

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            logged.update(self.model.logger.name_to_value)
            return True

    model.set_env(DummyVecEnv([lambda i=i: Monitor(TaggedEnv(i, lengths=(5,))) for i in range(3)]))  # type: ignore[misc]
    model.learn(200, callback=Watch(), log_interval=100)
    wanted = {"loss", "accuracy_policy", "accuracy_expert", "accuracy_held_out", "learning_rate"}
    wanted |= {"reward_mean", "reward_std", "reward_scale", "absorbing_value"}
    assert wanted <= {name.removeprefix("discriminator/") for name in logged}
    assert model.ep_info_buffer is not None
    assert {info["r"] for info in model.ep_info_buffer} == {15.0}  # 1 + 2 + 3 + 4 + 5


def test_the_penalty_of_the_settings_pulls_the_slope_to_one() -> None:
    slopes = []
    for weight in (0.0, 100.0):
        model = gail(gradient_penalty=weight, discriminator_updates=200, discriminator_learning_rate=3e-3).learn(1)
        encoded = model.discriminator.encode(model._recorder.steps(model.adversary)).detach().requires_grad_()
        logits = model.discriminator.logits(encoded, th.zeros(len(encoded)))
        (gradients,) = th.autograd.grad(logits.sum(), encoded)
        slopes.append((gradients.norm(dim=1) - 1).abs().mean().item())
    assert slopes[1] < 0.2 < 0.5 < slopes[0]


def test_the_discriminator_is_shown_an_absorbing_step_for_each_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail()
    shown: list[Steps] = []

    def update(seen: Steps, *_: Any) -> dict[str, float]:
        shown.append(seen)
        return {}

    monkeypatch.setattr(model.adversary, "update", update)
    model.learn(1)
    recorder = model._recorder
    rows = shown[0].absorbing > 0
    assert rows.sum() == recorder.terminated.sum() > 0
    assert isinstance(recorder.next_observations, np.ndarray)
    for observations in (shown[0].observations, shown[0].next_observations):
        assert isinstance(observations, th.Tensor)
        np.testing.assert_array_equal(observations[rows], recorder.next_observations[recorder.terminated])


def test_the_experts_absorbing_steps_stay_where_its_episodes_ended() -> None:
    demonstrations = demonstrations_of(TaggedEnv())
    model = gail(demonstrations=demonstrations, held_out=0.0).learn(1)
    expert = model.adversary.expert
    assert expert is not None and isinstance(expert.observations, th.Tensor)
    finals = [
        e.observations[-1] for e in demonstrations.episodes if e.terminated and isinstance(e.observations, np.ndarray)
    ]
    np.testing.assert_array_equal(expert.observations[expert.absorbing > 0], np.array(finals))
    assert len(np.unique(finals, axis=0)) == len(finals) > 1


class FarOff(TaggedEnv):
    """Whole numbers, and a final observation that no statistics expect."""

    def __init__(self, dtype: type) -> None:
        super().__init__(lengths=(5, 2, 7, 3))
        self.dtype = dtype
        self.observation_space = spaces.Box(0, 200, (3,), dtype)

    def _obs(self) -> np.ndarray:
        far = self.t == self.lengths[self.episode % len(self.lengths)]
        return np.array([200 if far else 1, self.episode % 100, self.t], dtype=self.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_final_observations_are_raw_where_vecnormalize_clips_them(dtype: type) -> None:
    env = VecNormalize(DummyVecEnv([lambda: FarOff(dtype)]), clip_obs=1.5)
    model = gail(env, sampled(env.observation_space, env.action_space), n_steps=32).learn(64)
    recorder = model._recorder
    ended = recorder.terminated | (recorder.timeout_values != 0)
    assert ended.sum() > 5 and isinstance(recorder.next_observations, np.ndarray)
    assert (recorder.next_observations[ended][:, 0] == 200).all()
    assert (recorder.next_observations[~ended][:, 0] == 1).all()
