"""
Action noise that is scaled: over training, and from one environment to the next. Any noise of SB3's can be inside, and
scaled noises can be inside one another: their factors are multiplied before the noise is.

    Scheduled(Laddered(NormalActionNoise(np.zeros(2), np.ones(2)), 1.0, 0.5), final=0.1)
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise


class When(NamedTuple):
    """What a factor depends on. Whoever acts says it before each step."""

    done: float = 0.0
    """share of training that is over, from 0 to 1"""
    env: int = 0
    """number of the environment"""
    n_envs: int = 1
    """E"""


class ScaledNoise(ActionNoise):
    """
    A noise times a factor; without a trainer that tells the time it is that of the beginning and of the first
    environment.

    :param noise: [*shape]
    """

    def __init__(self, noise: ActionNoise) -> None:
        super().__init__()
        given: object = noise  # whatever a user gave
        if not isinstance(given, ActionNoise) or isinstance(given, VectorizedActionNoise):
            raise ValueError(f"noise {noise!r} must be an ActionNoise of one environment, NormalActionNoise for one")
        self.noise = noise
        self.when = When()

    @abstractmethod
    def factor(self, when: When) -> float:
        """:return: what the noise is multiplied by then, >= 0"""

    def __call__(self) -> np.ndarray:
        layers = list(layers_of(self))
        noise = layers[-1]()
        factor = math.prod(layer.factor(self.when) for layer in layers if isinstance(layer, ScaledNoise))
        # In double precision; executed actions keep the dtype of the noise.
        scaled: np.ndarray = np.multiply(noise, factor, dtype=np.float64).astype(noise.dtype)
        return scaled

    def reset(self) -> None:
        self.noise.reset()


class Scheduled(ScaledNoise):
    """
    A noise times a factor that goes linearly from 1 to ``final`` over ``fraction`` of training, by SB3's clock.

    :param noise: of one environment
    :param final: factor at the end of the schedule, >= 0
    :param fraction: part of training over which it is reached, in [0, 1]; 0 = from the first step on
    :raises ValueError: for values out of range
    """

    def __init__(self, noise: ActionNoise, final: float = 1.0, fraction: float = 1.0) -> None:
        super().__init__(noise)
        if not 0.0 <= final < math.inf:
            raise ValueError(f"final {final} must be >= 0: it is a factor")
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction {fraction} must lie in [0, 1]: it is a part of training")
        self.final, self.fraction = final, fraction

    def factor(self, when: When) -> float:
        share = 1.0 if self.fraction == 0 else min(when.done / self.fraction, 1.0)
        return 1.0 + share * (self.final - 1.0)

    def __repr__(self) -> str:
        return f"Scheduled({self.noise!r}, final={self.final}, fraction={self.fraction})"


class Laddered(ScaledNoise):
    """
    A noise times a factor that goes linearly from ``first`` to ``last`` over the environments; a single one gets
    ``first``.

    :param noise: of one environment
    :param first: factor of the first environment, >= 0
    :param last: of the last one, >= 0
    :raises ValueError: for values out of range
    """

    def __init__(self, noise: ActionNoise, first: float = 1.0, last: float = 1.0) -> None:
        super().__init__(noise)
        for name, value in (("first", first), ("last", last)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} {value} must be >= 0: it is a factor")
        self.first, self.last = first, last

    def factor(self, when: When) -> float:
        return float(np.linspace(self.first, self.last, when.n_envs)[when.env])

    def __repr__(self) -> str:
        return f"Laddered({self.noise!r}, first={self.first}, last={self.last})"


def layers_of(noise: ActionNoise) -> Iterator[ActionNoise]:
    """:return: from the outermost to the one that draws; of SB3's vector of noises that of the first environment"""
    while True:
        if isinstance(noise, VectorizedActionNoise):
            noise = noise.noises[0]
        yield noise
        if not isinstance(noise, ScaledNoise):
            return
        noise = noise.noise


def tell(noise: ActionNoise | None, done: float) -> None:
    """
    :param noise: of an agent: for one environment, or SB3's vector of them
    :param done: share of training that is over
    """
    noises = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
    for env, part in enumerate(noises):
        if isinstance(part, ScaledNoise):
            part.when = When(done, env, len(noises))


def schedule_of(noise: ActionNoise, done: float) -> float:
    """
    :param noise: of an agent
    :param done: share of training that is over
    :return: factor of its schedules then, without those of the environments
    """
    return math.prod(layer.factor(When(done)) for layer in layers_of(noise) if isinstance(layer, Scheduled))
