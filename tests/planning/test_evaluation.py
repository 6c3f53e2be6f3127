"""Values, returns and occupancies of given policies, beside sums that follow the definition."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from support.processes import random_process

from sb3_ext.planning import TabularMDP, as_table, best_return, evaluate, expected_return, occupancy
from sb3_ext.planning.evaluation import evaluate_paid


def dense(mdp: TabularMDP, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:return: [S, S] transitions and [S] rewards under a policy, by a loop over outcomes"""
    matrix, reward = np.zeros((mdp.n_states, mdp.n_states)), np.zeros(mdp.n_states)
    for row, following, p, paid, terminated in zip(*mdp.outcomes, strict=True):
        state, action = divmod(row, mdp.n_actions)
        chance = p * (policy[state, action] if policy.ndim == 2 else float(policy[state] == action))
        reward[state] += chance * paid
        matrix[state, following] += 0.0 if terminated else chance
    return matrix, reward


def policies(n_states: int, n_actions: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(n_actions, size=n_states),
        rng.dirichlet(np.ones(n_actions), size=n_states),
        rng.dirichlet(np.full(n_actions, 0.1), size=n_states).astype(np.float32),
    ]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_values_and_occupancies_are_sums_over_time(gamma: float) -> None:
    mdp = random_process(0, 8, 3, gamma, ends=0.3)
    for policy in policies(8, 3):
        matrix, reward = dense(mdp, policy)
        v, visits, where, discount = np.zeros(8), np.zeros(8), np.eye(8), 1.0
        for _ in range(2000):
            v += discount * where @ reward
            visits += discount * mdp.start @ where
            where, discount = where @ matrix, discount * gamma
        np.testing.assert_allclose(evaluate(mdp, policy), v, atol=1e-6)
        np.testing.assert_allclose(occupancy(mdp, policy), visits, atol=1e-6)


@pytest.mark.parametrize("n_states", [8, 70])
def test_returns_within_a_limit_are_sums_of_as_many_steps(n_states: int) -> None:
    """Below 64 states by a dense matrix, above by a sparse one."""
    mdp = random_process(1, n_states, 3, 0.5)
    for policy in policies(n_states, 3):
        matrix, reward = dense(mdp, policy)
        for horizon in (1, 2, 7):
            expected = sum(mdp.start @ np.linalg.matrix_power(matrix, t) @ reward for t in range(horizon))
            assert expected_return(mdp, policy, horizon) == pytest.approx(expected, abs=1e-6)


def test_the_best_return_is_that_of_the_best_of_all_policies_that_know_the_time() -> None:
    for seed in range(10):
        mdp = random_process(seed, 3, 2, 0.5)
        steps = [dense(mdp, np.array(actions)) for actions in product(range(2), repeat=3)]
        best = max(
            mdp.start @ (first[1] + first[0] @ (second[1] + second[0] @ third[1]))
            for first, second, third in product(steps, repeat=3)
        )
        assert best_return(mdp, 3) == pytest.approx(best)


def test_t11_occupancy_sums_to_the_time_there_is() -> None:
    """E4.5: 1 / (1 - gamma) without ends, whatever the number of episodes; with ends the mean length."""
    mdp = random_process(2, 12, 3, 0.95, ends=0.0)
    policy = np.zeros(12, int)
    assert occupancy(mdp, policy).sum() == pytest.approx(20.0)
    assert occupancy(mdp, policy) @ dense(mdp, policy)[1] == pytest.approx(mdp.start @ evaluate(mdp, policy))
    ending = random_process(2, 12, 3, 1.0, ends=0.3)
    lengths = evaluate(ending.with_reward(np.ones((12, 3))), policy)
    assert occupancy(ending, policy).sum() == pytest.approx(ending.start @ lengths)


@pytest.mark.parametrize("is_large", [False, True])
def test_other_starts_and_other_rewards_are_as_linear_as_the_process(
    is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is paid on a way is the visits of it, whatever the weights of its starts, also negative ones."""
    monkeypatch.setattr("sb3_ext.planning.evaluation.DENSE", 1 if is_large else 1500)
    mdp = random_process(2, 12, 3, 0.95)
    rng = np.random.default_rng(1)
    for policy in policies(12, 3):
        start, paid = rng.normal(size=12), rng.normal(size=12)
        visits = occupancy(mdp, policy, start)
        assert visits @ paid == pytest.approx(start @ evaluate_paid(mdp, policy, paid))
        each = sum(weight * occupancy(mdp, policy, one) for weight, one in zip(start, np.eye(12), strict=True))
        np.testing.assert_allclose(visits, each, atol=1e-7)
        matrix, _ = dense(mdp, policy)
        np.testing.assert_allclose(visits, start + 0.95 * matrix.T @ visits, atol=1e-7)
    np.testing.assert_array_equal(occupancy(mdp, policy), occupancy(mdp, policy, mdp.start))


@pytest.mark.parametrize("gamma", [0.95, 1.0])
def test_large_processes_are_as_small_ones(gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = random_process(3, 60, 3, gamma)
    for policy in policies(60, 3):
        v, visits = evaluate(mdp, policy), occupancy(mdp, policy)
        with monkeypatch.context() as patch:
            patch.setattr("sb3_ext.planning.evaluation.DENSE", 1)
            np.testing.assert_allclose(evaluate(mdp, policy), v, atol=1e-8)
            np.testing.assert_allclose(occupancy(mdp, policy), visits, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (np.array([0, 1, 3]), "action 3 of state 2 must lie in [0, 3)"),
        (np.array([0, -1, 0]), "action -1 of state 1 must lie in [0, 3)"),
        (np.array([0.0, 1.0, 2.0]), "policy has shape (3,) of float64"),
        (np.zeros(4, int), "policy has shape (4,) of int64"),
        (np.full((3, 3), 0.5), "probabilities [0.5 0.5 0.5] of state 0 must be positive and sum to 1"),
        (np.array([[1, 0, 0], [0, 1, 0], [1.5, -0.5, 0]]), "of state 2 must be positive and sum to 1"),
        (np.array([[1, 0, 0], [0, np.nan, 1], [1, 0, 0]]), "of state 1 must be positive and sum to 1"),
    ],
)
def test_policies_that_are_none(policy: np.ndarray, words: str) -> None:
    mdp = random_process(0, 3, 3, 0.9)
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluate(mdp, policy)


def test_policies_of_single_precision_are_probabilities() -> None:
    table = np.random.default_rng(0).dirichlet(np.ones(3), size=3).astype(np.float32)
    assert as_table(random_process(0, 3, 3, 0.9), table).sum(axis=1) == pytest.approx(1.0, abs=1e-15)
    assert table.dtype == np.float32


def test_limits_of_steps_that_are_none() -> None:
    mdp, policy = random_process(0, 3, 3, 0.9), np.zeros(3, int)
    for horizon, words in ((None, "no limit of steps: give horizon"), (0, "horizon 0 must be at least 1 step")):
        with pytest.raises(ValueError, match=words):
            expected_return(mdp, policy, horizon)
        with pytest.raises(ValueError, match=words):
            best_return(mdp, horizon)
