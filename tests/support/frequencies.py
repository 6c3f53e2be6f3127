"""Whether counts are those of known, or of the same, probabilities: chi-square tests of many rows at once."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2


def p_of_probabilities(counts: np.ndarray, probability: np.ndarray, row: np.ndarray) -> float:
    """
    :param counts: [K] how often each entry was seen
    :param probability: [K] of it within its row, positive
    :param row: [K]
    :return: p-value; a row counts by how often it was drawn from
    """
    expected = probability * np.bincount(row, counts)[row]
    seen = expected > 0
    degrees = int(seen.sum()) - len(np.unique(row[seen]))
    return _p(float(((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()), degrees)


def p_of_same(one: np.ndarray, other: np.ndarray, row: np.ndarray) -> float:
    """
    :param one: [K] counts
    :param other: [K] counts of the same entries, drawn elsewhere
    :param row: [K]
    :return: p-value; rows that only one of them drew from say nothing
    """
    n_one, n_other = (np.bincount(row, counts)[row] for counts in (one, other))
    share = (one + other) / np.maximum(n_one + n_other, 1)
    seen = (n_one > 0) & (n_other > 0) & (share > 0)
    statistic = sum(
        ((counts[seen] - n[seen] * share[seen]) ** 2 / (n[seen] * share[seen])).sum()
        for counts, n in ((one, n_one), (other, n_other))
    )
    return _p(statistic, int(seen.sum()) - len(np.unique(row[seen])))


def _p(statistic: float, degrees: int) -> float:
    # Where every row has one entry there is nothing to be wrong about.
    return float(chi2.sf(statistic, degrees)) if degrees else 1.0
