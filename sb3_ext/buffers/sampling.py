"""
What a sampler is: it decides which leaf is drawn, and with which importance weight.

A sampler knows leaves (integers) and priorities, and nothing of what is stored behind them. A leaf can be drawn exactly
from `activate` to `deactivate`. Sequences and single transitions share samplers.

A sampler is one dataclass: its fields are its settings, which never change, and what it draws from stands beside them.
A replay works on a `fresh` one of the same settings, so one object may be given to several.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

DIVERGED = "the network has diverged: lower learning_rate or max_grad_norm, or look for outliers among the rewards"
MIN_PRIORITY = 1e-6  # keeps an item with zero error drawable (Schaul et al., 2016, section 3.3)

SelfSampler = TypeVar("SelfSampler", bound="Sampler")


class Draw(NamedTuple):
    leaves: np.ndarray
    """[B] int64"""
    weights: np.ndarray
    """[B] float32, importance weights in (0, 1]"""


@dataclass
class Sampler(ABC):
    """
    Draws leaves. Subclasses differ in the distribution; each is a dataclass whose fields are its settings. Equal ones
    may take over each other's leaves.
    """

    reads_priorities: ClassVar[bool] = True
    """False: `update` has no effect, so that priorities need not be copied from the device"""
    commutes: ClassVar[bool] = False
    """True: what is drawn does not depend on whether a leaf was deactivated before or after another one came"""

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            raise TypeError(
                f"{cls.__name__} has an __init__: make it a dataclass, with its settings as fields and what it draws "
                "from made in __post_init__"
            )

    def __post_init__(self) -> None:
        self.n_active = 0
        """Leaves that can be drawn now."""

    def __setattr__(self, name: str, value: Any) -> None:  # Any: as in `object`
        if name in self.__dataclass_fields__ and name in self.__dict__:
            raise FrozenInstanceError(
                f"{name} of {self} is fixed: make another one, as with dataclasses.replace(sampler, {name}={value!r})"
            )
        object.__setattr__(self, name, value)

    def fresh(self: SelfSampler) -> SelfSampler:
        """:return: one of the same settings, without leaves"""
        return dataclasses.replace(self)

    def masses(self, leaves: np.ndarray) -> np.ndarray:
        """
        :param leaves: [N] int64
        :return: [N], what the chances of these leaves are proportional to, among active ones
        """
        return np.ones(len(leaves))

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

    def switch(self, leaves: np.ndarray, active: np.ndarray) -> None:
        """
        Activate and deactivate leaves, with the same result as one by one in this order.

        :param leaves: [N] int64
        :param active: [N] bool, False = deactivate
        """
        gone: list[int] = []
        come: dict[int, None] = {}
        for leaf, comes in zip(leaves.tolist(), active.tolist(), strict=True):
            if leaf in come or (not comes and come and not self.commutes):
                self._turn(gone, come)
                gone, come = [], {}
            if comes:
                come[leaf] = None
            else:
                gone.append(leaf)
        self._turn(gone, come)

    def _turn(self, gone: Collection[int], come: Collection[int]) -> None:
        if gone:
            self.deactivate(np.array(gone))
        if come:
            self.activate(np.array(list(come)))

    @abstractmethod
    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        """
        :param leaves: [N] int64, all of them active; duplicates carry equal priorities or the last one counts
        :param priorities: [N], finite and >= 0, before any exponent
        """

    @abstractmethod
    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        """
        Random draws are stratified: one from each of ``batch_size`` equal shares of the probability, so that the
        expected frequencies are exact and duplicates in a batch are rare.

        :param progress_remaining: SB3's clock from 1 to 0, for annealed importance exponents
        """


def strata(batch_size: int) -> np.ndarray:
    """
    One uniform number from each of ``batch_size`` equal parts of [0, 1); NumPy's global generator, which SB3 seeds.
    """
    return (np.arange(batch_size) + np.random.random(batch_size)) / batch_size


def check_share(name: str, value: Any) -> None:  # Any: from a yml
    if not isinstance(value, (int, float, np.number)) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} {value} must lie in [0, 1]")


def check_priorities(priorities: np.ndarray) -> None:
    if not (np.isfinite(priorities).all() and (priorities >= 0).all()):
        bad = priorities[~(np.isfinite(priorities) & (priorities >= 0))][:5]
        raise ValueError(f"priorities {bad} must be finite and >= 0: {DIVERGED}")
