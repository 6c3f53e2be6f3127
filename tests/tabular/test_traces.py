"""SARSA(lambda): its returns by definition, its steps by the book's box, and where its table goes."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.table_models import VIEWS, Corridor

from sb3_ext import SARSA
from sb3_ext.ops.exploration import UCB1, EpsilonGreedy, EpsilonLadder
from sb3_ext.ops.tabular import choose_breaking_ties
from sb3_ext.planning import TabularMDP, TabularVecEnv, epsilon_soft_value_iteration, evaluate, solve
from sb3_ext.tabular.traces import TraceAlgorithm

ALWAYS = EpsilonGreedy(1.0, 1.0)
THIRD = EpsilonGreedy(0.3, 0.3)


class Rollout(NamedTuple):
    """What one rollout was learned from, each [T, E] if nothing else is said."""

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    values: np.ndarray
    ended: np.ndarray
    returns: np.ndarray
    table: np.ndarray
    """[S, A] before it was learned from"""
    next_states: np.ndarray
    """[E]"""
    next_actions: np.ndarray | None
    """[E]"""


class Noted(SARSA):
    """Keeps what it learned from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rollouts: list[Rollout] = []
        super().__init__(*args, **kwargs)

    def train(self) -> None:
        table = self.policy.q.numpy().copy()
        super().train()
        buffer = self.rollout_buffer
        assert isinstance(self._last_obs, np.ndarray) and self._last_episode_starts is not None
        self.rollouts.append(
            Rollout(
                buffer.observations[..., 0],
                buffer.actions[..., 0],
                buffer.rewards,
                buffer.values,
                np.concatenate([buffer.episode_starts[1:], self._last_episode_starts[None]]) > 0,
                buffer.returns,
                table,
                self._last_obs,
                self._next_actions,
            )
        )


