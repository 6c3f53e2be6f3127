"""Rewards that explain demonstrations: the optimum by plainer formulas, and what it finds where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from support.processes import random_process
from support.soft_experts import (
    dense,
    episode,
    feature_gap,
    mean_log_likelihood,
    of_table,
    shown_by,
    soft_by_sweeps,
    soft_expert,
)

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.envs import GridWorldEnv
from sb3_ext.imitation import MaxEntReward, max_ent_irl
from sb3_ext.planning import TabularMDP, evaluate, policy_iteration, solve


def greedy_value(mdp: TabularMDP, found: MaxEntReward) -> float:
    """:return: true value of the best policy under the recovered reward"""
    return float(mdp.start @ evaluate(mdp, solve(mdp.with_reward(found.reward)).policy))


@pytest.fixture(scope="module")
def lake() -> TabularMDP:
    return TabularMDP.from_env("FrozenLake-v1", 0.9)


@pytest.fixture(scope="module")
def thousand(lake: TabularMDP) -> Demonstrations:
    return shown_by(lake, soft_expert(lake, 1 / 30), 1000)


# ---------------------------------------------------------------------- it is the optimum


def features_of(mdp: TabularMDP, name: str) -> np.ndarray:
    """:return: [S, A, F]"""
    if name == "arrival":
        return dense(mdp, ends=True)
    if name == "state_action":
        return np.eye(mdp.reward.size).reshape(*mdp.reward.shape, -1)
    return np.random.default_rng(5).normal(size=(*mdp.reward.shape, 3))


@pytest.mark.parametrize("name", ["arrival", "state_action", "own"])
@pytest.mark.parametrize(("ends", "gamma"), [(0.2, 0.9), (0.0, 0.6)])
def test_no_weight_is_better_and_the_gap_is_what_the_penalty_holds_back(name: str, ends: float, gamma: float) -> None:
    """T9: at the optimum it is l2 max |w|, by a formula that looks at every step, and sweeps in place of solving."""
    mdp, l2 = random_process(3, 4, 3, gamma, ends), 0.01
    demonstrations = shown_by(mdp, soft_expert(mdp, 0.5), 12, limit=7)
    features = features_of(mdp, name)
    found = max_ent_irl(mdp, demonstrations, features if name == "own" else name, l2)
    assert found.converged and found.n_steps == demonstrations.n_steps

    def objective(weights: np.ndarray) -> float:
        return mean_log_likelihood(mdp, demonstrations, features @ weights) - l2 / 2.0 * float(weights @ weights)

    assert objective(found.weights) == pytest.approx(found.history[-1], abs=1e-12)
    assert found.log_likelihood == pytest.approx(mean_log_likelihood(mdp, demonstrations, found.reward), abs=1e-12)
    for direction in np.eye(len(found.weights)):
        slope = objective(found.weights + 1e-5 * direction) - objective(found.weights - 1e-5 * direction)
        assert abs(slope / 2e-5) < 1e-6
    rng = np.random.default_rng(0)
    for size in (0.01, 1.0, 10.0):
        assert objective(found.weights + size * rng.normal(size=len(found.weights))) < found.history[-1]
    np.testing.assert_allclose(found.policy, soft_by_sweeps(mdp, found.reward)[1], atol=1e-9)
    np.testing.assert_allclose(feature_gap(mdp, demonstrations, found.policy, features), l2 * found.weights, atol=1e-7)
    assert found.feature_gap == pytest.approx(l2 * np.abs(found.weights).max(), rel=1e-4)


def test_it_does_not_depend_on_where_the_climb_begins(lake: TabularMDP) -> None:
    shown = shown_by(lake, soft_expert(lake, 1 / 30), 20)
    found, rng = max_ent_irl(lake, shown), np.random.default_rng(0)
    for size in (1.0, 30.0):
        other = max_ent_irl(lake, shown, start=size * rng.normal(size=16))
        assert other.converged and other.history[0] < found.history[0]
        np.testing.assert_allclose(other.weights, found.weights, atol=1e-3)
    assert max_ent_irl(lake, shown, start=found.weights).n_iterations <= 1
    for start in (np.zeros(15), np.full(16, np.nan)):
        with pytest.raises(ValueError, match="must hold a finite number for each of 16 features"):
            max_ent_irl(lake, shown, start=start)


@pytest.mark.parametrize("l2", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("features", ["arrival", "state_action"])
def test_the_likelihood_never_falls(lake: TabularMDP, thousand: Demonstrations, features: str, l2: float) -> None:
    found = max_ent_irl(lake, thousand, features, l2)
    assert found.converged and 5 < found.n_iterations == len(found.history) - 1
    assert np.diff(found.history).min() >= -1e-14 and found.history[-1] > found.history[0]
    assert found.log_likelihood > mean_log_likelihood(lake, thousand, np.zeros((16, 4)))
    assert found.feature_gap == pytest.approx(l2 * np.abs(found.weights).max(), rel=1e-2 if l2 < 1e-5 else 1e-4)


def test_t8_values_of_ten_thousand_are_found_as_those_of_one(lake: TabularMDP, thousand: Demonstrations) -> None:
    """Another unit of the features is another unit of the weights, and nothing else: no solver runs to its cap."""
    features = features_of(lake, "arrival")
    plain, large = max_ent_irl(lake, thousand, features, 1e-4), max_ent_irl(lake, thousand, 1e4 * features, 1e4)
    assert plain.converged and large.converged and max(plain.n_iterations, large.n_iterations) < 100
    np.testing.assert_allclose(1e4 * large.weights, plain.weights, atol=1e-3)
    np.testing.assert_allclose(large.policy, plain.policy, atol=1e-5)
    forced = max_ent_irl(lake, thousand, np.dstack([features, 1e4 * lake.reward]), 1e-4)
    assert forced.converged and abs(forced.log_likelihood - plain.log_likelihood) < 0.05


# ---------------------------------------------------------------------- what it finds


def test_t10_the_goal_is_the_largest_reward_of_the_lake(lake: TabularMDP, thousand: Demonstrations) -> None:
    """E4.5: the course's code never finds it, because its features are of states that are acted in."""
    found = max_ent_irl(lake, thousand)
    assert found.of_arrival is not None and found.of_arrival.argmax() == 15
    assert found.of_arrival[15] > 3 * np.delete(found.of_arrival, 15).max()
    assert (found.of_arrival[[5, 7, 11, 12]] < -1.0).all(), "holes"
    best = float(lake.start @ solve(lake).v)
    assert greedy_value(lake, found) > 0.9 * best
    acted_in = np.repeat(np.eye(16)[:, None], 4, axis=1)
    blind = max_ent_irl(lake, thousand, acted_in)
    assert blind.of_arrival is None and blind.weights[15] == 0.0, "nobody acts in the goal"


