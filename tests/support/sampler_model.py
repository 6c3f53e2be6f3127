"""The dictionary of priorities that a sampler stands for."""

import numpy as np

from sb3_ext.buffers.sampling import MIN_PRIORITY, Sampler


def array(*leaves: int) -> np.ndarray:
    return np.array(leaves, dtype=np.int64)


def counts(sampler: Sampler, capacity: int, batch_size: int, n_batches: int) -> np.ndarray:
    drawn = np.concatenate([sampler.draw(batch_size).leaves for _ in range(n_batches)])
    return np.bincount(drawn, minlength=capacity)


class Model:
    """The dictionary that a sampler stands for, under random operations; it begins with the item that came first."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler, self.rng = sampler, np.random.default_rng(seed)
        self.capacity = 0
        self.priorities: dict[int, float] = {}
        self.max_priority = 1.0
        self.given: list[int] = []  # leaves whose priority the last step set

    def step(self) -> None:
        self.given = []
        kind = self.rng.choice(["grow", "activate", "activate", "deactivate", "update", "update"])
        active = self.rng.permutation(sorted(self.priorities)).astype(np.int64)
        if self.capacity == 0 or (kind == "grow" and self.capacity < 400):
            self.capacity += int(self.rng.integers(1, 60))
            self.sampler.resize(self.capacity)
        elif kind == "activate":
            free = self.rng.permutation([leaf for leaf in range(self.capacity) if leaf not in self.priorities])
            leaves = free[: self.rng.integers(0, 40)].astype(np.int64)
            self.sampler.activate(leaves)
            self.given = leaves.tolist()
            self.priorities.update(dict.fromkeys(self.given, self.max_priority))
        elif kind == "deactivate":
            leaves = active[: self.rng.integers(0, 20)]
            self.sampler.deactivate(leaves)
            for leaf in leaves.tolist():
                del self.priorities[leaf]
        elif kind == "update":
            leaves = active[: self.rng.integers(0, 50)]
            values = self.rng.exponential(size=len(leaves)) * 2
            if self.rng.random() < 0.3:
                values = np.round(values)  # many are equal, some 0
            self.sampler.update(leaves, values)
            values = np.maximum(values, MIN_PRIORITY)
            self.given = leaves.tolist()
            self.priorities.update(zip(self.given, values.tolist(), strict=True))
            self.max_priority = max([self.max_priority, *values.tolist()])

    def shares(self, alpha: float) -> np.ndarray:
        masses = np.zeros(self.capacity)
        for leaf, priority in self.priorities.items():
            masses[leaf] = priority**alpha
        return masses

    def newest_of_the_highest_first(self) -> list[int]:
        """Python's sort is stable, so what came later stands first among equals."""
        newest_first = list(self.priorities)[::-1]
        return sorted(newest_first, key=lambda leaf: -self.priorities[leaf])

    def rank_shares(self, alpha: float) -> np.ndarray:
        masses = np.zeros(self.capacity)
        for i, leaf in enumerate(self.newest_of_the_highest_first()):
            masses[leaf] = (1 / (i + 1)) ** alpha
        return masses
