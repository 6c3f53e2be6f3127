"""Noise that is scaled, over training and over environments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from support.control import SMALL, Reach, arch, noise, trained

from sb3_ext import TD3
from sb3_ext.td3 import Laddered, Scheduled
from sb3_ext.td3.noise import tell


def ones(*shape: int) -> NormalActionNoise:
    """Noise that is 1."""
    return NormalActionNoise(np.ones(shape), np.zeros(shape))


def with_an_actor_of_zeros(env: VecEnv, action_noise: ActionNoise) -> TD3:
    model = TD3("MlpPolicy", env, action_noise=action_noise, **{**SMALL, **arch(), "learning_starts": 0})
    model._setup_learn(90)
    for parameter in model.actor.parameters():
        parameter.data.zero_()
    return model


@pytest.mark.parametrize("inner", [Scheduled, Laddered])
def test_noise_shrinks_over_a_fraction_of_training_and_differs_between_environments(inner: type[Any]) -> None:
    if inner is Scheduled:
        scaled: ActionNoise = Laddered(Scheduled(ones(2), 0.2, 0.5), 1.0, 0.5)
    else:
        scaled = Scheduled(Laddered(ones(2), 1.0, 0.5), 0.2, 0.5)
    model = with_an_actor_of_zeros(DummyVecEnv([Reach] * 3), scaled)
    for at, scale in ((0, 1.0), (9, 0.84), (45, 0.2), (90, 0.2)):
        model.num_timesteps, model._total_timesteps = at, 90
        acted = model._sample_action(0, model.action_noise, 3)[1]
        np.testing.assert_allclose(acted[:, 0], np.array([1.0, 0.75, 0.5]) * scale, rtol=1e-6)
        assert model.noise_scale == pytest.approx(scale)


@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_each_environment_has_its_scale_whatever_the_shape_of_actions(n_envs: int) -> None:
    class Grid(Reach):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Box(-1, 1, (2, 2), np.float32)

    scaled = Scheduled(Laddered(ones(2, 2), 1.0, 0.5), final=0.8)
    model = with_an_actor_of_zeros(DummyVecEnv([Grid] * n_envs), scaled)
    model.num_timesteps = 45
    acted = model._sample_action(0, model.action_noise, n_envs)[1]
    expected = 0.9 * np.linspace(1.0, 0.5, n_envs)[:, None, None] * np.ones((n_envs, 2, 2))
    np.testing.assert_allclose(acted.reshape(expected.shape), expected, rtol=1e-6)


def test_scaled_noise_is_the_noise_inside_times_one_number() -> None:
    noises = [OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2)) for _ in range(2)]
    scaled = Scheduled(Laddered(noises[0], 0.3, 1.0), final=0.7)
    for at in (0.0, 0.31, 1.0):
        tell(scaled, at)
        drawn = []
        for one in (scaled, noises[1]):
            np.random.seed(3)
            drawn.append(one())
        factor = (1 + at * (0.7 - 1)) * 0.3
        np.testing.assert_array_equal(drawn[0], (drawn[1] * np.float64(factor)).astype(np.float32))
        assert drawn[0].dtype == np.float32
    scaled.reset()
    assert not noises[0].noise_prev.any() and noises[1].noise_prev.any()
    tell(scaled, 0.0)
    assert Scheduled(ones(1), final=0.5, fraction=0.0)() == 0.5


def test_noise_is_right_directly_after_load(tmp_path: Path) -> None:
    model = trained(TD3, action_noise=Scheduled(noise(), final=0.0), total=100)
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=Reach(), device="cpu")
    scales: list[float] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        model, told = local["self"], local["self"].action_noise.when.done
        assert told == pytest.approx((model.num_timesteps - 1) / 200)
        scales.append(model.noise_scale)
        return True

    loaded.learn(100, callback=note, reset_num_timesteps=False)
    assert scales[0] == pytest.approx(1 - 101 / 200), "and not the 0 at which the last training ended"
    assert scales[-1] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scheduled(noise(), final=-1.0), "final -1.0 must be >= 0"),
        (lambda: Scheduled(noise(), final=np.inf), "final inf must be >= 0"),
        (lambda: Scheduled(noise(), fraction=1.5), r"fraction 1.5 must lie in \[0, 1\]"),
        (lambda: Laddered(noise(), last=-0.5), "last -0.5 must be >= 0"),
        (lambda: Scheduled(0.1), "noise 0.1 must be an ActionNoise"),  # type: ignore[arg-type]
        (lambda: Laddered(VectorizedActionNoise(noise(), 2)), "must be an ActionNoise of one environment"),
    ],
)
def test_impossible_scales_are_named(make: Callable[[], ActionNoise], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_actions_stay_within_asymmetric_bounds_and_are_stored_scaled() -> None:
    env = Reach()
    model = trained(TD3, env, action_noise=noise(2.0))
    executed = np.array(env.actions)
    assert isinstance(env.action_space, spaces.Box)
    assert (executed >= env.action_space.low).all() and (executed <= env.action_space.high).all()
    stored = model.replay_buffer.actions[:120, 0]
    np.testing.assert_allclose(model.policy.unscale_action(stored), executed, rtol=1e-5, atol=1e-6)
    assert stored.min() == -1 and stored.max() == 1
