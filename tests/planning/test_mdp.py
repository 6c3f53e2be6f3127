"""What a `TabularMDP` is made of, beside loops over its source."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from support.small_process import SMALL, START, Table, dense, small

from sb3_ext.planning import Outcomes, TabularMDP, TransitionCounts, evaluate, value_iteration


def test_ends_are_no_transitions() -> None:
    mdp = small()
    expected = [[[1, 0], [0.25, 0.75]], [[0.5, 0], [0, 0]]]
    np.testing.assert_array_equal(mdp.matrix.toarray().reshape(2, 2, 2), expected)
    np.testing.assert_array_equal(dense(mdp), expected)
    np.testing.assert_array_equal(mdp.reward, [[-0.5, 0.25], [1.0, 3.0]])
    assert mdp.has_ends and mdp.horizon is None


def test_arrivals_have_the_ends_too() -> None:
    expected = [[[1, 0], [0.25, 0.75]], [[1, 0], [0, 1]]]
    np.testing.assert_array_equal(small().arrivals().matrix().toarray().reshape(2, 2, 2), expected)


def test_another_reward_leaves_the_process_alone() -> None:
    mdp = small(horizon=7)
    paid = np.array([[1.0, 2.0], [3.0, 4.0]])
    other = mdp.with_reward(paid)
    np.testing.assert_allclose(other.reward, paid)
    np.testing.assert_array_equal(other.outcomes.reward, [1, 2, 2, 3, 3, 4])
    np.testing.assert_array_equal(dense(other), dense(mdp))
    assert other.horizon == 7 and other.gamma == mdp.gamma
    np.testing.assert_array_equal(mdp.reward, [[-0.5, 0.25], [1.0, 3.0]])


def test_outcomes_come_in_any_order_and_without_what_cannot_happen() -> None:
    mdp = small()
    shuffled = np.random.default_rng(0).permutation(len(mdp.outcomes.row))
    of = Outcomes(*[column[shuffled] for column in mdp.outcomes])
    of = Outcomes(*[np.append(column, extra) for column, extra in zip(of, (0, 1, 0.0, 9.0, True), strict=True)])
    again = TabularMDP(of, 2, 2, START, 0.9)
    assert np.all(np.diff(again.outcomes.row) >= 0) and (again.outcomes.probability > 0).all()
    np.testing.assert_array_equal(dense(again), dense(mdp))
    np.testing.assert_array_equal(again.reward, mdp.reward)


def test_rows_of_single_precision_are_divided_by_their_sum() -> None:
    third = float(np.float32(1 / 3))
    rows = {0: {0: [(third, 0, 0.0, False)] * 3, 1: [(1.0, 0, 0.0, False)]}}
    mdp = small(rows=rows)
    assert mdp.outcomes.probability[:3].sum() == pytest.approx(1.0, abs=1e-15)
    assert 3 * third != pytest.approx(1.0, abs=1e-9)


def test_t1_terminal_states_of_taxi_leave_again_in_its_table() -> None:
    """T1: with `done` ignored the start is worth 835."""
    env = gym.make("Taxi-v4")
    mdp = TabularMDP.from_env(env, 0.99)
    ends = np.unique(mdp.outcomes.next[mdp.outcomes.terminated])
    assert ends.tolist() == [0, 85, 410, 475]
    assert all(mdp.transitions.indptr[s * 6] < mdp.transitions.indptr[s * 6 + 6] for s in ends), "they go on in .P"
    ignored = mdp.outcomes._replace(terminated=np.zeros_like(mdp.outcomes.terminated))
    endless = TabularMDP(ignored, 500, 6, mdp.start, 0.99)
    assert mdp.start @ value_iteration(endless).v == pytest.approx(835.04, abs=0.01)
    assert mdp.start @ value_iteration(mdp).v == pytest.approx(6.327464, abs=5e-7)


def test_t2_an_outcome_keeps_reward_and_end_together() -> None:
    """T2: what is drawn pays 2 exactly where it ends; the mean of 1 is for solvers alone."""
    mdp = small()
    of = mdp.outcomes
    drawn = [(r, t) for row, r, t in zip(of.row, of.reward, of.terminated, strict=True) if row == 2]
    assert drawn == [(2.0, True), (0.0, False)]
    assert mdp.reward[1, 0] == 1.0


# ---------------------------------------------------------------------- from an environment


@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"])
def test_a_published_table_is_read_outcome_by_outcome(env_id: str) -> None:
    env = gym.make(env_id)
    mdp = TabularMDP.from_env(env, 0.9)
    table: Table = env.unwrapped.P  # type: ignore[attr-defined]
    expected = [
        (s * mdp.n_actions + a, following, p, r, t)
        for s in range(mdp.n_states)
        for a in range(mdp.n_actions)
        for p, following, r, t in table[s][a]
        if p > 0
    ]
    got = list(zip(*[column.tolist() for column in mdp.outcomes], strict=True))
    assert [x[:2] + x[3:] for x in got] == [x[:2] + x[3:] for x in expected]
    np.testing.assert_allclose([x[2] for x in got], [x[2] for x in expected], atol=1e-15)


def test_the_horizon_is_the_time_limit_that_is_kept() -> None:
    assert TabularMDP.from_env("FrozenLake-v1", 0.9).horizon == 100
    assert TabularMDP.from_env("CliffWalking-v1", 0.9).horizon is None
    assert TabularMDP.from_env(gym.make("FrozenLake-v1", max_episode_steps=7), 0.9).horizon == 7
    assert TabularMDP.from_env(gym.make("FrozenLake-v1").unwrapped, 0.9).horizon is None, "nobody keeps it"
    twice = gym.wrappers.TimeLimit(gym.wrappers.TimeLimit(gym.make("CliffWalking-v1").unwrapped, 30), 50)
    assert TabularMDP.from_env(twice, 0.9).horizon == 30


class CountsFromOne(gym.Env[Any, Any]):
    """States 1 and 2, actions 1 and 2."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Discrete(2, start=1)
        self.action_space = gym.spaces.Discrete(2, start=1)
        self.P = {s + 1: {a + 1: [(p, n + 1, r, t) for p, n, r, t in SMALL[s][a]] for a in SMALL[s]} for s in SMALL}
        self.initial_state_distrib = START


