"""The gap of a model in training is what a simulation finds, in every kind of environment, and nobody notices."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import FlattenObservation, NormalizeObservation, TransformReward
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize
from support.tables import simulated

from sb3_ext import R2D2, Rainbow
from sb3_ext.distributed import ActorEnvs
from sb3_ext.envs import PreviousActionReward
from sb3_ext.planning import (
    OptimalityGap,
    PlannerPolicy,
    TabularMDP,
    TabularPOMDP,
    TabularVecEnv,
    evaluate,
    policy_table,
    q_table,
    read_gap,
    solve,
    value_table,
)
from sb3_ext.planning.episodes import acting_states, longest_episode
from sb3_ext.planning.gap_file import Yardstick
from sb3_ext.planning.last_step import with_last_step
from sb3_ext.planning.measures import Estimate, Exact

LAKE = "FrozenLake-v1"
LAKES = partial(make_vec_env, LAKE, 2, seed=0)
TINY_PPO: dict[str, Any] = dict(n_steps=32, batch_size=32, n_epochs=2, device="cpu", seed=0)
TINY_DQN: dict[str, Any] = dict(learning_starts=50, batch_size=16, buffer_size=500, device="cpu", seed=0)


def ppo(env: VecEnv, **more: Any) -> PPO:
    return PPO("MlpPolicy", env, **{**TINY_PPO, **more})


def dqn(env: VecEnv, **more: Any) -> DQN:
    return DQN("MlpPolicy", env, **{**TINY_DQN, **more})


def recurrent_ppo(env: VecEnv) -> RecurrentPPO:
    return RecurrentPPO("MlpLstmPolicy", env, policy_kwargs={"lstm_hidden_size": 8}, **TINY_PPO)


def r2d2(env: VecEnv) -> R2D2:
    return R2D2("MlpLstmPolicy", env, burn_in=2, sequence_length=4, period=2, **TINY_DQN)


def measured(model: BaseAlgorithm, n_steps: int = 64, **settings: Any) -> OptimalityGap:
    gap = OptimalityGap(**{"every": 50, **settings})
    model.learn(n_steps, callback=gap)
    return gap


# ------------------------------------------------------------------ the numbers


@pytest.mark.parametrize(
    ("make", "n_steps", "deterministic"),
    [(dqn, 0, True), (partial(dqn, learning_rate=1e-2, train_freq=1), 500, True), (ppo, 128, False)],
    ids=["random", "trained", "stochastic"],
)
def test_numbers_are_those_of_20000_episodes(
    make: Callable[..., BaseAlgorithm], n_steps: int, deterministic: bool
) -> None:
    """T4: the gap is discounted and for ever, the return undiscounted and cut at the limit."""
    model = make(LAKES(), gamma=0.9)
    last = measured(model, n_steps, deterministic=deterministic, every=10_000).history[-1]
    env: Any = gym.make(LAKE).unwrapped
    table = policy_table(model, TabularMDP.from_env(LAKE, 0.9), deterministic=deterministic)
    n = 20_000
    discounted, limited = simulated(env.P, env.initial_state_distrib, table, gamma=0.9, limit=100, n=n)
    # Where none of the episodes is paid, a value may still be 3 / n.
    assert abs((0.068891 - last["gap"]) - discounted.mean()) <= 3 * discounted.std() / np.sqrt(n) + 3 / n
    assert abs(last["return_exact"] - limited.mean()) <= 3 * limited.std() / np.sqrt(n) + 3 / n
    assert last["gap_fraction"] == pytest.approx(last["gap"] / 0.068891, rel=1e-4)


def exactly(policy: np.ndarray) -> dict[str, float]:
    """:return: what is measured of a policy on the lake"""
    mdp = TabularMDP.from_env(LAKE, 0.99)
    acting = PlannerPolicy.from_mdp(mdp, gym.spaces.Discrete(16), gym.spaces.Discrete(4))
    acting.probabilities.data[:] = th.as_tensor(np.eye(4)[policy])
    return Exact(mdp, solve(mdp)).of(acting)


def test_tied_actions_are_equally_right() -> None:
    """T3: the gap is of values, and where actions are tied the last one is as right as the first."""
    q = solve(TabularMDP.from_env(LAKE, 0.99)).q
    tied = q >= q.max(axis=1, keepdims=True) - 1e-9
    assert (tied.sum(axis=1) > 1).sum() >= 6
    first, last = tied.argmax(axis=1), 3 - tied[:, ::-1].argmax(axis=1)
    assert (first != last).any()
    none = {"gap": 0.0, "gap_fraction": 0.0, "return_exact": 0.740165, "states_wrong": 0.0}
    assert exactly(first) == pytest.approx(none, abs=5e-7)
    assert exactly(last) == pytest.approx(none, abs=5e-7)
    last[14] = q[14].argmin()
    wrong = exactly(last)
    assert wrong["states_wrong"] == 1.0 and wrong["gap"] > 0.01


def test_errors_are_of_states_in_which_an_episode_goes_on() -> None:
    """No model learns anything about the values of holes, and some states are never seen."""
    model = dqn(LAKES())
    last = measured(model, 200).history[-1]
    mdp = TabularMDP.from_env(LAKE, 0.99)
    q, best = q_table(model, mdp), solve(mdp).q
    assert q is not None
    goes_on = [s for s in range(16) if s not in (5, 7, 11, 12, 15)]
    assert last["q_error"] == pytest.approx(np.abs(q - best)[goes_on].max())
    assert acting_states(mdp).tolist() == goes_on and "v_error" not in last
    taxi = TabularMDP.from_env("Taxi-v4", 0.99)
    assert len(acting_states(taxi)) == 400, "not the 4 at the end, nor the 96 in which the passenger is already there"


def test_values_of_an_actor_critic_are_of_the_policy_that_collects() -> None:
    model = ppo(LAKES())
    last = measured(model).history[-1]
    mdp = TabularMDP.from_env(LAKE, 0.99)
    true = evaluate(mdp, policy_table(model, mdp, deterministic=False))
    value = value_table(model, mdp)
    assert value is not None
    assert last["v_error"] == pytest.approx(np.abs(value - true)[acting_states(mdp)].max()) and "q_error" not in last


def test_the_yardstick_is_the_best_return_and_not_the_threshold_of_the_registry() -> None:
    """T5: gymnasium's 8 for Taxi is more than anyone can get."""
    gap = measured(ppo(make_vec_env("Taxi-v4", 2)))
    assert gap.yardstick == pytest.approx(Yardstick(6.327464, 7.93, 0.99, None), abs=5e-7)
    assert gym.spec("Taxi-v4").reward_threshold == 8


