"""Fixed points of soft policies, beside the value of their own policy and every other one of the kind."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from support.processes import random_process

from sb3_ext.planning import (
    TabularMDP,
    epsilon_soft_value_iteration,
    evaluate,
    soft_policy_iteration,
    soft_value_iteration,
    value_iteration,
)


@pytest.mark.parametrize(
    ("epsilon", "of_optimal_values", "best"),
    [(0.1, -45.803, -20.708), (0.05, -28.811, -17.519), (0.01, -16.067, -15.441)],
)
def test_the_cliff_where_sarsa_is_safe(epsilon: float, of_optimal_values: float, best: float) -> None:
    mdp = TabularMDP.from_env("CliffWalking-v1", 1.0)
    found = epsilon_soft_value_iteration(mdp, epsilon)
    assert found.converged and found.bound < 1e-5
    assert mdp.start @ found.v == pytest.approx(best, abs=5e-4)
    assert mdp.start @ evaluate(mdp, found.q.argmax(axis=1)) == pytest.approx(-15.0)
    optimal = value_iteration(mdp)
    assert mdp.start @ optimal.v == pytest.approx(-13.0)
    # Ties of the optimal values: the two ways along the edge of which the start's is one.
    greedy = np.full((48, 4), epsilon / 4)
    greedy[np.arange(48), optimal.q.argmax(axis=1)] += 1.0 - epsilon
    assert mdp.start @ evaluate(mdp, greedy) == pytest.approx(of_optimal_values, abs=5e-4)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_no_epsilon_soft_policy_is_better(gamma: float) -> None:
    for seed in range(5):
        mdp = random_process(seed, 4, 2, gamma, ends=0.4)
        found = epsilon_soft_value_iteration(mdp, 0.3)
        np.testing.assert_allclose(evaluate(mdp, found.policy), found.v, atol=1e-7)
        others = []
        for actions in product(range(2), repeat=4):
            table = np.full((4, 2), 0.15)
            table[np.arange(4), list(actions)] += 0.7
            others.append(evaluate(mdp, table))
        np.testing.assert_allclose(np.max(others, axis=0), found.v, atol=1e-7)
        assert found.converged and np.abs(np.max(others, axis=0) - found.v).max() <= found.bound + 1e-12


def test_random_actions_are_among_those_that_take_time() -> None:
    """Action 0 ends one time in ten; action 1 never does, and is taken by chance alone: an episode is twice as long."""
    mdp = TabularMDP.from_table(
        {0: {0: [(0.1, 0, 1.0, True), (0.9, 0, 0.0, False)], 1: [(1.0, 0, -1.0, False)]}}, np.ones(1), 1.0
    )
    for tol in (1e-2, 1e-4, 1e-8):
        found = epsilon_soft_value_iteration(mdp, 0.5, tol)
        assert found.converged and abs(found.v[0] + 7 / 3) <= found.bound <= tol * 7 / 3


def test_its_action_values_are_those_of_the_first_action_alone() -> None:
    """What SARSA's table holds: one action, and the soft policy from there on."""
    mdp = random_process(0, 6, 3, 0.9)
    found = epsilon_soft_value_iteration(mdp, 0.2)
    expected = mdp.reward + 0.9 * (mdp.matrix @ evaluate(mdp, found.policy)).reshape(6, 3)
    np.testing.assert_allclose(found.q, expected, atol=1e-7)
    np.testing.assert_allclose(found.v, 0.8 * found.q.max(axis=1) + 0.2 * found.q.mean(axis=1), atol=1e-12)


def test_its_ends_are_the_best_and_the_uniform_policy() -> None:
    mdp = random_process(1, 6, 3, 0.9)
    np.testing.assert_allclose(epsilon_soft_value_iteration(mdp, 0.0).v, value_iteration(mdp).v, atol=1e-7)
    uniform = evaluate(mdp, np.full((6, 3), 1 / 3))
    np.testing.assert_allclose(epsilon_soft_value_iteration(mdp, 1.0).v, uniform, atol=1e-7)