def test_numbers_that_start_at_one_are_shifted() -> None:
    for ours, theirs in zip(TabularMDP.from_env(CountsFromOne(), 0.9).outcomes, small().outcomes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_wrappers_that_do_not_change_the_process_are_looked_through() -> None:
    shown = gym.wrappers.TransformObservation(gym.make("FrozenLake-v1"), lambda s: s, None)
    for env in (Monitor(gym.make("FrozenLake-v1")), gym.wrappers.RecordEpisodeStatistics(shown)):
        assert TabularMDP.from_env(env, 0.9).horizon == 100


class OtherActions(gym.ActionWrapper[Any, Any, Any]):
    def action(self, action: int) -> int:
        return 3 - action


class OtherSteps(gym.Wrapper[Any, Any, Any, Any]):
    pass


def test_wrappers_that_change_it_are_refused() -> None:
    lake = gym.make("FrozenLake-v1")
    refused = {
        "TransformReward: its rewards are not": gym.wrappers.TransformReward(lake, lambda r: 0.0),
        "OtherActions: its actions are not": OtherActions(lake),
        "OtherSteps: its steps need not be": Monitor(OtherSteps(lake)),
    }
    for words, env in refused.items():
        with pytest.raises(ValueError, match=f"from_env reads the table under {words} the ones of this env"):
            TabularMDP.from_env(env, 0.9)


def test_environments_without_a_table_of_what_they_do_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("CartPole-v1 publishes no transition table (.P): ")):
        TabularMDP.from_env("CartPole-v1", 0.9)
    with pytest.raises(ValueError, match=r"Taxi-v4, fickle_passenger=True: its .P is not what it does"):
        TabularMDP.from_env(gym.make("Taxi-v4", fickle_passenger=True), 0.9)
    no_start = CountsFromOne()
    del no_start.initial_state_distrib
    with pytest.raises(ValueError, match=r"CountsFromOne publishes .P and no initial_state_distrib"):
        TabularMDP.from_env(no_start, 0.9)


# ---------------------------------------------------------------------- from arrays