def test_a_negative_optimum_and_an_environment_without_a_limit() -> None:
    gap = measured(ppo(make_vec_env("CliffWalking-v1", 2)))
    last = gap.history[-1]
    assert gap.yardstick is not None and gap.yardstick.best_return is None and "return_exact" not in last
    assert last["gap_fraction"] == pytest.approx(last["gap"] / 12.247898) and last["gap"] > 0.0


def test_a_policy_that_never_ends_without_discount_has_no_gap(capsys: pytest.CaptureFixture[str]) -> None:
    model = ppo(make_vec_env("CliffWalking-v1", 2), gamma=1.0, verbose=1)
    gap = measured(model, every=10, verbose=1)
    assert all("gap" not in row and "states_wrong" in row for row in gap.history)
    said = capsys.readouterr().out
    assert said.count("no lab/gap: this policy never ends") == 1 and "lab/return_exact" in said
    assert "Optimality gap: none, the policy never ends" in said


def test_where_every_episode_ends_in_time_no_limit_is_needed() -> None:
    env = make_vec_env("sb3_ext/MemoryChain-v0", 2)
    assert longest_episode(TabularPOMDP.from_env("sb3_ext/MemoryChain-v0").mdp) == 11
    assert measured(ppo(env)).history[-1]["return_exact"] == pytest.approx(0.0, abs=1e-9)


# ------------------------------------------------------------------ what is not noticed


