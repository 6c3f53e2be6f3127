"""
Draws from the rows of a table, all of them in one search. Of a row that was asked for, never of its neighbour; never
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
        self.entry = np.flatnonzero(probability > 0.0)
        self.row = row[self.entry]
        # (n_rows << digits) is the largest number, and must fit.
        self.digits = min(FULL, 62 - n_rows.bit_length())
        one = 1 << self.digits
        ends = np.cumsum(np.rint(probability[self.entry] * one).astype(np.int64))
        first = np.searchsorted(self.row, self.row, side="left")
        within = ends - np.where(first > 0, ends[first - 1], 0)
        last = np.append(self.row[1:] != self.row[:-1], np.ones(min(1, len(self.row)), bool))
        # What rounding has left over, or taken too much of, is that of the last entry.
        within = np.where(last, one, np.minimum(within, one))
        self.end = (self.row.astype(np.int64) << self.digits) + within

    def draw(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """
        :param rows: [n]
        :param uniform: [n] in [0, 1)
        :return: [n] which of the K entries
        :raises ValueError: for a row without an entry
        """
        place = (rows << self.digits) + (uniform * float(1 << self.digits)).astype(np.int64)
        found = np.searchsorted(self.end, place, side="right")
        found = np.minimum(found, len(self.end) - 1)
        missing = self.row[found] != rows
        if missing.any():
            raise ValueError(f"row {rows[missing][0]} has no entry of positive probability")
        entry: np.ndarray = self.entry[found]
        return entry
