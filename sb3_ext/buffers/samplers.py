"""
Which leaf is drawn, and its importance weight.

A sampler knows leaves (integers) and priorities, and nothing of what is stored behind them. A leaf can be drawn exactly
from `activate` to `deactivate`. Sequences and single transitions share these classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from sb3_ext.buffers.sum_tree import Backend, SumTree
from sb3_ext.ops.priorities import importance_weights, linear_anneal

MIN_PRIORITY = 1e-6  # keeps an item with zero error drawable (Schaul et al., 2016, section 3.3)


class Draw(NamedTuple):
    leaves: np.ndarray
    """[B] int64"""
    weights: np.ndarray
    """[B] float32, importance weights in (0, 1]"""


class Sampler(ABC):
    """Draws leaves. Subclasses differ in the distribution."""

    n_active: int = 0
    """Leaves that can be drawn now."""

    def __repr__(self) -> str:
        """Class and settings: two samplers that print alike may take over each other's leaves."""
        return f"{type(self).__name__}()"

    @abstractmethod
    def resize(self, capacity: int) -> None:
        """
        Make room for more leaves; active ones keep their priority.

        :param capacity: number of leaves that are needed; it never shrinks
        """

    @abstractmethod
    def activate(self, leaves: np.ndarray) -> None:
        """
        Make inactive leaves drawable, at the highest priority seen so far.

        :param leaves: [N] int64, none of them active
        """

    @abstractmethod
    def deactivate(self, leaves: np.ndarray) -> None:
        """
        :param leaves: [N] int64, all of them active
        """

    @abstractmethod
    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        """
        :param leaves: [N] int64, all of them active; duplicates carry equal priorities or the last one counts
        :param priorities: [N], finite and >= 0, before any exponent
        """

    @abstractmethod
    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        """
        Stratified: one draw from each of ``batch_size`` equal shares of the probability, so that the expected
        frequencies are exact and duplicates in a batch are rare.

        :param progress_remaining: SB3's clock from 1 to 0, for annealed importance exponents
        """


class UniformSampler(Sampler):
    """Every active leaf is equally likely; weights are 1; priorities are accepted and ignored."""

    def __init__(self) -> None:
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
        for leaf in leaves:  # the last one moves into the hole
            self.n_active -= 1
            hole, last = self._position[leaf], self._active[self.n_active]
            self._active[hole], self._position[last] = last, hole
            self._position[leaf] = -1

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        _check_priorities(priorities)

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self.n_active == 0:
            raise ValueError("nothing can be drawn yet: no complete item is stored")
        index = np.minimum((_strata(batch_size) * self.n_active).astype(np.int64), self.n_active - 1)
        return Draw(self._active[index], np.ones(batch_size, dtype=np.float32))


class ProportionalSampler(Sampler):
    """
    ``P(i) = p_i^alpha / sum_k p_k^alpha`` with weights ``(N P(i))^-beta / max`` (Schaul et al., 2016, section 3.3).

    :param alpha: exponent of the priorities, in [0, 1]; applied once, when a priority is written
    :param beta: importance exponent at the start of training, in [0, 1]; 0 = no correction
    :param beta_final: importance exponent at the end, reached linearly; None = constant
    :param backend: see `SumTree`
    """

    def __init__(
        self, alpha: float = 0.9, beta: float = 0.6, beta_final: float | None = None, backend: Backend = "auto"
    ) -> None:
        for name, value in (
            ("alpha", alpha),
            ("beta", beta),
            ("beta_final", beta if beta_final is None else beta_final),
        ):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} {value} must lie in [0, 1]")
        self.alpha = alpha
        self.beta = beta
        self.beta_final = beta if beta_final is None else beta_final
        self.max_priority = 1.0
        self._backend: Backend = backend
        self._tree = SumTree(1, backend)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, beta={self.beta}, beta_final={self.beta_final})"

    def resize(self, capacity: int) -> None:
        old = self._tree
        self._tree = SumTree(max(capacity, old.capacity), self._backend)
        kept = np.arange(old.capacity)
        self._tree.set(kept, old[kept])

    def activate(self, leaves: np.ndarray) -> None:
        self._tree.set(leaves, self.max_priority**self.alpha)
        self.n_active += len(leaves)

    def deactivate(self, leaves: np.ndarray) -> None:
        self._tree.set(leaves, 0.0)
        self.n_active -= len(leaves)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        _check_priorities(priorities)
        if len(leaves) == 0:
            return
        clamped = np.maximum(priorities.astype(np.float64), MIN_PRIORITY)
        self.max_priority = max(self.max_priority, float(clamped.max()))
        self._tree.set(leaves, clamped**self.alpha)

    def masses(self, leaves: np.ndarray) -> np.ndarray:
        """:return: ``p_i^alpha`` of these leaves, 0 for inactive ones"""
        return self._tree[leaves]

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if self.n_active == 0:
            raise ValueError("nothing can be drawn yet: no complete item is stored")
        leaves = self._tree.find(_strata(batch_size))
        probabilities = self._tree[leaves] / self._tree.total
        beta = linear_anneal(self.beta, self.beta_final, progress_remaining)
        return Draw(leaves, importance_weights(probabilities, self.n_active, beta))


def _strata(batch_size: int) -> np.ndarray:
    """
    One uniform number from each of ``batch_size`` equal parts of [0, 1); NumPy's global generator, which SB3 seeds.
    """
    return (np.arange(batch_size) + np.random.random(batch_size)) / batch_size


def _check_priorities(priorities: np.ndarray) -> None:
    if not (np.isfinite(priorities).all() and (priorities >= 0).all()):
        bad = priorities[~(np.isfinite(priorities) & (priorities >= 0))][:5]
        raise ValueError(
            f"priorities must be finite and >= 0, got {bad}: has the network diverged? Try a lower learning rate"
        )
