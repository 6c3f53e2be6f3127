"""Bandits: what they pay, what they say of it, and what exact answers make of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import stats
from stable_baselines3 import DQN
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ext.envs import BernoulliBanditEnv, GaussianBanditEnv
from sb3_ext.envs.bandits import BanditEnv
from sb3_ext.planning import OptimalityGap, TabularMDP, best_return, evaluate, solve

IDS = ("sb3_ext/BernoulliBandit-v0", "sb3_ext/GaussianBandit-v0")


def pulls(env: gym.Env[Any, Any], arms: list[int], seed: int | None = 0) -> tuple[list[float], list[float]]:
    """:return: rewards and regrets"""
    _, info = env.reset(seed=seed)
    assert info == {"regret": 0.0}
    steps = [env.step(arm) for arm in arms]
    return [float(reward) for _, reward, *_ in steps], [step[4]["regret"] for step in steps]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("keywords", [{}, {"n_arms": 3}], ids=["fixed", "drawn"])
def test_gymnasium_and_sb3_find_nothing_wrong(env_id: str, keywords: dict[str, Any]) -> None:
    env = gym.make(env_id, **keywords)
    check_env(env.unwrapped)
    check_env_sb3(env)
    assert env.observation_space == gym.spaces.Discrete(1)
    assert env.action_space == gym.spaces.Discrete(keywords.get("n_arms", 5))


@pytest.mark.parametrize("env_id", IDS)
def test_an_episode_is_a_hundred_pulls_or_as_many_as_are_asked_for(env_id: str) -> None:
    for asked, limit in ((None, 100), (7, 7)):
        env = gym.make(env_id, max_episode_steps=asked)
        env.reset(seed=0)
        ends = [env.step(0)[2:4] for _ in range(limit)]
        assert ends == [(False, False)] * (limit - 1) + [(False, True)]


def test_coins_pay_with_their_probabilities() -> None:
    chances = [0.2, 0.7, 1.0, 0.0]
    env = BernoulliBanditEnv(chances)
    rewards, _ = pulls(env, [0, 1, 2, 3] * 4000)
    of_arm = np.array(rewards).reshape(-1, 4)
    assert set(np.unique(of_arm)) == {0.0, 1.0}
    assert of_arm[:, 2].all() and not of_arm[:, 3].any()
    for arm in (0, 1):
        assert stats.binomtest(int(of_arm[:, arm].sum()), 4000, chances[arm]).pvalue > 1e-3


def test_gaussian_arms_pay_their_mean_and_noise() -> None:
    rewards, _ = pulls(GaussianBanditEnv([-3.0, 40.0], std=2.0), [0, 1] * 4000)
    for arm, mean in enumerate((-3.0, 40.0)):
        assert stats.kstest(rewards[arm::2], stats.norm(mean, 2.0).cdf).pvalue > 1e-3


def test_regret_is_what_the_best_arm_would_have_paid_more() -> None:
    for env in (BernoulliBanditEnv([0.25, 1.0, 0.5]), GaussianBanditEnv([0.25, 1.0, 0.5])):
        _, regrets = pulls(env, [1, 0, 2, 0, 1])
        assert regrets == pytest.approx([0.0, 0.75, 1.25, 2.0, 2.0])
        assert pulls(env, [2])[1] == [0.5]  # from the reset on


def test_sb3s_monitor_keeps_the_regret_of_an_episode() -> None:
    env = DummyVecEnv(
        [lambda: Monitor(gym.make(IDS[0], max_episode_steps=4), info_keywords=("regret",)) for _ in range(2)]
    )
    env.reset()
    for _ in range(4):
        _, _, _, infos = env.step(np.array([3, 0]))
    assert [info["episode"]["regret"] for info in infos] == pytest.approx([0.0, 4 * 0.8])


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("keywords", [{}, {"n_arms": 3}], ids=["fixed", "drawn"])
def test_seeds_repeat(env_id: str, keywords: dict[str, Any]) -> None:
    env = gym.make(env_id, **keywords)
    first, again, other = (pulls(env, [0, 1, 2] * 20, seed) for seed in (1, 1, 2))
    assert first == again and first[0] != other[0]


def test_arms_are_drawn_anew_at_each_reset_and_only_then() -> None:
    for env in (BernoulliBanditEnv(n_arms=6, prior=(0.2, 0.4)), GaussianBanditEnv(n_arms=6, prior=(5.0, 2.0))):
        drawn = []
        for episode in range(300):
            env.reset(seed=0 if episode == 0 else None)
            before = env.means.copy()
            env.step(0)
            np.testing.assert_array_equal(env.means, before)
            drawn.append(before)
        law = stats.uniform(0.2, 0.2) if isinstance(env, BernoulliBanditEnv) else stats.norm(5.0, 2.0)
        assert stats.kstest(np.ravel(drawn), law.cdf).pvalue > 1e-3
        assert len(np.unique(drawn)) == 1800


def test_a_given_list_is_not_the_environments_own() -> None:
    chances = [0.2, 0.4]
    env = BernoulliBanditEnv(chances)
    chances[0] = 1.0
    env.reset(seed=0)
    env.means[0] = 1.0  # nor does a reader change the arms
    env.reset(seed=0)
    assert env.means.tolist() == [0.2, 0.4]


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_coins_have_an_exact_answer(gamma: float) -> None:
    mdp = TabularMDP.from_env(IDS[0], gamma)
    assert (mdp.n_states, mdp.n_actions, mdp.horizon) == (1, 5, 100)
    assert solve(mdp).v[0] == pytest.approx(0.9 / (1 - gamma))
    assert best_return(mdp) == pytest.approx(90.0)
    random = evaluate(mdp, np.full((1, 5), 0.2))
    assert random[0] == pytest.approx(1.7 / 5 / (1 - gamma))
    sure = TabularMDP.from_env(BernoulliBanditEnv([1.0, 0.0]), gamma)
    assert solve(sure).v[0] == pytest.approx(1 / (1 - gamma))


def test_the_gap_of_a_model_is_logged() -> None:
    model = DQN("MlpPolicy", IDS[0], gamma=0.5, learning_starts=10, seed=0, device="cpu")
    gap = OptimalityGap(every=20)
    model.learn(60, callback=gap)
    assert model.logger.name_to_value["lab/gap"] >= 0.0


def test_what_is_drawn_or_not_finite_publishes_no_table() -> None:
    for env in (BernoulliBanditEnv(n_arms=2), GaussianBanditEnv()):
        with pytest.raises(ValueError, match="publishes no transition table"):
            TabularMDP.from_env(env, 0.9)


def test_many_bandits_at_once_are_those_of_resets() -> None:
    rng = np.random.default_rng(0)
    fixed = GaussianBanditEnv([1.0, 2.0]).draw_means(3, rng)
    assert fixed.tolist() == [[1.0, 2.0]] * 3
    drawn = BernoulliBanditEnv(n_arms=4).draw_means(500, rng)
    assert drawn.shape == (500, 4) and stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("make", "keywords", "message"),
    [
        (BernoulliBanditEnv, {"probabilities": []}, r"probabilities \[\] must hold at least one arm"),
        (BernoulliBanditEnv, {"probabilities": [0.5, 1.2]}, r"probabilities: 1.2 of arm 1 must lie in \[0, 1\]"),
        (BernoulliBanditEnv, {"probabilities": [-0.1]}, "-0.1 of arm 0 must lie"),
        (BernoulliBanditEnv, {"probabilities": [float("nan")]}, "nan of arm 0 must lie"),
        (BernoulliBanditEnv, {"probabilities": 0.5}, "probabilities 0.5 must be a list of numbers"),
        (BernoulliBanditEnv, {"probabilities": [[0.5]]}, "must be a list of numbers"),
        (BernoulliBanditEnv, {"probabilities": ["x"]}, "must be a list of numbers"),
        (BernoulliBanditEnv, {"probabilities": None, "n_arms": 0}, "n_arms 0 must be an integer >= 1"),
        (BernoulliBanditEnv, {"n_arms": 2.5}, "n_arms 2.5 must be an integer"),
        (BernoulliBanditEnv, {"probabilities": [0.5], "n_arms": 2}, "give one"),
        (
            BernoulliBanditEnv,
            {"n_arms": 2, "prior": (-1.0, 2.0)},
            r"prior \(-1.0, 2.0\) must be \(low, high\) in \[0, 1\].*GaussianBanditEnv has arms of any mean",
        ),
        (BernoulliBanditEnv, {"n_arms": 2, "prior": (0.6, 0.4)}, "must be"),
        (BernoulliBanditEnv, {"n_arms": 2, "prior": (float("nan"), 0.4)}, "must be"),
        (BernoulliBanditEnv, {"n_arms": 2, "prior": (0.1,)}, "prior .* must be two numbers"),
        (GaussianBanditEnv, {"means": []}, r"means \[\] must hold at least one arm"),
        (GaussianBanditEnv, {"means": [0.0, float("inf")]}, r"means \[0.0, inf\] must be finite"),
        (GaussianBanditEnv, {"std": -1.0}, "std -1.0 must be >= 0 and finite"),
        (GaussianBanditEnv, {"std": float("nan")}, "std nan must be >= 0"),
        (GaussianBanditEnv, {"n_arms": 3, "prior": (0.0, -1.0)}, "the second >= 0"),
    ],
)
def test_impossible_bandits_are_refused(make: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**keywords)


def test_pictures_show_the_arms_and_the_pull() -> None:
    env = BernoulliBanditEnv([0.0, 0.5, 1.0], render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(1)
    after = env.render()
    assert isinstance(before, np.ndarray) and isinstance(after, np.ndarray)
    assert before.shape == (48, 144, 3) and before.dtype == np.uint8
    greens = [before[10, 10 + 48 * arm] for arm in range(3)]
    assert greens[0][0] > greens[1][0] > greens[2][0]
    changed = np.unique(np.argwhere((before != after).any(axis=2))[:, 1] // 48)
    assert changed.tolist() == [1]
    for text, arms in (("means=0.25 0.50 pulled=none", []), ("means=0.25 0.50 pulled=1", [0, 1])):
        lines = BernoulliBanditEnv([0.25, 0.5], render_mode="ansi")
        pulls(lines, arms)
        assert lines.render() == text
    equal = GaussianBanditEnv([2.0, 2.0], render_mode="rgb_array")
    equal.reset(seed=0)
    plain = equal.render()
    assert isinstance(plain, np.ndarray) and (plain[10, 10] == 245).all()
    with pytest.raises(ValueError, match="render_mode 'human' must be"):
        BernoulliBanditEnv(render_mode="human")


@pytest.mark.parametrize("arm", [-1, 5])
def test_an_arm_that_is_not_there_is_refused(arm: int) -> None:
    env: BanditEnv = BernoulliBanditEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"action {arm} is none of the 5 arms"):
        env.step(arm)
