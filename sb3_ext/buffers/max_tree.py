"""
A tree of maxima: the leaves with the k largest keys, in the time of a few NumPy calls per level.

At every level the k largest leaves lie under the k largest nodes, so a search keeps k nodes and looks at their 16 k
children. Sixteen children a node and a wide top, for the reasons given in `sum_tree`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.buffers.sum_tree import FAN_OUT, TOP_SIZE, pack, unpack


class MaxTree:
    """
    Keys of ``capacity`` leaves, 0 = empty.

    :param capacity: number of leaves
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._grow(np.zeros(capacity, dtype=np.uint64))

    def _grow(self, keys: np.ndarray) -> None:
        self._levels = [_padded(keys)]
        while len(self._levels[-1]) > TOP_SIZE:
            self._levels.append(_padded(self._levels[-1].reshape(-1, FAN_OUT).max(axis=1)))

    def __getitem__(self, leaves: np.ndarray) -> np.ndarray:
        """:return: keys of these leaves"""
        masses: np.ndarray = self._levels[0][leaves]
        return masses

    def set(self, leaves: np.ndarray, keys: np.ndarray) -> None:
        """
        :param leaves: [N] int, in [0, capacity); of duplicates the last one counts
        :param keys: [N] uint64
        """
        self._levels[0][leaves] = keys
        parents = leaves
        for level, above in zip(self._levels[:-1], self._levels[1:], strict=True):
            parents = parents // FAN_OUT
            above[parents] = level.reshape(-1, FAN_OUT).take(parents, axis=0).max(axis=1)

    def top(self, k: int) -> np.ndarray:
        """:return: [<= k] leaves with the largest keys, largest first; fewer where fewer are not empty"""
        nodes = np.arange(len(self._levels[-1]))
        for level in reversed(self._levels):
            if level is not self._levels[-1]:
                nodes = (nodes[:, None] * FAN_OUT + np.arange(FAN_OUT)).reshape(-1)
            nodes = nodes[level[nodes] > 0]
            if len(nodes) > k:
                nodes = nodes[np.argpartition(level[nodes], len(nodes) - k)[-k:]]
        return nodes[np.argsort(self._levels[0][nodes])[::-1]]

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "keys": pack(self._levels[0][: self.capacity])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.capacity = state["capacity"]
        self._grow(unpack(state["keys"]))


def _padded(x: np.ndarray) -> np.ndarray:
    return np.concatenate((x, np.zeros(-len(x) % FAN_OUT, dtype=x.dtype)))
