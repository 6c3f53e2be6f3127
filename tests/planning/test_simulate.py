"""Simulated returns are those of the exact values, count each episode once, and disturb nobody."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import R2D2, RainbowR
from sb3_ext.planning import (
    Outcomes,
    TabularEnv,
    TabularMDP,
    TabularPOMDP,
    TabularVecEnv,
    evaluate,
    expected_return,
    policy_table,
    simulate_returns,
)
from sb3_ext.planning.simulator import Simulator


@pytest.fixture(scope="module")
def lake() -> TabularMDP:
    return TabularMDP.from_env("FrozenLake-v1", 0.9)


def lake_of(n_states: int) -> TabularMDP:
    """Any process of so many states and the lake's actions."""
    row = np.arange(4 * n_states)
    outcomes = Outcomes(row, row // 4, np.ones(len(row)), np.zeros(len(row)), np.zeros(len(row), bool))
    return TabularMDP(outcomes, n_states, 4, np.eye(n_states)[0], 0.9)


def actor(env: Any, **kwargs: Any) -> PPO:
    """Untrained, but decided: its probabilities differ from state to state."""
    model = PPO(
        "MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu", **kwargs
    )
    with th.no_grad():
        for parameter in model.policy.action_net.parameters():
            parameter.mul_(200.0)
    return model


@pytest.mark.parametrize("deterministic", [False, True])
def test_estimates_agree_with_what_is_exact(lake: TabularMDP, deterministic: bool) -> None:
    model = actor(TabularVecEnv(lake, 1))
    policy = policy_table(model, lake, deterministic=deterministic)
    found = simulate_returns(model, lake, 20_000, seed=1, deterministic=deterministic)
    assert abs(found.mean - expected_return(lake, policy)) < 3 * found.standard_error + 1e-9
    assert found.standard_error == pytest.approx(found.returns.std() / np.sqrt(20_000), rel=1e-3)
    # 0.9^100 is below the noise.
    error = found.discounted.std() / np.sqrt(20_000)
    assert abs(found.discounted.mean() - lake.start @ evaluate(lake, policy)) < 3 * error + 1e-4


def test_short_episodes_have_no_advantage() -> None:
    """Half of them end at once and pay 0, the others pay 1 after 40 steps; a count of ends would say 1 in 41."""
    n = 40
    row = np.arange(n + 1)
    reward, ends = np.zeros(n + 1), np.zeros(n + 1, bool)
    reward[n - 1], ends[n - 1 :] = 1.0, True
    start = np.zeros(n + 1)
    start[[0, n]] = 0.5
    outcomes = Outcomes(row, np.minimum(row + 1, n), np.ones(n + 1), reward, ends)
    mdp = TabularMDP(outcomes, n + 1, 1, start, 0.5, horizon=50)
    found = simulate_returns(actor(TabularVecEnv(mdp, 1)), mdp, 1000)
    assert set(found.lengths) == {1, n} and not found.truncated.any()
    np.testing.assert_array_equal(found.returns, found.lengths == n)
    np.testing.assert_allclose(found.discounted, found.returns * 0.5 ** (n - 1))
    assert abs(found.mean - 0.5) < 0.06


def test_the_limit_of_steps_cuts(lake: TabularMDP) -> None:
    model = actor(TabularVecEnv(lake, 1))
    found = simulate_returns(model, lake, 500, horizon=4, deterministic=False)
    assert found.truncated.any() and not found.truncated.all()
    assert (found.lengths[found.truncated] == 4).all() and found.lengths.min() < 4
    # A termination in the last step is none.
    assert ((found.lengths == 4) & ~found.truncated).any()


def generators(model: BaseAlgorithm) -> list[Any]:
    """All that training draws from."""
    numpy: Any = np.random.get_state()
    return [numpy[1], th.get_rng_state().numpy(), model.action_space.np_random.bit_generator.state]


def recurrent(name: str, env: Any) -> BaseAlgorithm:
    if name == "RecurrentPPO":
        policy_kwargs: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": [8]}
        return RecurrentPPO("MlpLstmPolicy", env, n_steps=8, policy_kwargs=policy_kwargs, seed=0, device="cpu")
    cls = {"R2D2": R2D2, "RainbowR": RainbowR}[name]
    policy_kwargs = {"lstm_hidden_size": 8, "net_arch": [8]}
    return cls("MlpLstmPolicy", env, buffer_size=1000, policy_kwargs=policy_kwargs, seed=0, device="cpu")


@pytest.mark.parametrize("name", ["RecurrentPPO", "R2D2", "RainbowR"])
def test_memories_follow_their_lanes_when_others_have_ended(name: str) -> None:
    """Without chance an episode follows from its first state: lanes together against one environment at a time."""
    kwargs: dict[str, Any] = {"map_name": "8x8", "is_slippery": False}
    of = TabularPOMDP.from_env(gym.make("sb3_ext/MaskedFrozenLake-v0", **kwargs))
    start = np.full(64, 1 / 64)
    of = dataclasses.replace(of, mdp=dataclasses.replace(of.mdp, start=start, horizon=30))
    model = recurrent(name, TabularVecEnv(of, 1))
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(4.0)  # what it does changes with what it has seen
    found = simulate_returns(model, of, 40, seed=3)
    assert len(set(found.lengths)) > 3

    env = TabularEnv(of)
    for i, state in enumerate(Simulator(of.mdp).start(40, np.random.default_rng(3)).tolist()):
        seen, _ = env.reset(options={"state": state})
        memory, total, length, ended = None, 0.0, 0, False
        while not ended:
            action, memory = model.predict(np.array([seen]), memory, np.array([length == 0]), deterministic=True)
            seen, reward, terminated, truncated, _ = env.step(action[0])
            total, length, ended = total + reward, length + 1, terminated or truncated
        assert (found.returns[i], found.lengths[i], found.truncated[i]) == (total, length, truncated and not terminated)


def test_observations_are_normalised_as_the_model_has_them(lake: TabularMDP) -> None:
    def hot(states: np.ndarray) -> np.ndarray:
        rows: np.ndarray = np.eye(16, dtype=np.float32)[states]
        return rows

    space = spaces.Box(0.0, 1.0, (16,), np.float32)
    env = VecNormalize(TabularVecEnv(lake, 1, observe=hot, observation_space=space), norm_reward=False)
    statistics: Any = env.obs_rms
    statistics.mean, statistics.var = np.linspace(-1.0, 1.0, 16), np.linspace(0.1, 4.0, 16)
    model = actor(env)
    exact = expected_return(lake, policy_table(model, lake, hot, deterministic=False))
    found = simulate_returns(model, lake, 10_000, observe=hot, deterministic=False)
    assert abs(found.mean - exact) < 3 * found.standard_error


def test_nobody_notices(lake: TabularMDP) -> None:
    """Neither the generators of training, nor the modes of its networks; and a seed repeats the episodes."""
    model = actor(TabularVecEnv(lake, 1))
    model.policy.set_training_mode(True)
    model.action_space.seed(7)

    def around() -> list[Any]:
        return [*generators(model), [module.training for module in model.policy.modules()]]

    before = around()
    first = simulate_returns(model, lake, 300, seed=0, deterministic=False)
    for was, now in zip(before, around(), strict=True):
        np.testing.assert_equal(was, now)
    np.random.random()
    th.rand(1)
    again, other = (simulate_returns(model, lake, 300, seed=seed, deterministic=False) for seed in (0, 1))
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.lengths != other.lengths).any()


