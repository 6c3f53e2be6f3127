"""No value is further from the truth than its bound says: beside fractions of whole numbers, which never round."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support.processes import distance, eighths, exact_best_values, exact_values, random_process

from sb3_ext.planning import (
    Outcomes,
    Sweep,
    TabularMDP,
    evaluate,
    policy_iteration,
    solve,
    value_iteration,
)
from sb3_ext.planning.evaluation import value_and_error
from sb3_ext.planning.fixed_point import Greedy, Lookahead, iterate

GAMMAS = (0.0, 0.5, 0.875, 1.0 - 2.0**-7, 1.0 - 2.0**-20, 1.0)


def free_of_gains(mdp: TabularMDP) -> TabularMDP:
    """:return: with gamma 1 a process whose every policy has a value, if only -inf"""
    return mdp if mdp.gamma < 1.0 else mdp.with_reward(-np.abs(mdp.reward))


@pytest.mark.parametrize(("gamma", "ends"), [*((gamma, 0.25) for gamma in GAMMAS), *((g, 0.0) for g in GAMMAS[:-1])])
def test_solutions_keep_their_bound_and_ask_no_more_than_wanted(gamma: float, ends: float) -> None:
    for seed in range(8):
        mdp = free_of_gains(eighths(seed, 4, 2, gamma, ends))
        # Above 1 - gamma = 1e-6 a hundred thousand sweeps are a tenth of an episode.
        exact = exact_values_of_best(mdp)
        size = max(1.0, max(float(abs(x)) for x in exact))
        for found in (value_iteration(mdp, tol=1e-6, max_sweeps=5000), policy_iteration(mdp), solve(mdp)):
            assert distance(found.v, exact) <= found.bound
            assert found.converged or gamma > 0.999
            assert not found.converged or found.bound <= 1e-6 * size


def exact_values_of_best(mdp: TabularMDP) -> list[Fraction]:
    """With gamma 1 some policies have no value: then that of the policy found, which linear programming vouches for."""
    if mdp.gamma < 1.0:
        return exact_best_values(mdp)
    return exact_values(mdp, tuple(policy_iteration(mdp).policy.tolist()))


@pytest.mark.parametrize("ends", [0.0, 0.25])
def test_t7_every_sweep_keeps_its_bound(ends: float) -> None:
    """T7: where outcomes terminate, 0 belongs into the interval of MacQueen's bounds."""
    for seed in range(10):
        mdp = eighths(seed, 4, 2, 0.875, ends)
        exact = exact_best_values(mdp)
        seen: list[tuple[Sweep, np.ndarray]] = []
        found = value_iteration(mdp, tol=1e-10, on_sweep=lambda sweep, v: seen.append((sweep, v)))  # noqa: B023
        assert [sweep for sweep, _ in seen] == found.log and [sweep.n for sweep in found.log] == list(
            range(1, found.n_sweeps + 1)
        )
        for sweep, v in seen:
            assert distance(v, exact) <= sweep.bound


def test_t7_without_the_zero_the_interval_would_miss() -> None:
    """All gain in the second sweep as well, but the episode ends there: the least gain does not repeat."""
    ends = Outcomes(
        row=np.array([0, 1]),
        next=np.array([1, 1]),
        probability=np.ones(2),
        reward=np.array([1.0, 2.0]),
        terminated=np.array([False, True]),
    )
    mdp = TabularMDP(ends, 2, 1, np.array([1.0, 0.0]), 0.5)
    exact, new = np.array([2.0, 2.0]), np.array([1.0, 2.0])  # after one sweep from 0
    without = new + new.min() * 0.5 / (1.0 - 0.5)
    assert (without > exact).any(), "what MacQueen's lower bound would be if nothing ended"
    found = value_iteration(mdp, max_sweeps=1)
    assert found.log[0].change == 2.0 and np.abs(new - exact).max() <= found.log[0].bound
    np.testing.assert_allclose(solve(mdp).v, exact)


def test_macqueens_bounds_save_most_sweeps_where_a_process_mixes() -> None:
    mdp = random_process(0, 500, 4, 0.99, ends=0.0)
    found = value_iteration(mdp, tol=1e-6)
    plain, v, change = 0, np.zeros(500), np.inf
    while change * 0.99 / 0.01 > 1e-6 * max(1.0, np.abs(v).max()):
        new = (mdp.reward + 0.99 * (mdp.matrix @ v).reshape(500, 4)).max(axis=1)
        change, v, plain = np.abs(new - v).max(), new, plain + 1
    assert found.converged and plain >= 20 * found.n_sweeps
    np.testing.assert_allclose(found.v, v, atol=1e-4)


def test_t8_tolerance_is_relative_to_large_values() -> None:
    """T8: values of 1e6 cannot be found to 1e-8, and need not be."""
    mdp = random_process(1, 30, 3, 0.99)
    large = mdp.with_reward(1e6 * mdp.reward)
    found, small = value_iteration(large), value_iteration(mdp)
    assert found.converged and found.n_sweeps <= small.n_sweeps + 1
    np.testing.assert_allclose(found.v, 1e6 * small.v, rtol=1e-6)
    assert found.bound <= 1e-8 * np.abs(found.v).max()


