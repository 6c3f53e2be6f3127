"""TabularVecEnv is what DummyVecEnv of gymnasium's own environments is, only faster."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from support.frequencies import p_of_probabilities, p_of_same
from support.played import assert_same, played, vec_env

from sb3_ext.planning import Outcomes, TabularMDP


def lake(**kwargs: Any) -> TabularMDP:
    return TabularMDP.from_env(gym.make("FrozenLake-v1", **kwargs), 0.99)


def chain(length: int, horizon: int | None = None) -> TabularMDP:
    """States 0 to length: action 1 goes on and pays 0.1 (0.3 at the end), action 0 stays."""
    rows = [
        (2 * s + a, s + a, 0.1 * a * (3 if s + a == length else 1), s + a == length)
        for s in range(length)
        for a in (0, 1)
    ]
    rows += [(2 * length + a, length, 0.0, True) for a in (0, 1)]
    row, following, reward, terminated = map(np.array, zip(*rows, strict=True))
    outcomes = Outcomes(row, following, np.ones(len(row)), reward, terminated)
    return TabularMDP(outcomes, length + 1, 2, np.eye(length + 1)[0], 0.9, horizon)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "path"),
    [
        ("FrozenLake-v1", {"is_slippery": False}, [2, 2, 1, 1, 1, 2]),
        ("CliffWalking-v1", {}, [0] + 11 * [1] + [2]),
    ],
)
def test_without_chance_it_is_dummy_vec_env_step_for_step(env_id: str, kwargs: dict[str, Any], path: list[int]) -> None:
    """Observations, rewards, ends, truncations and infos, of many episodes."""
    theirs = make_vec_env(env_id, 4, env_kwargs=kwargs)
    ours = vec_env(TabularMDP.from_env(gym.make(env_id, **kwargs), 0.99), 4)
    actions = np.random.default_rng(0).integers(4, size=(450, 4))
    actions[:, 0] = np.resize(path, 450)  # always to the goal
    actions[:, 1] = 0  # never anywhere: to the limit of steps, where there is one
    given = played(ours, actions)
    assert_same(given, played(theirs, actions))
    ended = np.array([step[2] for step in given[1:]]).sum(axis=0)
    assert ended[0] == 450 // len(path) and ended[1] == (4 if kwargs else 0)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)


def test_a_taxi_ride_is_the_same_up_to_its_limit() -> None:
    mdp = TabularMDP.from_env("Taxi-v4", 0.99)
    ours, theirs = vec_env(mdp, 1, seed=0), make_vec_env("Taxi-v4", 1)
    actions = np.random.default_rng(0).integers(5, size=(200, 1))  # nobody is dropped off
    start = int(ours.reset()[0])
    theirs.reset()
    theirs.envs[0].unwrapped.s = start  # type: ignore[attr-defined]
    for t, action in enumerate(actions):
        (one, reward, done, infos), (other, their_reward, their_done, their_infos) = (
            ours.step(action),
            theirs.step(action),
        )
        assert (reward, done, infos[0]["TimeLimit.truncated"]) == (their_reward, their_done, t == 199)
        assert their_infos[0]["TimeLimit.truncated"] == (t == 199)
        assert t == 199 or one == other
    assert infos[0]["terminal_observation"] == their_infos[0]["terminal_observation"]
    assert (infos[0]["episode"]["r"], infos[0]["episode"]["l"]) == (their_infos[0]["episode"]["r"], 200)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("FrozenLake-v1", {}),
        ("FrozenLake8x8-v1", {}),
        ("CliffWalkingSlippery-v1", {}),
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
    ],
)
def test_outcomes_are_as_frequent_as_in_the_env_itself(env_id: str, kwargs: dict[str, Any]) -> None:
    toy = gym.make(env_id, **kwargs)
    mdp = TabularMDP.from_env(toy, 0.99)
    of = mdp.outcomes
    # Outcomes that look the same (a slip into a wall, and staying there) are one.
    seen_as = np.stack([of.row, of.next, of.reward, of.terminated], axis=1)
    kinds, kind_of = np.unique(seen_as, axis=0, return_inverse=True)
    number = {tuple(kind): i for i, kind in enumerate(kinds.tolist())}
    probability = np.bincount(kind_of, of.probability)
    row = kinds[:, 0].astype(int)

    rng = np.random.default_rng(0)
    ours = np.zeros(len(kinds), np.int64)
    env = vec_env(mdp, 512, seed=1)
    state = env.reset()
    for _ in range(100):
        action = rng.integers(mdp.n_actions, size=512)
        observations, rewards, dones, infos = env.step(action)
        arrived, ended = observations.copy(), np.zeros(512, bool)
        for lane in np.flatnonzero(dones):
            arrived[lane] = infos[lane]["terminal_observation"]
            ended[lane] = not infos[lane]["TimeLimit.truncated"]
        rows = state * mdp.n_actions + action
        for outcome in zip(rows, arrived, rewards.astype(float), ended, strict=True):
            ours[number[tuple(map(float, outcome))]] += 1
        state = observations
    assert p_of_probabilities(ours, probability, row) > 1e-3

    theirs = np.zeros(len(kinds), np.int64)
    at, _ = toy.reset(seed=0)
    for _ in range(10_000):
        chosen = int(rng.integers(mdp.n_actions))
        after, reward, terminated, truncated, _ = toy.step(chosen)
        theirs[number[at * mdp.n_actions + chosen, after, float(reward), float(terminated)]] += 1
        at = toy.reset()[0] if terminated or truncated else after
    assert p_of_same(ours, theirs, row) > 1e-3


def test_taxis_first_states_are_as_frequent_as_its_own() -> None:
    mdp = TabularMDP.from_env("Taxi-v4", 0.99)
    counts = np.bincount(vec_env(mdp, 30_000, seed=0).reset(), minlength=500)
    assert not counts[mdp.start == 0].any()
    begins = mdp.start > 0
    assert 1e-3 < p_of_probabilities(counts[begins], mdp.start[begins], np.zeros(begins.sum(), int)) < 1 - 1e-6


def test_one_lane_and_many_have_the_same_episodes() -> None:
    """Returns, lengths and ends of first episodes, and of those that follow at once."""

    def told(n_envs: int, n_steps: int) -> np.ndarray:
        env, rng, counts = vec_env(lake(), n_envs, seed=3), np.random.default_rng(4), np.zeros((2, 40), np.int64)
        env.reset()
        for _ in range(n_steps):
            for info in env.step(rng.integers(4, size=n_envs))[3]:
                if "episode" in info:
                    counts[int(info["episode"]["r"]), min(info["episode"]["l"], 39)] += 1
        return counts.reshape(-1)

    one, many = told(1, 12_000), told(64, 1_500)
    assert p_of_same(one, many, np.zeros(80, int)) > 1e-3


def test_same_seed_same_trajectory() -> None:
    actions = np.random.default_rng(0).integers(4, size=(50, 8))
    env = vec_env(lake(), 8, seed=5)
    first = played(env, actions)
    assert_same(first, played(vec_env(lake(), 8, seed=5), actions))
    later = played(env, actions)
    assert env.seed(5) == [5, 6, 7, 8, 9, 10, 11, 12]
    assert_same(first, played(env, actions))
    for other in (later, played(vec_env(lake(), 8, seed=6), actions), played(vec_env(lake(), 8), actions)):
        assert any((one[0] != two[0]).any() for one, two in zip(first[1:], other[1:], strict=True))


def test_a_termination_at_the_limit_is_no_truncation() -> None:
    env = vec_env(chain(3), 3, horizon=3)
    env.reset()
    for step in range(3):
        observations, rewards, dones, infos = env.step(np.array([1, 0, step > 0]))
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True, True]
    assert [info["terminal_observation"] for info in infos] == [3, 0, 2]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(0.5, 3), (0.0, 3), (0.2, 3)]
    assert observations.tolist() == [0, 0, 0]
    assert rewards.tolist() == pytest.approx([0.3, 0.0, 0.1])


@pytest.mark.parametrize(("horizon", "ends"), [("mdp", 5), (4, 4), (None, None)])
def test_horizon(horizon: Any, ends: int | None) -> None:
    env = vec_env(chain(3, horizon=5), 1, horizon=horizon)
    env.reset()
    dones = [env.step(np.array([0]))[2][0] for _ in range(30)]
    assert [t + 1 for t, done in enumerate(dones) if done] == ([] if ends is None else list(range(ends, 31, ends)))


def test_what_was_returned_is_never_written_to() -> None:
    env = vec_env(lake(), 16, horizon=3, seed=0)
    returned: list[Any] = [env.reset()]
    kept = copy.deepcopy(returned)
    for action in np.random.default_rng(0).integers(4, size=(20, 16)):
        returned.append(env.step(action))
        kept.append(copy.deepcopy(returned[-1]))
    env.reset()
    for now, then in zip(returned[1:], kept[1:], strict=True):
        for one, other in zip(now[:3], then[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        assert now[3] == then[3]
    # Nor does writing into it reach the environment.
    observations, rewards, dones, _ = env.step(np.zeros(16, int))
    state = env.get_attr("state")
    observations[:], rewards[:], dones[:] = 7, 7.0, True
    assert env.get_attr("state") == state


def test_actions_come_in_any_shape_and_are_checked() -> None:
    env = vec_env(chain(3), 2)
    env.reset()
    assert env.step(np.array([[1], [0]]))[0].tolist() == [1, 0]
    for wrong in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match=r"action (2|-1) must lie in 0 to 1"):
            env.step(np.array(wrong))
    for shape in (np.zeros(3, int), np.zeros(2), np.zeros((2, 2), int)):
        with pytest.raises(ValueError, match="2 whole numbers are needed"):
            env.step(shape)
    assert env.get_attr("state") == [1, 0]


def test_a_step_needs_a_reset() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        vec_env(chain(3), 2).step(np.zeros(2, int))


def test_a_lane_begins_where_options_say() -> None:
    env = vec_env(chain(3), 3)
    env.set_options([{"state": 2}, {}, {"state": 1}])
    assert env.reset().tolist() == [2, 0, 1]
    assert env.reset().tolist() == [0, 0, 0]  # once
    for options, message in (({"state": 4}, "state 4 must lie in 0 to 3"), ({"position": 1}, "the only one is")):
        env.set_options(options)
        with pytest.raises(ValueError, match=message):
            env.reset()


def test_attributes_of_lanes() -> None:
    env = vec_env(chain(3, horizon=9), 3)
    assert env.get_attr("state") == [None, None, None]
    env.reset()
    env.step(np.array([1, 0, 1]))
    assert env.get_attr("state", indices=[0, 1]) == [1, 0]
    assert env.get_attr("elapsed_steps", indices=2) == [1]
    env.set_attr("state", 2, indices=[1])
    assert env.step(np.array([1, 1, 1]))[0].tolist() == [2, 0, 2]
    assert env.has_attr("P") and env.get_attr("P")[2][2][1] == [(1.0, 3, pytest.approx(0.3), True)]
    assert env.get_attr("spec") == [None] * 3
    assert env.get_attr("_max_episode_steps", indices=0) == [9]  # as gymnasium's TimeLimit has it
    assert not vec_env(chain(3), 1).has_attr("_max_episode_steps")
    assert not env.has_attr("no_such")
    env.set_attr("note", "x")
    assert env.get_attr("note") == ["x"] * 3
    with pytest.raises(ValueError, match="note is one for all 3 lanes"):
        env.set_attr("note", "y", indices=[0])
    with pytest.raises(ValueError, match="state 7 must lie in 0 to 3"):
        env.set_attr("state", 7)
    with pytest.raises(ValueError, match="lanes are moved together"):
        env.env_method("step", 0, indices=[0])
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, indices=[1]) == [False]
    env.close()


def test_pictures_of_lanes_lie_side_by_side() -> None:
    env = vec_env(chain(3), 2, render_mode="rgb_array")
    env.reset()
    env.step(np.array([1, 0]))
    first, second = env.get_images()
    assert first is not None and second is not None
    assert (first != second).any()
    tiled = env.render()
    assert tiled is not None
    np.testing.assert_array_equal(tiled, np.concatenate([first, second]))
    assert vec_env(chain(3), 1, render_mode="ansi").metadata["render_modes"] == ["ansi"]


def test_numbers_may_begin_elsewhere() -> None:
    """T28: `Discrete(start=...)` is shifted, not off by one."""
    env = vec_env(chain(3), 2, observation_space=spaces.Discrete(4, start=10), horizon=4)
    assert env.reset().tolist() == [10, 10]
    for _ in range(3):
        observations, _, _, infos = env.step(np.array([1, 0]))
    assert observations.tolist() == [10, 10] and infos[0]["terminal_observation"] == 13
    with pytest.raises(ValueError, match="not that of 4 state numbers"):
        vec_env(chain(3), 2, observation_space=spaces.Discrete(5))


def test_states_are_shown_as_observe_says() -> None:
    space = spaces.Dict({"row": spaces.Discrete(2), "hot": spaces.Box(0.0, 1.0, (4,), np.float32)})

    def observe(states: np.ndarray) -> dict[str, np.ndarray]:
        return {"row": states // 2, "hot": np.eye(4)[states]}

    env = vec_env(chain(3), 2, observe=observe, observation_space=space, horizon=2)
    assert env.observe is observe and vec_env(chain(3), 1).observe is None
    first: Any = env.reset()
    assert first["row"].tolist() == [0, 0] and first["hot"].dtype == np.float32
    env.step(np.array([1, 0]))
    observations: Any
    observations, _, dones, infos = env.step(np.array([1, 0]))
    assert dones.all() and observations["row"].tolist() == [0, 0]
    assert infos[0]["terminal_observation"]["row"] == 1
    assert infos[0]["terminal_observation"]["hot"].tolist() == [0, 0, 1, 0]
    with pytest.raises(ValueError, match="observe needs observation_space"):
        vec_env(chain(3), 2, observe=observe)
    with pytest.raises(ValueError, match="observe gives a dict, which observation_space Box"):
        vec_env(chain(3), 2, observe=observe, observation_space=spaces.Box(0.0, 1.0, (4,)))
    with pytest.raises(ValueError, match="of state 0 is no element of observation_space"):
        vec_env(chain(3), 2, observe=lambda s: np.eye(3)[s], observation_space=spaces.Box(0.0, 1.0, (4,)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"n_envs": 0}, "n_envs 0"), ({"horizon": 0}, "horizon 0"), ({"render_mode": "x"}, "render_mode 'x'")],
)
def test_bad_input(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vec_env(chain(3), **{"n_envs": 1, **wrong})


def test_copies_and_pickles_go_on_alike() -> None:
    env = vec_env(lake(), 4, seed=0)
    env.reset()
    actions = np.random.default_rng(0).integers(4, size=(20, 4))
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    expected = [env.step(each)[0] for each in actions]
    for other in copies:
        np.testing.assert_array_equal([other.step(each)[0] for each in actions], expected)


def test_reward_and_end_are_drawn_together() -> None:
    """T2: an action that ends one time in a hundred, and pays 100 then: a step that goes on has paid nothing."""
    outcomes = Outcomes(
        np.array([0, 0, 1]),
        np.array([0, 1, 1]),
        np.array([0.99, 0.01, 1.0]),
        np.array([0.0, 100.0, 0.0]),
        np.array([False, True, True]),
    )
    mdp = TabularMDP(outcomes, 2, 1, np.array([1.0, 0.0]), 0.9)
    assert mdp.reward[0, 0] == pytest.approx(1.0)
    env = vec_env(mdp, 1000, seed=0)
    env.reset()
    for _ in range(20):
        _, rewards, dones, _ = env.step(np.zeros(1000, int))
        np.testing.assert_array_equal(rewards, np.where(dones, 100.0, 0.0))


def test_a_million_states_fit() -> None:
    """Numbers of rows times probabilities stay exact: each lane moves within its own row."""
    n = 250_000
    row = np.repeat(np.arange(4 * n), 2)
    following = np.stack([np.arange(4 * n) // 4, (np.arange(4 * n) // 4 + 1) % n], axis=1).reshape(-1)
    outcomes = Outcomes(row, following, np.tile([0.3, 0.7], 4 * n), np.zeros(8 * n), np.zeros(8 * n, bool))
    env = vec_env(TabularMDP(outcomes, n, 4, np.full(n, 1 / n), 0.9), 4096, seed=0)
    state, moved = env.reset(), 0
    for _ in range(10):
        after = env.step(np.full(4096, 3))[0]
        assert set(np.unique((after - state) % n)) == {0, 1}
        moved += int(((after - state) % n).sum())
        state = after
    assert abs(moved / 40_960 - 0.7) < 4 * np.sqrt(0.21 / 40_960)


def test_start_can_be_replaced() -> None:
    mdp = dataclasses.replace(chain(3), start=np.array([0.0, 0.0, 1.0, 0.0]))
    assert vec_env(mdp, 5).reset().tolist() == [2] * 5
