"""Monte Carlo: whole episodes and nothing else, and what importance sampling makes of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from support.blackjack import SHAPE, blackjack, seen
from support.table_models import VIEWS, Corridor

from sb3_ext import SARSA, MonteCarlo
from sb3_ext.ops.exploration import Boltzmann, EpsilonGreedy
from sb3_ext.ops.tabular import choose_breaking_ties
from sb3_ext.planning import Outcomes, TabularMDP, TabularVecEnv, evaluate, solve
from sb3_ext.tabular.monte_carlo import EpisodeSteps

ALWAYS = EpsilonGreedy(1.0, 1.0)
MEAN: dict[str, Any] = {"learning_rate": 1.0, "visit_power": 1.0}


class Noted(MonteCarlo):
    """Keeps the episodes that it learned from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.learned: list[EpisodeSteps] = []
        super().__init__(*args, **kwargs)

    def _learn(self, steps: EpisodeSteps) -> None:
        self.learned.append(steps)
        super()._learn(steps)


def wheel(mean_reward: float = 0.0) -> TabularMDP:
    """Four states, three actions; from anywhere to anywhere, or as often to the end, and each way is paid."""
    rng = np.random.default_rng(1)
    rows, following = np.repeat(np.arange(12), 5), np.tile([0, 1, 2, 3, 0], 12)
    ends = np.tile([False] * 4 + [True], 12)
    chance = rng.dirichlet([1.0, 1.0, 1.0, 1.0, 4.0], size=12)
    return TabularMDP(
        Outcomes(rows, following, chance.ravel(), rng.normal(mean_reward, 1.0, size=60).round(1), ends),
        4,
        3,
        np.full(4, 0.25),
        0.9,
    )


def action_values(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """:return: [S, A] exact values of a policy's actions"""
    onward = mdp.matrix @ evaluate(mdp, policy)
    values: np.ndarray = mdp.reward + mdp.gamma * onward.reshape(mdp.n_states, mdp.n_actions)
    return values


TARGET = np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])


# ---------------------------------------------------------------------- whole episodes


@pytest.mark.parametrize("first_visit", [True, False])
@pytest.mark.parametrize("n_steps", [1, 7, 500])
def test_values_are_means_of_the_returns_of_whole_episodes(first_visit: bool, n_steps: int) -> None:
    """By hand, with the random numbers of the model: wherever rollouts are cut."""
    model = MonteCarlo("TablePolicy", "FrozenLake-v1", **MEAN, n_steps=n_steps, gamma=0.9, first_visit=first_visit,
                       exploration=ALWAYS, seed=3).learn(3500)  # fmt: skip
    env = gym.make("FrozenLake-v1")
    np.random.seed(3)
    returns: dict[tuple[int, int], list[float]] = {}
    episode: list[tuple[int, int, float]] = []
    state = env.reset(seed=3)[0]
    for _ in range(3500):
        action = int(choose_breaking_ties(ALWAYS, np.zeros((1, 4)), 1.0)[0])
        after, reward, terminated, truncated, _ = env.step(action)
        episode.append((state, action, float(reward)))
        assert not truncated
        state = after
        if terminated:
            for t, (s, a, _) in enumerate(episode):
                if first_visit and (s, a) in [step[:2] for step in episode[:t]]:
                    continue
                g = sum(0.9**k * step[2] for k, step in enumerate(episode[t:]))
                returns.setdefault((s, a), []).append(g)
            episode = []
            state = env.reset()[0]
    assert model.policy.q.max() > 0.1
    for s, a in np.ndindex(16, 4):
        known = returns.get((s, a), [])
        assert model.policy.visits[s, a] == len(known)
        assert model.policy.q[s, a] == pytest.approx(np.mean(known) if known else 0.0, abs=1e-12)


def test_nothing_is_learned_of_an_episode_before_it_ends() -> None:
    model = Noted("TablePolicy", Corridor(length=30), n_steps=5, exploration="greedy", seed=0)
    model.learn(20)
    assert not model.policy.visits.any() and not any(len(steps.cell) for steps in model.learned)
    model.learn(3000, reset_num_timesteps=False)
    learned = np.concatenate([steps.cell for steps in model.learned])
    assert learned[0] in (0, 1) and (model.policy.visits[:29].sum(dim=1) > 0).all()


