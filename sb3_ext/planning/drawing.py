"""
Draws from the rows of a table, all of them at once. Of a row that was asked for, never of its neighbour; never
an entry of probability 0; and rows that sum to 1 up to rounding lose nothing.

Probabilities become whole numbers, which can be summed without error. With 4 for a probability of 1:

```
row            |0               |1               |2               |
probability    |  1/4   3/4     |  1/2   1/2     |  1             |
end of entry      1     4          6     8          12
```

so an entry of row r lies in 4 r to 4 r + 3, and 4 r + floor(4 u) finds it.
"""

from __future__ import annotations

import numpy as np

FULL = 53  # binary digits of a uniform float64


class RowDraws:
    """
    :param row: [K] of each entry, sorted
    :param probability: [K]; those of a row sum to 1
    :param n_rows: each with an entry of positive probability, unless it is never drawn from
    """

    def __init__(self, row: np.ndarray, probability: np.ndarray, n_rows: int) -> None:
        self._entry = np.flatnonzero(probability > 0.0)
        row = row[self._entry].astype(np.int64)
        # (n_rows << digits) is the largest number, and must fit.
        self._digits = min(FULL, 62 - n_rows.bit_length())
        one = 1 << self._digits
        ends = np.cumsum(np.rint(probability[self._entry] * one).astype(np.int64))
        widths = np.bincount(row, minlength=n_rows)
        self._first = np.cumsum(widths) - widths
        before = self._first[row]
        within = ends - np.where(before > 0, ends[before - 1], 0)
        last = np.arange(len(row)) == before + widths[row] - 1
        # What rounding has left over, or taken too much of, is that of the last entry.
        within = np.where(last, one, np.minimum(within, one))
        rounds = int(widths.max() - 1).bit_length()
        self._steps = [1 << i for i in reversed(range(rounds))]
        # A step may look beyond the last entry, and a row without entries begins there.
        self._end = np.append((row << self._digits) + within, np.full(1 << rounds, np.iinfo(np.int64).max))
        self._row = np.append(row, -1)

    def draw(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """
        :param rows: [n]
        :param uniform: [n] in [0, 1)
        :return: [n] which of the K entries
        :raises ValueError: for a row without an entry
        """
        place = (rows << self._digits) + (uniform * float(1 << self._digits)).astype(np.int64)
        # Bisection that begins in the row: of a million rows the ends of one are looked at, and nothing branches.
        found = self._first[rows]
        for step in self._steps:
            found += step * (self._end[found + (step - 1)] <= place)
        missing = self._row[found] != rows
        if missing.any():
            raise ValueError(f"row {rows[missing][0]} has no entry of positive probability")
        entry: np.ndarray = self._entry[found]
        return entry
