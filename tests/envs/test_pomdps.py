"""Partially observed environments and the tables that they publish: the same histories with the same chances."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from support.histories import counted, worked_out

from sb3_ext.envs import MaskedFrozenLake, MemoryChainEnv, RepeatPreviousEnv, TigerEnv, TMazeEnv
from sb3_ext.envs.tables import PomdpTables
from sb3_ext.planning import TabularPOMDP, best_return, expected_return

WORLDS: dict[str, tuple[Any, list[list[int]]]] = {
    "tiger": (TigerEnv(), [[0, 0, 1, 0], [2, 0, 0], [1, 1, 2]]),
    "tiger that is heard badly": (TigerEnv(accuracy=0.6), [[0, 0, 2, 0]]),
    "T-maze": (TMazeEnv(2), [[2, 2, 3], [2, 2, 1], [0, 3, 1, 2, 3, 1, 0, 2, 2, 2, 0, 2, 1], [2]]),
    "T-maze without corridor": (TMazeEnv(1), [[2, 3], [3, 2, 0, 2, 1]]),
    "chain": (MemoryChainEnv(3), [[0, 1, 0, 1], [1, 1, 1, 0], [0, 0]]),
    "shortest chain": (MemoryChainEnv(1), [[0, 1], [0, 0]]),
    "repeat": (RepeatPreviousEnv(k=1, length=3), [[0, 1, 2], [3, 3, 3], [1]]),
    "repeat 2": (RepeatPreviousEnv(k=2, length=4), [[0, 1, 2, 3]]),
    "repeat the present": (RepeatPreviousEnv(k=0, length=2), [[2, 1]]),
    "lake, row": (MaskedFrozenLake(), [[1, 2, 2, 1], [2, 2, 1, 1]]),
    "lake, column": (MaskedFrozenLake(show="column", desc=["SFF", "FHG"]), [[2, 2, 1, 1], [1, 0, 3]]),
    "lake, nothing": (MaskedFrozenLake(show="nothing", desc=["SFF", "FHG"]), [[2, 2, 1, 1]]),
}


@pytest.mark.parametrize("name", WORLDS)
def test_histories_come_with_the_chances_of_the_tables(name: str) -> None:
    env, courses = WORLDS[name]
    for actions in courses:
        expected = worked_out(env.pomdp, actions)
        assert sum(expected.values()) == pytest.approx(1.0)
        n = 40 * len(expected) + 1000
        counts = counted(env, actions, n)
        assert set(counts) <= set(expected)  # exactly: nothing happens that the tables exclude
        if len(expected) > 1:
            observed = [counts[history] for history in expected]
            assert chisquare(observed, [n * p for p in expected.values()]).pvalue > 1e-4


@pytest.mark.parametrize("name", WORLDS)
def test_tables_are_probabilities_and_show_what_lies_in_the_space(name: str) -> None:
    env, _ = WORLDS[name]
    tables: PomdpTables = env.pomdp
    assert env.pomdp is tables
    n_states, n_actions = len(tables.start), int(env.action_space.n)
    n_seen = len(tables.shown)
    assert sorted(tables.P) == list(range(n_states))
    assert tables.observation.shape == (n_actions, n_states, n_seen)
    assert tables.first_observation.shape == (n_states, n_seen)
    for probabilities in (tables.start, tables.first_observation, tables.observation):
        assert probabilities.min() >= 0.0
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0)
    for by_action in tables.P.values():
        assert sorted(by_action) == list(range(n_actions))
        for outcomes in by_action.values():
            assert sum(p for p, *_ in outcomes) == pytest.approx(1.0)
            assert all(0 <= state < n_states for _, state, _, _ in outcomes)
    for shown in tables.shown:
        assert env.observation_space.contains(shown)
    assert len(np.unique(tables.shown, axis=0)) == n_seen


def test_what_is_heard_depends_on_the_action_and_not_on_the_state_alone() -> None:
    tables = TigerEnv().pomdp
    np.testing.assert_allclose(tables.observation[0], [[0, 0.85, 0.15], [0, 0.15, 0.85]])
    for opening in (1, 2):  # T24: not what listening would say of the new tiger
        np.testing.assert_allclose(tables.observation[opening], [[0, 0.5, 0.5]] * 2)
    np.testing.assert_array_equal(tables.first_observation, [[1, 0, 0]] * 2)


@pytest.mark.parametrize("name", ["chain", "T-maze", "lake, row"])
def test_the_state_says_what_is_seen_where_it_does(name: str) -> None:
    tables: PomdpTables = WORLDS[name][0].pomdp
    for after in tables.observation:
        np.testing.assert_array_equal(after, tables.first_observation)


@pytest.mark.parametrize(
    ("env", "n_steps", "chance"), [(MemoryChainEnv(3), 4, 0.0), (RepeatPreviousEnv(k=2, length=5), 5, -0.5)]
)
def test_of_all_policies_without_memory_none_beats_chance_and_the_state_is_worth_1(
    env: Any, n_steps: int, chance: float
) -> None:
    pomdp = TabularPOMDP.from_env(env)
    assert best_return(pomdp.mdp, n_steps) == pytest.approx(1.0)
    seen = pomdp.state_observation
    assert seen is not None
    n_seen, n_actions = pomdp.n_observations - 1, pomdp.mdp.n_actions  # nobody acts on the zeros of the end
    for answers in itertools.product(range(n_actions), repeat=n_seen):
        returned = expected_return(pomdp.mdp, np.array([*answers, 0])[seen], n_steps)
        assert returned == pytest.approx(chance, abs=1e-12)


def test_repeat_previous_has_49_493_states_in_the_order_of_time() -> None:
    tables = RepeatPreviousEnv().pomdp
    assert len(tables.P) == len(tables.start) == 4 + 16 + 64 + 256 + 48 * 1024 + 1
    assert list(tables.P) == list(range(49_493))
    assert all(to > state for state in range(49_492) for _, to, *_ in tables.P[state][0])


def test_tables_that_do_not_fit_are_refused_before_they_are_built() -> None:
    with pytest.raises(
        ValueError, match=r"k 8 and length 52 make 11\d{6} states, too many for tables: at most 1000000"
    ):
        _ = RepeatPreviousEnv(k=8).pomdp


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (TMazeEnv(10**9), r"length 1000000000 make 2000000003 states, too many for tables: at most 1000000"),
        (MemoryChainEnv(10**9), r"length 1000000000 make 2000000003 states, too many"),
        (MemoryChainEnv(20_000), r"length 20000 make 40003 states x 20003 observations: a table of 6.4 GB"),
    ],
)
def test_corridors_whose_tables_do_not_fit_are_refused_as_well(env: TMazeEnv | MemoryChainEnv, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = env.pomdp