@pytest.mark.parametrize(
    "grid",
    [("....+", ".#.-.", "S...."), ("..+", "...", ".#-", "...", "S.."), ("...+", ".#.-", "S...")],
    ids=["3x5", "5x3", "3x4"],
)
@pytest.mark.parametrize("features", ["arrival", "state_action"])
def test_t11_mazes_need_not_be_square(grid: tuple[str, ...], features: str) -> None:
    """E4.2: a state is row x columns + column."""
    mdp = TabularMDP.from_env(GridWorldEnv(grid), 0.9)
    found = max_ent_irl(mdp, shown_by(mdp, soft_expert(mdp, 0.1), 500), features)
    best = float(mdp.start @ solve(mdp).v)
    assert greedy_value(mdp, found) > best - 0.02
    if found.of_arrival is not None:
        columns = len(grid[0])
        (goal,) = [r * columns + line.index("+") for r, line in enumerate(grid) if "+" in line]
        (pit,) = [r * columns + line.index("-") for r, line in enumerate(grid) if "-" in line]
        assert found.of_arrival.argmax() == goal and found.of_arrival.argmin() == pit


def test_t11_an_end_pays_once_and_q_is_not_multiplied_by_the_policy() -> None:
    """E4.3, E4.4: beside the goal, going there is worth its reward and nothing after it, whatever the policy is."""
    mdp = TabularMDP.from_env(GridWorldEnv(("..+", "...", "S.."), move_prob=1.0), 0.9)
    found = max_ent_irl(mdp, shown_by(mdp, soft_expert(mdp, 0.1), 200))
    assert found.of_arrival is not None
    v, policy = soft_by_sweeps(mdp, found.reward)
    right, left = 2, 0
    assert found.reward[1, right] == pytest.approx(found.of_arrival[2])
    q_left = found.of_arrival[0] + 0.9 * v[0]
    assert np.log(policy[1, right] / policy[1, left]) == pytest.approx(found.of_arrival[2] - q_left)
    assert policy_iteration(mdp.with_reward(found.reward)).v[1] == pytest.approx(found.of_arrival[2])


# ---------------------------------------------------------------------- what counts of an episode