class Restless(gym.Env[Any, Any]):
    """Five places; next place, reward and end are drawn, so that no two steps are alike."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return int(self.np_random.integers(5)), {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        end = self.np_random.random()
        return int(self.np_random.integers(5)), float(self.np_random.normal()), end < 0.15, 0.15 <= end < 0.25, {}


def restless(n_envs: int) -> VecEnv:
    return DummyVecEnv([Restless] * n_envs)


def forward_view(rollout: Rollout, lane: int, t: int, gamma: float, lambda_: float) -> float:
    """
    Weights of all n-step returns, forward in time (Sutton & Barto, equation 12.3). One that reaches the end of the
    rollout has what is left of the weights.
    """
    n_steps = len(rollout.rewards)
    total, left, rewards = 0.0, 1.0, 0.0
    for n in range(1, n_steps - t + 1):
        last = t + n - 1
        rewards += gamma ** (n - 1) * rollout.rewards[last, lane]
        if rollout.ended[last, lane]:
            return float(total + left * rewards)
        if last == n_steps - 1:
            assert rollout.next_actions is not None
            following = rollout.table[rollout.next_states[lane], rollout.next_actions[lane]]
            return float(total + left * (rewards + gamma**n * following))
        following = rollout.table[rollout.states[t + n, lane], rollout.actions[t + n, lane]]
        total += (1.0 - lambda_) * lambda_ ** (n - 1) * (rewards + gamma**n * following)
        left -= (1.0 - lambda_) * lambda_ ** (n - 1)
    raise AssertionError


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("lambda_", [0.0, 0.4, 0.9, 1.0])
def test_returns_are_lambda_returns_by_definition(lambda_: float, n_envs: int) -> None:
    model = Noted("TablePolicy", restless(n_envs), n_steps=7, lambda_=lambda_, gamma=0.9, exploration=THIRD, seed=0)
    model.learn(7 * n_envs * 20)
    assert len(model.rollouts) == 20
    for rollout in model.rollouts:
        for t, lane in np.ndindex(rollout.rewards.shape):
            assert rollout.returns[t, lane] == pytest.approx(forward_view(rollout, lane, t, 0.9, lambda_), abs=1e-12)


def test_one_step_without_lambda_is_the_box_of_the_book() -> None:
    """Sutton & Barto, section 6.4, by hand, with the random numbers of the model."""
    model = SARSA("TablePolicy", "FrozenLake-v1", 0.5, 0.6, n_steps=1, gamma=0.9, exploration=THIRD, seed=3).learn(3000)
    env = gym.make("FrozenLake-v1")
    env.reset(seed=3)
    np.random.seed(3)
    q, visits = np.zeros((16, 4)), np.zeros((16, 4))

    def choose(state: int) -> int:
        return int(choose_breaking_ties(THIRD, q[[state]], 1.0)[0])

    s = env.reset(seed=3)[0]
    a = choose(s)
    for _ in range(3000):
        after, r, terminated, truncated, _ = env.step(a)
        next_a = None if terminated or truncated else choose(after)
        if next_a is not None:
            value = q[after, next_a]
        else:
            value = 0.0 if terminated else float((THIRD.probabilities(q[[after]], 1.0) * q[after]).sum())
        visits[s, a] += 1
        q[s, a] += 0.5 * visits[s, a] ** -0.6 * (float(r) + 0.9 * value - q[s, a])
        if next_a is None:
            after = env.reset()[0]
            next_a = choose(after)
        s, a = after, next_a
    assert q.max() > 0.01
    np.testing.assert_array_equal(model.policy.visits, visits)
    np.testing.assert_allclose(model.policy.q, q, rtol=0.0, atol=1e-7)  # a time limit is added to in single precision


def test_the_last_step_of_a_rollout_bootstraps_from_the_action_that_is_taken_next() -> None:
    model = Noted("TablePolicy", restless(3), n_steps=2, exploration=ALWAYS, seed=0).learn(600)
    n_seen = 0
    for before, after in zip(model.rollouts, model.rollouts[1:], strict=False):
        goes_on = ~before.ended[-1]
        if before.next_actions is not None:
            np.testing.assert_array_equal(after.actions[0, goes_on], before.next_actions[goes_on])
            n_seen += goes_on.sum()
        np.testing.assert_array_equal(after.states[0], before.next_states)
    assert n_seen > 200


def test_a_time_limit_bootstraps_and_an_end_does_not() -> None:
    """From the final observation, by what the exploring policy is worth there."""
    env = Corridor(length=3, limit=2)
    model = Noted("TablePolicy", env, n_steps=4, gamma=0.5, exploration=THIRD, initial_value=0.3, seed=0).learn(400)
    n_cut = 0
    for rollout in model.rollouts:
        for t in np.flatnonzero(rollout.ended[:, 0]):
            s, a, reward = rollout.states[t, 0], rollout.actions[t, 0], rollout.rewards[t, 0]
            if (s, a) == (1, 1):
                assert reward == 1.0
                continue
            q = rollout.table[s + 1 if a == 1 else 0]
            expected = 0.5 * (0.7 * q.max() + 0.3 * q.mean())
            assert reward == pytest.approx(expected, rel=1e-6)
            n_cut += 1
    assert n_cut > 20


def test_under_a_ladder_a_time_limit_is_worth_what_the_mean_epsilon_is() -> None:
    ladder = EpsilonLadder(0.4, 7.0)
    model = SARSA("TablePolicy", restless(4), exploration=ladder, seed=0).learn(400)
    q = model.policy.values(np.arange(5))
    epsilon = ladder.rate(0.0, 4)
    np.testing.assert_allclose(model.worth(np.arange(5)), (1 - epsilon) * q.max(axis=1) + epsilon * q.mean(axis=1))


@pytest.mark.parametrize("lambda_", [0.0, 0.5])
def test_the_table_goes_to_the_best_epsilon_soft_values(lambda_: float) -> None:
    """T13: and not to the best values there are."""
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.9)
    soft, best = epsilon_soft_value_iteration(mdp, 0.3), solve(mdp)
    env = TabularVecEnv(mdp, 64, seed=0)
    model = SARSA("TablePolicy", env, visit_power=0.8, gamma=0.9, lambda_=lambda_, exploration=THIRD, seed=0)
    model.learn(300_000)
    q = model.policy.q.numpy()
    often = model.policy.visits.numpy() > 1000
    assert often.sum() > 25
    assert np.abs(q - soft.q)[often].max() < 0.05 < 0.07 < np.abs(q - best.q)[often].max()
    greedy = np.eye(4)[q.argmax(axis=1)]
    acting = 0.7 * greedy + 0.3 / 4
    assert mdp.start @ evaluate(mdp, acting) == pytest.approx(mdp.start @ soft.v, rel=0.06)


def test_lanes_and_rollouts_that_visit_a_cell_often_move_it_once_towards_their_mean() -> None:
    """64 lanes at one start: the errors of all of them added up would overshoot."""
    env = DummyVecEnv([lambda: Corridor(length=2)] * 64)
    model = SARSA("TablePolicy", env, 0.1, 0.0, n_steps=4, exploration=ALWAYS, initial_value=5.0, seed=0).learn(64 * 4)
    assert 1.0 <= model.policy.q[0, 1] < 1.1
    assert model.policy.visits.sum() == 64 * 4


@pytest.mark.parametrize("n_steps", [1, 4])
def test_a_training_in_two_parts_is_the_same_training(n_steps: int) -> None:
    def model() -> SARSA:
        return SARSA("TablePolicy", "FrozenLake-v1", n_steps=n_steps, exploration=ALWAYS, lambda_=0.7, seed=5)

    whole = model().learn(1200)
    parts = model().learn(400).learn(800, reset_num_timesteps=False)
    np.testing.assert_array_equal(whole.policy.q, parts.policy.q)
    np.testing.assert_array_equal(whole.policy.visits, parts.policy.visits)


def test_no_rollout_spans_two_episodes() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls % 7 != 0

    model = Noted("TablePolicy", Corridor(length=9), n_steps=3, exploration=ALWAYS, seed=0)
    for again in range(30):
        model.learn(50, callback=Stop(), reset_num_timesteps=again == 0)
    model.set_env(Corridor(length=9))
    model.learn(20, reset_num_timesteps=False)
    model.learn(20)
    before = None
    for rollout in model.rollouts:
        for t in range(3):
            s, a, ended = rollout.states[t, 0], rollout.actions[t, 0], rollout.ended[t, 0]
            assert s in (0, before)
            before = 0 if ended else max(s + (1 if a == 1 else -1), 0)


def test_evaluating_on_the_way_changes_nothing() -> None:
    plain = SARSA("TablePolicy", "FrozenLake-v1", seed=2).learn(1000)
    watched = SARSA("TablePolicy", "FrozenLake-v1", seed=2)
    watched.learn(1000, callback=EvalCallback(gym.make("FrozenLake-v1"), eval_freq=150, verbose=0, warn=False))
    np.testing.assert_array_equal(plain.policy.q, watched.policy.q)


@pytest.mark.parametrize("view", VIEWS)
def test_every_way_to_show_a_place_is_the_same_table(view: str) -> None:
    space, show = VIEWS[view]
    plain = SARSA("TablePolicy", Corridor(limit=6), seed=0).learn(200)
    model = SARSA("TablePolicy", Corridor(space=space, show=show, limit=6), seed=0).learn(200)
    np.testing.assert_array_equal(model.policy.q, plain.policy.q)


def test_a_strategy_that_counts_explores_too() -> None:
    model = SARSA("TablePolicy", Corridor(length=5, limit=4), exploration=UCB1(), seed=0).learn(2000)
    assert (model.policy.visits[:4] > 0).all()
    assert model.predict(np.arange(4), deterministic=True)[0].all()


def test_settings_may_change_between_two_trainings() -> None:
    model = Noted("TablePolicy", restless(1), lambda_=0.0, seed=0).learn(40)
    model.lambda_ = 1.0
    model.learn(40)
    for t in range(4):
        assert model.rollouts[-1].returns[t, 0] == pytest.approx(forward_view(model.rollouts[-1], 0, t, 0.99, 1.0))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lambda_": 1.5}, r"lambda_ 1.5 must lie in \[0.0, 1.0\]"),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
        ({"gamma": -0.1}, r"gamma -0.1 must lie in \[0.0, 1.0\]"),
        ({"policy_kwargs": {"initial_value": 1.0}}, "'initial_value' is a keyword of SARSA itself"),
    ],
)
def test_settings_that_cannot_be(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SARSA("TablePolicy", "FrozenLake-v1", **keywords)


def test_environments_that_have_no_table() -> None:
    with pytest.raises(ValueError, match=r"SARSA keeps a table: it needs Discrete observations, .* got Box"):
        SARSA("TablePolicy", "CartPole-v1")
    with pytest.raises(ValueError, match="take VecNormalize off"):
        SARSA("TablePolicy", VecNormalize(restless(1), norm_obs=False))


def test_outside_of_a_rollout_the_policy_is_greedy() -> None:
    model = SARSA("TablePolicy", Corridor(), seed=0).learn(400)
    obs, _ = model.policy.obs_to_tensor(np.arange(3))
    actions, values, log_probs = model.policy(obs)
    assert actions.tolist() == [1, 1, 1] and not log_probs.any()
    np.testing.assert_array_equal(values, model.policy.q[:3].amax(dim=1))
    np.testing.assert_array_equal(model.policy.predict_values(obs), values)
    assert isinstance(model, TraceAlgorithm)
