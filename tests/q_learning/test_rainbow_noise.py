"""Noise and exploration of Rainbow and RainbowR: when it is drawn, what is chosen, and when there is none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from support.checks import assert_same_weights
from support.q_models import BOTH, OBS, Make, make_env, make_rainbow, make_rainbowr, noise_of, noisy_layers

from sb3_ext import Rainbow, RainbowR
from sb3_ext.networks.noisy import sample_noise
from sb3_ext.ops.exploration import Boltzmann, EpsilonGreedy, EpsilonLadder, Exploration, Greedy


@BOTH
def test_every_update_draws_noise_for_each_network(make: Make) -> None:
    model = make(gradient_steps=0)
    model.learn(80)
    seen = []
    for _ in range(3):
        model.train(gradient_steps=1, batch_size=8)
        seen += [noise_of(model.q_net), noise_of(model.q_net_target)]
    # RainbowR: one draw for each of 8 sequences, whatever the time
    assert {tuple(noise.shape[:-1]) for noise in seen} == {(8, 1) if isinstance(model, RainbowR) else ()}
    for i, noise in enumerate(seen):
        assert not any(th.equal(noise, other) for other in seen[:i])
    if isinstance(model, RainbowR):
        assert len({tuple(row) for row in seen[0][:, 0].tolist()}) == 8


@BOTH
def test_every_step_draws_noise_for_each_environment(make: Make) -> None:
    model = make(n_envs=4, learning_starts=0, gradient_steps=0)
    model.learn(40)
    seen = []
    for _ in range(2):
        model._sample_action(0)
        seen += noise_of(model.q_net).tolist()
    assert len({tuple(row) for row in seen}) == 8
    # Each environment sees values of its own where all observations are the same.
    assert isinstance(model, Rainbow | RainbowR)
    same = th.zeros(4, 3)
    if isinstance(model, Rainbow):
        q_values = model.policy.act(same)
    else:
        q_values, _ = model.policy.act(same, model.q_net.initial_state(4))
    assert len({tuple(row) for row in q_values.tolist()}) == 4


@BOTH
def test_deterministic_predictions_are_those_of_the_mean_weights(make: Make) -> None:
    model = make(learning_starts=0)
    model.learn(60)
    mean = copy.deepcopy(model.q_net)  # a copy has no noise
    with th.no_grad():
        expected = mean(th.as_tensor(OBS)).argmax(dim=1).numpy()
        for layer in noisy_layers(model.q_net):  # so that noise would show
            layer.weight_sigma.fill_(10.0)
            layer.bias_sigma.fill_(10.0)
    for _ in range(5):
        np.testing.assert_array_equal(model.predict(OBS, deterministic=True)[0], expected)
        sample_noise(model.q_net)  # as acting and training do
    first, second = (model.predict(np.tile(OBS, (10, 1)), deterministic=False)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(model.predict(OBS[0], deterministic=True)[0], expected[0])


@BOTH
def test_q_networks_predict_after_training_under_noise(make: Make) -> None:
    """Trap 12: users read Q-networks as well; the last draw of training is nothing to be seen."""
    model = make(n_envs=2, train_freq=1)
    model.learn(60)
    expected, _ = model.predict(OBS, deterministic=True)
    for _ in range(2):
        model.train(gradient_steps=1, batch_size=4)
        frozen, _ = model.predict(OBS, deterministic=True)
        sample_noise(model.q_net, (4, 1) if isinstance(model, RainbowR) else ())
        np.testing.assert_array_equal(model.q_net.predict(OBS, deterministic=True)[0], frozen)
        model._sample_action(0)
        np.testing.assert_array_equal(model.q_net.predict(OBS, deterministic=True)[0], frozen)
        model.q_net_target.predict(OBS, deterministic=True)
    assert expected.shape == (6,)


@BOTH
def test_deterministic_predictions_change_nothing(make: Make) -> None:
    model = make()
    model.learn(60)
    before, coins, draws = copy.deepcopy(model.policy.state_dict()), np.random.get_state(), th.get_rng_state()
    model.predict(OBS, deterministic=True)
    assert all(th.equal(before[key], value) for key, value in model.policy.state_dict().items())
    assert th.equal(draws, th.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(coins, np.random.get_state(), strict=True))


@BOTH
def test_an_evaluation_in_mid_step_changes_nothing(make: Make) -> None:
    alone = make(seed=5)
    alone.learn(200)
    watched = make(seed=5)
    evaluation = EvalCallback(make_env(1), eval_freq=7, n_eval_episodes=2, verbose=0, deterministic=True)
    watched.learn(200, callback=evaluation)
    assert alone._n_updates > 0 and evaluation.n_calls == 100
    assert_same_weights(alone, watched)


Q_VALUES = np.tile([1.0, 0.0, -1.0], (4, 1))


SOFTMAX = np.exp([2.0, 0.0, -2.0]) / np.exp([2.0, 0.0, -2.0]).sum()


@pytest.mark.parametrize(
    ("exploration", "not_greedy"),
    [
        (EpsilonGreedy(0.6, 0.6), [0.4] * 4),
        (EpsilonLadder(0.6, 3.0), [0.6 ** (1 + i) * 2 / 3 for i in range(4)]),
        (Boltzmann(0.5), [1 - SOFTMAX[0]] * 4),
        (Greedy(), [0.0] * 4),
    ],
)
@BOTH
def test_the_given_strategy_chooses_and_is_logged(
    make: Make, exploration: Exploration, not_greedy: list[float]
) -> None:
    model = make(n_envs=4, exploration=exploration, gradient_steps=0, train_freq=1)
    model.learn(40, log_interval=10_000)
    rate = exploration.rate(model._current_progress_remaining, 4)
    assert model.logger.name_to_value["rollout/exploration_rate"] == rate

    def act(obs: th.Tensor, *state: Any) -> Any:
        return (Q_VALUES, *state) if state else Q_VALUES

    model.policy.act = act  # type: ignore[assignment]
    chosen = np.stack([model._sample_action(0)[0] for _ in range(3000)])
    np.testing.assert_allclose((chosen != 0).mean(axis=0), not_greedy, atol=0.04)


@pytest.mark.parametrize(
    ("make", "n_envs", "settings", "default"),
    [
        (make_rainbow, 1, {}, Greedy()),
        (make_rainbow, 4, {}, Greedy()),
        (make_rainbow, 4, {"head": "c51", "exploration": EpsilonGreedy(1.0, 0.2, 0.1)}, EpsilonGreedy(1.0, 0.2, 0.1)),
        (make_rainbowr, 4, {}, Greedy()),
        (make_rainbow, 4, {"head": "c51"}, EpsilonGreedy(1.0, 0.05, 0.1)),
        (make_rainbowr, 1, {"head": "quantile"}, EpsilonGreedy(1.0, 0.01, 0.1)),
        (make_rainbowr, 4, {"head": "c51", "exploration": {"epsilon_ladder": {"base": 0.3}}}, EpsilonLadder(0.3, 7.0)),
        (make_rainbowr, 4, {"head": "scalar"}, EpsilonLadder(0.4, 7.0)),
        (make_rainbow, 1, {"head": {"quantile": {"noise": 0.1}}}, Greedy()),
    ],
)
def test_noise_explores_in_place_of_epsilon(
    make: Make, n_envs: int, settings: dict[str, Any], default: Exploration, tmp_path: Path
) -> None:
    model = make(n_envs=n_envs, **settings)
    assert model.exploration == default
    assert bool(noisy_layers(model.q_net)) == (default == Greedy())
    model.save(tmp_path / "model.zip")
    assert type(model).load(tmp_path / "model.zip", device="cpu").exploration == default


def test_the_schedule_of_epsilon_follows_the_steps() -> None:
    model = make_rainbow(1, exploration=EpsilonGreedy(1.0, 0.2, 0.5), gradient_steps=0)
    rates: list[float] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            rates.append(self.logger.name_to_value.get("rollout/exploration_rate", np.nan))
            return True

    model.learn(100, callback=Watch(), log_interval=10_000)
    np.testing.assert_allclose(rates[1:51], 1.0 - 0.8 * np.arange(1, 51) / 50)  # logged after the step before
    np.testing.assert_allclose(rates[51:], 0.2)


@BOTH
def test_predictions_without_determinism_explore_at_the_evaluation_rate(make: Make) -> None:
    model = make(evaluation_eps=0.3, head="c51")
    obs = np.zeros((4000, 3), dtype=np.float32)
    greedy, _ = model.predict(obs, deterministic=True)
    np.random.seed(0)
    actions, _ = model.predict(obs, deterministic=False)
    assert abs(float((actions != greedy).mean()) - 0.3 * 2 / 3) < 0.03
