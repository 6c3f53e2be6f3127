"""The two loops of `SumTree`, compiled. Imported only where numba is installed (extra ``fast``)."""

from __future__ import annotations

import numpy as np
from numba import njit

FAN_OUT = 16  # as in sum_tree.py; a literal, so that the compiler unrolls


@njit(cache=True)
def set_masses(nodes: np.ndarray, offsets: np.ndarray, leaves: np.ndarray, masses: np.ndarray, capacity: int) -> bool:
    """
    Write leaves (the last of duplicates counts) and recompute the nodes above them, or write nothing and return False.
    """
    n_levels = len(offsets) - 1
    for i in range(len(leaves)):
        if not (0.0 <= masses[i] < np.inf and 0 <= leaves[i] < capacity):
            return False
    for i in range(len(leaves)):
        nodes[leaves[i]] = masses[i]
    for i in range(len(leaves)):
        node = leaves[i]
        for level in range(n_levels - 1):
            node >>= 4
            first = offsets[level] + node * FAN_OUT
            total = 0.0
            for child in range(FAN_OUT):
                total += nodes[first + child]
            nodes[offsets[level + 1] + node] = total
    return True


@njit(cache=True)
def find_leaves(nodes: np.ndarray, offsets: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """
    The leaf at which the running sum first exceeds each fraction of the total.

    All draws go down together, level by level, and comparisons are added up instead of branched on: which way one goes
    is random, and a mispredicted branch costs more than the arithmetic.
    """
    n_levels = len(offsets) - 1
    first_top, n_top = offsets[n_levels - 1], offsets[n_levels] - offsets[n_levels - 1]
    running = np.cumsum(nodes[first_top : first_top + n_top])
    total = running[n_top - 1]
    if not total > 0:
        raise ValueError("find() on a tree whose masses are all zero: nothing can be drawn yet")
    n_draws = len(fractions)
    node = np.zeros(n_draws, dtype=np.int64)
    # A mass below the last running sum meets a strict rise, so rounding can never lead to a leaf of mass zero.
    mass = np.minimum(fractions * total, np.nextafter(total, 0.0))
    n = n_top
    while n > 1:  # binary search of all draws at once
        half = n // 2
        for i in range(n_draws):
            if running[node[i] + half - 1] <= mass[i]:
                node[i] += half
        n -= half
    for i in range(n_draws):
        mass[i] -= running[node[i] - 1] if node[i] > 0 else 0.0
    for level in range(n_levels - 2, -1, -1):
        for i in range(n_draws):
            first = offsets[level] + node[i] * FAN_OUT
            child, below, family = _descend(nodes, first, mass[i])
            if child == FAN_OUT:  # rounding carried the mass past the end
                mass[i] = np.nextafter(family, 0.0)
                child, below, family = _descend(nodes, first, mass[i])
            mass[i] -= below
            node[i] = node[i] * FAN_OUT + child
    return node


@njit(cache=True, inline="always")
def _descend(nodes: np.ndarray, first: int, mass: float) -> tuple[int, float, float]:
    """
    :return: how many children's running sums are at most ``mass``, the last of these sums, and the sum of all children
    """
    child, below, running = 0, 0.0, 0.0
    for c in range(FAN_OUT):
        running += nodes[first + c]
        if running <= mass:
            child += 1
            below = running
    return child, below, running


# Compiled code is loaded, or made, at a function's first call: half a second, which belongs here and not into the first
# step of training.
_LEAF = np.zeros(1, dtype=np.int64)
_NODES, _OFFSETS = np.zeros(FAN_OUT), np.array([0, FAN_OUT], dtype=np.int64)
set_masses(_NODES, _OFFSETS, _LEAF, np.ones(1), 1)
find_leaves(_NODES, _OFFSETS, np.zeros(1))
