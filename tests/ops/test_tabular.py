"""Equations of tables against loops that take one target after the other."""

from __future__ import annotations

import numpy as np
import pytest

from sb3_ext.ops.tabular import bootstrapped, move_towards, step_sizes


def moved_one_by_one(
    table: np.ndarray, visits: np.ndarray, cells: list[int], targets: np.ndarray, rate: float, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """:return: table and visits after as many plain steps in a row towards the mean of each cell's targets"""
    table, visits = table.copy(), visits.copy()
    for cell in set(cells):
        its_own = [t for c, t in zip(cells, targets, strict=True) if c == cell]
        for _ in its_own:
            visits[cell] += 1
            table[cell] += rate / visits[cell] ** power * (sum(its_own) / len(its_own) - table[cell])
    return table, visits


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rate", [0.1, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_lanes_that_collide_move_a_cell_as_steps_in_a_row_towards_their_mean(power: float, rate: float, n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        table, visits = rng.normal(size=7), rng.integers(0, 9, 7)
        squares = rng.normal(size=7) ** 2
        cells, targets = rng.integers(0, 7, n), rng.normal(size=n)
        expected, counted = moved_one_by_one(table, visits, cells.tolist(), targets, rate, power)
        squared, _ = moved_one_by_one(squares, visits, cells.tolist(), targets**2, rate, power)
        move_towards(table, visits, cells, targets, rate, power, squares)
        np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(squares, squared, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(visits, counted)


def test_many_lanes_at_one_cell_do_not_overshoot() -> None:
    """Errors that are added up would move it by 6.4 times the way there."""
    table, visits = np.zeros(1), np.zeros(1, np.int64)
    move_towards(table, visits, np.zeros(64, np.int64), np.ones(64), 0.1, 0.0)
    assert 0.99 < table[0] < 1.0
    assert visits[0] == 64


def test_visit_power_1_keeps_the_mean_of_all_targets() -> None:
    targets = np.random.default_rng(0).normal(size=50)
    table, visits = np.full(1, 7.0), np.zeros(1, np.int64)
    for begin, end in ((0, 1), (1, 4), (4, 30), (30, 31), (31, 50)):
        move_towards(table, visits, np.zeros(end - begin, np.int64), targets[begin:end], 1.0, 1.0)
        assert table[0] == pytest.approx(targets[:end].mean(), abs=1e-12)


def test_a_single_visit_is_the_plain_update_bit_for_bit() -> None:
    """Whether another cell is visited twice in the same step, or not."""
    for others in ([], [3, 3]):
        table, visits = np.array([0.3, 0.1, 0.7, 0.2]), np.array([4, 2, 9, 0])
        expected = 0.1 + 0.37 * 3.0**-0.6 * (0.9 - 0.1)
        move_towards(table, visits, np.array([1, *others]), np.array([0.9, *others]), 0.37, 0.6)
        assert table[1] == expected


def test_steps_shrink_with_visits() -> None:
    assert step_sizes(np.array([1, 4]), 0.5, 0.5).tolist() == [0.5, 0.25]
    assert step_sizes(np.array([1, 4]), 0.5, 0.0).tolist() == [0.5, 0.5]


def test_an_end_is_worth_nothing_whatever_stands_in_its_row() -> None:
    targets = bootstrapped(np.array([1.0, 1.0]), np.array([False, True]), np.array([10.0, np.nan]), 0.5)
    assert targets.tolist() == [6.0, 1.0]
