"""
Bandits: one state, and arms that pay at random. What pulls cost against the best arm is summed up in the infos. They
render "rgb_array" because SB3's ``make_vec_env`` asks every environment for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.envs.rendering import BLUE, GREEN, WHITE, cell_size, check_render_mode, draw_cells, draw_disc
from sb3_ext.envs.tables import TransitionTable

COINS = (0.1, 0.5, 0.1, 0.9, 0.1)


class BanditEnv(gym.Env[np.int64, np.int64], ABC):
    """
    What bandits have in common.

    Observation: ``Discrete(1)``. Action: the arm. An episode ends by the ``TimeLimit`` alone, as no pull changes
    anything: 100 pulls under the registered ids, ``gym.make(id, max_episode_steps=1000)`` gives others.
    ``info["regret"]`` is what the best arm would have paid more since the reset, in expectation; with SB3's
    ``Monitor(env, info_keywords=("regret",))`` it stands beside each episode's return.
    """

    means: np.ndarray
    """[A] of the arms in this episode"""

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, means: np.ndarray | None, n_arms: int, render_mode: str | None) -> None:
        """
        :param means: [A] of the arms; None = drawn at each reset
        :param n_arms: A
        :param render_mode: None, "ansi" (one line of text), or "rgb_array" (arms in a row, greener the more they pay,
            with a disc on the last one that was pulled)
        """
        check_render_mode(render_mode)
        self.given = means
        """[A] means of the arms; None = drawn at each reset"""
        self.n_arms, self.render_mode = n_arms, render_mode
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(n_arms)

    def draw_means(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """
        :param n: number of bandits
        :param rng: used where arms are drawn at each reset
        :return: [n, A] means of their arms
        """
        if self.given is not None:
            return np.tile(self.given, (n, 1))
        return self._drawn((n, self.n_arms), rng)

    @abstractmethod
    def pay(self, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """
        :param means: [n] of arms that are pulled
        :return: [n] float64 rewards
        """

    @abstractmethod
    def _drawn(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """:return: means of this shape from the prior"""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """
        :param seed: Repeats the rewards, and the arms where they are drawn
        :param options: Not used
        :return: 0, and a regret of 0
        """
        super().reset(seed=seed)
        self.means = self.draw_means(1, self.np_random)[0]
        self._pulled: int | None = None
        self._regret = 0.0
        return np.int64(0), {"regret": self._regret}

    def step(self, action: int | np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """
        :param action: The arm
        :return: 0, what it pays, terminated (never), truncated (never), the regret since the reset
        :raises ValueError: For an arm that is not there
        """
        if not 0 <= action < self.n_arms:
            raise ValueError(f"action {action} is none of the {self.n_arms} arms, which are counted from 0")
        self._pulled = int(action)
        mean = self.means[action]
        self._regret += float(self.means.max() - mean)
        return np.int64(0), float(self.pay(mean[None], self.np_random)[0]), False, False, {"regret": self._regret}

    def render(self) -> str | np.ndarray | None:
        """
        :return: A line of text, or the arms as [height, width, 3] uint8; or None
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi":
            pulled = "none" if self._pulled is None else str(self._pulled)
            return f"means={' '.join(f'{mean:.2f}' for mean in self.means)} pulled={pulled}"
        share = (self.means - self.means.min()) / max(np.ptp(self.means), 1e-9)
        colours = WHITE + share[None, :, None] * (np.array(GREEN) - WHITE)
        size = cell_size(1, self.n_arms)
        picture = draw_cells(colours, size)
        if self._pulled is not None:
            draw_disc(picture, 0, self._pulled, size, BLUE)
        return picture


