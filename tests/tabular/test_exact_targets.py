"""Tables beside exact answers: where each algorithm goes, and that planning reads a table as it reads a network."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from support.table_models import Corridor

from sb3_ext import DoubleQ, ExpectedSARSA, QLearning
from sb3_ext.ops.exploration import EpsilonGreedy
from sb3_ext.planning import (
    OptimalityGap,
    TabularMDP,
    TabularVecEnv,
    epsilon_soft_value_iteration,
    evaluate,
    policy_table,
    q_table,
    solve,
)
from sb3_ext.tabular import TableAlgorithm

ALGORITHMS = [QLearning, DoubleQ, ExpectedSARSA]


def from_everywhere(env_id: str, gamma: float) -> TabularMDP:
    """:return: episodes that begin in any state, so that each is seen; no exact value depends on that"""
    mdp = TabularMDP.from_env(env_id, gamma=gamma)
    return dataclasses.replace(mdp, start=np.full(mdp.n_states, 1.0 / mdp.n_states))


def constant(epsilon: float) -> EpsilonGreedy:
    return EpsilonGreedy(epsilon, epsilon)


@pytest.mark.parametrize(("env_id", "gamma", "error"), [("CliffWalking-v1", 1.0, 0.5), ("FrozenLake-v1", 0.99, 0.05)])
def test_t13_expected_sarsa_goes_to_the_values_of_the_policy_that_explores(
    env_id: str, gamma: float, error: float
) -> None:
    """Which on the cliff is far from the best values there are: measured against those it would never arrive."""
    mdp = from_everywhere(env_id, gamma)
    env = TabularVecEnv(mdp, 256, horizon=100)
    model = ExpectedSARSA("TablePolicy", env, gamma=gamma, visit_power=0.5, exploration=constant(0.1), seed=0)
    model.learn(800_000)
    q = q_table(model, mdp)
    assert q is not None
    seen = model.policy.visits.numpy() > 0
    assert seen.mean() > 0.7
    assert np.abs(q - epsilon_soft_value_iteration(mdp, 0.1).q)[seen].max() < error
    if env_id.startswith("Cliff"):
        assert np.abs(q - solve(mdp).q)[seen].max() > 5.0


@pytest.mark.parametrize("algorithm", [QLearning, DoubleQ])
def test_q_learning_goes_to_the_best_values_whatever_explores(algorithm: type[TableAlgorithm]) -> None:
    mdp = from_everywhere("FrozenLake-v1", 0.99)
    env = TabularVecEnv(mdp, 256)
    model = algorithm("TablePolicy", env, visit_power=0.5, exploration=constant(1.0), seed=0).learn(400_000)
    q = q_table(model, mdp)
    assert q is not None
    seen = model.policy.visits.numpy().reshape(-1, 16, 4).min(axis=0) > 0
    assert np.abs(q - solve(mdp).q)[seen].max() < 0.1


def test_double_q_does_not_take_noise_for_value() -> None:
    """Ten arms that pay nothing on average: the maximum of their noisy means does."""

    class Noise(Corridor):
        """The one way leads to where ten arms pay -1 or 1."""

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.place += 1
            pays = float(self.np_random.choice([-1.0, 1.0])) if self.place == 2 else 0.0
            return min(self.place, 1), pays, self.place == 2, False, {}

    def first_value(algorithm: type[TableAlgorithm]) -> float:
        env = Noise(length=2)
        env.action_space = spaces.Discrete(10)
        model = algorithm(
            "TablePolicy", env, gamma=1.0, exploration=constant(1.0), learning_rate=0.1, visit_power=0.0, seed=0
        )
        values = model.learn(3000).policy.values(np.array([0]))
        return float(values.mean())

    assert first_value(QLearning) > 0.2
    assert abs(first_value(DoubleQ)) < 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_planning_reads_a_table_as_it_is(algorithm: type[TableAlgorithm]) -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    model = algorithm("TablePolicy", TabularVecEnv(mdp, 16), exploration=constant(0.3), seed=0).learn(3000)
    values = model.policy.values(np.arange(16))
    np.testing.assert_array_equal(q_table(model, mdp), values)
    np.testing.assert_array_equal(q_table(model.policy, mdp), values)
    np.testing.assert_array_equal(policy_table(model, mdp), np.eye(4)[values.argmax(axis=1)])
    exploring = policy_table(model, mdp, deterministic=False)
    drawn = np.stack([model.predict(np.arange(16))[0] for _ in range(4000)])
    often = np.stack([(drawn == action).mean(axis=0) for action in range(4)], axis=1)
    np.testing.assert_allclose(often, exploring, atol=5 * 0.5 / np.sqrt(4000))
    with pytest.raises(ValueError, match="the model has 16 states, the table 48"):
        q_table(model, TabularMDP.from_env("CliffWalking-v1", gamma=0.99))


def test_a_ladder_has_no_single_table() -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    model = QLearning("TablePolicy", TabularVecEnv(mdp, 4), exploration="epsilon_ladder", seed=0)
    with pytest.raises(ValueError, match="acts otherwise in each environment: use deterministic=True"):
        policy_table(model, mdp, deterministic=False)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_gap_of_a_table_is_exact(algorithm: type[TableAlgorithm]) -> None:
    seen: dict[str, float] = {}

    class Kept(Logger):
        def record(self, key: str, value: Any, exclude: str | tuple[str, ...] | None = None) -> None:
            seen[key] = value

    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    model = algorithm("TablePolicy", "FrozenLake-v1", seed=0)
    model.set_logger(Kept(None, []))
    model.learn(600, callback=OptimalityGap(every=600))
    best, policy = solve(mdp), model.policy.values(np.arange(16)).argmax(axis=1)
    assert seen["lab/gap"] == pytest.approx(mdp.start @ (best.v - evaluate(mdp, policy)), abs=1e-9)
    inside = best.v > 0.0
    error = np.abs(model.policy.values(np.arange(16)) - best.q)[inside].max()
    assert seen["lab/q_error"] == pytest.approx(error, abs=0.2)  # the table went on by the step after the measurement
    assert "lab/v_error" not in seen
