"""Actors of a replay without networks or environments, and the comparison of two replays by everything they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from support.places import Place

from sb3_ext import nested
from sb3_ext.buffers import BlockRecorder, Column, LaneBlock, LaneReplayBuffer, Sampler
from sb3_ext.buffers.max_tree import MaxTree
from sb3_ext.buffers.sum_tree import SumTree

COLUMNS = {"log_prob": Column(), "place": Column((3,), np.int32)}
UNCOMPARED = {
    "_was_broken",  # of warnings
    "journal",  # of a recorder
    "_families",  # views, and what is compiled
    "_levels",
    "_kernels",
}


def extras_of(places: list[Place]) -> dict[str, np.ndarray]:
    """:return: what `COLUMNS` hold at these places"""
    return {
        "log_prob": np.array([-place.step - 0.25 for place in places], dtype=np.float32),
        "place": np.array(places, dtype=np.int32),
    }


class BlockActor:
    """
    Some lanes of a stream of transitions, recorded.

    :param make: number of lanes, cells of each -> replay of the learner's class
    :param lanes: of the learner's replay
    :param chunk: the longest block
    :param priorities: of the recorder
    """

    def __init__(
        self, make: Callable[[int, int], LaneReplayBuffer], lanes: range, chunk: int, priorities: Any = None
    ) -> None:
        self.make, self.lanes, self.chunk, self.priorities = make, lanes, chunk, priorities
        self.restart()

    def restart(self) -> None:
        """Begin anew, as another process would."""
        n_lanes = len(self.lanes)
        self.replay = self.make(n_lanes, self.make(n_lanes, 1).recorder_cells(self.chunk))
        self.recorder = BlockRecorder(self.replay, self.lanes.start, self.priorities)

    def add(self, transition: dict[str, Any]) -> None:
        """:param transition: arguments of `add`, of all lanes"""
        rows = slice(self.lanes.start, self.lanes.stop)
        self.replay.add(**{name: rows_of(x, rows) for name, x in transition.items()})

    def take(self) -> LaneBlock:
        """:return: a block that nobody can write into, as those that Ray delivers"""
        block = self.recorder.take()
        freeze(block)
        return block


def rows_of(tree: Any, rows: slice) -> Any:
    if isinstance(tree, dict):
        return {key: rows_of(x, rows) for key, x in tree.items()}
    if isinstance(tree, tuple):
        return tuple(rows_of(x, rows) for x in tree)
    return tree[rows]


def freeze(tree: Any) -> None:
    for array in nested.leaves(tree):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False


def assert_same_replay(one: Any, other: Any, uncompared: frozenset[str] = frozenset(), name: str = "replay") -> None:
    """
    :param one: a replay, or what it holds
    :param other: one of the same settings
    :param uncompared: names of attributes
    """
    assert type(one) is type(other), name
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)
    elif isinstance(one, th.Tensor):
        assert th.equal(one, other), name
    elif isinstance(one, (list, tuple, deque)):
        assert len(one) == len(other), name
        for i, (x, y) in enumerate(zip(one, other, strict=True)):
            assert_same_replay(x, y, uncompared, f"{name}[{i}]")
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key, x in one.items():
            if key not in UNCOMPARED | uncompared:
                assert_same_replay(x, other[key], uncompared, f"{name}.{key}")
    elif isinstance(one, LaneReplayBuffer | Sampler | SumTree | MaxTree) or type(one).__name__ in ("Cells", "Door"):
        assert_same_replay(vars(one), vars(other), uncompared, name)
    else:
        assert one == other, name