class BernoulliBanditEnv(BanditEnv):
    """
    Coins: an arm pays 1 with its probability, else 0. Id ``sb3_ext/BernoulliBandit-v0``; see `BanditEnv`.

    Where the probabilities are given, ``P`` and ``initial_state_distrib`` are those of gymnasium's toy text: with a
    discount gamma the bandit is worth the largest of them divided by 1 - gamma.

    :param probabilities: [A]; by default (0.1, 0.5, 0.1, 0.9, 0.1)
    :param n_arms: In place of them: so many, drawn anew at each reset
    :param prior: (low, high) between which they are drawn, all alike
    :param render_mode: As in `BanditEnv`
    :raises ValueError: For no arms, for both of them, or where a probability need not lie in [0, 1]
    """

    def __init__(
        self,
        probabilities: Sequence[float] | None = None,
        n_arms: int | None = None,
        prior: Sequence[float] = (0.0, 1.0),
        render_mode: str | None = None,
    ) -> None:
        given, n_arms = _arms("probabilities", probabilities, n_arms)
        if given is not None:
            for arm, p in enumerate(given.tolist()):
                if not 0.0 <= p <= 1.0:
                    raise ValueError(f"probabilities: {p:g} of arm {arm} must lie in [0, 1]")
            self.P: TransitionTable = {0: {arm: _coin(p) for arm, p in enumerate(given.tolist())}}
            self.initial_state_distrib = np.ones(1)
        self.prior = _pair("prior", prior)
        if not 0.0 <= self.prior[0] <= self.prior[1] <= 1.0:
            raise ValueError(
                f"prior {self.prior} must be (low, high) in [0, 1]: a coin has a probability; GaussianBanditEnv has "
                "arms of any mean"
            )
        super().__init__(given, n_arms, render_mode)

    def pay(self, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        paid: np.ndarray = (rng.random(means.shape) < means).astype(np.float64)
        return paid

    def _drawn(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(*self.prior, size=shape)


class GaussianBanditEnv(BanditEnv):
    """
    An arm pays its mean and Gaussian noise. Id ``sb3_ext/GaussianBandit-v0``; see `BanditEnv`.

    ``GaussianBanditEnv(n_arms=10)`` is the testbed of Sutton & Barto (2018), section 2.3.

    :param means: [A]; by default (0.1, 0.5, 0.1, 0.9, 0.1)
    :param std: Of the noise
    :param n_arms: In place of the means: so many, drawn anew at each reset
    :param prior: (mean, standard deviation) of the Gaussian from which they are drawn
    :param render_mode: As in `BanditEnv`
    :raises ValueError: For no arms, for both of them, or numbers that are not finite or negative where they must not be
    """

    def __init__(
        self,
        means: Sequence[float] | None = None,
        std: float = 1.0,
        n_arms: int | None = None,
        prior: Sequence[float] = (0.0, 1.0),
        render_mode: str | None = None,
    ) -> None:
        given, n_arms = _arms("means", means, n_arms)
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"means {given.tolist()} must be finite")
        if not 0.0 <= std < np.inf:
            raise ValueError(f"std {std} must be >= 0 and finite")
        self.std = std
        self.prior = _pair("prior", prior)
        if not (np.isfinite(self.prior).all() and self.prior[1] >= 0.0):
            raise ValueError(f"prior {self.prior} must be (mean, standard deviation), finite, the second >= 0")
        super().__init__(given, n_arms, render_mode)

    def pay(self, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(means, self.std)

    def _drawn(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(*self.prior, size=shape)


def _arms(name: str, given: Sequence[float] | None, n_arms: int | None) -> tuple[np.ndarray | None, int]:
    """
    :param name: of the keyword
    :param given: what the user says of each arm
    :param n_arms: how many the user wants to be drawn
    :return: [A] or None, and A
    """
    if n_arms is not None:
        if given is not None:
            raise ValueError(f"{name} {given} say what each arm is, n_arms {n_arms} that they are drawn: give one")
        if n_arms < 1 or int(n_arms) != n_arms:
            raise ValueError(f"n_arms {n_arms} must be an integer >= 1")
        return None, int(n_arms)
    arms = _numbers(name, COINS if given is None else given)
    if len(arms) == 0:
        raise ValueError(f"{name} [] must hold at least one arm")
    return arms, len(arms)


def _pair(name: str, given: Sequence[float]) -> tuple[float, float]:
    found = _numbers(name, given).tolist()
    if len(found) != 2:
        raise ValueError(f"{name} {given} must be two numbers")
    return found[0], found[1]


def _numbers(name: str, given: Sequence[float]) -> np.ndarray:
    """:return: [n] float64"""
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.zeros(())
    if found.ndim != 1:
        raise ValueError(f"{name} {given!r} must be a list of numbers")
    return found


def _coin(p: float) -> list[tuple[float, int, float, bool]]:
    """:return: outcomes that happen"""
    return [(chance, 0, paid, False) for chance, paid in ((p, 1.0), (1.0 - p, 0.0)) if chance > 0.0]
