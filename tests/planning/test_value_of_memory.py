"""
What a memory is worth, reached: on a lake that shows its row, agents with one come within 5 % of the best that any can
get, which is certified, and no agent without one gets near it. Minutes of training each: ``-m slow``.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.envs.action_reward import ACTION_KEY, OBSERVATION_KEY, REWARD_KEY, PreviousActionReward
from sb3_ext.planning import (
    BeliefSolution,
    Outcomes,
    TabularMDP,
    TabularPOMDP,
    best_memoryless,
    evaluate,
    policy_table,
    simulate_returns,
    solve,
    solve_beliefs,
)
from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.registry import register

LAKE = "sb3_ext/MaskedFrozenLake-v0"
N_EPISODES = 50_000  # standard error 0.0016


@pytest.fixture(scope="module")
def lake() -> TabularPOMDP:
    return TabularPOMDP.from_env(LAKE)


@pytest.fixture(scope="module")
def certified(lake: TabularPOMDP) -> BeliefSolution:
    """Limited by its size and not by the clock: the bounds are the same on a busy machine."""
    found = solve_beliefs(lake, max_beliefs=10_000, seconds=3600)
    assert 0.2079 < found.lower < found.upper < 0.2097
    return found


def trained(algo: str, seed: int, folder: Path) -> BaseAlgorithm:
    """:return: what ``sb3-ext train`` makes of our yml's block"""
    th.set_num_threads(1)
    register()
    experiment = Experiment.of(algo, LAKE, folder, seed=seed, eval_freq=-1, verbose=0, device="cpu")
    made = experiment.setup_experiment()
    assert made is not None
    experiment.learn(made[0])
    return made[0]


def with_last_action(mdp: TabularMDP) -> TabularMDP:
    """:return: of pairs: state * (A + 1) + the action that led there, A for none"""
    of, n_actions, n_last = mdp.outcomes, mdp.n_actions, mdp.n_actions + 1
    state, action = of.row // n_actions, of.row % n_actions
    last = np.arange(n_last)[:, None]
    row = ((state * n_last + last) * n_actions + action).ravel()
    following, rest = of.next * n_last + action, (of.probability, of.reward, of.terminated)
    outcomes = Outcomes(row, np.tile(following, n_last), *(np.tile(part, n_last) for part in rest))
    order = np.argsort(row, kind="stable")
    start = np.zeros((mdp.n_states, n_last))
    start[:, -1] = mdp.start
    ordered = Outcomes(*(part[order] for part in outcomes))
    return TabularMDP(ordered, mdp.n_states * n_last, n_actions, start.ravel(), mdp.gamma, mdp.horizon)


def row_and_last_action(pair: np.ndarray) -> dict[str, np.ndarray]:
    """
    :param pair: [n] of `with_last_action`
    :return: what `PreviousActionReward` makes of the lake; no step is rewarded that does not end it
    """
    one_hot = np.eye(5, dtype=np.float32)[pair % 5, :4]
    return {OBSERVATION_KEY: pair // 5 // 4, ACTION_KEY: one_hot, REWARD_KEY: np.zeros((len(pair), 1), np.float32)}


def test_pairs_are_what_the_wrapper_shows(lake: TabularPOMDP) -> None:
    pairs = with_last_action(lake.mdp)
    assert float(pairs.start @ solve(pairs).v) == pytest.approx(float(lake.mdp.start @ solve(lake.mdp).v), abs=1e-7)
    env = PreviousActionReward(gym.make(LAKE))
    seen, _ = env.reset(seed=0)
    pair = int(pairs.start.argmax())
    for action in (1, 2, 0, 3, 1, 1):
        for key, part in row_and_last_action(np.array([pair])).items():
            np.testing.assert_array_equal(part[0], seen[key])
        seen, _, terminated, _, _ = env.step(action)
        if terminated:
            break
        following = env.unwrapped.s * 5 + action  # type: ignore[attr-defined]
        of = pairs.outcomes
        assert following in of.next[of.row == pair * 4 + action]
        pair = following


def test_who_sees_the_last_action_needs_little_memory(lake: TabularPOMDP, certified: BeliefSolution) -> None:
    """As a note to oneself, as in MemoryChain: this rule of row and last action is worth nearly as much as a memory."""
    rule = np.array(
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 3], [3, 1, 1, 1, 3], [2, 2, 2, 2, 3]]
    )  # [row, last], found by search
    pairs = with_last_action(lake.mdp)
    pair = np.arange(pairs.n_states)
    value = float(pairs.start @ evaluate(pairs, rule[pair // 5 // 4, pair % 5]))
    assert value == pytest.approx(0.205788, abs=1e-6)
    assert best_memoryless(lake).value < value < certified.upper


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("algo", ["r2d2", "rainbowr"])
def test_recurrent_agents_reach_what_a_memory_is_worth(
    lake: TabularPOMDP, certified: BeliefSolution, algo: str, seed: int, tmp_path: Path
) -> None:
    model = trained(algo, seed, tmp_path)
    found = simulate_returns(
        model, with_last_action(lake.mdp), N_EPISODES, seed=1000 + seed, observe=row_and_last_action, horizon=1000
    ).discounted
    error = found.std() / np.sqrt(len(found))
    print(f"{algo} {seed}: {found.mean():.4f} +- {error:.4f} of {certified.lower:.4f} to {certified.upper:.4f}")
    assert found.mean() >= 0.95 * certified.lower
    assert found.mean() - 4 * error <= certified.upper, "no agent is better than the best one"


@pytest.mark.slow
def test_no_memoryless_agent_does(lake: TabularPOMDP, certified: BeliefSolution, tmp_path: Path) -> None:
    """Rainbow sees the row alone. The best of what it could do is known, and lies far below."""
    best = best_memoryless(lake)
    assert best.is_best
    assert best.value < 0.75 * certified.lower
    seen = lake.state_observation
    assert seen is not None
    model = trained("rainbow", 0, tmp_path)
    value = float(lake.mdp.start @ evaluate(lake.mdp, policy_table(model, lake.mdp, observe=lambda s: seen[s])))
    print(f"rainbow: {value:.4f} of {best.value:.4f}")
    assert value <= best.value + 1e-9
    found = simulate_returns(model, lake, N_EPISODES).discounted
    assert abs(found.mean() - value) <= 4 * found.std() / np.sqrt(len(found)) + 1e-3  # 100 steps in place of all
