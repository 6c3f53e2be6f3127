"""
Exploration from Q-values, and the short names of all strategies; those that also read how often each action was tried
stand in `sb3_ext.ops.counted_exploration`. In every strategy each environment tosses its own coin, by NumPy's global
generator, which SB3 seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from sb3_ext.ops.counted_exploration import (
    KLUCB,
    UCB1,
    UCBV,
    Counts,
    GaussianThompson,
    Thompson,
    UCB1Tuned,
)

__all__ = [
    "EXPLORATIONS",
    "KLUCB",
    "UCB1",
    "UCBV",
    "Boltzmann",
    "CountedExploration",
    "Counts",
    "EpsilonGreedy",
    "EpsilonLadder",
    "Exploration",
    "ExplorationLike",
    "GaussianThompson",
    "Greedy",
    "KnownExploration",
    "Rungs",
    "SharedExploration",
    "Thompson",
    "UCB1Tuned",
    "boltzmann",
    "boltzmann_weights",
    "epsilon_greedy",
    "epsilon_greedy_probabilities",
    "epsilon_ladder",
    "greedy_probabilities",
]


@runtime_checkable
class Exploration(Protocol):
    """How Q-values become actions in training. A strategy is settings alone; time is an argument."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        """
        :param q_values: [E, A]
        :param progress_remaining: SB3's clock, from 1 (start of training) to 0 (end)
        :return: [E] int
        """

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        """:return: one number for the log, the mean over environments: 0 = greedy, and larger = more random"""


@runtime_checkable
class SharedExploration(Exploration, Protocol):
    """A strategy that can also choose for some of its environments alone, as an actor does, which has no others."""

    def for_lanes(self, first: int, n: int, total: int) -> Exploration:
        """
        :param first: number of the first of these environments among all
        :param n: how many they are
        :param total: how many there are
        :return: the strategy of these, which chooses for each what this one chooses for it among all
        """


@runtime_checkable
class KnownExploration(Exploration, Protocol):
    """A strategy whose probabilities can be written down."""

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        """
        Of `choose`, where the best actions of an environment are tied at random: they share.

        :param q_values: [E, A]
        :param progress_remaining: as in `choose`
        :return: [E, A] float64, rows sum to 1
        """


@runtime_checkable
class CountedExploration(Exploration, Protocol):
    """A strategy that must know how often each action was tried. Its `choose` raises."""

    def choose_counted(self, counts: Counts, progress_remaining: float) -> np.ndarray:
        """
        :param counts: of the state that each environment is in
        :param progress_remaining: as in `choose`
        :return: [E] int; an action that was never tried comes first
        """


@dataclass(frozen=True)
class EpsilonGreedy:
    """
    A uniformly random action with probability epsilon, the same in all environments (DQN, Mnih et al., 2015).

    :param initial: epsilon at the start
    :param final: epsilon from ``fraction`` on
    :param fraction: part of training over which epsilon goes linearly from one to the other, in (0, 1]
    :raises ValueError: for an epsilon outside [0, 1] or a fraction outside (0, 1]
    """

    initial: float = 1.0
    final: float = 0.01
    fraction: float = 0.1

    def __post_init__(self) -> None:
        for name in ("initial", "final"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0.0, 1.0]: it is a probability")
        if not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction {self.fraction} must lie in (0, 1]")

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        n_envs, n_actions = q_values.shape
        epsilon = np.full(n_envs, self.rate(progress_remaining, n_envs))
        return epsilon_greedy(q_values.argmax(axis=1), epsilon, n_actions)

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        n_envs = len(q_values)
        return epsilon_greedy_probabilities(q_values, np.full(n_envs, self.rate(progress_remaining, n_envs)))

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        done = min((1.0 - progress_remaining) / self.fraction, 1.0)
        return (1.0 - done) * self.initial + done * self.final

    def for_lanes(self, first: int, n: int, total: int) -> Exploration:
        return self


@dataclass(frozen=True)
class EpsilonLadder:
    """
    Epsilon-greedy with a constant epsilon per environment, from ``base`` down: `epsilon_ladder`.

    :param base: epsilon of environment 0, and of a single one
    :param alpha: spread; the last environment gets ``base^(1 + alpha)``
    :raises ValueError: for a base outside [0, 1] or alpha < 0
    """

    base: float = 0.4
    alpha: float = 7.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.base <= 1.0:
            raise ValueError(f"base {self.base} must lie in [0.0, 1.0]: it is a probability")
        if not self.alpha >= 0.0:
            raise ValueError(f"alpha {self.alpha} must be >= 0: epsilon falls from one environment to the next")

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        n_envs, n_actions = q_values.shape
        return epsilon_greedy(q_values.argmax(axis=1), epsilon_ladder(n_envs, self.base, self.alpha), n_actions)

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return epsilon_greedy_probabilities(q_values, epsilon_ladder(len(q_values), self.base, self.alpha))

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return float(epsilon_ladder(n_envs, self.base, self.alpha).mean())

    def for_lanes(self, first: int, n: int, total: int) -> Exploration:
        return Rungs(self, first, n, total)


@dataclass(frozen=True)
class Rungs:
    """
    Some environments of an `EpsilonLadder`, each with the epsilon that it has among all.

    :param ladder: of all
    :param first: number of the first of them among all
    :param n: how many they are
    :param total: how many there are
    :raises ValueError: for environments beyond the last one
    """

    ladder: EpsilonLadder
    first: int
    n: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.first + self.n <= self.total:
            raise ValueError(f"environments {self.first} to {self.first + self.n - 1} are not among {self.total}")

    @property
    def epsilons(self) -> np.ndarray:
        """[n]"""
        return epsilon_ladder(self.total, self.ladder.base, self.ladder.alpha)[self.first : self.first + self.n]

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return epsilon_greedy(q_values.argmax(axis=1), self.epsilons, q_values.shape[1])

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return epsilon_greedy_probabilities(q_values, self.epsilons)

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return float(self.epsilons.mean())


@dataclass(frozen=True)
class Boltzmann:
    """
    Actions with probability ``softmax(q / temperature)``.

    :param temperature: at the start, in units of the Q-values (of the rescaled ones under value rescaling)
    :param final: at the end of training, reached linearly; None = constant
    :raises ValueError: for a temperature <= 0
    """

    temperature: float = 1.0
    final: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0.0:
            raise ValueError(f"temperature {self.temperature} must be > 0: Greedy() is the limit of 0")
        if self.final is not None and not self.final > 0.0:
            raise ValueError(f"final {self.final} must be > 0 or None: Greedy() is the limit of 0")

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return boltzmann(q_values, self.rate(progress_remaining, len(q_values)))

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        weights = boltzmann_weights(q_values, self.rate(progress_remaining, len(q_values)))
        shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        final = self.temperature if self.final is None else self.final
        return progress_remaining * self.temperature + (1.0 - progress_remaining) * final

    def for_lanes(self, first: int, n: int, total: int) -> Exploration:
        return self


@dataclass(frozen=True)
class Greedy:
    """The best action. For networks whose noise explores."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        best: np.ndarray = q_values.argmax(axis=1)
        return best

    def probabilities(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        return greedy_probabilities(q_values)

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return 0.0

    def for_lanes(self, first: int, n: int, total: int) -> Exploration:
        return self


EXPLORATIONS: dict[str, type[Exploration]] = {
    "epsilon_greedy": EpsilonGreedy,
    "epsilon_ladder": EpsilonLadder,
    "boltzmann": Boltzmann,
    "greedy": Greedy,
    "ucb1": UCB1,
    "ucb1_tuned": UCB1Tuned,
    "ucb_v": UCBV,
    "kl_ucb": KLUCB,
    "thompson": Thompson,
    "gaussian_thompson": GaussianThompson,
}
"""Short names, as in ``exploration="greedy"`` and ``exploration={"boltzmann": {"temperature": 0.1}}``"""
ExplorationLike: TypeAlias = Exploration | str | Mapping[str, Mapping[str, Any] | None]  # Any: of a yml


def epsilon_ladder(n_envs: int, base: float = 0.4, alpha: float = 7.0) -> np.ndarray:
    """
    ``epsilon_i = base^(1 + alpha i / (N - 1))`` (Ape-X, Horgan et al., 2018, section 4.1; used unchanged by R2D2).

    :param n_envs: N; one environment gets ``base``
    :param base: epsilon of environment 0
    :param alpha: spread; the last environment gets ``base^(1 + alpha)``
    :return: [N] float64
    """
    if n_envs < 1:
        raise ValueError(f"n_envs {n_envs} must be >= 1")
    rungs = np.arange(n_envs) / max(n_envs - 1, 1)
    return base ** (1.0 + alpha * rungs)


def epsilon_greedy(greedy: np.ndarray, epsilon: np.ndarray, n_actions: int) -> np.ndarray:
    """
    :param greedy: [E] int, greedy actions
    :param epsilon: [E], probability of a uniformly random action
    :param n_actions: number of discrete actions
    :return: [E] int, ``greedy`` with the random ones put in
    """
    explore = np.random.random(len(greedy)) < epsilon
    return np.where(explore, np.random.randint(n_actions, size=len(greedy)), greedy)


def greedy_probabilities(q_values: np.ndarray) -> np.ndarray:
    """
    :param q_values: [E, A]
    :return: [E, A] float64, the best actions share
    """
    best = q_values == q_values.max(axis=1, keepdims=True)
    shares: np.ndarray = best / best.sum(axis=1, keepdims=True)
    return shares


def epsilon_greedy_probabilities(q_values: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """
    :param q_values: [E, A]
    :param epsilon: [E], probability of a uniformly random action
    :return: [E, A] float64, of `epsilon_greedy`; what is not random is shared by the best actions
    """
    shares: np.ndarray = (1.0 - epsilon[:, None]) * greedy_probabilities(q_values) + epsilon[:, None] / q_values.shape[
        1
    ]
    return shares


def boltzmann(q_values: np.ndarray, temperature: float) -> np.ndarray:
    """
    :param q_values: [E, A]
    :param temperature: > 0
    :return: [E] int, action a with probability proportional to ``exp(q_a / temperature)``
    """
    cumulative = boltzmann_weights(q_values, temperature).cumsum(axis=1)
    # <=, so that an action of weight 0 is not drawn even by a coin of exactly 0.
    chosen: np.ndarray = (cumulative <= np.random.random((len(q_values), 1)) * cumulative[:, -1:]).sum(axis=1)
    return chosen


def boltzmann_weights(q_values: np.ndarray, temperature: float) -> np.ndarray:
    """:return: [E, A] float64 proportional to the probabilities of `boltzmann`; the largest is 1, so none overflows"""
    q_values = q_values.astype(np.float64)
    weights: np.ndarray = np.exp((q_values - q_values.max(axis=1, keepdims=True)) / temperature)
    return weights