def trained(make: Callable[[VecEnv], BaseAlgorithm], n_steps: int, callback: OptimalityGap | None) -> BaseAlgorithm:
    model = make(VecNormalize(LAKES(wrapper_class=FlattenObservation)))
    model.learn(n_steps, callback=callback)
    return model


@pytest.mark.parametrize(
    ("make", "n_steps", "deterministic"),
    [
        (ppo, 160, True),
        (ppo, 160, False),
        (dqn, 160, True),
        (lambda env: Rainbow("MlpPolicy", env, **TINY_DQN), 100, True),
        (r2d2, 100, True),
        (r2d2, 100, False),
    ],
)
def test_learning_is_the_same_bit_for_bit(
    make: Callable[[VecEnv], BaseAlgorithm], n_steps: int, deterministic: bool
) -> None:
    weights, rest = [], []
    for callback in (None, OptimalityGap(every=7, deterministic=deterministic, n_episodes=20)):
        model = trained(make, n_steps, callback)
        normalizer = model.get_vec_normalize_env()
        assert normalizer is not None
        weights.append(model.policy.state_dict())
        statistics = normalizer.ret_rms.mean, *normalizer.obs_rms.mean.tolist()  # type: ignore[attr-defined]
        rest.append((*statistics, np.random.random(), float(th.rand(1)), model.action_space.sample()))
    assert rest[0] == rest[1]
    for name, value in weights[0].items():
        assert th.equal(value, weights[1][name]), name


# ------------------------------------------------------------------ environments


def kinds_of_lakes() -> dict[str, Callable[[], VecEnv]]:
    mdp = TabularMDP.from_env(LAKE, 0.5)  # the model's discount counts
    return {
        "here": LAKES,
        "processes": lambda: LAKES(vec_env_cls=SubprocVecEnv),
        "simulated": lambda: TabularVecEnv(mdp, 2),
        "one-hot": lambda: LAKES(wrapper_class=FlattenObservation),
    }


@pytest.mark.parametrize("kind", ["here", "processes", "simulated", "one-hot"])
def test_a_lake_is_the_same_wherever_it_is(kind: str) -> None:
    env = kinds_of_lakes()[kind]()
    gap = measured(ppo(env, learning_rate=0.0))
    env.close()
    assert gap.yardstick == pytest.approx(Yardstick(0.542026, 0.744190, 0.99, None), abs=5e-7)
    assert gap.history == [row | gap.history[0] | {"steps": row["steps"]} for row in gap.history]
    assert gap.history[0] == pytest.approx(measured(ppo(LAKES(), learning_rate=0.0)).history[0])


def test_the_step_before_may_be_seen() -> None:
    """Then states are told apart by how they were reached, whose values are the same."""
    mdp = TabularMDP.from_env("Taxi-v4", 0.99)
    last = with_last_step(mdp)
    assert len(last.state) > 2000
    np.testing.assert_allclose(solve(last.mdp).v, solve(mdp).v[last.state], atol=1e-6)
    model = PPO("MultiInputPolicy", LAKES(wrapper_class=PreviousActionReward), **TINY_PPO)
    gap = measured(model, 256)
    assert gap.yardstick == pytest.approx(Yardstick(0.542026, 0.744190, 0.99, None), abs=5e-7)
    returns, _ = evaluate_policy(model, LAKES(wrapper_class=PreviousActionReward), 400, return_episode_rewards=True)
    error = np.std(returns) / 20
    assert abs(np.mean(returns) - gap.history[-1]["return_exact"]) <= 4 * error + 0.01


@pytest.mark.parametrize("seed", range(3))
def test_the_step_before_is_what_the_wrapper_shows(seed: int) -> None:
    last = with_last_step(TabularMDP.from_env("CliffWalking-v1", 0.99))
    env = PreviousActionReward(gym.make("CliffWalking-v1"))
    table, of = last.shown(last.state), last.mdp.outcomes
    seen, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    (z,) = np.flatnonzero(last.mdp.start)
    for _ in range(60):
        assert all(np.array_equal(seen[key], table[key][z]) for key in seen)
        action = int(env.action_space.sample())
        seen, *_ = env.step(action)
        (z,) = of.next[of.row == z * 4 + action]  # there is one outcome