def test_what_was_not_reached_is_not_called_converged() -> None:
    mdp = random_process(2, 30, 3, 0.999)
    cut = value_iteration(mdp, max_sweeps=3)
    assert (cut.n_sweeps, cut.converged) == (3, False) and cut.bound > 1e-3
    once = policy_iteration(mdp, max_iterations=1)
    assert (once.n_sweeps, once.converged) == (1, False)
    assert np.abs(once.v - policy_iteration(mdp).v).max() <= once.bound


def test_a_tolerance_below_rounding_ends_without_being_reached() -> None:
    mdp = random_process(3, 20, 3, 0.99)
    found = value_iteration(mdp, tol=1e-30)
    assert not found.converged and found.n_sweeps < 10_000 and found.bound < 1e-10
    assert solve(mdp, tol=1e-30).converged is False


def test_t6_an_action_that_is_better_by_little_is_still_better() -> None:
    """A fixed margin would leave a corridor of small values where it is."""
    n = 200
    rows = {s: {0: [(1.0, s, 0.0, False)], 1: [(1.0, s + 1, 1.0 * (s == n - 1), s == n - 1)]} for s in range(n)}
    rows[n] = {0: [(1.0, n, 0.0, True)], 1: [(1.0, n, 0.0, True)]}
    mdp = TabularMDP.from_table(rows, np.eye(n + 1)[0], 0.9)
    for found in (policy_iteration(mdp), solve(mdp)):
        assert (found.policy[:n] == 1).all()
        assert found.v[0] == pytest.approx(0.9 ** (n - 1), rel=1e-9)


def test_policies_of_large_processes_are_evaluated_within_their_error() -> None:
    """The same values by elimination and, as above 1 500 states, by sweeps."""
    mdp = random_process(4, 1600, 3, 0.95)
    policy = np.random.default_rng(0).integers(3, size=1600)
    v, error = value_and_error(mdp, policy)
    rows = np.arange(1600) * 3 + policy
    exact = np.linalg.solve(np.eye(1600) - 0.95 * mdp.matrix[rows].toarray(), mdp.reward.ravel()[rows])
    assert np.abs(v - exact).max() <= error <= 1e-9 * np.abs(exact).max()
    found = policy_iteration(mdp)
    assert found.converged and found.bound < 1e-6
    np.testing.assert_allclose(solve(mdp).v, found.v, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 0.875, 1.0])
def test_a_policys_error_is_kept_too(gamma: float) -> None:
    for seed in range(10):
        mdp = eighths(seed, 5, 2, gamma, 0.3)
        policy = np.zeros(5, int)  # of which each action may end
        v, error = value_and_error(mdp, policy)
        exact = exact_values(mdp, (0,) * 5)
        assert distance(v, exact) <= error < 1e-9
        assert distance(evaluate(mdp, policy), exact) <= error


@pytest.mark.parametrize(("gamma", "ends"), [(0.5, 0.3), (0.999, 0.3), (1.0, 0.3), (0.99, 0.0)])
def test_what_forbids_an_action_does_not_spoil_the_bound(gamma: float, ends: float) -> None:
    """-1e9 for a move that is never made: the values are small, and so are their errors."""
    mdp = random_process(6, 12, 3, gamma, ends)
    paid = -np.abs(mdp.reward)
    paid[np.arange(12), (np.arange(12) + 1) % 3] = -1e9
    allowed = mdp.with_reward(paid)
    for found in (value_iteration(allowed), policy_iteration(allowed), solve(allowed)):
        assert found.converged and found.bound <= 1e-8 * np.abs(found.v).max() and np.abs(found.v).max() < 1e3
        np.testing.assert_allclose(evaluate(allowed, found.policy), found.v, atol=2.0 * found.bound)


def test_any_first_values_lead_to_the_same_place() -> None:
    mdp = random_process(5, 20, 3, 0.9)
    start = np.random.default_rng(0).normal(scale=100.0, size=20)
    found = iterate(Lookahead.of(mdp), Greedy(), 1e-10, 1000, v=start)
    assert found.converged
    np.testing.assert_allclose(found.v, policy_iteration(mdp).v, atol=1e-7)


@pytest.mark.parametrize("tol", [0.0, -1.0, float("nan"), float("inf")])
def test_tolerances_that_are_none(tol: float) -> None:
    mdp = random_process(0, 3, 2, 0.9)
    for solver in (value_iteration, solve):
        with pytest.raises(ValueError, match=f"tol {tol} must be positive"):
            solver(mdp, tol)
    with pytest.raises(ValueError, match="a limit of 0 sweeps must be at least 1"):
        value_iteration(mdp, max_sweeps=0)
    with pytest.raises(ValueError, match="a limit of 0 sweeps must be at least 1"):
        policy_iteration(mdp, max_iterations=0)
    with pytest.raises(ValueError, match=r"policy has shape \(3, 2\), not \(3,\): one first action"):
        policy_iteration(mdp, policy=np.full((3, 2), 0.5))
