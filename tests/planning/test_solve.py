"""Values of gymnasium's own environments and of the course's grid, to the digits known from three formulas."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
from planning_rows import LAKE, MAZE, MAZE_VALUES, ROWS, TAXI, Row
from support.processes import random_grid, random_process

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import (
    Solution,
    TabularMDP,
    backup,
    best_return,
    evaluate,
    expected_return,
    lp_value,
    policy_iteration,
    solve,
    value_iteration,
)

SOLVERS: list[Callable[[TabularMDP], Solution]] = [lambda mdp: value_iteration(mdp, tol=1e-10), policy_iteration, solve]
WIDE_GRID: list[list[float]] = [[0, 0, 9, 0, 0.5], [0, -1, 0, 9, 0], [0, 0, 0, 0, 2]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}, {row.gamma}")
def test_values_of_environments(row: Row) -> None:
    mdp = row.mdp()
    program = lp_value(mdp)
    for solver in SOLVERS:
        found = solver(mdp)
        assert found.converged and found.bound <= 1e-8 * max(1.0, np.abs(found.v).max())
        assert mdp.start @ found.v == pytest.approx(row.value, abs=5e-7)
        np.testing.assert_allclose(found.v, program, atol=1e-9 + 2.0 * found.bound)
        np.testing.assert_allclose(found.q.max(axis=1), found.v, atol=2.0 * found.bound)
        np.testing.assert_allclose(evaluate(mdp, found.policy), found.v, atol=1e-7)
        if row.reached is not None:
            assert expected_return(mdp, found.policy) == pytest.approx(row.reached, abs=5e-7)
    if row.best is not None:
        assert best_return(mdp) == pytest.approx(row.best, abs=5e-7)


@pytest.mark.parametrize(("gamma", "expected"), MAZE_VALUES.items())
def test_values_of_the_courses_grid(gamma: float, expected: str) -> None:
    mdp = TabularMDP.from_env(MAZE, gamma)
    for solver in SOLVERS:
        np.testing.assert_allclose(solver(mdp).v, np.array(expected.split(), float), atol=5e-7)
    np.testing.assert_allclose(lp_value(mdp), policy_iteration(mdp).v, atol=1e-9)


def test_t6_the_grid_on_which_the_courses_policy_iteration_hangs() -> None:
    """E4.1: ties went round in circles."""
    for gamma in (0.9, 1.0):
        mdp = TabularMDP.from_env(GridWorldEnv([[-1, 0], [0, 0], [0, 0]], move_prob=0.8, default_reward=0.0), gamma)
        found = policy_iteration(mdp)
        assert found.converged and found.n_sweeps <= 5
        np.testing.assert_allclose(found.v, value_iteration(mdp, tol=1e-12).v, atol=1e-9)


def test_t6_policy_iteration_ends_on_two_thousand_grids() -> None:
    most = 0
    for seed in range(2000):
        mdp = TabularMDP.from_env(random_grid(seed), 0.9)
        found = policy_iteration(mdp, max_iterations=30)
        assert found.converged and found.bound < 1e-12, seed
        most = max(most, found.n_sweeps)
    assert most <= 12


def test_three_formulas_agree_on_two_hundred_grids() -> None:
    for seed in range(200):
        mdp = TabularMDP.from_env(random_grid(10_000 + seed), (0.9, 0.99, 1.0)[seed % 3])
        if seed % 3 == 2 and (words := why_not(mdp)):  # walled in, and every step costs
            for solver in SOLVERS:
                with pytest.raises(ValueError, match=words):
                    solver(mdp)
        else:
            agree(mdp, policy_iteration(mdp))


def why_not(mdp: TabularMDP) -> str | None:
    """:return: the words of the error where some state has no value with gamma 1, by a search of its own"""
    outcomes = list(zip(*[x.tolist() for x in mdp.outcomes], strict=True))
    fine = {row // 4 for row, following, _, reward, ends in outcomes if ends or (reward == 0 and following == row // 4)}
    for _ in range(mdp.n_states):
        fine |= {row // 4 for row, following, *_ in outcomes if following in fine}
    paid = any(reward < 0 for *_, reward, ends in outcomes if not ends)
    return "with gamma 1 no policy ends from" if paid and len(fine) < mdp.n_states else None


def test_three_formulas_agree_on_two_hundred_processes_with_ends() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        gamma = (0.5, 0.9, 0.99, 1.0)[seed % 4]
        mdp = random_process(seed, int(rng.integers(2, 30)), int(rng.integers(1, 6)), gamma, ends=0.2)
        if gamma == 1.0:  # with a gain on the way, some policies would go on for ever
            mdp = mdp.with_reward(-np.abs(mdp.reward))
        agree(mdp, policy_iteration(mdp))


def agree(mdp: TabularMDP, by_policies: Solution) -> None:
    by_sweeps = value_iteration(mdp, tol=1e-11)
    assert by_policies.converged and by_sweeps.converged
    np.testing.assert_allclose(by_sweeps.v, by_policies.v, atol=1e-9)
    np.testing.assert_allclose(lp_value(mdp), by_policies.v, atol=1e-9)


def test_t3_tied_actions_differ_and_are_worth_the_same() -> None:
    """T3: six of the sixteen states of the lake have several best actions; policies are compared by their values."""
    mdp = TabularMDP.from_env(LAKE, 0.99)
    found = policy_iteration(mdp)
    best = found.q >= found.v[:, None] - 1e-9
    assert (best.sum(axis=1) > 1).sum() == 6
    other = np.where(best, np.arange(4), -1).max(axis=1)
    assert (other != found.policy).any()
    np.testing.assert_allclose(evaluate(mdp, other), found.v, atol=1e-12)


def test_t4_value_return_and_best_return_are_three_numbers() -> None:
    mdp = TabularMDP.from_env(LAKE, 0.99)
    policy = solve(mdp).policy
    assert mdp.start @ evaluate(mdp, policy) == pytest.approx(0.542026, abs=5e-7)
    assert expected_return(mdp, policy) == pytest.approx(0.740165, abs=5e-7)
    assert best_return(mdp) == pytest.approx(0.744190, abs=5e-7)


def test_t5_the_threshold_of_the_registry_is_not_the_optimum() -> None:
    threshold = gym.spec(TAXI).reward_threshold
    assert threshold == 8 and threshold > best_return(TabularMDP.from_env(TAXI, 0.99)) + 0.05


def test_t11_rows_are_not_columns_and_an_end_is_paid_once() -> None:
    """T11, on 3 x 5 cells by hand: straight on in the last row, then the end."""
    mdp = TabularMDP.from_env(GridWorldEnv(WIDE_GRID, 1.0, -0.5, start=(2, 0)), 0.5)
    found = solve(mdp)
    assert found.v[10] == pytest.approx(-0.5 - 0.5 * 0.5 - 0.25 * 0.5 + 0.125 * 2)
    assert found.v[13] == pytest.approx(2.0) and found.v[14] == 0.0
    assert mdp.n_states == 15


def test_t11_action_values_are_not_weighted_by_the_policy() -> None:
    """E4.4: Q is r + gamma P v, for each action by itself."""
    mdp = random_process(3, 6, 3, 0.9)
    found = solve(mdp)
    q = np.zeros((6, 3))
    for row, following, p, reward, terminated in zip(*mdp.outcomes, strict=True):
        q[row // 3, row % 3] += p * (reward + (0.0 if terminated else 0.9 * found.v[following]))
    np.testing.assert_allclose(found.q, q, atol=1e-12)


def test_policy_iteration_tells_each_policy_with_its_values() -> None:
    mdp = TabularMDP.from_env(GridWorldEnv(), 0.9)
    told: list[tuple[int, np.ndarray]] = []
    found = policy_iteration(mdp, on_sweep=lambda sweep, v: told.append((sweep.n, v)))
    assert [n for n, _ in told] == list(range(1, found.n_sweeps + 1)) == [sweep.n for sweep in found.log]
    np.testing.assert_array_equal(told[-1][1], found.v)
    policy = mdp.reward.argmax(axis=1)
    for _, v in told:
        np.testing.assert_allclose(v, evaluate(mdp, policy), atol=1e-12)
        policy = backup(mdp, v).argmax(axis=1)
