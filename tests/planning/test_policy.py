"""The planner's policy: what it does is the best there is, and it goes where SB3's policies go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ext import GAIL
from sb3_ext.demonstrations import record
from sb3_ext.planning import (
    Outcomes,
    PlannerPolicy,
    TabularMDP,
    evaluate,
    expected_return,
    policy_table,
    solve,
    value_table,
)

LAKE = "FrozenLake-v1"


@pytest.fixture(scope="module")
def planner() -> PlannerPolicy:
    return PlannerPolicy.from_env(LAKE, gamma=0.99)


# ------------------------------------------------------------------ what it does


@pytest.mark.parametrize("env_id", [LAKE, "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1", "CliffWalkingSlippery-v1"])
def test_nothing_is_better_in_any_state(env_id: str) -> None:
    mdp = TabularMDP.from_env(env_id, 0.99)
    table = policy_table(PlannerPolicy.from_env(env_id), mdp)
    np.testing.assert_allclose(evaluate(mdp, table), solve(mdp).v, atol=1e-6)
    np.testing.assert_array_equal(table.sum(axis=1), 1.0)


def test_of_equally_good_actions_it_takes_the_first() -> None:
    """Every action of every state pays the same, and then values that differ by rounding errors."""
    mdp = two_ends(np.full((3, 4), 0.3))
    np.testing.assert_array_equal(policy_table(PlannerPolicy.from_mdp(mdp), mdp).argmax(axis=1), 0)
    nearly = np.array([[0.1 + 0.2, 0.3, 0.3, 0.3], [0.3, 0.1 + 0.2, 0.3, 0.2], [0.1, -0.3, 0.1 + 0.2, 0.3]])
    assert nearly[1].argmax() == 1, "the rounding error that must not matter"
    mdp = two_ends(nearly)
    np.testing.assert_array_equal(policy_table(PlannerPolicy.from_mdp(mdp), mdp).argmax(axis=1), [0, 0, 2])


def two_ends(reward: np.ndarray) -> TabularMDP:
    """:return: states [S] in which each of A actions pays and ends the episode"""
    n_states, n_actions = reward.shape
    rows = np.arange(reward.size)
    outcomes = Outcomes(rows, rows // n_actions, np.ones(reward.size), reward.reshape(-1), np.ones(reward.size, bool))
    return TabularMDP(outcomes, n_states, n_actions, np.eye(1, n_states)[0], 0.9)


def corridor(n: int, gamma: float) -> TabularMDP:
    """:return: states in a row; action 0 stays, action 1 goes on, and the last step pays 1"""
    rows, states = np.arange(2 * n), np.repeat(np.arange(n), 2)
    forward = rows % 2 == 1
    ends = forward & (states == n - 1)
    following = np.minimum(states + forward, n - 1)
    outcomes = Outcomes(rows, following, np.ones(2 * n), ends.astype(float), ends)
    return TabularMDP(outcomes, n, 2, np.eye(1, n)[0], gamma, horizon=n)


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99, 1.0])
def test_small_values_are_no_ties(gamma: float) -> None:
    """The value of the start is 1e-18 to 1: to stay is worse by a part of that or as good, and never ends."""
    mdp = corridor(60 if gamma == 0.5 else 200, gamma)
    table = policy_table(PlannerPolicy.from_mdp(mdp), mdp)
    np.testing.assert_array_equal(table.argmax(axis=1), 1)
    assert expected_return(mdp, table) == 1.0


def test_mistakes_are_drawn_and_not_made_when_it_is_deterministic(planner: PlannerPolicy) -> None:
    mdp = TabularMDP.from_env(LAKE, 0.99)
    noisy = PlannerPolicy.from_env(LAKE, epsilon=0.4)
    np.testing.assert_array_equal(policy_table(noisy, mdp), policy_table(planner, mdp))
    drawn = policy_table(noisy, mdp, deterministic=False)
    np.testing.assert_allclose(drawn, 0.6 * policy_table(planner, mdp) + 0.1, atol=1e-12)
    np.testing.assert_array_equal(policy_table(planner, mdp, deterministic=False), policy_table(planner, mdp))
    th.manual_seed(0)
    n = 4000
    actions, _ = noisy.predict(np.full(n, 6), deterministic=False)
    expected = n * drawn[6]
    assert ((np.bincount(actions, minlength=4) - expected) ** 2 / expected).sum() < 16.3  # chi-square, 1 of 1000
    th.manual_seed(0)
    np.testing.assert_array_equal(noisy.predict(np.full(n, 6), deterministic=False)[0], actions)


def test_a_policy_of_any_probabilities() -> None:
    rows = np.array([[0.25, 0.75], [1.0, 0.0]])
    policy = PlannerPolicy(spaces.Discrete(2), spaces.Discrete(2), rows)
    mdp = two_ends(np.zeros((2, 2)))
    np.testing.assert_array_equal(policy_table(policy, mdp, deterministic=False), rows)
    np.testing.assert_array_equal(policy_table(policy, mdp), [[0, 1], [1, 0]])
    assert not any(x.requires_grad for x in policy.parameters())


# ------------------------------------------------------------------ what it sees


def test_numbers_that_begin_elsewhere_are_shifted() -> None:
    rows = np.eye(3)[[2, 0, 1]]
    policy = PlannerPolicy(spaces.Discrete(3, start=1), spaces.Discrete(3), rows)
    np.testing.assert_array_equal(policy.predict(np.array([1, 2, 3]), deterministic=True)[0], [2, 0, 1])
    np.testing.assert_array_equal(policy_table(policy, two_ends(np.zeros((3, 3)))), rows)
    for number in (0, 4):
        with pytest.raises(ValueError, match=rf"observation {number} is none of Discrete\(3, start=1\)"):
            policy.predict(np.array(number))


@pytest.mark.parametrize("wrong", [1.5, [1.0, np.nan], "1", None, [[1, 2], [2, 1]]])
def test_what_is_no_number_of_a_state_is_refused(planner: PlannerPolicy, wrong: Any) -> None:
    with pytest.raises(ValueError, match="number of a state"):
        planner.predict(wrong)


def test_t28_numbers_may_come_as_a_column(planner: PlannerPolicy) -> None:
    states = np.arange(16)
    flat = planner.predict(states, deterministic=True)[0]
    np.testing.assert_array_equal(planner.predict(states[:, None], deterministic=True)[0], flat)
    np.testing.assert_array_equal(planner(th.as_tensor(states)[:, None], deterministic=True).numpy(), flat)
    for state in states:
        one = planner.predict(np.array(state), deterministic=True)[0]
        assert one.shape == () and one == flat[state]


def test_what_a_planner_cannot_be_made_of() -> None:
    mdp = TabularMDP.from_env(LAKE, 0.99)
    with pytest.raises(ValueError, match=r"observation space Box.* must be Discrete"):
        PlannerPolicy.from_mdp(mdp, spaces.Box(0.0, 1.0, (2,)))
    with pytest.raises(
        ValueError, match=r"Discrete\(4\) has 4 observations of 16 states: a planner must see the state"
    ):
        PlannerPolicy.from_env("sb3_ext/MaskedFrozenLake-v0")
    with pytest.raises(ValueError, match=r"action space Discrete\(4, start=1\) must begin at 0"):
        PlannerPolicy.from_mdp(mdp, action_space=spaces.Discrete(4, start=1))
    with pytest.raises(ValueError, match=r"epsilon 1.5 must lie in \[0.0, 1.0\]"):
        PlannerPolicy.from_mdp(mdp, epsilon=1.5)
    observed, acting = spaces.Discrete(2), spaces.Discrete(2)
    with pytest.raises(ValueError, match=r"probabilities \(2, 3\) must be \(2, 2\)"):
        PlannerPolicy(observed, acting, np.ones((2, 3)) / 3)
    for row in ([0.7, 0.7], [1.5, -0.5], [np.nan, 1.0]):
        with pytest.raises(ValueError, match=r"probabilities of state 1 are .* sum to 1"):
            PlannerPolicy(observed, acting, np.array([[0.5, 0.5], row]))


# ------------------------------------------------------------------ where it goes


def test_evaluate_policy_finds_its_exact_return(planner: PlannerPolicy) -> None:
    mdp = TabularMDP.from_env(LAKE, 0.99)
    env: Any = gym.make(LAKE)
    env.reset(seed=0)
    returns, _ = evaluate_policy(planner, env, 200, return_episode_rewards=True, warn=False)
    assert isinstance(returns, list)
    standard_error = np.std(returns) / len(returns) ** 0.5
    assert abs(np.mean(returns) - expected_return(mdp, policy_table(planner, mdp))) < 3 * standard_error


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    noisy = PlannerPolicy.from_env("Taxi-v4", epsilon=0.1)
    noisy.save(str(tmp_path / "expert.pt"))
    loaded = PlannerPolicy.load(str(tmp_path / "expert.pt"), device="cpu")
    assert th.equal(loaded.probabilities, noisy.probabilities)
    assert (loaded.observation_space, loaded.action_space) == (noisy.observation_space, noisy.action_space)
    assert not loaded.probabilities.requires_grad


def test_gail_learns_from_it(planner: PlannerPolicy) -> None:
    demos = record(planner, LAKE, 10, seed=0)
    assert {int(demo.actions[0]) for demo in demos.episodes} == {int(planner.predict(np.array(0))[0])}
    model = GAIL("MlpPolicy", LAKE, demonstrations=demos, n_steps=128, batch_size=64, seed=0, device="cpu")
    model.learn(256)
    mdp = TabularMDP.from_env(LAKE, 0.99)
    assert policy_table(model, mdp, deterministic=False).shape == (16, 4)
    assert value_table(model, mdp) is None, "what it values are rewards that it learned"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_gail_comes_near_it_without_a_reward(planner: PlannerPolicy, seed: int) -> None:
    """A gap of .542 at the start; .000, .010, .010 and .097 on seeds 0 to 3 after 20 480 steps."""
    demos = record(planner, LAKE, 50, seed=seed)
    model = GAIL(
        "MlpPolicy", make_vec_env(LAKE, 8, seed=seed), demonstrations=demos, learning_rate=1e-3, n_steps=128,
        batch_size=256, seed=seed, device="cpu",
    )  # fmt: skip
    model.learn(20_480)
    mdp = TabularMDP.from_env(LAKE, 0.99)
    gap = mdp.start @ (solve(mdp).v - evaluate(mdp, policy_table(model, mdp)))
    assert gap < 0.15
