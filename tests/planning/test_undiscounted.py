"""Gamma 1: from where it ends, what staying for nothing is worth, and what has no value at all."""

from __future__ import annotations

import re
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest

from sb3_ext.envs import MemoryChainEnv
from sb3_ext.planning import (
    Solution,
    TabularMDP,
    TabularPOMDP,
    evaluate,
    expected_return,
    lp_value,
    occupancy,
    policy_iteration,
    solve,
    value_iteration,
)
from sb3_ext.planning.undiscounted import free_loops, way_out

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]
SOLVERS: list[Callable[[TabularMDP], Solution]] = [
    lambda mdp: value_iteration(mdp, max_sweeps=5000),
    policy_iteration,
    solve,
]


def process(rows: Table) -> TabularMDP:
    n = len(rows)
    return TabularMDP.from_table(rows, np.eye(n)[0], 1.0, horizon=20)


def always(state: int, reward: float = 0.0, ends: bool = False) -> list[tuple[float, int, float, bool]]:
    return [(1.0, state, reward, ends)]


def test_a_wide_tolerance_is_met_where_nothing_moves_and_what_is_nearly_best_never_ends() -> None:
    mdp = process({0: {0: always(0, -0.001), 1: always(0)}})
    found = value_iteration(mdp, tol=1e-2)
    assert found.converged and found.bound == 0.0 and found.v == [0.0]
    assert found.log[0].bound == np.inf  # at first nothing is known; it was NaN


