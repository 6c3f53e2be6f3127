"""Exploration that reads how often each action was tried. Arrays in, arrays out; nothing is remembered here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """What was seen of each action of the state that an environment is in, or of each arm of a bandit."""

    n: np.ndarray
    """[E, A] int, how often it was tried"""
    mean: np.ndarray
    """[E, A] of what it paid; of any value where it was never tried"""
    second_moment: np.ndarray
    """[E, A], mean of the square of what it paid"""
