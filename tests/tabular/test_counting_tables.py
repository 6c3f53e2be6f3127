"""Strategies that count, in tables: each action of a state first, kept in files, exact answers beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sb3_ext import SARSA, DoubleQ, DynaQ, ExpectedSARSA, MonteCarlo, QLearning
from sb3_ext.exchange.safe_files import load_safe, save_safe
from sb3_ext.ops.exploration import KLUCB, UCB1, UCBV, CountedExploration, GaussianThompson, Thompson, UCB1Tuned
from sb3_ext.planning import TabularMDP, evaluate, policy_table, solve

STRATEGIES: list[CountedExploration] = [UCB1(), UCB1Tuned(), UCBV(), KLUCB(), Thompson(), GaussianThompson()]


def lake() -> gym.Env[Any, Any]:
    return gym.make("FrozenLake-v1", is_slippery=False)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("algorithm", [QLearning, DoubleQ, DynaQ])
def test_each_action_of_a_state_is_tried_before_any_other_a_second_time(
    strategy: CountedExploration, algorithm: Any
) -> None:
    model = algorithm("TablePolicy", "FrozenLake-v1", exploration=strategy, seed=0)
    model.learn(60)
    visits = model.policy.counts(np.arange(16)).n
    assert visits.sum() == 60  # of DynaQ as well: planning is not trying
    assert (visits.sum(axis=1) >= 4).sum() >= 3
    for of_state in visits:
        assert of_state.max() <= 1 or of_state.min() >= 1


def test_a_table_that_counts_finds_the_way() -> None:
    """No slips: exact values along the way, and the best policy."""
    mdp = TabularMDP.from_env(lake(), 0.99)
    for strategy in (UCB1(), Thompson()):
        model = QLearning("TablePolicy", lake(), exploration=strategy, learning_rate=1.0, visit_power=0.0, seed=0)
        model.learn(4000)
        found = evaluate(mdp, policy_table(model, mdp))
        assert mdp.start @ found == pytest.approx(mdp.start @ solve(mdp).v)
        assert model.policy.q[0].max() == pytest.approx(0.99**5)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_files_keep_strategies_and_counts(strategy: CountedExploration, tmp_path: Path) -> None:
    model = QLearning("TablePolicy", "FrozenLake-v1", exploration=strategy, seed=0).learn(300)
    model.save(tmp_path / "table.zip")
    save_safe(model, tmp_path / "table")
    states = np.arange(16)
    for again in (QLearning.load(tmp_path / "table.zip"), load_safe(tmp_path / "table")):
        assert isinstance(again, QLearning) and again.exploration == strategy
        for found, kept in zip(again.policy.counts(states), model.policy.counts(states), strict=True):
            np.testing.assert_array_equal(found, kept)
        chosen = []
        for each in (model, again):
            np.random.seed(0)
            chosen.append([each.predict(states)[0].tolist() for _ in range(5)])
        assert chosen[0] == chosen[1]
        np.testing.assert_array_equal(
            again.predict(states, deterministic=True)[0], model.policy.q.numpy().argmax(axis=1)
        )


def test_what_needs_probabilities_refuses_strategies_that_count() -> None:
    with pytest.raises(ValueError, match=r"UCB1 does not tell its probabilities, .* such as EpsilonGreedy"):
        ExpectedSARSA("TablePolicy", "FrozenLake-v1", exploration=UCB1())
    model = QLearning("TablePolicy", "FrozenLake-v1", exploration=UCB1(), seed=0).learn(50)
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.99)
    with pytest.raises(ValueError, match="UCB1 does not tell its probabilities"):
        policy_table(model, mdp, deterministic=False)
    assert policy_table(model, mdp).sum() == 16


def test_returns_outside_the_range_name_the_strategy_that_fits() -> None:
    """On a cliff each step costs 1."""
    model = QLearning("TablePolicy", "CliffWalking-v1", exploration=KLUCB(), seed=0)
    with pytest.raises(ValueError, match=r"KLUCB takes rewards in \[0, 1\].*or use UCB1"):
        model.learn(500)
    QLearning("TablePolicy", "CliffWalking-v1", exploration=UCB1(2e4), seed=0).learn(500)


@pytest.mark.parametrize("algorithm", [SARSA, MonteCarlo])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_on_policy_tables_take_them_too(algorithm: Any, strategy: CountedExploration) -> None:
    """Counts stand still while steps are collected, so an action may be tried again before it is learned from."""
    env = gym.make("sb3_ext/BernoulliBandit-v0", max_episode_steps=1)
    model = algorithm("TablePolicy", env, exploration=strategy, gamma=0.0, seed=0)
    model.learn(1_000)
    visits = model.policy.visits.numpy()[0]
    assert visits.min() >= 1 and visits.argmax() == 3