@pytest.mark.parametrize("solver", SOLVERS)
def test_waiting_for_the_last_step_is_worth_nothing(solver: Callable[[TabularMDP], Solution]) -> None:
    """n sweeps from 0 are worth 1 for every n: wait, and take the 1 without the -2 that follows. For ever it is 0."""
    mdp = process({0: {0: always(0), 1: always(1, 1.0)}, 1: {0: always(1, -2.0, True), 1: always(1, -2.0, True)}})
    found = solver(mdp)
    assert found.converged and found.bound < 1e-8
    np.testing.assert_allclose(found.v, [0.0, -2.0], atol=1e-12)
    assert found.policy[0] == 0 and expected_return(mdp, found.policy) == 0.0
    np.testing.assert_allclose(lp_value(mdp), found.v, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_best_actions_that_never_end_are_not_taken(solver: Callable[[TabularMDP], Solution]) -> None:
    """Three ways round a circle are tied with the way out, which pays 1."""
    rows: Table = {s: {0: always((s + 1) % 3), 1: always((s + 2) % 3), 2: always(s)} for s in range(3)}
    rows[1][2] = [(0.5, 1, 1.0, True), (0.5, 0, 0.0, False)]
    mdp = process(rows)
    found = solver(mdp)
    np.testing.assert_allclose(found.v, 1.0, atol=1e-8)
    np.testing.assert_allclose(found.q, [[1, 1, 1], [1, 1, 1], [1, 1, 1]], atol=1e-8)
    np.testing.assert_allclose(evaluate(mdp, found.policy), 1.0, atol=1e-12)
    assert found.policy.tolist() == [0, 2, 1], "the shortest way"
    assert found.converged and found.bound < 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_best_actions_stay_on_the_dry_lake_and_the_policy_arrives(solver: Callable[[TabularMDP], Solution]) -> None:
    mdp = TabularMDP.from_env(gym.make("FrozenLake-v1", is_slippery=False), 1.0)
    found = solver(mdp)
    assert (found.q[0] >= 1.0 - 1e-9).all(), "also into the wall"
    assert expected_return(mdp, found.policy, 6) == 1.0, "on one of the shortest ways"


@pytest.mark.parametrize("solver", SOLVERS)
def test_where_no_policy_ends_there_is_no_value(solver: Callable[[TabularMDP], Solution]) -> None:
    mdp = process({0: {0: always(0, -1.0), 1: always(1, -1.0)}, 1: {0: always(0, -1.0), 1: always(0, -2.0)}})
    with pytest.raises(ValueError, match=r"with gamma 1 no policy ends from 2 states \(0, 1\): .* use gamma < 1"):
        solver(mdp)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gain_for_ever_is_found_out(solver: Callable[[TabularMDP], Solution]) -> None:
    mdp = process({0: {0: always(1, 2.0), 1: always(0, 0.0, True)}, 1: {0: always(0, -1.0), 1: always(1, 5.0, True)}})
    with pytest.raises(ValueError, match=r"with gamma 1 a policy is paid for ever from 2 states \(0, 1\): .* is inf"):
        solver(mdp)


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_comes_to_nothing_round_by_round_is_not_called_certain(
    solver: Callable[[TabularMDP], Solution],
) -> None:
    """+1 and -1 in turns for ever: sums have no limit, and no bound is claimed."""
    mdp = process({0: {0: always(1, 1.0), 1: always(0, 0.0, True)}, 1: {0: always(0, -1.0), 1: always(1, -1.0, True)}})
    found = solver(mdp)
    assert found.bound == np.inf and (not found.converged or solver is SOLVERS[1])
    assert np.isfinite(found.v).all()


def test_policies_that_never_end_have_no_value_where_they_are_paid() -> None:
    cliff = TabularMDP.from_env("CliffWalking-v1", 1.0)
    into_the_wall = np.full(48, 3)  # left
    words = "with gamma 1 this policy never ends from 48 states (0, 1, ...): its value is -inf; use gamma < 1 or "
    with pytest.raises(ValueError, match=f"^{re.escape(words)}expected_return$"):
        evaluate(cliff, into_the_wall)
    with pytest.raises(ValueError, match="never ends from 2 states"):
        occupancy(process({0: {0: always(1)}, 1: {0: always(0)}}), np.zeros(2, int))
    gain = process({0: {0: always(1, 1.0)}, 1: {0: always(0)}})
    with pytest.raises(ValueError, match=r"from 2 states \(0, 1\): its value is inf"):
        evaluate(gain, np.zeros(2, int))
    turns = process({0: {0: always(1, 1.0)}, 1: {0: always(0, -1.0)}})
    with pytest.raises(ValueError, match="its value is no number"):
        evaluate(turns, np.zeros(2, int))


def test_policies_that_never_end_are_worth_nothing_where_nothing_is_paid() -> None:
    mdp = process({0: {0: [(0.5, 1, 3.0, False), (0.5, 0, 1.0, True)]}, 1: {0: always(1)}})
    np.testing.assert_allclose(evaluate(mdp, np.zeros(2, int)), [2.0, 0.0])


def test_absorbing_states_that_pay_nothing_are_ends() -> None:
    """As other libraries write them: an end is a state that stays, without a sign that the episode is over."""
    mdp = process({0: {0: always(0)}, 1: {0: [(0.5, 1, -1.0, False), (0.5, 0, -1.0, False)]}})
    np.testing.assert_allclose(evaluate(mdp, np.zeros(2, int)), [0.0, -2.0])
    for solver in SOLVERS:
        found = solver(mdp)
        assert found.converged and found.bound < 1e-7
        np.testing.assert_allclose(found.v, [0.0, -2.0], atol=1e-7)
    # On the way to a pair of them there may be gains that end by themselves.
    rows: Table = {0: {0: always(1, 3.0)}, 1: {0: always(2, -1.0)}, 2: {0: always(3)}, 3: {0: always(2)}}
    np.testing.assert_allclose(evaluate(process(rows), np.zeros(4, int)), [2.0, -1.0, 0.0, 0.0])
    rows[3] = {0: always(2, -0.5)}
    with pytest.raises(ValueError, match=r"never ends from 4 states \(0, 1, ...\): its value is no number"):
        evaluate(process(rows), np.zeros(4, int))


def test_edges_that_are_given_twice_are_one() -> None:
    """Strong components of scipy 1.17 may go round for ever among edges given twice."""
    rows: Table = {s: {a: [(1 / 300, (s + 1) % 40, 0.0, False)] * 300 for a in range(2)} for s in range(40)}
    mdp = process(rows)
    assert (free_loops(mdp).label == 0).all()
    found = solve(mdp)
    assert found.converged and not found.v.any()
    chain = TabularPOMDP.from_env(MemoryChainEnv(), 1.0).mdp
    assert solve(chain).v @ chain.start == pytest.approx(1.0)


def test_free_loops_are_what_one_can_stay_in_for_nothing() -> None:
    rows: Table = {
        0: {0: always(1), 1: always(4)},  # 0 and 1: a circle
        1: {0: always(0), 1: always(2)},
        2: {0: always(2), 1: always(1, -1.0)},  # by itself
        3: {0: [(0.5, 3, 0.0, False), (0.5, 4, 0.0, False)], 1: always(3, 1.0)},  # leaves, or is paid
        4: {0: always(4, 0.0, True), 1: always(4, -1.0)},  # ends, or pays
    }
    loops = free_loops(process(rows))
    assert loops.label[0] == loops.label[1] != loops.label[2]
    assert (loops.label >= 0).tolist() == [True, True, True, False, False]
    assert loops.inside.tolist() == [[True, False], [True, False], [True, False], [False, False], [False, False]]
    assert not free_loops(process(rows), forced=True).members.any(), "every one of them has another action"
    policy, lost = way_out(process(rows), np.ones((5, 2), bool), np.zeros((5, 2), bool))
    assert not lost.any() and policy[[0, 4]].tolist() == [1, 0]
