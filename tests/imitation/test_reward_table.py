"""A table's reward in place of an environment's."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.processes import random_process
from support.soft_experts import dense, shown_by, soft_expert

from sb3_ext import QLearning
from sb3_ext.envs import GridWorldEnv
from sb3_ext.imitation import RewardTable, max_ent_irl
from sb3_ext.imitation.reward_table import EnvRewardTable, VecRewardTable
from sb3_ext.planning import TabularEnv, TabularMDP, TabularVecEnv, evaluate, policy_table, solve

MDP = random_process(1, 6, 3, 0.9, ends=0.2)
ACTING = np.random.default_rng(0).normal(size=(6, 3))
ARRIVING = np.random.default_rng(1).normal(size=6)


def coordinates(states: np.ndarray) -> np.ndarray:
    return np.stack([states // 3, states % 3], axis=1).astype(np.float32)


LOOKS: list[dict[str, Any]] = [
    {},
    {"observation_space": spaces.Discrete(6, start=2)},
    {"observe": coordinates, "observation_space": spaces.Box(0.0, 2.0, (2,))},
]


def number(observation: Any) -> int:
    """:return: of a state, from any of `LOOKS`"""
    seen = np.asarray(observation)
    return int(seen) if seen.ndim == 0 else int(seen @ [3, 1])


@pytest.mark.parametrize("look", LOOKS, ids=["number", "shifted", "coordinates"])
@pytest.mark.parametrize("is_acting", [True, False], ids=["acting", "arriving"])
def test_one_name_around_both_kinds_of_environment(look: dict[str, Any], is_acting: bool) -> None:
    """Each step of an environment of gymnasium, then the same of lanes, with ends and limits."""
    reward = ACTING if is_acting else ARRIVING
    observe, shift = look.get("observe"), 2 if "observation_space" in look and "observe" not in look else 0

    def wanted(before: Any, action: int, after: Any) -> float:
        s, t = number(before) - shift, number(after) - shift
        return float(ACTING[s, action] if is_acting else ARRIVING[t])

    rng = np.random.default_rng(3)
    twin, env = TabularEnv(MDP, horizon=5, **look), RewardTable(TabularEnv(MDP, horizon=5, **look), reward, observe)
    assert all(isinstance(env, kind) for kind in (RewardTable, EnvRewardTable, gym.Wrapper))
    before, _ = env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(60):
        action = int(rng.integers(3))
        after, paid, terminated, truncated, info = env.step(action)
        seen, own, *ends, _ = twin.step(action)
        np.testing.assert_array_equal(seen, after)
        assert (paid, info["env_reward"], [terminated, truncated]) == (wanted(before, action, after), own, ends)
        before = after
        if terminated or truncated:
            before, _ = env.reset()
            twin.reset()
    lanes = RewardTable(TabularVecEnv(MDP, 4, horizon=5, seed=0, **look), reward, observe)
    assert all(isinstance(lanes, kind) for kind in (RewardTable, VecRewardTable, VecEnv))
    twins = TabularVecEnv(MDP, 4, horizon=5, seed=0, **look)
    starts: Any = lanes.reset()
    twins.reset()
    n_ends = 0
    for _ in range(40):
        actions = rng.integers(3, size=4)
        following, rewards, dones, infos = lanes.step(actions)
        _, own_rewards, _, _ = twins.step(actions)
        assert rewards.dtype == np.float32
        for i in range(4):
            final = infos[i]["terminal_observation"] if dones[i] else following[i]  # type: ignore[index]  # an array
            assert rewards[i] == np.float32(wanted(starts[i], actions[i], final))
            assert infos[i]["env_reward"] == own_rewards[i]
            n_ends += int(dones[i])
        starts = following
    assert n_ends > 10


def test_arriving_and_its_expectation_are_worth_the_same() -> None:
    """What a planner is told and what is drawn, exactly: the mean over many steps would be an estimate."""
    expected = MDP.with_reward(dense(MDP, ends=True) @ ARRIVING)
    outcomes = MDP.outcomes._replace(reward=ARRIVING[MDP.outcomes.next])
    drawn = TabularMDP(outcomes, 6, 3, MDP.start, MDP.gamma)
    for policy in (np.zeros(6, int), np.full((6, 3), 1 / 3)):
        np.testing.assert_allclose(evaluate(drawn, policy), evaluate(expected, policy))


def learned_value(mdp: TabularMDP, reward: np.ndarray, policy: np.ndarray) -> tuple[float, float]:
    """:return: exact values at the start of a policy and of the best one, under a reward"""
    paid = mdp.with_reward(reward)
    return float(mdp.start @ evaluate(paid, policy)), float(mdp.start @ solve(paid).v)


def test_a_table_learns_what_the_planner_says_of_the_recovered_reward(tmp_path: Path) -> None:
    maze = GridWorldEnv(("..+", ".#-", "S.."))
    mdp = TabularMDP.from_env(maze, 0.9)
    found = max_ent_irl(mdp, shown_by(mdp, soft_expert(mdp, 0.1), 300))
    found.save(tmp_path / "maze")
    for reward in (found, str(tmp_path / "maze.json"), found.of_arrival):
        lanes = RewardTable(TabularVecEnv(mdp, 32, horizon=50), reward)  # type: ignore[arg-type]  # not None
        model = QLearning("TablePolicy", lanes, gamma=0.9, seed=0).learn(30_000)
        reached, best = learned_value(mdp, found.reward, policy_table(model, mdp))
        assert best > 0.5 and reached > 0.98 * best


def test_a_network_learns_a_drawn_reward_against_the_environments_own() -> None:
    """The pit pays and the goal costs: whoever learned the environment's own reward would do the opposite."""
    maze = GridWorldEnv(("+.S.-",), move_prob=1.0, default_reward=0.0)
    mdp = TabularMDP.from_env(maze, 0.9)
    drawn = np.array([-1.0, 0.0, 0.0, 0.0, 1.0])
    env = RewardTable(Monitor(maze), drawn)
    model = PPO("MlpPolicy", env, n_steps=128, gamma=0.9, learning_rate=3e-3, seed=0, device="cpu").learn(1024)
    reached, best = learned_value(mdp, dense(mdp, ends=True) @ drawn, policy_table(model, mdp))
    assert reached == pytest.approx(best) == pytest.approx(0.9)
    own, _ = evaluate_policy(model, env, 2, warn=False)
    assert own == -1.0, "a Monitor below tells the environment's own return"


