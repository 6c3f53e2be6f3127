"""Q-learning in tables: what it learns from, and what it takes for a state."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from support.table_models import VIEWS, Corridor

from sb3_ext import QLearning
from sb3_ext.envs import TupleToMultiDiscrete
from sb3_ext.planning import TabularMDP, TabularVecEnv, evaluate, solve
from sb3_ext.tabular import Steps


class Noted(QLearning):
    """Keeps what it learned from, and learns it by the plain rule, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.steps: list[Steps] = []
        super().__init__(*args, **kwargs)

    def _learn(self, steps: Steps) -> None:
        self.steps.append(steps)
        super()._learn(steps)


def test_one_lane_is_watkins_rule_bit_for_bit() -> None:
    model = Noted("TablePolicy", Corridor(limit=7), learning_rate=0.3, visit_power=0.6, gamma=0.9, seed=0).learn(300)
    q, visits = np.zeros((4, 2)), np.zeros((4, 2))
    assert len(model.steps) == 300
    for step in model.steps:
        s, a, r, after, ended = (x.item() for x in step[:5])
        visits[s, a] += 1
        target = r + 0.9 * (0.0 if ended else q[after].max())
        q[s, a] += 0.3 * visits[s, a] ** -0.6 * (target - q[s, a])
    np.testing.assert_array_equal(model.policy.q.numpy(), q)
    np.testing.assert_array_equal(model.policy.visits.numpy(), visits)


@pytest.mark.parametrize("view", VIEWS)
def test_every_way_to_show_a_place_is_the_same_table(view: str) -> None:
    space, show = VIEWS[view]
    plain = QLearning("TablePolicy", Corridor(), seed=0).learn(200)
    model = QLearning("TablePolicy", Corridor(space=space, show=show), seed=0).learn(200)
    np.testing.assert_array_equal(model.policy.q, plain.policy.q)
    for place in range(3):
        action, _ = model.predict(show(place), deterministic=True)
        assert action.shape == () and action == 1


def test_observations_may_come_as_they_are_stored() -> None:
    """T28: one, [n], [n, 1] as replays hold them, and a tuple of arrays."""
    model = QLearning("TablePolicy", Corridor(), seed=0).learn(200)
    for observation, shape in ((2, ()), (np.array(2), ()), (np.array([2]), (1,)), (np.array([[2], [1]]), (2,))):
        action, _ = model.predict(observation, deterministic=True)  # type: ignore[arg-type]
        assert action.shape == shape and (action == 1).all()
        assert model.predict(observation)[0].shape == shape  # type: ignore[arg-type]
    np.testing.assert_array_equal(model.policy.action_values(th.tensor([[2], [1]])), model.policy.q[[2, 1]])
    space, show = VIEWS["tuple"]
    pairs = QLearning("TablePolicy", Corridor(space=space, show=show), seed=0).learn(200)
    assert pairs.predict((np.array([0, 1]), np.array([1, 0])), deterministic=True)[0].tolist() == [1, 1]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"observation 4 is none of Discrete\(4\)"):
        model.predict(np.array([4]), deterministic=True)


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv])
def test_tuples_in_a_vec_env(vec_env: type[DummyVecEnv | SubprocVecEnv]) -> None:
    envs = vec_env([lambda: Corridor(space=VIEWS["tuple"][0], show=VIEWS["tuple"][1], limit=2)] * 2)
    model = Noted("TablePolicy", envs, seed=0).learn(40)
    assert model.observation_space == spaces.MultiDiscrete([2, 2])
    for steps in model.steps:
        moved = np.where(steps.action == 1, steps.state + 1, np.maximum(steps.state - 1, 0))
        np.testing.assert_array_equal(steps.next_state, moved)
    envs.close()


def test_a_time_limit_is_no_end() -> None:
    """Its value is that of going on, from the true final observation and not the first one of the next episode."""
    model = Noted("TablePolicy", Corridor(length=3, limit=2), gamma=0.5, seed=0).learn(500)
    cut = [x for x in model.steps if x.state == 1 and x.action == 0]
    assert cut and not any(x.terminated.any() for x in cut)
    ends = [x for x in model.steps if x.next_state == 2]
    assert ends and all(x.terminated.all() for x in ends)
    assert np.allclose(model.policy.q[:2], [[0.25, 0.5], [0.25, 1.0]], atol=0.05)


def test_no_transition_spans_two_episodes() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls % 3 != 0

    model = Noted("TablePolicy", Corridor(length=9), exploration={"epsilon_greedy": {"final": 1.0}}, seed=0)
    for again in range(30):
        model.learn(50, callback=Stop(), reset_num_timesteps=again == 0)
    model.set_env(Corridor(length=9))
    model.learn(20, reset_num_timesteps=False)
    for steps in model.steps:
        assert steps.next_state == max(steps.state + (1 if steps.action == 1 else -1), 0)


def test_tied_actions_are_taken_at_random() -> None:
    """A table begins with nothing but ties, and a strategy that knows of none would always go left."""
    for exploration in ("greedy", {"epsilon_greedy": {"initial": 0.0, "final": 0.0}}):
        model = QLearning("TablePolicy", Corridor(length=30), exploration=exploration, seed=0)
        actions, _ = model.predict(np.zeros(1000, np.int64))
        assert 400 < actions.sum() < 600
        assert not model.predict(np.zeros(1000, np.int64), deterministic=True)[0].any()


def test_optimistic_values_make_a_greedy_agent_try_everything() -> None:
    env = Corridor(length=8, limit=50)
    model = QLearning("TablePolicy", env, exploration="greedy", initial_value=2.0, gamma=0.9, seed=0).learn(2000)
    assert (model.policy.visits[:7] > 0).all()
    assert (model.policy.q[7] == 2.0).all()
    assert evaluate_policy(model, env, 1, warn=False) == (1.0, 0.0)


def test_64_lanes_find_the_best_policy_of_the_lake() -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    best = solve(mdp)
    model = QLearning("TablePolicy", TabularVecEnv(mdp, 64), seed=0).learn(60_000)
    gap = mdp.start @ (best.v - evaluate(mdp, model.policy.q.argmax(dim=1).numpy()))
    assert gap < 0.02 * mdp.start @ best.v


def test_the_same_seed_learns_the_same() -> None:
    first, second, other = (QLearning("TablePolicy", "FrozenLake-v1", seed=s).learn(500) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.policy.visits, second.policy.visits)
    assert (first.policy.visits != other.policy.visits).any()


def test_blackjack_needs_no_wrapper_of_the_user() -> None:
    model = QLearning("TablePolicy", "Blackjack-v1", seed=0).learn(300)
    assert model.policy.q.shape == (32 * 11 * 2, 2)
    mean, _ = evaluate_policy(model, TupleToMultiDiscrete(gym.make("Blackjack-v1")), 3, warn=False)
    assert -1.0 <= mean <= 1.0  # type: ignore[operator]  # a list where it was asked for
