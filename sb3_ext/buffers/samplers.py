"""The samplers: uniform, in proportion to priorities, by their ranks, and greedy. A new one is a class and a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from sb3_ext.buffers.max_tree import MaxTree
from sb3_ext.buffers.sampling import MIN_PRIORITY, Draw, Sampler, check_priorities, check_share, strata
from sb3_ext.buffers.sum_tree import Backend, SumTree, pack, unpack
from sb3_ext.ops.priorities import importance_weights, linear_anneal

LOW_BITS = 2**32 - 1


@dataclass
class Uniform(Sampler):
    """Every active leaf is equally likely; weights are 1; priorities are accepted and ignored."""

    reads_priorities = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._active = np.zeros(0, dtype=np.int64)
        self._position = np.zeros(0, dtype=np.int64)

    def resize(self, capacity: int) -> None:
        grow = max(capacity - len(self._active), 0)
        self._active = np.concatenate((self._active, np.zeros(grow, dtype=np.int64)))
        self._position = np.concatenate((self._position, np.full(grow, -1, dtype=np.int64)))

    def activate(self, leaves: np.ndarray) -> None:
        end = self.n_active + len(leaves)
        self._active[self.n_active : end] = leaves
        self._position[leaves] = np.arange(self.n_active, end)
        self.n_active = end

    def deactivate(self, leaves: np.ndarray) -> None:
        n_active = self.n_active
        for leaf in leaves:  # the last one moves into the hole
            n_active -= 1
            hole, last = self._position[leaf], self._active[n_active]
            self._active[hole], self._position[last] = last, hole
            self._position[leaf] = -1
        self.n_active = n_active

    def switch(self, leaves: np.ndarray, active: np.ndarray) -> None:
        """One by one, which a loop over numbers does faster than one over calls."""
        n_active, order, position = self.n_active, self._active, self._position
        for leaf, comes in zip(leaves.tolist(), active.tolist(), strict=True):
            if comes:
                order[n_active], position[leaf] = leaf, n_active
                n_active += 1
            else:
                n_active -= 1
                hole, last = position[leaf], order[n_active]
                order[hole], position[last], position[leaf] = last, hole, -1
        self.n_active = n_active

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        check_priorities(priorities)

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self.n_active == 0:
            raise ValueError("nothing can be drawn yet: no complete item is stored")
        index = np.minimum((strata(batch_size) * self.n_active).astype(np.int64), self.n_active - 1)
        return Draw(self._active[index], np.ones(batch_size, dtype=np.float32))

    def __getstate__(self) -> dict[str, Any]:
        """Positions follow from the active leaves and from how many leaves there are."""
        return {**self.__dict__, "_active": self._active[: self.n_active], "_position": len(self._position)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        active, capacity = state["_active"], state["_position"]
        self._active = np.concatenate((active, np.zeros(capacity - len(active), dtype=np.int64)))
        self._position = np.full(capacity, -1, dtype=np.int64)
        self._position[active] = np.arange(len(active))


@dataclass
class TreeSampler(Sampler):
    """
    Draws leaves in proportion to masses in a sum tree, with weights ``(N P(i))^-beta / max`` (Schaul et al., 2016,
    section 3.4).

    :param alpha: exponent of prioritization, in [0, 1]; 0 = uniform
    :param beta: importance exponent at the start of training, in [0, 1]; 0 = no correction
    :param beta_final: importance exponent at the end, reached linearly; None = constant
    :param backend: see `SumTree`; how leaves are found and not which, so samplers that differ in it are equal
    """

    alpha: float
    beta: float
    beta_final: float | None
    backend: Backend = field(compare=False, repr=False)
    commutes = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha)
        check_share("beta", self.beta)
        if self.beta_final is not None:
            check_share("beta_final", self.beta_final)
        self.max_priority = 1.0
        self._tree = SumTree(1, self.backend)

    def resize(self, capacity: int) -> None:
        old = self._tree
        self._tree = SumTree(max(capacity, old.capacity), self.backend)
        kept = np.arange(old.capacity)
        self._tree.set(kept, old[kept])

    def deactivate(self, leaves: np.ndarray) -> None:
        self._tree.set(leaves, 0.0)
        self.n_active -= len(leaves)

    def masses(self, leaves: np.ndarray) -> np.ndarray:
        """Parameters as in `Sampler`; 0 for inactive ones."""
        return self._tree[leaves]

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self.n_active == 0:
            raise ValueError("nothing can be drawn yet: no complete item is stored")
        leaves = self._tree.find(strata(batch_size))
        probabilities = self._tree[leaves] / self._tree.total
        beta_final = self.beta if self.beta_final is None else self.beta_final
        beta = linear_anneal(self.beta, beta_final, progress_remaining)
        return Draw(leaves, importance_weights(probabilities, self.n_active, beta))


@dataclass
class Proportional(TreeSampler):
    """
    ``P(i) = p_i^alpha / sum_k p_k^alpha`` (Schaul et al., 2016, section 3.3).

    :param alpha: exponent of the priorities, in [0, 1]; applied once, when a priority is written
    :param beta: importance exponent at the start of training, in [0, 1]; 0 = no correction
    :param beta_final: importance exponent at the end, reached linearly; None = constant
    :param backend: see `SumTree`
    """

    alpha: float = 0.9
    beta: float = 0.6
    beta_final: float | None = None
    backend: Backend = field(default="auto", compare=False, repr=False)

    def activate(self, leaves: np.ndarray) -> None:
        self._tree.set(leaves, self.max_priority**self.alpha)
        self.n_active += len(leaves)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        check_priorities(priorities)
        if len(leaves) == 0:
            return
        clamped = np.maximum(priorities.astype(np.float64), MIN_PRIORITY)
        self.max_priority = max(self.max_priority, float(clamped.max()))
        self._tree.set(leaves, clamped**self.alpha)


@dataclass
class RankBased(TreeSampler):
    """
    ``P(i)`` in proportion to ``rank(i)^-alpha``, rank 1 = highest priority, of equal priorities the newest first
    (Schaul et al., 2016, section 3.3). Outliers among the errors do not matter.

    Sorting at every draw would cost O(N log N). Ranks are therefore those of the last `refresh`; an item that came or
    was updated since has the rank that its priority would have had then, found by binary search, and the others keep
    theirs. A draw refreshes first when more than the share ``staleness`` of the items has changed. (The paper reads an
    approximate order from a binary heap and sorts it now and then.) Directly after a `refresh` ranks are exact.

    :param alpha: exponent of the ranks, in [0, 1]
    :param beta: importance exponent at the start of training, in [0, 1]; 0 = no correction
    :param beta_final: importance exponent at the end, reached linearly; None = constant
    :param backend: see `SumTree`
    :param staleness: in [0, 1]; 0 = sort whenever anything has changed
    """

    alpha: float = 0.7  # the paper's choice for ranks on Atari, with beta from 0.5 to 1
    beta: float = 0.5
    beta_final: float | None = None
    backend: Backend = field(default="auto", compare=False, repr=False)
    staleness: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("staleness", self.staleness)
        self._priorities = np.zeros(0)  # of each leaf, 0 = inactive
        self._born = np.zeros(0, dtype=np.int64)  # of each leaf: how many had been activated before it
        self._sorted = np.zeros(0)  # priorities at the last refresh, ascending
        self._n_born = 0
        self._n_changed = 0

    def resize(self, capacity: int) -> None:
        super().resize(capacity)
        extra = max(capacity - len(self._priorities), 0)
        self._priorities = np.concatenate((self._priorities, np.zeros(extra)))
        self._born = np.concatenate((self._born, np.zeros(extra, dtype=np.int64)))

    def activate(self, leaves: np.ndarray) -> None:
        self._born[leaves] = np.arange(self._n_born, self._n_born + len(leaves))
        self._n_born += len(leaves)
        self.n_active += len(leaves)
        self._place(leaves, np.full(len(leaves), self.max_priority))

    def deactivate(self, leaves: np.ndarray) -> None:
        super().deactivate(leaves)
        self._priorities[leaves] = 0.0
        self._n_changed += len(leaves)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        check_priorities(priorities)
        if len(leaves) == 0:
            return
        clamped = np.maximum(priorities.astype(np.float64), MIN_PRIORITY)
        self.max_priority = max(self.max_priority, float(clamped.max()))
        self._place(leaves, clamped)

    def _place(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        self._priorities[leaves] = priorities
        higher = len(self._sorted) - self._sorted.searchsorted(priorities, side="right")
        self._tree.set(leaves, (1.0 + higher) ** -self.alpha)
        self._n_changed += len(leaves)

    def refresh(self) -> None:
        """Make all ranks exact."""
        leaves = np.flatnonzero(self._priorities)
        order = leaves[np.lexsort((self._born[leaves], self._priorities[leaves]))]
        self._sorted = self._priorities[order]
        self._tree.set(order, np.arange(len(order), 0, -1, dtype=np.float64) ** -self.alpha)
        self._n_changed = 0

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self._n_changed > self.staleness * self.n_active:
            self.refresh()
        return super().draw(batch_size, progress_remaining)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_priorities": pack(self._priorities), "_born": pack(self._born)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._priorities, self._born = unpack(state["_priorities"]), unpack(state["_born"])


@dataclass
class GreedyPriority(Sampler):
    """
    Always the items of the highest priority, of equal ones the newest: greedy TD-error prioritization (Schaul et al.,
    2016, section 3.1). Deterministic; weights are 1.

    A drawn item goes behind all others until it is updated. Items that are drawn and never updated therefore take
    turns, the one whose draw is longest ago first. A batch larger than the number of items repeats them in order.
    Priorities are compared as float32.
    """

    commutes = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.max_priority = 1.0
        # Key of a leaf: the bits of its priority, which order like the number itself, above its age. Drawn items have
        # no priority bits and count down instead, so that the last one drawn comes last.
        self._keys = MaxTree(1)
        self._ages = np.zeros(1, dtype=np.uint32)  # 1 = the first item ever activated
        self._n_born = 0
        self._n_drawn = 0

    def resize(self, capacity: int) -> None:
        old = self._keys
        self._keys = MaxTree(max(capacity, old.capacity))
        kept = np.arange(old.capacity)
        self._keys.set(kept, old[kept])
        self._ages = np.concatenate((self._ages, np.zeros(self._keys.capacity - len(self._ages), dtype=np.uint32)))

    def activate(self, leaves: np.ndarray) -> None:
        self._ages[leaves] = np.arange(self._n_born + 1, self._n_born + 1 + len(leaves)) & LOW_BITS
        self._n_born += len(leaves)
        self.n_active += len(leaves)
        self._place(leaves, np.full(len(leaves), self.max_priority))

    def deactivate(self, leaves: np.ndarray) -> None:
        self._keys.set(leaves, np.zeros(len(leaves), dtype=np.uint64))
        self.n_active -= len(leaves)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        check_priorities(priorities)
        if len(leaves) == 0:
            return
        clamped = np.maximum(priorities, MIN_PRIORITY)
        self.max_priority = max(self.max_priority, float(clamped.max()))
        self._place(leaves, clamped)

    def _place(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        bits = priorities.astype(np.float32).view(np.uint32).astype(np.uint64)
        self._keys.set(leaves, (bits << np.uint64(32)) | self._ages[leaves])

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self.n_active == 0:
            raise ValueError("nothing can be drawn yet: no complete item is stored")
        leaves = self._keys.top(batch_size)
        turns = LOW_BITS - (self._n_drawn + np.arange(len(leaves))) % LOW_BITS  # never 0
        self._keys.set(leaves, turns.astype(np.uint64))
        self._n_drawn += len(leaves)
        return Draw(np.resize(leaves, batch_size), np.ones(batch_size, dtype=np.float32))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ages": pack(self._ages)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ages = unpack(state["_ages"])


SAMPLERS: dict[str, type[Sampler]] = {
    "uniform": Uniform,
    "proportional": Proportional,
    "rank": RankBased,
    "greedy": GreedyPriority,
}
"""Short names, as in ``sampler="uniform"`` and ``sampler={"proportional": {"alpha": 0.5}}``"""
SamplerLike: TypeAlias = Sampler | str | Mapping[str, Mapping[str, Any] | None]  # Any: of a yml