@pytest.mark.parametrize("n_envs", [1, 3])
def test_an_episode_that_a_rollout_cuts_goes_on_in_the_next(n_envs: int) -> None:
    """In each environment its own."""
    env = DummyVecEnv([lambda: Corridor(length=6)] * n_envs)
    model = Noted("TablePolicy", env, n_steps=3, exploration=ALWAYS, seed=0).learn(1500 * n_envs)
    n_episodes = 0
    for steps in model.learned:
        place = 0
        for cell, is_last in zip(steps.cell, steps.is_last, strict=True):
            assert cell // 2 == place
            place = max(place + (1 if cell % 2 else -1), 0)
            assert is_last == (place == 5)
            place, n_episodes = (0, n_episodes + 1) if is_last else (place, n_episodes)
        assert place == 0
    assert n_episodes > 20 * n_envs


@pytest.mark.parametrize("importance", [None, "weighted"])
def test_a_training_in_two_parts_is_the_same_training(importance: Any) -> None:
    """The episode that is under way between them goes on."""

    def model() -> MonteCarlo:
        return MonteCarlo("TablePolicy", "FrozenLake-v1", n_steps=4, exploration=ALWAYS, importance=importance, seed=5)

    whole = model().learn(2000)
    parts = model().learn(400).learn(1600, reset_num_timesteps=False)
    np.testing.assert_array_equal(whole.policy.q, parts.policy.q)
    np.testing.assert_array_equal(whole.policy.weight, parts.policy.weight)
    assert whole.policy.visits.sum() > 100


def test_no_episode_spans_a_reset() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls % 8 != 0

    model = Noted("TablePolicy", Corridor(length=4), n_steps=3, exploration=ALWAYS, seed=0)
    for again in range(60):
        model.learn(50, callback=Stop(), reset_num_timesteps=again == 0)
    model.set_env(Corridor(length=4))
    model.learn(60, reset_num_timesteps=False)
    model.learn(60)
    assert sum(steps.is_last.sum() for steps in model.learned) > 10
    for steps in model.learned:
        place = 0
        for cell, is_last in zip(steps.cell, steps.is_last, strict=True):
            assert cell // 2 == place
            place = 0 if is_last else max(place + (1 if cell % 2 else -1), 0)


def test_an_episode_that_a_time_limit_cuts_goes_on_by_the_table() -> None:
    """Left out, only the short episodes would count: here every return is 1 / (1 - gamma), as far as it is known."""
    env = Corridor(length=50, limit=20, reward=1.0)
    model = MonteCarlo("TablePolicy", env, gamma=0.8, exploration=ALWAYS, seed=0).learn(12_000)
    often = model.policy.visits.numpy() > 100
    assert often.sum() > 4
    np.testing.assert_allclose(model.policy.q.numpy()[often], 5.0, atol=0.1)


@pytest.mark.parametrize("importance", ["ordinary", "weighted"])
def test_what_is_left_at_a_time_limit_is_worth_what_the_learned_policy_gets(importance: Any) -> None:
    model = MonteCarlo("TablePolicy", Corridor(), importance=importance, seed=0).learn(500)
    np.testing.assert_array_equal(model.worth(np.arange(4)), model.policy.q.amax(dim=1))
    target = np.tile([0.25, 0.75], (4, 1))
    model = MonteCarlo("TablePolicy", Corridor(), importance=importance, target=target, seed=0).learn(500)
    np.testing.assert_allclose(model.worth(np.arange(4)), model.policy.q.numpy() @ target[0])


# ---------------------------------------------------------------------- importance sampling


