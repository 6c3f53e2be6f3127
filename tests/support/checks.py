"""What tests of several files check with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch as th
from scipy import stats
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.buffers import Draw, Sampler


@dataclass
class EverySampler(Sampler):
    """Draws everything that can be drawn, and holds the buffer to the contract of samplers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.capacity = 0
        self.active: set[int] = set()
        self.updated: list[int] = []

    def resize(self, capacity: int) -> None:
        assert capacity >= self.capacity
        self.capacity = capacity

    def activate(self, leaves: np.ndarray) -> None:
        for leaf in leaves.tolist():
            assert 0 <= leaf < self.capacity
            assert leaf not in self.active
            self.active.add(leaf)
        self.n_active = len(self.active)

    def deactivate(self, leaves: np.ndarray) -> None:
        for leaf in leaves.tolist():
            self.active.remove(leaf)
        self.n_active = len(self.active)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        assert set(leaves.tolist()) <= self.active, "an update revives an item that is gone"
        assert leaves.shape == priorities.shape
        self.updated = leaves.tolist()

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if not self.active:
            raise ValueError("nothing can be drawn yet")
        return Draw(np.array(sorted(self.active)), np.ones(len(self.active), dtype=np.float32))


def assert_same_weights(one: BaseAlgorithm, other: BaseAlgorithm) -> None:
    ours, theirs = one.policy.state_dict(), other.policy.state_dict()
    assert ours.keys() == theirs.keys() and len(ours) > 0
    for name, values in ours.items():
        assert th.equal(values, theirs[name]), name


def assert_frequencies(drawn: np.ndarray, shares: np.ndarray) -> None:
    """
    Stratified draws scatter less than independent ones, so beside the chi-square test, which only sees too much
    scatter, each leaf must be within 5 sigma.

    :param drawn: [N] how often each leaf was drawn
    :param shares: [N] what the frequencies must be proportional to
    """
    possible = shares > 0
    assert drawn[~possible].sum() == 0
    expected = drawn.sum() * shares[possible] / shares.sum()
    assert stats.chisquare(drawn[possible], expected).pvalue > 1e-4
    assert (np.abs(drawn[possible] - expected) < 5 * np.sqrt(expected) + 1).all()