@pytest.mark.parametrize("ends", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [0.01, 0.3, 10.0])
def test_soft_values_are_reward_and_entropy_of_their_policy(temperature: float, ends: float) -> None:
    mdp = random_process(2, 7, 3, 0.9, ends)
    found = soft_value_iteration(mdp, temperature)
    assert found.converged
    np.testing.assert_allclose(found.policy.sum(axis=1), 1.0)
    entropy = -(found.policy * np.log(np.maximum(found.policy, 1e-300))).sum(axis=1, keepdims=True)
    paid = mdp.with_reward(mdp.reward + temperature * entropy)
    np.testing.assert_allclose(evaluate(paid, found.policy), found.v, atol=1e-6)
    weights = np.exp((found.q - found.v[:, None]) / temperature)
    np.testing.assert_allclose(weights, found.policy, atol=1e-9)
    for seed in range(20):  # and no other policy has more of both
        other = np.random.default_rng(seed).dirichlet(np.ones(3), size=7)
        more = temperature * -(other * np.log(other)).sum(axis=1, keepdims=True)
        assert (evaluate(mdp.with_reward(mdp.reward + more), other) <= found.v + 1e-6).all()


def test_little_temperature_is_the_best_policy() -> None:
    mdp = random_process(3, 7, 3, 0.9)
    best = value_iteration(mdp)
    for temperature in (1e-4, 1e-12, 1e-200):
        found = soft_value_iteration(mdp, temperature)
        np.testing.assert_allclose(found.v, best.v, atol=1e-7 + 20 * temperature)
        np.testing.assert_allclose(found.policy.max(axis=1), 1.0)


def test_undiscounted_soft_values_where_chance_ends_the_episode() -> None:
    mdp = random_process(4, 6, 2, 1.0, ends=0.5)
    found = soft_value_iteration(mdp, 0.1)
    assert found.converged and found.bound <= 1e-8 * max(1.0, np.abs(found.v).max())
    entropy = -(found.policy * np.log(found.policy)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluate(mdp.with_reward(mdp.reward + 0.1 * entropy), found.policy), found.v, atol=1e-6)


def test_an_entropy_that_is_worth_more_than_the_end_is_not_called_converged() -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", 1.0)
    found = soft_value_iteration(mdp, 10.0, max_sweeps=500)
    assert not found.converged and found.bound == np.inf and np.isfinite(found.v).all()


def test_values_that_are_none() -> None:
    mdp = random_process(0, 3, 2, 0.9)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"temperature {temperature} must be positive"):
            soft_value_iteration(mdp, temperature)
    for epsilon in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"epsilon {epsilon} must lie in \[0, 1\]"):
            epsilon_soft_value_iteration(mdp, epsilon)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("ends", [0.0, 0.3])
def test_soft_values_by_newton_are_those_of_sweeps(temperature: float, ends: float) -> None:
    for seed in range(5):
        mdp = random_process(seed, 6, 3, 0.95, ends)
        swept, found = soft_value_iteration(mdp, temperature), soft_policy_iteration(mdp, temperature)
        assert found.converged and found.bound < 1e-11 * (1.0 + np.abs(found.v).max()) and found.n_sweeps < 15
        np.testing.assert_allclose(found.v, swept.v, atol=swept.bound + found.bound)
        np.testing.assert_allclose(found.policy, swept.policy, atol=1e-5)
        entropy = -(found.policy * np.log(found.policy)).sum(axis=1)
        paid = mdp.with_reward(mdp.reward + temperature * entropy[:, None])
        np.testing.assert_allclose(evaluate(paid, found.policy), found.v, rtol=1e-9)
        near = soft_policy_iteration(mdp, temperature, v=found.v)
        assert near.n_sweeps <= 2 and near.converged


def test_soft_policies_are_improved_with_a_discount() -> None:
    mdp = random_process(0, 4, 2, 1.0)
    with pytest.raises(ValueError, match=r"gamma 1: .* a discount below 1; see soft_value_iteration"):
        soft_policy_iteration(mdp, 1.0)
    with pytest.raises(ValueError, match=r"temperature 0\.0 must be positive"):
        soft_policy_iteration(mdp, 0.0)
    given_up = soft_policy_iteration(random_process(0, 4, 2, 0.9), 1.0, max_iterations=1)
    assert not given_up.converged and given_up.bound > 0.1