def test_actors_are_measured_from_here() -> None:
    env = ActorEnvs(partial(make_vec_env, LAKE), n_actors=2, envs_per_actor=1, backend="inline")
    gap = measured(Rainbow("MlpPolicy", env, **TINY_DQN), 60)
    env.close()
    assert gap.yardstick is not None and gap.yardstick.best_return == pytest.approx(0.744190, abs=5e-7)
    assert {"gap", "q_error"} <= gap.history[-1].keys()


def test_of_what_is_seen_of_a_state_the_policy_is_a_function() -> None:
    model = ppo(make_vec_env("sb3_ext/MaskedFrozenLake-v0", 2))
    last = measured(model).history[-1]
    lake = TabularMDP.from_env(LAKE, 0.99)
    policy = policy_table(model, lake, lambda states: states // 4)
    assert last["gap"] == pytest.approx(0.542026 - lake.start @ evaluate(lake, policy), abs=5e-7)


@pytest.mark.parametrize(
    ("make", "env_id"),
    [(r2d2, LAKE), (recurrent_ppo, LAKE), (r2d2, "sb3_ext/MaskedFrozenLake-v0"), (ppo, "sb3_ext/Tiger-v0")],
)
def test_what_has_no_table_is_estimated_under_another_name(
    make: Callable[[VecEnv], BaseAlgorithm], env_id: str, tmp_path: Path
) -> None:
    """T26: models with a memory, and what is seen of the tiger hangs on what was done."""
    model = make(make_vec_env(env_id, 2))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    gap = measured(model, n_episodes=200)
    model.logger.close()
    for row in gap.history:
        assert row.keys() == {"steps", "return", "return_se"} and row["return_se"] >= 0.0
    names = (tmp_path / "progress.csv").read_text().partition("\n")[0].split(",")
    assert {"lab/return", "lab/return_se"} <= set(names)
    assert not {name for name in names if name.startswith("lab/")} - {"lab/return", "lab/return_se"}
    assert gap.summary().startswith("Estimated return") and "over 200 episodes (best with the state: " in gap.summary()


def test_an_estimate_is_near_the_exact_return() -> None:
    """Of a model that forgets nothing and everything alike: the same policy, simulated."""
    model = ppo(LAKES())
    last = measured(model, 128).history[-1]
    mdp = TabularMDP.from_env(LAKE, 0.99)
    found = Estimate(mdp, solve(mdp)).of(model)
    assert abs(found["return"] - last["return_exact"]) <= 3 * found["return_se"] + 1e-3


# ------------------------------------------------------------------ wrong input


def lakes_with(*settings: dict[str, Any]) -> VecEnv:
    return DummyVecEnv([partial(gym.make, LAKE, **each) for each in settings])


def doubled() -> gym.Env[Any, Any]:
    return TransformReward(gym.make(LAKE), lambda reward: 2.0 * float(reward))


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (partial(make_vec_env, "CartPole-v1"), "CartPole-v1 publishes no transition table"),
        (partial(LAKES, wrapper_class=lambda env: TransformReward(env, float)), "TransformReward: its rewards are not"),
        (
            partial(LAKES, vec_env_cls=SubprocVecEnv, wrapper_class=lambda env: TransformReward(env, float)),
            "does not see what TransformReward does in another process",
        ),
        (lambda: lakes_with({"desc": ["SFG"]}, {"desc": ["FSG"]}), "0 and 1 differ in initial_state_distrib"),
        (lambda: lakes_with({"max_episode_steps": 9}, {"max_episode_steps": 8}), "0 and 1 differ in limit of steps"),
        (lambda: DummyVecEnv([lambda: gym.make(LAKE), doubled]), "under TransformReward"),
        (partial(make_vec_env, LAKE, 2, env_kwargs={"map_name": None}, seed=0), "0 and 1 differ in P"),
        (
            partial(LAKES, wrapper_class=lambda env: NormalizeObservation(FlattenObservation(env))),
            "does not call NormalizeObservation",
        ),
        (lambda: VecFrameStack(LAKES(wrapper_class=FlattenObservation), 2), "does not look through VecFrameStack"),
        (partial(make_vec_env, "Taxi-v4", env_kwargs={"fickle_passenger": True}), "its .P is not what it does"),
    ],
)
def test_what_cannot_be_measured_is_said_before_the_first_step(env: Callable[[], VecEnv], words: str) -> None:
    made = env()
    model = ppo(made)
    with pytest.raises(ValueError, match=words):
        measured(model)
    assert model.num_timesteps == 0
    made.close()


