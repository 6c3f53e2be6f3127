"""
Exploration that reads how often each action was tried: the strategies of bandits, for tables as well. Arrays in, arrays
out; nothing is remembered here.

An action that was never tried comes before all others. Of equally good ones it is the first: who wants one at random
gives the columns in a random order, as the tables do. Time t of the equations is the number of tries of all actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

KL_UCB_STEPS = 30  # bisections of an interval of at most 1: 2^-30 < 1e-9


class Counts(NamedTuple):
    """What was seen of each action of the state that an environment is in, or of each arm of a bandit."""

    n: np.ndarray
    """[E, A] int, how often it was tried"""
    mean: np.ndarray
    """[E, A] of what it paid; of any value where it was never tried"""
    second_moment: np.ndarray
    """[E, A], mean of the square of what it paid"""


class _ByCounts(ABC):
    """What these strategies have in common. Here `Counts` are [E, A], and a value is given to each action."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        """:raises ValueError: always: values alone do not say how often each action was tried"""
        raise ValueError(
            f"{type(self).__name__} must know how often each action was tried: choose_counted(counts, ...), not choose"
        )

    def choose_counted(self, counts: Counts, progress_remaining: float) -> np.ndarray:
        """See `CountedExploration`."""
        chosen: np.ndarray = np.where(counts.n == 0, inf, self.worth(counts)).argmax(axis=1)
        return chosen

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        """:return: 0: what is left to explore stands in the counts, not on the clock"""
        return 0.0

    @abstractmethod
    def worth(self, counts: Counts) -> np.ndarray:
        """
        :return: [E, A] of which the largest is taken, in units of the reward; of any value for an action that was never
            tried
        :raises ValueError: for rewards that the strategy is not made for
        """


@dataclass(frozen=True)
class UCB1(_ByCounts):
    """
    Upper confidence bounds for rewards of any kind within a known range (Auer, Cesa-Bianchi & Fischer, 2002, figure 1).

    :param c: under the root; 2 for rewards within a range of 1, ``2 b**2`` within a range of b. Less explores less
    :raises ValueError: for c < 0
    """

    c: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.c < inf:
            raise ValueError(f"c {self.c} must be >= 0 and finite: it multiplies ln(t) / n")

    def worth(self, counts: Counts) -> np.ndarray:
        return ucb1(counts, self.c)


@dataclass(frozen=True)
class UCB1Tuned(_ByCounts):
    """
    UCB1 with the variance that was seen in place of the largest possible one (Auer, Cesa-Bianchi & Fischer, 2002,
    section 4). It has no proof and is hard to beat on coins.

    :param b: range of the rewards, the largest minus the smallest
    :raises ValueError: for b <= 0
    """

    b: float = 1.0

    def __post_init__(self) -> None:
        _check_range_size(self.b)

    def worth(self, counts: Counts) -> np.ndarray:
        return ucb1_tuned(counts, self.b)


@dataclass(frozen=True)
class UCBV(_ByCounts):
    """
    Bounds by the variance that was seen, with a proof (UCB-V of Audibert, Munos & Szepesvari, 2009, their c being 1).

    :param zeta: how much is explored; proved for > 1
    :param b: range of the rewards, the largest minus the smallest
    :raises ValueError: for zeta < 0 or b <= 0
    """

    zeta: float = 1.2  # the example of the paper
    b: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.zeta < inf:
            raise ValueError(f"zeta {self.zeta} must be >= 0 and finite: it multiplies ln(t)")
        _check_range_size(self.b)

    def worth(self, counts: Counts) -> np.ndarray:
        return ucb_v(counts, self.zeta, self.b)


@dataclass(frozen=True)
class KLUCB(_ByCounts):
    """
    The largest mean that a coin could have which showed what was seen (Garivier & Cappe, 2011, algorithm 1). Right
    for all rewards between ``low`` and ``high``, sharpest where they are one or the other.

    :param c: of ``ln t + c ln ln t``; proved for 3, and 0 is what the authors use
    :param low: smallest reward
    :param high: largest reward
    :raises ValueError: for c < 0, for low >= high; in training for a mean outside them
    """

    c: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.c < inf:
            raise ValueError(f"c {self.c} must be >= 0 and finite: it multiplies ln(ln(t))")
        _check_range(self.low, self.high)

    def worth(self, counts: Counts) -> np.ndarray:
        shares = _shares(counts, self.low, self.high, "KLUCB", "UCB1(c=2 * range**2) or GaussianThompson")
        return self.low + (self.high - self.low) * kl_ucb(counts.n, shares, self.c)


@dataclass(frozen=True)
class Thompson(_ByCounts):
    """
    A mean for each action from what is believed of it, a Beta distribution (Thompson, 1933; Chapelle & Li, 2011,
    algorithm 2). Rewards between ``low`` and ``high`` count as a part of each; exact where they are one or the other.

    We differ: an action that was never tried is not drawn from the prior, but tried.

    :param alpha: of the prior Beta(alpha, beta), by default the uniform one
    :param beta: of the prior
    :param low: smallest reward
    :param high: largest reward
    :raises ValueError: for alpha or beta <= 0, for low >= high; in training for a mean outside them
    """

    alpha: float = 1.0
    beta: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "alpha", "beta")
        _check_range(self.low, self.high)

    def worth(self, counts: Counts) -> np.ndarray:
        shares = _shares(counts, self.low, self.high, "Thompson", "GaussianThompson")
        drawn = np.random.beta(self.alpha + counts.n * shares, self.beta + counts.n * (1.0 - shares))
        return self.low + (self.high - self.low) * drawn


@dataclass(frozen=True)
class GaussianThompson(_ByCounts):
    """
    A mean for each action from what is believed of it, for rewards with Gaussian noise around it (Agrawal & Goyal,
    2013, algorithm 2, which the defaults are).

    We differ: an action that was never tried is not drawn from the prior, but tried. So a prior in other units than the
    rewards shuts none out.

    :param mean: of the prior
    :param std: of the prior
    :param noise: standard deviation of the rewards of one action
    :raises ValueError: for std or noise <= 0
    """

    mean: float = 0.0
    std: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not isfinite(self.mean):
            raise ValueError(f"mean {self.mean} must be finite")
        _check_positive(self, "std", "noise")

    def worth(self, counts: Counts) -> np.ndarray:
        seen = counts.n / self.noise**2
        precision = 1.0 / self.std**2 + seen
        means = (self.mean / self.std**2 + seen * np.where(counts.n == 0, 0.0, counts.mean)) / precision
        return np.random.normal(means, precision**-0.5)


# ---------------------------------------------------------------------- equations: `Counts` in, [E, A] out


def ucb1(counts: Counts, c: float) -> np.ndarray:
    """``mean + sqrt(c ln t / n)``"""
    found: np.ndarray = counts.mean + np.sqrt(c * _log_time_per_try(counts.n))
    return found


def ucb1_tuned(counts: Counts, b: float) -> np.ndarray:
    """``mean + b sqrt(ln t / n min(1/4, var / b^2 + sqrt(2 ln t / n)))``: no variance exceeds a quarter of b^2"""
    share = _log_time_per_try(counts.n)
    largest = np.minimum(0.25, _variance(counts) / b**2 + np.sqrt(2.0 * share))
    found: np.ndarray = counts.mean + b * np.sqrt(share * largest)
    return found


def ucb_v(counts: Counts, zeta: float, b: float) -> np.ndarray:
    """``mean + sqrt(2 var zeta ln t / n) + 3 b zeta ln t / n``"""
    share = zeta * _log_time_per_try(counts.n)
    found: np.ndarray = counts.mean + np.sqrt(2.0 * _variance(counts) * share) + 3.0 * b * share
    return found


def kl_ucb(n: np.ndarray, means: np.ndarray, c: float) -> np.ndarray:
    """
    ``max {q : n d(mean, q) <= ln t + c ln ln t}``, d the divergence of two coins, by bisection: to 1e-9.

    :param n: [E, A] tries
    :param means: [E, A] in [0, 1]
    :param c: of ln ln t, which counts as 0 where it is negative, for t < e
    """
    log_time = _log_time(n)
    budget = (log_time + c * np.log(np.maximum(log_time, 1.0))) / np.maximum(n, 1)
    others = np.maximum(1.0 - means, 1e-12)
    # What of d does not depend on q; 0 ln 0 = 0.
    constant = means * np.log(np.where(means == 0.0, 1.0, means)) + others * np.log(others)
    near, far = np.zeros_like(others), others  # 1 - q, which keeps its digits near 0: inside at `far`, not at `near`
    for _ in range(KL_UCB_STEPS):
        gap = 0.5 * (near + far)
        inside = constant - means * np.log1p(-gap) - others * np.log(gap) <= budget
        near, far = np.where(inside, near, gap), np.where(inside, gap, far)
    found: np.ndarray = 1.0 - 0.5 * (near + far)
    return found


def _log_time(n: np.ndarray) -> np.ndarray:
    """:return: [E, 1], 0 where nothing was tried"""
    found: np.ndarray = np.log(np.maximum(n.sum(axis=1, keepdims=True), 1))
    return found


def _log_time_per_try(n: np.ndarray) -> np.ndarray:
    """:return: [E, A] ``ln t / n``, of any value where n is 0"""
    found: np.ndarray = _log_time(n) / np.maximum(n, 1)
    return found


def _variance(counts: Counts) -> np.ndarray:
    """:return: [E, A], rounding errors below 0 cut off"""
    found: np.ndarray = np.maximum(counts.second_moment - counts.mean**2, 0.0)
    return found


def _shares(counts: Counts, low: float, high: float, who: str, fits: str) -> np.ndarray:
    """
    :return: [E, A] in [0, 1], where the means lie between ``low`` and ``high``
    :raises ValueError: for one outside, but for rounding errors
    """
    shares = np.where(counts.n == 0, 0.0, (counts.mean - low) / (high - low))
    outside = ~((shares >= -1e-6) & (shares <= 1.0 + 1e-6))  # NaN as well
    if outside.any():
        worst = counts.mean[outside][0]
        raise ValueError(
            f"{who} takes rewards in [{low:g}, {high:g}], and one action paid {worst:g} on average: set low and high, "
            f"or use {fits}"
        )
    return np.clip(shares, 0.0, 1.0)


def _check_positive(strategy: object, *names: str) -> None:
    for name in names:
        if not 0.0 < getattr(strategy, name) < inf:
            raise ValueError(f"{name} {getattr(strategy, name)} must be > 0 and finite")


def _check_range_size(b: float) -> None:
    if not 0.0 < b < inf:
        raise ValueError(f"b {b} must be > 0 and finite: the largest reward minus the smallest")


def _check_range(low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"low {low} must be below high {high}, both finite: the smallest and the largest reward")