def arrays_of(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    """:return: [S, A, S] probabilities and rewards, with ends as a third state"""
    shape = (mdp.n_states, mdp.n_actions, mdp.n_states)
    probability, paid = np.zeros(shape), np.zeros(shape)
    for row, following, p, r, _ in zip(*mdp.outcomes, strict=True):
        probability[row // mdp.n_actions, row % mdp.n_actions, following] += p
        paid[row // mdp.n_actions, row % mdp.n_actions, following] = r
    return probability, paid


@pytest.mark.parametrize("states_first", [True, False])
def test_both_layouts_of_arrays(states_first: bool) -> None:
    lake = TabularMDP.from_env("FrozenLake-v1", 0.9)
    probability, paid = arrays_of(lake)
    terminal = np.zeros(16, bool)
    terminal[[5, 7, 11, 12, 15]] = True
    given = probability if states_first else probability.swapaxes(0, 1)
    mdp = TabularMDP.from_arrays(given, paid, terminal, lake.start, 0.9)
    np.testing.assert_allclose(dense(mdp), dense(lake), atol=1e-15)
    np.testing.assert_allclose(mdp.reward, lake.reward, atol=1e-15)
    by_action = TabularMDP.from_arrays(given, lake.reward, terminal, lake.start, 0.9)
    np.testing.assert_allclose(by_action.reward, lake.reward, atol=1e-15)


def test_what_leaves_a_terminal_state_is_not_read() -> None:
    """E4.3: a goal that pays again when it is left, and rows of zeros that others write for it."""
    probability = np.array([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])  # [S, A, S]
    reward = np.array([[1.0, 2.0], [5.0, 5.0]])
    mdp = TabularMDP.from_arrays(
        probability, reward, np.array([False, True]), np.array([1.0, 0.0]), 1.0, states_first=True
    )
    np.testing.assert_array_equal(evaluate(mdp, np.array([1, 0])), [2.0, 0.0])


def test_as_many_actions_as_states_look_alike() -> None:
    probability = np.eye(3)[np.array([[0, 1, 2], [0, 0, 0], [1, 1, 1]])]
    rest = (np.zeros((3, 3)), np.zeros(3, bool), np.ones(3) / 3, 0.9)
    with pytest.raises(ValueError, match=r"\(3, 3, 3\): with as many actions as states .* look alike"):
        TabularMDP.from_arrays(probability, *rest)
    by_state = TabularMDP.from_arrays(probability, *rest, states_first=True)
    by_action = TabularMDP.from_arrays(probability.swapaxes(0, 1), *rest, states_first=False)
    np.testing.assert_array_equal(dense(by_state), probability)
    np.testing.assert_array_equal(dense(by_action), probability)


# ---------------------------------------------------------------------- from counts


def test_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    counts, by_hand = TransitionCounts(4, 3), dict[tuple[int, ...], list[float]]()
    for size in (1, 50, 400):
        s, a, following = rng.integers(4, size=size), rng.integers(3, size=size), rng.integers(2, size=size)
        paid, ends = rng.random(size), rng.random(size) < 0.3
        counts.add(s, a, paid, following, ends)
        for x in zip(s, a, following, ends, paid, strict=True):
            by_hand.setdefault((x[0] * 3 + x[1], x[2], x[3]), []).append(x[4])
    seen = counts.seen()
    assert list(zip(seen.row, seen.next, seen.terminated, strict=True)) == sorted(by_hand)
    for row, following, ends, times, reward_sum in zip(*seen, strict=True):
        assert times == len(by_hand[row, following, ends])
        assert reward_sum == pytest.approx(sum(by_hand[row, following, ends]))


def test_the_process_of_many_counts_is_the_one_that_was_counted() -> None:
    mdp = small()
    counts = TransitionCounts(2, 2)
    counts.add_starts(np.repeat([0, 1], [9, 1]))
    for row, following, p, r, t in zip(*mdp.outcomes, strict=True):
        times = int(p * 1000)
        counts.add(*[np.full(times, x) for x in (row // 2, row % 2, r, following, t)])
    found: tuple[np.ndarray, ...] = TabularMDP.from_counts(counts, 0.9).outcomes
    for ours, theirs in zip(found, mdp.outcomes, strict=True):
        order = np.argsort(mdp.outcomes.row * 4 + mdp.outcomes.next * 2 + mdp.outcomes.terminated)
        np.testing.assert_allclose(ours, theirs[order])


def test_an_action_that_was_never_tried_stays_and_a_prior_spreads() -> None:
    counts = TransitionCounts(2, 2)
    counts.add_starts(0)
    ends = np.array([[False], [False], [True]])  # as a replay buffer stores them
    counts.add(np.array([[0]] * 3), np.array([[1]] * 3), np.array([1.0, 1.0, 4.0]), np.array([[1], [1], [0]]), ends)
    bare = TabularMDP.from_counts(counts, 0.9)
    expected = np.array([[[1.0, 0.0], [0.0, 2 / 3]], [[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(dense(bare), expected)
    np.testing.assert_allclose(bare.reward, [[0, 2], [0, 0]])
    spread = TabularMDP.from_counts(counts, 0.9, prior=0.5)
    expected = np.array([[0.5, 0.5], [0.5 / 4, 2.5 / 4]])
    np.testing.assert_allclose(dense(spread)[0], expected)
    np.testing.assert_allclose(spread.reward, [[0, 2], [0, 0]])


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ((4, 0, 0.0, 0, False), "state 4 must lie in [0, 2)"),
        ((0, -1, 0.0, 0, False), "action -1 must lie in [0, 2)"),
        ((0, 0, 0.0, 2, False), "next state 2 must lie in [0, 2)"),
        ((0, 0, np.nan, 0, False), "reward nan must be a finite number"),
        ((0.5, 0, 0.0, 0, False), "state must be a number without fraction"),
        (([0, 1], 0, 0.0, 0, False), "differ in length: (2, 1, 1, 1, 1)"),
    ],
)
def test_steps_that_cannot_be_are_not_counted(step: tuple[Any, ...], words: str) -> None:
    counts = TransitionCounts(2, 2)
    with pytest.raises(ValueError, match=re.escape(words)):
        counts.add(*step)
    assert len(counts.seen().row) == 0


def test_counts_without_a_start_and_priors_that_are_none() -> None:
    counts = TransitionCounts(2, 2)
    with pytest.raises(ValueError, match="no start of an episode was counted"):
        TabularMDP.from_counts(counts, 0.9)
    counts.add_starts(0)
    with pytest.raises(ValueError, match=r"prior -1.0 must be"):
        TabularMDP.from_counts(counts, 0.9, prior=-1.0)
    many = TransitionCounts(10**5, 2)
    many.add_starts(0)
    with pytest.raises(ValueError, match="spreads over 20000000000 outcomes"):
        TabularMDP.from_counts(many, 0.9, prior=1.0)