def test_the_ratio_of_an_action_does_not_weigh_its_own_return() -> None:
    """The trap: in episodes of one step each action is worth its reward, however seldom the target takes it."""
    rewards = np.array([1.0, -2.0, 5.0])
    ends = Outcomes(np.arange(3), np.zeros(3, np.int64), np.ones(3), rewards, np.ones(3, bool))
    mdp = TabularMDP(ends, 1, 3, np.ones(1), 1.0)
    for importance in ("ordinary", "weighted"):
        model = MonteCarlo("TablePolicy", TabularVecEnv(mdp, 4, seed=0), **MEAN, gamma=1.0, exploration=ALWAYS,
                           importance=importance, target=np.array([[0.9, 0.1, 0.0]]), seed=0).learn(400)  # fmt: skip
        np.testing.assert_allclose(model.policy.q.numpy()[0], rewards, atol=1e-12)


@pytest.mark.parametrize("exploration", [ALWAYS, Boltzmann(0.7)])
def test_ordinary_importance_sampling_is_unbiased(exploration: Any) -> None:
    """Within five standard errors of the exact values of the target, for each pair that it can take."""
    mdp = wheel()
    exact = action_values(mdp, TARGET)
    model = MonteCarlo("TablePolicy", TabularVecEnv(mdp, 16, seed=0), **MEAN, gamma=0.9, exploration=exploration,
                       importance="ordinary", target=TARGET, n_steps=32, seed=0).learn(120_000)  # fmt: skip
    q, n, second = (x.numpy() for x in (model.policy.q, model.policy.visits, model.policy.second_moment))
    standard_error = np.sqrt((second - q**2) / n)
    assert (n > 1000).all() and (standard_error < 0.15).all()
    assert (np.abs(q - exact) < 5 * standard_error).all()
    acting = action_values(mdp, np.full((4, 3), 1 / 3))
    assert (np.abs(acting - exact) > 5 * standard_error).any(), "it isn't the policy that acts"


def test_weighted_importance_sampling_goes_there_with_a_smaller_variance() -> None:
    """Where returns are far from 0, an ordinary mean has the whole variance of the weights."""
    mdp = wheel(mean_reward=2.0)
    exact = action_values(mdp, TARGET)
    found: dict[str, np.ndarray] = {}
    for importance in ("ordinary", "weighted"):
        tables = []
        for seed in range(9):
            model = MonteCarlo("TablePolicy", TabularVecEnv(mdp, 16, seed=seed), **MEAN, gamma=0.9, n_steps=32,
                               exploration=ALWAYS, importance=importance, target=TARGET, seed=seed)  # fmt: skip
            tables.append(model.learn(8_192).policy.q.numpy().copy())
        found[importance] = np.array(tables)
    spread = {name: tables.std(axis=0, ddof=1) for name, tables in found.items()}
    assert (spread["weighted"] < spread["ordinary"]).mean() > 0.9
    assert spread["weighted"].mean() < 0.7 * spread["ordinary"].mean()
    error = np.abs(found["weighted"].mean(axis=0) - exact)
    assert (error < 5 * spread["weighted"] / 3.0).all()


def test_weighted_means_are_those_of_the_definition() -> None:
    """Equation 5.6: the sum of W G over the sum of W, of all returns there were."""
    mdp = wheel()
    env = TabularVecEnv(mdp, 3, seed=0)
    model = Noted("TablePolicy", env, **MEAN, gamma=0.9, exploration=ALWAYS, first_visit=False, importance="weighted",
                  target=TARGET, initial_value=7.0, seed=0).learn(3000)  # fmt: skip
    over, under = np.zeros(12), np.zeros(12)
    for steps in model.learned:
        start = 0
        for end in (np.flatnonzero(steps.is_last) + 1).tolist():
            for t in range(start, end):
                g = sum(0.9 ** (k - t) * steps.reward[k] for k in range(t, end))
                w = np.prod([TARGET.ravel()[steps.cell[k]] * 3.0 for k in range(t + 1, end)])
                over[steps.cell[t]] += w * g
                under[steps.cell[t]] += w
            start = end
    np.testing.assert_allclose(model.policy.q.numpy().ravel(), over / under, rtol=1e-9)


