"""
A sum tree over non-negative masses. Every inner node is recomputed from its children, so nothing drifts, and a leaf of
mass zero is never found.

Sixteen children a node instead of two: NumPy pays per call and not per element, so a shallow tree with wide nodes is
several times faster (`benchmarks/sum_tree.py`). The top level, at most 512 nodes, is searched as a whole.

```
level 2 (top)   [s s s s ...]            <= 512 nodes, searched by one cumulative sum
level 1         [16 nodes][16 nodes]...
level 0         [16 leaves][16 leaves]...
```
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import numpy as np

FAN_OUT = 16
TOP_SIZE = 512

Backend = Literal["auto", "numpy", "numba"]


class SumTree:
    """
    Masses of ``capacity`` leaves, with their sum and the inverse of their cumulative sum.

    :param capacity: number of leaves
    :param backend: "numba" (extra ``fast``), "numpy", or "auto": numba where it is installed
    """

    def __init__(self, capacity: int, backend: Backend = "auto") -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity} must be >= 1")
        if backend not in ("auto", "numpy", "numba"):
            raise ValueError(f"backend {backend!r} must be 'auto', 'numpy' or 'numba'")
        self.capacity = capacity
        self.backend: Backend = backend
        sizes = [_round_up(capacity)]
        while sizes[-1] > TOP_SIZE:
            sizes.append(_round_up(sizes[-1] // FAN_OUT))
        self._offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self._nodes = np.zeros(self._offsets[-1], dtype=np.float64)
        self._bind()

    def _bind(self) -> None:
        """
        Views of the levels as rows of one family, [n_families, FAN_OUT], and the compiled kernels if there are any.
        """
        spans = zip(self._offsets[:-1], self._offsets[1:], strict=True)
        self._families = [self._nodes[lo:hi].reshape(-1, FAN_OUT) for lo, hi in spans]
        self._levels = [family.reshape(-1) for family in self._families]
        self._kernels: Any = _numba_kernels(self.backend)

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_families", "_levels", "_kernels")
        state = {key: value for key, value in self.__dict__.items() if key not in derived}
        return {**state, "_nodes": pack(self._nodes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._nodes = unpack(state["_nodes"])
        try:
            self._bind()
        except ImportError:  # written where numba was installed
            self.backend = "auto"
            self._bind()

    @property
    def total(self) -> float:
        """Sum of all masses."""
        return float(np.cumsum(self._levels[-1])[-1])

    def __getitem__(self, leaves: np.ndarray) -> np.ndarray:
        """:return: masses of these leaves"""
        masses: np.ndarray = self._levels[0][leaves]
        return masses

    def set(self, leaves: np.ndarray, masses: np.ndarray | float) -> None:
        """
        :param leaves: [N] int, in [0, capacity); of duplicates the last one counts
        :param masses: [N] or one for all, finite and >= 0
        """
        values = np.asarray(masses, dtype=np.float64)
        if values.shape != leaves.shape:
            values = np.empty(leaves.shape)
            values[...] = masses
        if self._kernels is not None:
            if not self._kernels.set_masses(self._nodes, self._offsets, leaves, values, self.capacity):
                self._refuse(leaves, values)
            return
        if leaves.size == 0:
            return
        if not (values.min() >= 0 and values.max() < np.inf and leaves.min() >= 0 and leaves.max() < self.capacity):
            self._refuse(leaves, values)  # a NaN compares false
        self._levels[0][leaves] = values
        parents = leaves
        for level in range(len(self._levels) - 1):
            parents = parents >> 4
            self._levels[level + 1][parents] = np.add.reduce(self._families[level].take(parents, axis=0), axis=1)

    def _refuse(self, leaves: np.ndarray, values: np.ndarray) -> NoReturn:
        """Name what is wrong. Nothing has been written."""
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            raise ValueError(f"masses must be finite and >= 0, got {values[bad][:5]}")
        raise ValueError(f"leaves {leaves.min()}..{leaves.max()} must lie in 0..{self.capacity - 1}")

    def find(self, fractions: np.ndarray) -> np.ndarray:
        """
        The leaf at which the running sum of masses first exceeds ``fraction * total``.

        :param fractions: [N], in [0, 1)
        :return: [N] int64, leaves of positive mass
        """
        if self._kernels is None:
            return self._find_numpy(fractions)
        leaves: np.ndarray = self._kernels.find_leaves(
            self._nodes, self._offsets, np.asarray(fractions, dtype=np.float64)
        )
        return leaves

    def _find_numpy(self, fractions: np.ndarray) -> np.ndarray:
        running = np.cumsum(self._levels[-1])
        if not running[-1] > 0:
            raise ValueError("find() on a tree whose masses are all zero: nothing can be drawn yet")
        # A mass below the last running sum meets a strict rise, so rounding can never lead to a leaf of mass zero.
        mass = np.minimum(fractions * running[-1], np.nextafter(running[-1], 0.0))
        node: np.ndarray = running.searchsorted(mass, side="right")
        mass = mass - np.where(node > 0, running[node - 1], 0.0)
        rows = np.arange(len(mass))
        for family in reversed(self._families[:-1]):
            sums = family.take(node, axis=0).cumsum(axis=1)
            mass = np.minimum(mass, np.nextafter(sums[:, -1], 0.0))
            child = (sums <= mass[:, None]).sum(axis=1)
            mass = mass - np.where(child > 0, sums[rows, child - 1], 0.0)
            node = node * FAN_OUT + child
        return node


def pack(x: np.ndarray) -> np.ndarray | tuple[int, np.ndarray, np.ndarray]:
    """:return: what a file needs of an array: where most of it is 0, only the rest"""
    filled = np.flatnonzero(x)
    return x if 2 * len(filled) > len(x) else (len(x), filled, x[filled])


def unpack(packed: np.ndarray | tuple[int, np.ndarray, np.ndarray]) -> np.ndarray:
    """The inverse of `pack`."""
    if isinstance(packed, np.ndarray):
        return packed
    length, filled, values = packed
    x = np.zeros(length, dtype=values.dtype)
    x[filled] = values
    return x


def _round_up(n: int) -> int:
    return -(-n // FAN_OUT) * FAN_OUT


def _numba_kernels(backend: Backend) -> Any:
    """:return: the module of compiled kernels, or None for NumPy"""
    if backend == "numpy":
        return None
    try:
        from sb3_ext.buffers import _sum_tree_numba
    except ImportError as error:  # not installed, or not made for the installed NumPy
        if backend == "numba":
            raise ImportError(
                f'SumTree(backend="numba") needs the extra fast: pip install "sb3-ext[fast]" ({error})'
            ) from error
        return None
    return _sum_tree_numba
