"""What a `TabularMDP` refuses, each in one line that names state, action and number."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from support.small_process import START, dense, small

from sb3_ext.planning import Outcomes, TabularMDP, TransitionCounts, value_iteration


def changed(**columns: Any) -> Outcomes:
    return Outcomes(*[np.array(columns.get(name, getattr(small().outcomes, name))) for name in Outcomes._fields])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({1: {0: [(1.2, 0, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}}, "probability 1.2 of state 1, action 0"),
        (
            {1: {0: [(0.6, 0, 0.0, False), (0.6, 1, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}},
            "probabilities of state 1, action 0 sum to 1.2, not 1",
        ),
        ({1: {0: [(1.2, 0, 0.0, False), (-0.2, 1, 0.0, False)], 1: []}}, "of state 1, action 0 must lie in [0, 1]"),
        ({1: {0: [(np.nan, 0, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}}, "probability nan of state 1, action 0"),
        ({1: {0: [(1.0, 0, np.nan, False)], 1: [(1.0, 0, 0.0, False)]}}, "reward nan of state 1, action 0"),
        ({1: {0: [(1.0, 0, np.inf, False)], 1: [(1.0, 0, 0.0, False)]}}, "reward inf of state 1, action 0"),
        ({1: {0: [(1.0, 0.5, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}}, "next 0.5 of an outcome must be a whole"),
        ({1: {0: [(1.0, 0, 0.0)], 1: [(1.0, 0, 0.0, False)]}}, "outcomes of state 1, action 0 must be (probability, "),
        ({1: {0: [(1.0, 7, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}}, "state 1, action 0 leads to state 7, of 2"),
        ({1: {0: [(0.5, 0, 0.0, False)] * 2, 1: []}}, "probabilities of state 1, action 1 sum to 0, not 1"),
        ({1: {0: [(1.0, 0, 0.0, False)]}}, "state 1 has 1 actions, state 0 has 2"),
        ({3: {0: [(1.0, 0, 0.0, False)], 1: [(1.0, 0, 0.0, False)]}}, "states of the table are not numbered"),
    ],
)
def test_a_table_that_is_no_process(rows: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        small(rows=rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gamma": 1.01}, "gamma 1.01 must lie in [0, 1]"),
        ({"gamma": float("nan")}, "gamma nan must lie in [0, 1]"),
        ({"gamma": None}, "gamma None must lie in [0, 1]"),
        ({"horizon": 0}, "horizon 0 must be at least 1 step"),
        ({"horizon": 2.5}, "horizon 2.5 must be at least 1 step, and a whole number of them"),
        ({"start": np.ones(3) / 3}, "start has shape (3,), not (2,)"),
        ({"start": np.array([0.5, 0.6])}, "probabilities of start sum to 1.1, not 1"),
        ({"start": np.array([1.5, -0.5])}, "probability -0.5 of starting in state 1 must lie in [0, 1]"),
        ({"start": np.array([np.nan, 1.0])}, "probability nan of starting in state 0 must lie in [0, 1]"),
    ],
)
def test_numbers_that_no_process_has(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        small(**arguments)


def test_a_table_larger_than_its_outcomes_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="6 outcomes of 1000000000 states x 6 actions: each needs one or more"):
        TabularMDP(small().outcomes, 10**9, 6, np.broadcast_to(1e-9, 10**9), 0.9)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (changed(row=[0, 1, 1, 2, 2, 4]), "row 4 of an outcome must lie in [0, 4)"),
        (changed(next=[0, 1]), "outcomes have columns of different lengths"),
    ],
)
def test_outcomes_that_do_not_fit(outcomes: Outcomes, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        TabularMDP(outcomes, 2, 2, START, 0.9)


def test_columns_may_be_lists_and_sizes_of_any_integer_type() -> None:
    of = Outcomes(*[column.tolist() for column in small().outcomes])
    mdp = TabularMDP(of, np.uint8(2), np.uint8(2), START, 0.9)
    np.testing.assert_array_equal(dense(mdp), dense(small()))
    many = TransitionCounts(10**8, 6)
    many.add_starts(0)
    with pytest.raises(ValueError, match="a table of 100000000 states x 6 actions takes 48 GB"):
        TabularMDP.from_counts(many, 0.9)


def test_rewards_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=re.escape("reward has shape (2,), not (2, 2)")):
        small().with_reward(np.zeros(2))
    with pytest.raises(ValueError, match="reward nan of state 1, action 0"):
        small().with_reward(np.array([[0.0, 0.0], [np.nan, 0.0]]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"transitions": np.zeros((2, 3, 4))}, "transitions has shape (2, 3, 4), not [A, S, S] or [S, A, S]"),
        ({"transitions": np.zeros((3, 2))}, "transitions has shape (3, 2)"),
        ({"states_first": True}, "which states_first=True does not fit"),
        ({"terminal": np.zeros(3)}, "terminal has shape (3,) of float64, not (3,) of bool"),
        ({"reward": np.zeros((2, 3))}, "reward has shape (2, 3), not (3, 2) or (3, 2, 3)"),
    ],
)
def test_arrays_that_do_not_fit(arguments: dict[str, Any], words: str) -> None:
    fitting = {
        "transitions": np.broadcast_to(np.eye(3), (2, 3, 3)),
        "reward": np.zeros((3, 2)),
        "terminal": np.zeros(3, bool),
        "start": np.ones(3) / 3,
        "gamma": 0.9,
    }
    assert TabularMDP.from_arrays(**fitting).n_actions == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape(words)):
        TabularMDP.from_arrays(**{**fitting, **arguments})


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    mdp = small()  # tables alone do without
    with pytest.raises(ModuleNotFoundError, match=re.escape('need the lab extra: pip install "sb3-ext[lab]"')):
        value_iteration(mdp)
