"""
The global generators that act: Python's, NumPy's and torch's of the CPU. Actors within the learner's process have
states of their own, swapped in for as long as they work.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch as th


class GeneratorState(NamedTuple):
    """Of all three."""

    python: Any  # Any: whatever `random.getstate` gives
    numpy: Any  # Any: whatever `np.random.get_state` gives
    torch: th.Tensor


def generator_state() -> GeneratorState:
    """:return: of now"""
    return GeneratorState(random.getstate(), np.random.get_state(), th.get_rng_state())


def set_generator_state(state: GeneratorState) -> None:
    """:param state: to go on from"""
    random.setstate(state.python)
    np.random.set_state(state.numpy)
    th.set_rng_state(state.torch)


def seed_generators(seed: np.random.SeedSequence) -> None:
    """:param seed: of all three; a GPU's generator is left alone"""
    python, for_numpy, for_torch = (int(x) for x in seed.generate_state(3))
    random.seed(python)
    np.random.seed(for_numpy)
    th.default_generator.manual_seed(for_torch)


@contextmanager
def kept_generators() -> Iterator[None]:
    """What is drawn within the block leaves no trace."""
    before = generator_state()
    try:
        yield
    finally:
        set_generator_state(before)


class OwnGenerators:
    """A state that is in force within `swapped_in` alone."""

    def __init__(self) -> None:
        self._state = generator_state()

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The global generators are these."""
        before = generator_state()
        set_generator_state(self._state)
        try:
            yield
        finally:
            self._state = generator_state()
            set_generator_state(before)
