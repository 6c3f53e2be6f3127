"""Learning does not depend on the unit of the reward: its scale is found from the data, and nothing else sees it."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ext import R2D2, Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.networks.heads import C51, Quantile
from sb3_ext.ops.reward_units import FITTED_VALUE, REFIT_AT, LargestReturn, fitted_scale
from sb3_ext.ops.value_rescaling import IDENTITY, ScaledTransform, ValueRescaling

SMALL: dict[type[DeepQLearning], dict[str, Any]] = {
    Rainbow: dict(policy="MlpPolicy", policy_kwargs=dict(net_arch=[16])),
    R2D2: dict(policy="MlpLstmPolicy", burn_in=4, sequence_length=8, period=4, policy_kwargs=dict(lstm_hidden_size=8)),
    RainbowR: dict(
        policy="MlpLstmPolicy", burn_in=4, sequence_length=8, period=4, policy_kwargs=dict(lstm_hidden_size=8)
    ),
}
ALL = pytest.mark.parametrize("algorithm", SMALL)


def cartpole(unit: float, n_envs: int = 2) -> VecEnv:
    return make_vec_env(
        "CartPole-v1",
        n_envs,
        seed=0,
        wrapper_class=lambda env: gym.wrappers.TransformReward(env, lambda reward: unit * float(reward)),
    )


def make(algorithm: type[DeepQLearning], env: VecEnv, **kwargs: Any) -> DeepQLearning:
    few: dict[str, Any] = dict(learning_starts=100, batch_size=16, train_freq=4, seed=0, device="cpu")
    return algorithm(env=env, **{**few, **SMALL[algorithm], **kwargs})


def weights(model: DeepQLearning) -> th.Tensor:
    return th.cat([p.detach().flatten() for p in model.q_net.parameters()])


def test_the_largest_return_is_the_largest_sum_from_the_start_of_an_episode() -> None:
    rng = np.random.default_rng(0)
    rewards, dones = rng.normal(size=(200, 3)), rng.random((200, 3)) < 0.1
    largest = LargestReturn(3)
    expected = 0.0
    for t in range(200):
        largest.add(rewards[t], dones[t], gamma=0.9)
        for env in range(3):
            ends = np.flatnonzero(dones[:t, env])
            start = ends[-1] + 1 if len(ends) else 0
            expected = max(expected, abs(sum(0.9 ** (t - k) * rewards[k, env] for k in range(start, t + 1))))
    assert largest.value == pytest.approx(expected)


def test_steps_of_some_environments_add_up_as_step_by_step() -> None:
    rng = np.random.default_rng(0)
    rewards, dones = rng.normal(size=(60, 5)).astype(np.float32), rng.random((60, 5)) < 0.1
    one_by_one, by_blocks = LargestReturn(5), LargestReturn(5)
    for k in range(0, 60, 12):
        for step in range(k, k + 12):
            one_by_one.add(rewards[step], dones[step], 0.97)
        for lanes in (np.array([0, 3]), np.array([1, 2, 4])):
            by_blocks.add_steps(rewards[k : k + 12, lanes], dones[k : k + 12, lanes], 0.97, lanes)
        assert by_blocks.value == one_by_one.value
        np.testing.assert_array_equal(by_blocks._sums, one_by_one._sums)
    by_blocks.restart(np.array([1]))
    assert by_blocks._sums[1] == 0.0 and by_blocks._sums[0] == one_by_one._sums[0]


def test_a_restart_forgets_the_sums_under_way() -> None:
    largest = LargestReturn(1)
    largest.add(np.array([3.0]), np.array([False]), gamma=1.0)
    largest.restart()
    largest.add(np.array([2.0]), np.array([False]), gamma=1.0)
    assert largest.value == 3.0


@pytest.mark.parametrize("inner", [IDENTITY, ValueRescaling()])
def test_the_scale_is_fitted_once_and_again_when_returns_outgrow_it(inner: Any) -> None:
    assert fitted_scale(inner, 0.0, 0.0) == 0.0  # no reward yet: nothing to fit
    scale = fitted_scale(inner, 0.0, 0.02)
    assert float(inner.apply(np.array(scale * 0.02))) == pytest.approx(FITTED_VALUE)
    limit = float(inner.invert(np.array(REFIT_AT))) / scale
    assert fitted_scale(inner, scale, 0.99 * limit) == scale
    again = fitted_scale(inner, scale, 1.01 * limit)
    assert float(inner.apply(np.array(again * 1.01 * limit))) == pytest.approx(FITTED_VALUE)


def test_the_scaled_transform_is_its_own_inverse_s_inverse() -> None:
    transform = ScaledTransform(ValueRescaling(), 0.3)
    x = np.linspace(-1000.0, 1000.0, 11)
    np.testing.assert_allclose(transform.invert(transform.apply(x)), x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(transform.apply(x), ValueRescaling().apply(0.3 * x))
    with pytest.raises(ValueError, match=r"scale 0\.0 must be > 0"):
        ScaledTransform(ValueRescaling(), 0.0)


@ALL
@pytest.mark.parametrize("head", [{}, {"head": "scalar"}, {"head": Quantile(noise=0.5)}])
def test_another_unit_gives_the_same_weights_to_the_last_bit(
    algorithm: type[DeepQLearning], head: dict[str, Any]
) -> None:
    """Of powers of two, which multiply without rounding: whatever saw the unit would show."""
    runs = [make(algorithm, cartpole(unit), **head).learn(600) for unit in (1.0, 2.0**-9, 2.0**7)]
    assert runs[0]._n_updates > 50
    for other in runs[1:]:
        assert th.equal(weights(runs[0]), weights(other))
    assert runs[1].return_scale == 2.0**9 * runs[0].return_scale


@ALL
def test_without_it_the_unit_shows(algorithm: type[DeepQLearning]) -> None:
    """The control of the test above."""
    runs = [make(algorithm, cartpole(unit), normalize_reward=False).learn(300) for unit in (1.0, 2.0**-9)]
    assert not th.equal(weights(runs[0]), weights(runs[1]))
    assert runs[0].return_scale == 0.0 and runs[0].transform == ValueRescaling()


@pytest.mark.parametrize(
    "own", [{"head": C51(noise=0.5, v_min=0.0, v_max=500.0)}, {"value_rescaling": ValueRescaling(eps=1e-2)}]
)
def test_a_range_or_transform_of_the_user_s_is_for_returns_as_they_are(own: dict[str, Any]) -> None:
    model = make(Rainbow, cartpole(1.0), **own).learn(200)
    assert model._n_updates > 0 and model.return_scale == 0.0


def test_vec_normalize_s_scale_is_not_scaled_again() -> None:
    scaled = make(Rainbow, VecNormalize(cartpole(1.0), norm_obs=False)).learn(200)
    assert scaled._n_updates > 0 and scaled.return_scale == 0.0
    raw = make(Rainbow, VecNormalize(cartpole(1.0), norm_obs=True, norm_reward=False)).learn(200)
    assert raw.return_scale > 0.0


def test_rewards_of_zero_leave_the_scale_open() -> None:
    model = make(Rainbow, cartpole(0.0)).learn(200)
    assert model._n_updates > 0 and model.return_scale == 0.0


def test_rewards_too_small_for_a_scale_leave_it_open() -> None:
    model = make(Rainbow, cartpole(1e-40)).learn(200)
    assert model._n_updates > 0 and model.return_scale == 0.0
    assert weights(model).isfinite().all()


def test_a_saved_model_keeps_its_scale(tmp_path: pathlib.Path) -> None:
    model = make(R2D2, cartpole(0.01)).learn(300)
    model.save(tmp_path / "model")
    loaded = R2D2.load(tmp_path / "model", env=cartpole(0.01))
    assert loaded.return_scale == model.return_scale > 0.0
    assert loaded.transform == model.transform
    loaded.learn(200, reset_num_timesteps=False)
    assert loaded.return_scale == model.return_scale  # nothing new was met


@pytest.mark.parametrize("unit", [1 / 500, 100.0])
def test_rainbow_learns_in_any_unit(unit: float) -> None:
    """Default settings; a random agent stands for 22 steps."""
    model = Rainbow("MlpPolicy", cartpole(unit, n_envs=1), seed=0, device="cpu").learn(4000)
    mean, _ = evaluate_policy(model, make_vec_env("CartPole-v1", 5, seed=1), n_eval_episodes=10)
    assert float(np.mean(mean)) > 100
