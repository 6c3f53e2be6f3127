"""Regret of strategies: against loops, against sums that are known, and `QLearning` as the bandit algorithm itself."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext import QLearning
from sb3_ext.envs import BernoulliBanditEnv, GaussianBanditEnv
from sb3_ext.envs.bandits import COINS
from sb3_ext.ops.exploration import KLUCB, UCB1, UCBV, EpsilonGreedy, Greedy, Thompson, UCB1Tuned
from sb3_ext.tabular import lai_robbins, regret_curves

COIN_BANDIT = BernoulliBanditEnv()
HARD = BernoulliBanditEnv([0.5, 0.45, 0.4, 0.35])
SURE = [0.13, 0.57, 0.31, 0.29]


def ucb1_by_hand(means: list[float], n_pulls: int) -> list[float]:
    """Arms that always pay their mean."""
    n, regret, total = [0] * len(means), [], 0.0
    for pull in range(n_pulls):
        worth = [math.inf if k == 0 else m + math.sqrt(2 * math.log(pull) / k) for m, k in zip(means, n, strict=True)]
        arm = worth.index(max(worth))
        n[arm] += 1
        total += max(means) - means[arm]
        regret.append(total)
    return regret


def test_regret_of_sure_arms_is_that_of_a_loop() -> None:
    """After each arm was tried, in whatever order, nothing is left to chance."""
    found = regret_curves(UCB1(), GaussianBanditEnv(SURE, std=0.0), 400, n_runs=7)
    assert found.shape == (7, 400)
    expected = ucb1_by_hand(SURE, 400)
    for run in found:
        np.testing.assert_allclose(run[3:], expected[3:], rtol=1e-9)
        assert sorted(np.diff(run[:4], prepend=0.0)) == pytest.approx(sorted(0.57 - m for m in SURE))


def test_random_pulls_lose_the_mean_gap_each() -> None:
    found = regret_curves(EpsilonGreedy(1.0, 1.0), COIN_BANDIT, 500, n_runs=200)[:, -1]
    gap = 0.9 - sum(COINS) / 5
    assert abs(found.mean() - 500 * gap) < 5 * found.std() / math.sqrt(200)
    assert found.std() / math.sqrt(500) == pytest.approx(np.std(COINS), rel=0.2)


def test_arms_that_are_drawn_are_drawn_for_each_run() -> None:
    """One pull of 10 standard normal arms loses the expected maximum, 1.5388; a second one of Greedy as well."""
    found = regret_curves(Greedy(), GaussianBanditEnv(n_arms=10), 10, n_runs=4000)
    assert abs(found[:, 0].mean() - 1.5388) < 5 * found[:, 0].std() / math.sqrt(4000)
    assert found[:, 9].mean() == pytest.approx(15.388, rel=0.02)  # each once
    assert len(np.unique(found[:, 9])) == 4000


def test_curves_repeat_and_leave_numpys_generator_alone() -> None:
    np.random.seed(3)
    expected = np.random.random(3).tolist()
    np.random.seed(3)
    one, again, other = (regret_curves(Thompson(), COIN_BANDIT, 50, 5, seed) for seed in (1, 1, 2))
    assert np.random.random(3).tolist() == expected
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.random.seed(3)
    with pytest.raises(ValueError, match="GaussianThompson"):
        regret_curves(Thompson(), GaussianBanditEnv([3.0, 4.0]), 50)
    assert np.random.random(3).tolist() == expected


def test_means_that_begin_at_zero_hold_epsilon_greedy_up() -> None:
    """As a table does: the first coin that paid is the best known."""
    tried, table = (
        regret_curves(EpsilonGreedy(0.1, 0.1), COIN_BANDIT, 300, 400, try_each_first=first)[:, -1]
        for first in (True, False)
    )
    error = math.hypot(tried.std(), table.std()) / math.sqrt(400)
    assert table.mean() - tried.mean() > 3 * error
    for first in (True, False):  # those that count try each first in any case
        assert regret_curves(UCB1(), COIN_BANDIT, 5, 9, try_each_first=first)[:, -1] == pytest.approx(2.8)


KNOWN = [
    # mean and standard error after 300 pulls, 100 runs of another program
    (UCB1(), 39.7, 0.5),
    (UCBV(), 84.8, 0.5),
    (UCB1Tuned(), 8.5, 0.2),
    (Thompson(), 10.2, 0.3),
    (KLUCB(), 8.9, 0.3),
]


@pytest.mark.parametrize(("strategy", "mean", "error"), KNOWN, ids=lambda x: type(x).__name__)
def test_regret_is_the_known_one(strategy: Any, mean: float, error: float) -> None:
    found = regret_curves(strategy, COIN_BANDIT, 300, 100)[:, -1]
    assert abs(found.mean() - mean) < 4 * math.hypot(error, found.std(ddof=1) / 10)


def test_units_of_the_reward_are_said_by_parameters() -> None:
    """Cents in place of euros: a hundred times the regret, pull by pull."""
    euros, cents = GaussianBanditEnv([0.1, 0.9], std=0.2), GaussianBanditEnv([10.0, 90.0], std=20.0)
    for strategy, scaled in ((UCB1(), UCB1(2e4)), (UCB1Tuned(), UCB1Tuned(100.0)), (UCBV(), UCBV(b=100.0))):
        one, other = regret_curves(strategy, euros, 200, 20), regret_curves(scaled, cents, 200, 20)
        np.testing.assert_allclose(100 * one, other, rtol=1e-9)


# ---------------------------------------------------------------------- Lai and Robbins


def test_slopes_are_the_known_ones() -> None:
    assert lai_robbins(COIN_BANDIT) == pytest.approx(2.148, abs=5e-4)
    assert lai_robbins("sb3_ext/BernoulliBandit-v0") == lai_robbins(COIN_BANDIT)
    assert lai_robbins(HARD) == pytest.approx(18.23, abs=5e-3)
    assert lai_robbins(BernoulliBanditEnv([0.0, 0.5])) == pytest.approx(0.5 / math.log(2))
    assert lai_robbins(BernoulliBanditEnv([1.0, 0.5])) == 0.0
    assert lai_robbins(BernoulliBanditEnv([0.3, 0.3])) == 0.0
    assert lai_robbins(GaussianBanditEnv([0.0, 0.5, 1.0], std=3.0)) == pytest.approx(2 * 9 / 0.5 + 2 * 9 / 1.0)


def test_trap_15_the_constant_of_lai_and_robbins_is_no_bound_at_a_finite_time() -> None:
    after = regret_curves(Thompson(), COIN_BANDIT, 3000, 60)[:, -1]
    assert after.mean() + 4 * after.std() / math.sqrt(60) < lai_robbins(COIN_BANDIT) * math.log(3000)


def test_what_has_no_slope_is_refused() -> None:
    with pytest.raises(ValueError, match="arms are drawn at each reset"):
        lai_robbins(BernoulliBanditEnv(n_arms=3))
    with pytest.raises(ValueError, match="CartPole-v1 is no bandit: sb3_ext/BernoulliBandit-v0"):
        lai_robbins("CartPole-v1")
    with pytest.raises(ValueError, match="n_pulls 0 must be >= 1"):
        regret_curves(UCB1(), COIN_BANDIT, 0)
    with pytest.raises(ValueError, match="n_runs 0 must be >= 1"):
        regret_curves(UCB1(), COIN_BANDIT, 5, 0)


# ---------------------------------------------------------------------- a table is the bandit algorithm


class Pulls(BaseCallback):
    """Notes arms and rewards."""

    def _on_training_start(self) -> None:
        self.arms: list[int] = []
        self.rewards: list[float] = []

    def _on_step(self) -> bool:
        self.arms.append(int(self.locals["actions"][0]))
        self.rewards.append(float(self.locals["rewards"][0]))
        return True


def table(exploration: Any, env: gym.Env[Any, Any] | str) -> QLearning:
    return QLearning("TablePolicy", env, gamma=0.0, learning_rate=1.0, visit_power=1.0, exploration=exploration, seed=0)


def worth_by_hand(name: str, n: int, rewards: list[float], pull: int) -> float:
    mean, square = float(np.mean(rewards)), float(np.mean(np.square(rewards)))
    share = math.log(pull) / n
    if name == "ucb1":
        return mean + math.sqrt(2 * share)
    variance = max(square - mean**2, 0.0)
    if name == "ucb1_tuned":
        return mean + math.sqrt(share * min(0.25, variance + math.sqrt(2 * share)))
    return mean + math.sqrt(2 * 1.2 * variance * share) + 3 * 1.2 * share


@pytest.mark.parametrize("name", ["ucb1", "ucb1_tuned", "ucb_v"])
@pytest.mark.parametrize("env_id", ["sb3_ext/BernoulliBandit-v0", "sb3_ext/GaussianBandit-v0"])
def test_q_learning_without_a_future_is_the_bandit_algorithm(name: str, env_id: str) -> None:
    """Each of 350 pulls, over four episodes, is one that the equation takes after all before it."""
    model, pulls = table(name, env_id), Pulls()
    model.learn(350, callback=pulls)
    assert sorted(pulls.arms[:5]) == [0, 1, 2, 3, 4]
    seen: list[list[float]] = [[] for _ in range(5)]
    for pull, (arm, reward) in enumerate(zip(pulls.arms, pulls.rewards, strict=True)):
        if pull >= 5:
            worth = [worth_by_hand(name, len(of_arm), of_arm, pull) for of_arm in seen]
            assert worth[arm] == pytest.approx(max(worth), rel=1e-9)
        seen[arm].append(reward)
    np.testing.assert_array_equal(model.policy.visits.numpy()[0], [len(of_arm) for of_arm in seen])
    np.testing.assert_allclose(model.policy.q.numpy()[0], [np.mean(of_arm) for of_arm in seen], rtol=1e-9)
    squares = [np.mean(np.square(of_arm)) for of_arm in seen]
    np.testing.assert_allclose(model.policy.second_moment.numpy()[0], squares, rtol=1e-9)


def test_q_learning_pulls_what_the_simulation_pulls() -> None:
    """Arms that always pay their mean: the same arm at each step."""
    env = gym.make("sb3_ext/GaussianBandit-v0", means=SURE, std=0.0)
    pulls = Pulls()
    table(UCB1(), env).learn(300, callback=pulls)
    regret = np.cumsum(max(SURE) - np.array(SURE)[pulls.arms])
    simulated = regret_curves(UCB1(), GaussianBanditEnv(SURE, std=0.0), 300, 1)[0]
    np.testing.assert_allclose(regret[3:], simulated[3:], rtol=1e-9)


@pytest.mark.parametrize("exploration", ["kl_ucb", "thompson", "gaussian_thompson", "greedy", "boltzmann"])
def test_every_strategy_pulls_in_a_table(exploration: str) -> None:
    env = gym.make("sb3_ext/BernoulliBandit-v0", max_episode_steps=50)
    model = table(exploration, env).learn(400)
    assert model.policy.visits.sum() == 400
    if exploration in ("kl_ucb", "thompson"):
        assert int(model.policy.visits.argmax()) == 3


def test_a_table_says_which_strategy_fits_its_rewards() -> None:
    env = gym.make("sb3_ext/GaussianBandit-v0", means=[5.0, 6.0])
    with pytest.raises(ValueError, match=r"Thompson takes rewards in \[0, 1\].*or use GaussianThompson"):
        table(Thompson(), env).learn(20)
    model = table({"thompson": {"low": -5.0, "high": 15.0}}, env)
    model.learn(20)