def test_t11_the_same_demonstrations_twice_say_the_same(lake: TabularMDP) -> None:
    """E4.5: the number of episodes is no horizon."""
    demonstrations = shown_by(lake, soft_expert(lake, 1 / 30), 30)
    twice = of_table(lake, *demonstrations.episodes, *demonstrations.episodes)
    once, again = max_ent_irl(lake, demonstrations), max_ent_irl(lake, twice)
    np.testing.assert_allclose(again.weights, once.weights, atol=1e-4)
    assert again.n_steps == 2 * once.n_steps


def test_a_cut_episode_counts_for_what_it_shows_and_no_more(lake: TabularMDP) -> None:
    whole = of_table(lake, episode([0, 4, 8, 9, 13, 14, 15], [1, 1, 2, 1, 2, 2], terminated=True))
    parts = of_table(
        lake, episode([0, 4, 8], [1, 1]), episode([8, 9, 13], [2, 1]), episode([13, 14, 15], [2, 2], terminated=True)
    )
    np.testing.assert_array_equal(max_ent_irl(lake, whole).weights, max_ent_irl(lake, parts).weights)


def test_steps_that_are_not_kept_do_not_count(lake: TabularMDP) -> None:
    states, actions = [0, 4, 8, 9, 13, 14, 15], [1, 1, 2, 1, 2, 2]
    kept = of_table(lake, episode(states, actions, terminated=True, kept=[1, 3, 6]))
    alone = of_table(lake, episode([4, 8], [1]), episode([9, 13], [1]))
    found = max_ent_irl(lake, kept)
    assert found.n_steps == 2
    np.testing.assert_array_equal(found.weights, max_ent_irl(lake, alone).weights)
    with pytest.raises(ValueError, match="of 6 steps in 1 episodes none is kept but absorbing ones"):
        max_ent_irl(lake, of_table(lake, episode(states, actions, terminated=True, kept=[6])))


def test_sparse_features_are_dense_ones(lake: TabularMDP, thousand: Demonstrations) -> None:
    features = features_of(lake, "own")
    found = max_ent_irl(lake, thousand, sparse.csr_array(features.reshape(64, -1)))
    np.testing.assert_allclose(found.weights, max_ent_irl(lake, thousand, features).weights, atol=1e-6)
    assert found.of_arrival is None


def test_the_table_is_left_as_it_is(lake: TabularMDP) -> None:
    before = [column.copy() for column in lake.outcomes]
    max_ent_irl(lake, shown_by(lake, soft_expert(lake, 0.1), 3))
    for column, kept in zip(lake.outcomes, before, strict=True):
        np.testing.assert_array_equal(column, kept)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"l2": 0.0}, "l2 0.0 must be positive"),
        ({"l2": -1e-3}, "l2 -0.001 must be positive"),
        ({"l2": np.nan}, "l2 nan must be positive"),
        ({"tol": 0.0}, "tol 0.0 must be positive"),
        ({"max_iterations": 0}, "max_iterations 0 must be at least 1"),
        ({"features": "states"}, "features 'states' must be 'arrival', 'state_action' or an array"),
        ({"features": np.ones((4, 16, 2))}, r"features have shape \(4, 16, 2\), not \(16, 4, F\)"),
        ({"features": np.ones((16, 4))}, r"features have shape \(16, 4\), not \(16, 4, F\)"),
        ({"features": np.ones((16, 4, 0))}, r"features have shape \(16, 4, 0\), not \(16, 4, F\)"),
        ({"features": sparse.csr_array(np.ones((16, 2)))}, r"features have shape \(16, 2\), not \(64, F\)"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(lake: TabularMDP, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        max_ent_irl(lake, of_table(lake, episode([0, 4], [1])), **keywords)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_features_must_be_numbers(lake: TabularMDP, is_sparse: bool) -> None:
    features = np.ones((16, 4, 2))
    features[3, 1, 1] = np.nan
    given: Any = sparse.csr_array(features.reshape(64, 2)) if is_sparse else features
    with pytest.raises(ValueError, match="feature 1 of state 3, action 1 is nan"):
        max_ent_irl(lake, of_table(lake, episode([0, 4], [1])), given)


def test_a_discount_is_needed(lake: TabularMDP) -> None:
    undiscounted = TabularMDP.from_env("FrozenLake-v1", 1.0)
    with pytest.raises(ValueError, match=r"gamma 1: .* use a discount below 1"):
        max_ent_irl(undiscounted, of_table(lake, episode([0, 4], [1])))


def test_it_gives_up_and_says_so(lake: TabularMDP, thousand: Demonstrations) -> None:
    found = max_ent_irl(lake, thousand, max_iterations=3)
    assert not found.converged and found.n_iterations == 3
    assert np.abs(found.feature_gap - found.l2 * np.abs(found.weights).max()) > 1e-3
