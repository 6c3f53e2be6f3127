"""Tables of what is seen of a process: where they come from, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest

from sb3_ext.planning import TabularMDP, TabularPOMDP

GAMMA = 0.99


@pytest.fixture(scope="module")
def lake() -> TabularMDP:
    return TabularMDP.from_env("FrozenLake-v1", GAMMA)


def test_tables_of_an_environment_are_those_of_its_states_and_of_what_is_seen(lake: TabularMDP) -> None:
    from_env = TabularPOMDP.from_env("sb3_ext/MaskedFrozenLake-v0")
    from_mdp = TabularPOMDP.from_mdp(lake, lambda state: state // 4)
    for pomdp in (from_env, from_mdp):
        assert pomdp.n_observations == 4 and pomdp.mdp.gamma == GAMMA and pomdp.mdp.horizon == 100
        np.testing.assert_array_equal(pomdp.state_observation, np.arange(16) // 4)
        np.testing.assert_array_equal(pomdp.mdp.transitions.value, lake.transitions.value)
    np.testing.assert_array_equal(from_env.observation, from_mdp.observation)
    np.testing.assert_array_equal(from_env.shown, np.arange(4))
    with gym.make("sb3_ext/MaskedFrozenLake-v0", show="column") as env:
        other = TabularPOMDP.from_env(env, gamma=0.5)
    np.testing.assert_array_equal(other.state_observation, np.arange(16) % 4)
    assert other.mdp.gamma == 0.5


def test_what_depends_on_the_action_or_on_chance_is_no_number_of_the_state(lake: TabularMDP) -> None:
    seen = TabularPOMDP.from_mdp(lake, lambda state: state % 2)
    by_action = np.array(seen.observation)
    by_action[2] = by_action[2, ::-1]
    by_chance = np.full_like(by_action, 0.5)
    first = seen.first_observation
    assert first is not None
    for pomdp in (
        TabularPOMDP(lake, by_action, first),
        TabularPOMDP(lake, by_chance, first),
        TabularPOMDP(lake, seen.observation, None),  # nothing is seen at first
        TabularPOMDP(lake, seen.observation, first[::-1]),  # something else is seen at first
    ):
        assert pomdp.state_observation is None


def test_an_environment_without_tables_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"^CartPole-v1 publishes no tables of what is seen \(\.pomdp\): "):
        TabularPOMDP.from_env("CartPole-v1")


def test_wrong_tables_are_named(lake: TabularMDP) -> None:
    def changed(value: float) -> np.ndarray:
        observation = np.full((4, 16, 2), 0.5)
        observation[1, 3, 0] = value
        return observation

    even = np.full((16, 2), 0.5)
    for observation, first, shown, message in (
        (changed(0.7), even, None, "observation: probabilities of action 1, state 3 sum to 1.2, not 1"),
        (changed(np.nan), even, None, "observation: probabilities of action 1, state 3 sum to nan, not 1"),
        (changed(-0.5), even, None, "observation: a probability of action 1, state 3 is -0.5"),
        (changed(0.5), changed(0.9)[1], None, "first_observation: probabilities of state 3 sum to 1.4, not 1"),
        (changed(0.5)[:, :8], even, None, r"observation has shape \(4, 8, 2\), not \[A, S, O\] = \(4, 16, O\)"),
        (changed(0.5), even[:8], None, r"first_observation has shape \(8, 2\), not \[S, O\] = \(16, 2\)"),
        (np.zeros((4, 16, 0)), even, None, r"observation has shape \(4, 16, 0\), not \[A, S, O\] = \(4, 16, O\)"),
        (changed(0.5), even, np.arange(3), "shown has 3 rows for 2 observations"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            TabularPOMDP(lake, observation, first, shown)
    with pytest.raises(ValueError, match=r"observe must give numbers from 0 up, got \[-1, 0, 1, 2, 3\], \.\.\."):
        TabularPOMDP.from_mdp(lake, lambda state: state - 1)
    with pytest.raises(ValueError, match=r"^observation 1000000000 of state 15: .* would take 128\.0 GB; number what"):
        TabularPOMDP.from_mdp(lake, lambda state: 10**9 if state == 15 else 0)


def test_tables_may_be_lists_and_of_single_precision(lake: TabularMDP) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), size=(4, 16)).astype(np.float32)
    pomdp = TabularPOMDP(lake, rows.tolist(), rows[0])
    np.testing.assert_allclose(pomdp.observation, rows, atol=1e-6)
    for table in (pomdp.observation, pomdp.first_observation):
        assert table is not None and np.abs(table.sum(axis=-1) - 1.0).max() < 1e-15


def test_beliefs_of_what_cannot_be_are_refused() -> None:
    tiger = TabularPOMDP.from_env("sb3_ext/Tiger-v0")
    blind = TabularPOMDP(tiger.mdp, tiger.observation)
    start = tiger.first_belief(0)
    np.testing.assert_allclose(tiger.next_belief(start, 0, 1), [0.85, 0.15])
    tiger.first_belief()[:] = 0.0  # a copy
    np.testing.assert_array_equal(tiger.mdp.start, [0.5, 0.5])
    cases: list[tuple[Callable[[], np.ndarray], str]] = [
        (lambda: tiger.first_belief(1), "observation 1 cannot be seen first"),
        (lambda: blind.first_belief(1), "observation 1 cannot be seen first: nothing is"),
        (lambda: tiger.first_belief(-1), r"observation -1 must lie in \[0, 3\)"),
        (lambda: tiger.next_belief(start, 2, 0), "observation 0 cannot be seen after action 2"),
        (lambda: tiger.next_belief(start, 0, 3), r"observation 3 must lie in \[0, 3\)"),
        (lambda: tiger.next_belief(start, -1, 1), r"action -1 must lie in \[0, 3\)"),
        (lambda: tiger.next_belief(start[:1], 0, 1), r"belief has shape \(1,\), not \[S\] = \(2,\)"),
        (lambda: tiger.next_belief(2.0 * start, 0, 1), "belief must hold probabilities .*: least 1, sum 2"),
        (lambda: tiger.next_belief(np.nan * start, 0, 1), "belief must hold probabilities .*: least nan, sum nan"),
    ]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=f"^{message}$"):
            wrong()
