"""A process as an environment for `gym.make`: checked, rendered, and read back into the same process."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env

from sb3_ext.planning import TabularEnv, TabularMDP, TabularPOMDP, solve


@pytest.fixture
def registered() -> Iterator[str]:
    """The lake under an id of its own, with the limit of steps where gymnasium keeps it."""
    env_id, mdp = "tests/Lake-v0", TabularMDP.from_env("FrozenLake-v1", 0.99)
    kwargs = {"process": mdp, "horizon": None}
    gym.register(env_id, "sb3_ext.planning:TabularEnv", kwargs=kwargs, max_episode_steps=mdp.horizon)
    yield env_id
    del gym.registry[env_id]


def test_both_checkers_pass(registered: str) -> None:
    check_env(TabularEnv(TabularMDP.from_env("Taxi-v4", 0.99), render_mode="rgb_array"))
    gymnasium_check_env(gym.make(registered, render_mode="ansi").unwrapped)


def test_its_table_is_the_one_it_was_read_from(registered: str) -> None:
    toy, made = gym.make("FrozenLake-v1"), gym.make(registered)
    assert made.unwrapped.P == toy.unwrapped.P  # type: ignore[attr-defined]
    again = TabularMDP.from_env(made, 0.99)
    assert again.horizon == 100
    assert again.start @ solve(again).v == pytest.approx(0.542026, abs=5e-7)


def test_an_episode_is_that_of_the_toy() -> None:
    env = TabularEnv(TabularMDP.from_env(gym.make("FrozenLake-v1", is_slippery=False), 0.99))
    toy = gym.make("FrozenLake-v1", is_slippery=False)
    assert env.reset(seed=0)[0] == toy.reset(seed=0)[0]
    for action in (2, 2, 1, 1, 1, 2):
        assert env.step(action)[:4] == toy.step(action)[:4]
    env.reset()
    ends = [env.step(0)[2:4] for _ in range(100)]
    assert ends == [(False, t == 99) for t in range(100)]


def test_seeds_and_states_to_begin_in() -> None:
    env, other = (TabularEnv(TabularMDP.from_env("FrozenLake-v1", 0.99)) for _ in range(2))
    episodes = []
    for each in (env, other, env):
        each.reset(seed=4, options={"state": 1})
        episodes.append([each.step(t % 4)[0] for t in range(60)])
    assert episodes[0] == episodes[1] == episodes[2]
    env.reset(seed=5)
    assert [env.step(t % 4)[0] for t in range(60)] != episodes[0]
    with pytest.raises(ValueError, match="state 16 must lie in 0 to 15"):
        env.reset(options={"state": 16})
    with pytest.raises(ValueError, match="action 4 must lie in 0 to 3"):
        env.step(4)
    with pytest.raises(gym.error.ResetNeeded):
        TabularEnv(env.mdp).step(0)


def test_observe_shows_states_otherwise() -> None:
    space = spaces.Box(0.0, 3.0, (2,), np.float32)
    env = TabularEnv(
        TabularMDP.from_env("FrozenLake-v1", 0.99),
        observe=lambda states: np.stack(np.divmod(states, 4), axis=1),
        observation_space=space,
    )
    check_env(env)
    assert env.reset(options={"state": 6})[0].tolist() == [1.0, 2.0]


def test_a_process_of_which_a_part_is_seen_publishes_its_tables() -> None:
    of = TabularPOMDP.from_env("sb3_ext/MaskedFrozenLake-v0")
    env = TabularEnv(of)
    check_env(env)
    again = TabularPOMDP.from_env(env)
    for name in ("observation", "first_observation", "shown"):
        np.testing.assert_array_equal(getattr(again, name), getattr(of, name))
    assert (again.mdp.gamma, again.mdp.horizon) == (0.99, 100)
    assert env.P == gym.make("FrozenLake-v1").unwrapped.P  # type: ignore[attr-defined]
    assert env.reset(options={"state": 9})[0] == 2
    assert not hasattr(TabularEnv(of.mdp), "pomdp")


def test_what_can_happen_is_printed_and_drawn() -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.99)
    env = TabularEnv(mdp, render_mode="ansi")
    assert env.render() is None
    env.reset(options={"state": 14})
    text = env.render()
    assert isinstance(text, str)
    lines = text.splitlines()
    assert lines[0] == "state 14 of 16" and len(lines) == 2 + 12
    assert [line.split() for line in lines if line.endswith("end")] == [
        [action, "0.333333", "15", "1", "end"] for action in ("1", "2", "3")
    ]

    env = TabularEnv(mdp, render_mode="rgb_array")
    env.reset(options={"state": 6})
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    lit = np.argwhere(picture[:, :, 0] == 255)
    assert (lit // 64 == [1, 2]).all() and len(lit) > 3000

    many = TabularMDP.from_env("Taxi-v4", 0.99)
    wide = TabularEnv(many, render_mode="rgb_array")
    wide.reset(seed=0)
    drawn = wide.render()
    assert isinstance(drawn, np.ndarray) and (drawn[:, :, 0] == 255).any()