def test_it_also_notices_nothing_of_a_model_that_acts_at_random(lake: TabularMDP) -> None:
    """DQN draws from NumPy's generator and from its action space."""
    model = DQN("MlpPolicy", TabularVecEnv(lake, 1), seed=0, device="cpu", buffer_size=100)
    before = generators(model)
    first, again = (simulate_returns(model, lake, 50, deterministic=False) for _ in range(2))
    np.testing.assert_array_equal(first.lengths, again.lengths)
    np.testing.assert_equal(before, generators(model))


def test_bad_input(lake: TabularMDP) -> None:
    model = actor(TabularVecEnv(lake, 1))
    with pytest.raises(ValueError, match="n_episodes 1 must be 2 or more"):
        simulate_returns(model, lake, 1)
    with pytest.raises(ValueError, match="no limit of steps: give horizon"):
        simulate_returns(model, lake, 10, horizon=None)
    with pytest.raises(ValueError, match=r"observation_space Discrete\(16\) is not that of 64 state numbers"):
        simulate_returns(model, TabularMDP.from_env("FrozenLake8x8-v1", 0.9), 10)
    with pytest.raises(ValueError, match="the model has 4 actions, the table 3"):
        simulate_returns(model, TabularPOMDP.from_env("sb3_ext/Tiger-v0"), 10)
    masked = TabularPOMDP.from_env("sb3_ext/MaskedFrozenLake-v0")
    with pytest.raises(ValueError, match=r"observation_space Discrete\(3\) does not hold 3, which is shown"):
        simulate_returns(actor(TabularVecEnv(lake_of(3), 1)), masked, 10)