def test_a_model_of_another_environment_is_refused() -> None:
    taxi = TabularMDP.from_env("Taxi-v4", 0.99)
    with pytest.raises(ValueError, match="the model has 4 actions, the table 6"):
        measured(ppo(LAKES()), mdp=taxi)
    with pytest.raises(ValueError, match="the model has 16 states, the table 64"):
        measured(ppo(LAKES()), mdp=TabularMDP.from_env("FrozenLake8x8-v1", 0.99))
    for every in (0, 2.5, float("nan"), float("inf"), "1e3"):
        with pytest.raises(ValueError, match=f"every {every!r} must be a whole number, at least 1"):
            OptimalityGap(every=every)  # type: ignore[arg-type]
    assert OptimalityGap(every=1000.0).every == 1000, "as a yml may write it"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_episodes 1 must be a whole number, at least 2"):
        OptimalityGap(n_episodes=1)
    with pytest.raises(ValueError, match="mdp 'FrozenLake-v1' must be a TabularMDP"):
        OptimalityGap(LAKE)  # type: ignore[arg-type]


def test_values_are_not_measured_by_another_discount(capsys: pytest.CaptureFixture[str]) -> None:
    """T4: with a table of another discount there is a gap, of that one; the model's values are of its own."""
    mdp = TabularMDP.from_env(LAKE, 0.9)
    for make in (ppo, dqn):
        last = measured(make(LAKES(), verbose=1), mdp=mdp).history[-1]
        assert last.keys() == {"steps", "gap", "gap_fraction", "return_exact", "states_wrong"}
        assert "another discount than the model" in capsys.readouterr().out
        assert last.keys() < measured(make(LAKES(), gamma=0.9), mdp=mdp).history[-1].keys()


# ------------------------------------------------------------------ when, and where it is kept


def test_measurements_are_at_the_start_at_multiples_and_at_the_end(tmp_path: Path) -> None:
    model = dqn(LAKES())
    model.set_logger(configure(str(tmp_path), ["csv"]))
    gap = measured(model, 136, every=50, path=tmp_path / "optimality.csv")
    model.logger.close()
    assert [row["steps"] for row in gap.history] == [0, 50, 100, 136]
    kept = read_gap(tmp_path)
    assert kept.yardstick == gap.yardstick and kept.steps.tolist() == [0, 50, 100, 136]
    np.testing.assert_allclose(kept.values["q_error"], [row["q_error"] for row in gap.history], rtol=1e-9)
    assert np.isnan(kept.values["v_error"]).all()
    rows = list(csv.DictReader((tmp_path / "progress.csv").read_text().splitlines()))
    assert float(rows[-1]["lab/gap"]) == gap.history[-1]["gap"], "the log ends with the last one"


def test_training_that_goes_on_is_measured_on(tmp_path: Path) -> None:
    model, path = dqn(LAKES()), tmp_path / "optimality.csv"
    first = measured(model, 64, path=path)
    again = OptimalityGap(every=50, path=path)
    model.learn(64, callback=again, reset_num_timesteps=False)
    assert [row["steps"] for row in first.history] == [0, 50, 64], "at its end once: nothing was learned since"
    assert [row["steps"] for row in again.history] == [0, 50, 64, 100, 128]
    assert again.history[:3] == first.history
    assert read_gap(tmp_path).steps.tolist() == [0, 50, 64, 100, 128]
    model.learn(8, callback=again)
    assert [row["steps"] for row in again.history] == [0, 8], "a new training begins anew"