def test_the_greedy_policy_is_learned_of_while_another_one_explores() -> None:
    """Off-policy control: the values are the best ones, and not those of the half-random policy that acts."""
    mdp = wheel()
    best = solve(mdp)
    half = EpsilonGreedy(0.5, 0.5)
    tables = {}
    for importance in (None, "weighted"):
        model = MonteCarlo("TablePolicy", TabularVecEnv(mdp, 16, seed=0), gamma=0.9, exploration=half,
                           importance=importance, seed=0).learn(80_000)  # fmt: skip
        tables[importance] = model.policy.q.numpy().copy()
    found = evaluate(mdp, tables["weighted"].argmax(axis=1))
    assert mdp.start @ found == pytest.approx(mdp.start @ best.v, abs=0.05)
    error = {name: np.abs(q - best.q).max() for name, q in tables.items()}
    assert error["weighted"] < 0.25 < error[None]


def test_only_what_follows_the_last_action_that_is_not_greedy_teaches() -> None:
    model = Noted("TablePolicy", Corridor(length=5), importance="weighted", exploration=ALWAYS, n_steps=64, seed=0)
    model.learn(64 * 20)
    assert (model.policy.q[:4].argmax(dim=1) == 1).all()
    before = model.policy.visits.numpy().copy()
    steps = EpisodeSteps(np.array([1, 2, 1, 3, 5, 7]), np.zeros(6), np.full(6, 0.5), np.arange(6) == 5)
    model._learn(steps)
    assert (model.policy.visits.numpy() - before).ravel().tolist() == [0, 0, 1, 1, 0, 1, 0, 1, 0, 0]


# ---------------------------------------------------------------------- cards


@pytest.mark.parametrize("algorithm", [MonteCarlo, SARSA])
def test_blackjack_is_learned(algorithm: type[MonteCarlo | SARSA]) -> None:
    """Within 0.02 of the best game there is, -0.0431, by exact values; a beginner loses 0.3 to 0.4 a game."""
    mdp = blackjack()
    best = mdp.start @ solve(mdp).v
    assert best == pytest.approx(-0.043113, abs=1e-6)
    env = TabularVecEnv(mdp, 32, observe=seen, observation_space=spaces.MultiDiscrete(list(SHAPE)), seed=0)
    model = algorithm("TablePolicy", env, gamma=1.0, visit_power=0.8, seed=0).learn(250_000)
    numbers = model.policy.states.numbers(seen(np.arange(mdp.n_states)))
    found = mdp.start @ evaluate(mdp, model.policy.values(numbers).argmax(axis=1))
    assert best - 0.02 < found <= best + 1e-12


def test_blackjack_by_its_id() -> None:
    model = Noted("TablePolicy", "Blackjack-v1", gamma=1.0, seed=0).learn(500)
    assert model.policy.q.shape == (32 * 11 * 2, 2)
    assert sum(steps.is_last.sum() for steps in model.learned) > 200


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("view", VIEWS)
def test_every_way_to_show_a_place_is_the_same_table(view: str) -> None:
    space, show = VIEWS[view]
    plain = MonteCarlo("TablePolicy", Corridor(limit=6), seed=0).learn(200)
    model = MonteCarlo("TablePolicy", Corridor(space=space, show=show, limit=6), seed=0).learn(200)
    np.testing.assert_array_equal(model.policy.q, plain.policy.q)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"importance": "some"}, "importance 'some' must be None or one of ordinary, weighted"),
        ({"target": np.zeros(16, np.int64)}, 'target needs importance="weighted" or "ordinary"'),
        ({"importance": "weighted", "exploration": "ucb1"}, "UCB1 does not tell them: use EpsilonGreedy"),
        ({"importance": "weighted", "target": np.zeros(5)}, r"policy has shape \(5,\).*16 states"),
        ({"importance": "weighted", "target": np.full((16, 4), 0.3)}, "of state 0 must be positive and sum to 1"),
        ({"importance": "weighted", "target": np.full(16, 4)}, r"action 4 of state 0 must lie in \[0, 4\)"),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
    ],
)
def test_settings_that_cannot_be(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MonteCarlo("TablePolicy", "FrozenLake-v1", **keywords)


def test_a_learning_rate_of_nothing_learns_nothing() -> None:
    model = MonteCarlo("TablePolicy", Corridor(), 0.0, importance="weighted", initial_value=2.0, seed=0).learn(200)
    assert (model.policy.q == 2.0).all()
