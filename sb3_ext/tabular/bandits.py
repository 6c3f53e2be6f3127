"""
Many bandits at once: what a strategy of exploration loses to the best arm. It is what `QLearning` does on a bandit with
``gamma=0, learning_rate=1, visit_power=1`` and one environment, for hundreds of runs in one array.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from sb3_ext.envs.bandits import BanditEnv, BernoulliBanditEnv, GaussianBanditEnv
from sb3_ext.ops.counted_exploration import Counts
from sb3_ext.ops.exploration import EXPLORATIONS, CountedExploration, Exploration, ExplorationLike
from sb3_ext.ops.tabular import choose_breaking_ties, move_towards
from sb3_ext.specs import resolve


def regret_curves(
    strategy: ExplorationLike,
    bandit: BanditEnv | str,
    n_pulls: int,
    n_runs: int = 100,
    seed: int = 0,
    try_each_first: bool = True,
) -> np.ndarray:
    """
    Regret in expectation: of each pull, what the best arm's mean is above the mean of the arm that was pulled.

    :param strategy: as ``exploration`` of the tables; its clock runs over ``n_pulls``
    :param bandit: what is pulled, or the id of it; arms that are drawn at a reset are drawn for each run
    :param n_pulls: T, of each run
    :param n_runs: R; environments of the strategy, where it tells them apart
    :param seed: of everything that is drawn
    :param try_each_first: the first A pulls try all arms in a random order, as strategies that count do in any case.
        Else means begin at 0, as a table does: epsilon-greedy then stays longer with the first arm that pays
    :return: [R, T] float64, summed up over the pulls
    :raises ValueError: for no pulls or no runs, and as the strategy does
    """
    for name, number in (("n_pulls", n_pulls), ("n_runs", n_runs)):
        if number < 1:
            raise ValueError(f"{name} {number} must be >= 1")
    exploration = resolve(Exploration, strategy, EXPLORATIONS)
    arms, rng = _made(bandit), np.random.default_rng(seed)
    means = arms.draw_means(n_runs, rng)  # [R, A]
    before = np.random.get_state()
    np.random.seed(seed)  # strategies draw from NumPy's own generator
    try:
        return _pulled(exploration, arms, means, n_pulls, rng, try_each_first).cumsum(axis=1)
    finally:
        np.random.set_state(before)


def _pulled(
    exploration: Exploration,
    bandit: BanditEnv,
    means: np.ndarray,
    n_pulls: int,
    rng: np.random.Generator,
    try_each_first: bool,
) -> np.ndarray:
    """:return: [R, T] regret of each pull"""
    n_runs, n_arms = means.shape
    runs = np.arange(n_runs)
    n, mean, square = np.zeros(means.shape, dtype=np.int64), np.zeros(means.shape), np.zeros(means.shape)
    is_counted = isinstance(exploration, CountedExploration)
    at_first = rng.random(means.shape).argsort(axis=1)
    regret, best = np.empty((n_runs, n_pulls)), means.max(axis=1)
    for pull in range(n_pulls):
        if try_each_first and pull < n_arms:
            arms = at_first[:, pull]
        else:
            seen = Counts(n, mean, square) if is_counted else mean
            arms = choose_breaking_ties(exploration, seen, 1.0 - pull / n_pulls)
        pulled = means[runs, arms]
        rewards = bandit.pay(pulled, rng)
        move_towards(mean.reshape(-1), n.reshape(-1), runs * n_arms + arms, rewards, 1.0, 1.0, square.reshape(-1))
        regret[:, pull] = best - pulled
    return regret


def lai_robbins(bandit: BanditEnv | str) -> float:
    """
    The slope over ln t that no strategy's regret can stay below for ever, if it works on all bandits of the kind (Lai &
    Robbins, 1985): the sum over arms of their gap divided by their divergence from the best. It is no bound at any
    finite time.

    :param bandit: with arms that are given
    :return: regret per ln t
    :raises ValueError: where arms are drawn at each reset, or of another kind
    """
    arms = _made(bandit)
    if arms.given is None:
        raise ValueError("its arms are drawn at each reset: the slope is that of given ones")
    gaps = arms.given.max() - arms.given
    worse = arms.given[gaps > 0.0]
    if isinstance(arms, GaussianBanditEnv):
        return float((2.0 * arms.std**2 / gaps[gaps > 0.0]).sum())
    if not isinstance(arms, BernoulliBanditEnv):
        raise ValueError(f"{type(arms).__name__}: the divergence of its arms is not known")
    if arms.given.max() == 1.0:
        return 0.0  # one failure tells each of the others from it
    return float((gaps[gaps > 0.0] / _divergence(worse, float(arms.given.max()))).sum())


def _divergence(p: np.ndarray, q: float) -> np.ndarray:
    """:return: of coins, Kullback & Leibler's, for q in (0, 1)"""
    won = np.where(p > 0.0, p * np.log(np.where(p > 0.0, p, 1.0) / q), 0.0)
    found: np.ndarray = won + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))
    return found


def _made(bandit: BanditEnv | str) -> BanditEnv:
    found = gym.make(bandit).unwrapped if isinstance(bandit, str) else bandit.unwrapped
    if not isinstance(found, BanditEnv):
        raise ValueError(f"{bandit} is no bandit: sb3_ext/BernoulliBandit-v0 and sb3_ext/GaussianBandit-v0 are")
    return found
