"""Draws stay in their row, whatever the rounding, and follow the probabilities."""

import numpy as np
import pytest
from support.frequencies import p_of_probabilities

from sb3_ext.planning.drawing import RowDraws

LARGEST = np.nextafter(1.0, 0.0)


def one_by_one(probability: np.ndarray, uniform: float) -> int:
    """The dumb way: add up until it is passed."""
    total = 0.0
    for entry, p in enumerate(probability):
        total += p
        if p > 0 and uniform < total:
            return entry
    return int(np.flatnonzero(probability)[-1])


def test_every_draw_is_that_of_adding_up() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(width)) for width in (1, 5, 2, 40, 3)]
    row = np.repeat(np.arange(5), [len(p) for p in rows])
    draws = RowDraws(row, np.concatenate(rows), 5)
    begins = np.searchsorted(row, np.arange(5))
    asked, uniform = rng.integers(5, size=2000), rng.random(2000)
    expected = [begins[r] + one_by_one(rows[r], u) for r, u in zip(asked, uniform, strict=True)]
    np.testing.assert_array_equal(draws.draw(asked, uniform), expected)


@pytest.mark.parametrize("n_rows", [1, 3, 64, 10**6])
@pytest.mark.parametrize("short", [0.0, 1e-16, 1e-9])
def test_the_ends_of_a_row_are_its_own(n_rows: int, short: float) -> None:
    """Rows that sum to a little less than 1, a uniform number next to 1, and a million rows before."""
    row = np.array([0] * 3 + [n_rows - 1] * 3) if n_rows > 1 else np.zeros(3, np.int64)
    probability = np.tile([0.25, 0.25, 0.5 - short], 2)[: len(row)]
    draws = RowDraws(row, probability, n_rows)
    asked = np.array([0, n_rows - 1])
    assert row[draws.draw(asked, np.zeros(2))].tolist() == asked.tolist()
    assert draws.draw(asked, np.full(2, LARGEST)).tolist() == [2, len(row) - 1]
    assert draws.draw(asked, np.array([0.25, LARGEST / 2])).tolist() == [1, len(row) - 2]


@pytest.mark.parametrize("uniform", [0.0, 0.5, LARGEST])
def test_what_has_no_probability_is_never_drawn(uniform: float) -> None:
    probability = np.array([0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0])
    row = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    drawn = RowDraws(row, probability, 2).draw(np.array([0, 1]), np.full(2, uniform))
    assert drawn.tolist() == [1 if uniform < 0.5 else 3, 6]


def test_tiny_probabilities_take_nothing_from_others() -> None:
    probability = np.array([1e-300, 1.0, 1e-300])
    draws = RowDraws(np.zeros(3, np.int64), probability, 1)
    assert draws.draw(np.zeros(3, np.int64), np.array([0.0, 0.5, LARGEST])).tolist() == [1, 1, 1]


def test_a_row_without_entries_is_named() -> None:
    draws = RowDraws(np.array([0, 2, 3]), np.array([1.0, 1.0, 0.0]), 4)
    assert draws.draw(np.array([0, 2]), np.zeros(2)).tolist() == [0, 1]
    for empty in (1, 3):
        with pytest.raises(ValueError, match=f"row {empty} has no entry"):
            draws.draw(np.array([0, empty]), np.zeros(2))


def test_frequencies() -> None:
    rng = np.random.default_rng(1)
    probability = np.concatenate([rng.dirichlet(np.ones(6)) for _ in range(50)])
    row = np.repeat(np.arange(50), 6)
    drawn = RowDraws(row, probability, 50).draw(rng.integers(50, size=200_000), rng.random(200_000))
    p = p_of_probabilities(np.bincount(drawn, minlength=300), probability, row)
    assert 1e-3 < p < 1 - 1e-3