def test_it_can_be_copied_pickled_normalised_and_named_in_a_yml(tmp_path: Path) -> None:
    found = max_ent_irl(MDP, shown_by(MDP, soft_expert(MDP, 0.5), 5, limit=10))
    found.save(tmp_path / "reward.json")
    zoo = pytest.importorskip("rl_zoo3.utils", reason="rl-zoo3 asks for a newer SB3 than the oldest that is tested")
    wrap = zoo.get_wrapper_class(
        {"env_wrapper": [{"sb3_ext.imitation.RewardTable": {"reward": f"{tmp_path}/reward.json"}}]}
    )
    assert wrap is not None
    env = wrap(TabularEnv(MDP, horizon=9))
    assert isinstance(env, EnvRewardTable)
    for same in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        before, _ = same.reset(seed=4)
        assert same.step(1)[1] == found.reward[before, 1]
    lanes = VecNormalize(RewardTable(DummyVecEnv([lambda: TabularEnv(MDP, horizon=9)] * 2), found), norm_obs=False)
    PPO("MlpPolicy", lanes, n_steps=16, batch_size=16, device="cpu").learn(32)


@pytest.mark.parametrize(
    ("env", "reward", "message"),
    [
        ("FrozenLake-v1", np.zeros((6, 4)), r"observations of Discrete\(16\), the table has 6 states"),
        ("CliffWalking-v1", np.zeros((48, 3)), r"reward has 3 actions, the environment Discrete\(4\)"),
        ("CartPole-v1", np.zeros((4, 2)), r"observations of Box.* are no numbers of states: give observe"),
        ("Pendulum-v1", np.zeros((4, 2)), "RewardTable needs Discrete actions, got Box"),
        ("FrozenLake-v1", np.zeros((4, 2, 2)), r"reward has shape \(4, 2, 2\), not \(S, A\) of acting or \(S,\)"),
        ("FrozenLake-v1", np.full((16, 4), np.inf), r"reward inf at \[0, 0\] must be a finite number"),
    ],
)
def test_a_reward_of_another_environment_is_refused(env: str, reward: np.ndarray, message: str) -> None:
    for made in (gym.make(env), DummyVecEnv([lambda: gym.make(env)])):
        with pytest.raises(ValueError, match=message):
            RewardTable(made, reward)


def test_normalised_observations_are_no_states() -> None:
    look = LOOKS[2]
    with pytest.raises(ValueError, match=r"VecNormalize\(RewardTable\(env, ...\), ...\)"):
        RewardTable(VecNormalize(TabularVecEnv(MDP, 2, **look)), ACTING, coordinates)
    env = RewardTable(TabularVecEnv(MDP, 2, horizon=3, **look), ACTING, lambda states: coordinates(states) + 0.5)
    env.reset()
    with pytest.raises(ValueError, match=r"observation \[.*\] is none of the 6 states of the reward"):
        env.step(np.zeros(2, np.int64))
