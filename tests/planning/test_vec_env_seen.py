"""TabularVecEnv of processes of which a part is seen: what is seen, when, and how often."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from support.frequencies import p_of_probabilities, p_of_same
from support.played import assert_same, played, vec_env

from sb3_ext.planning import Outcomes, TabularMDP, TabularPOMDP


def tiger(horizon: int | None = None) -> TabularPOMDP:
    """T24: listening (0) tells the tiger's side 17 times in 20, opening (1, 2) tells nothing; 0 is heard at first."""
    rows = [(3 * s, s, 1.0, -1.0, False) for s in (0, 1)]
    rows += [(3 * s + 1 + d, t, 0.5, -100.0 if d == s else 10.0, False) for s in (0, 1) for d in (0, 1) for t in (0, 1)]
    row, following, probability, reward, terminated = map(np.array, zip(*sorted(rows), strict=True))
    outcomes = Outcomes(row, following, probability, reward, terminated)
    hears, coin = np.array([[0.0, 0.85, 0.15], [0.0, 0.15, 0.85]]), np.array([[0.0, 0.5, 0.5]] * 2)
    return TabularPOMDP(
        TabularMDP(outcomes, 2, 3, np.array([0.5, 0.5]), 0.95, horizon),
        np.stack([hears, coin, coin]),
        np.array([[1.0, 0.0, 0.0]] * 2),
    )


def test_what_is_seen_depends_on_the_action_and_on_the_state_arrived_at() -> None:
    process = tiger(horizon=50)
    env, rng, counts = vec_env(process, 2000, seed=0), np.random.default_rng(0), np.zeros((3, 2, 3), np.int64)
    assert env.observation_space == spaces.Discrete(3) and env.mdp is process.mdp and env.process is process
    assert not env.reset().any()
    for step in range(50):
        action = rng.integers(3, size=2000)
        seen, _, dones, infos = env.step(action)
        assert dones.all() == (step == 49)
        if step < 49:
            np.add.at(counts, (action, env.get_attr("state"), seen), 1)
    assert not seen.any()  # new episodes
    heard = [info["terminal_observation"] for info in infos]
    assert set(heard) == {1, 2} and all(info["TimeLimit.truncated"] for info in infos)
    possible = process.observation.reshape(-1) > 0
    assert counts.reshape(-1)[~possible].sum() == 0
    row = np.repeat(np.arange(6), 3)
    p = p_of_probabilities(counts.reshape(-1)[possible], process.observation.reshape(-1)[possible], row[possible])
    assert 1e-3 < p < 1 - 1e-3


def test_rewards_of_the_tiger_are_those_of_the_state_behind() -> None:
    env = vec_env(tiger(), 3)
    env.set_options({"state": 1})
    env.reset()
    assert env.step(np.array([0, 1, 2]))[1].tolist() == [-1.0, 10.0, -100.0]


@pytest.mark.parametrize("show", ["row", "column", "nothing"])
def test_a_lake_that_shows_less_is_itself_step_for_step(show: str) -> None:
    kwargs: dict[str, Any] = {"show": show, "is_slippery": False}
    theirs = make_vec_env("sb3_ext/MaskedFrozenLake-v0", 4, env_kwargs=kwargs)
    ours = vec_env(TabularPOMDP.from_env(gym.make("sb3_ext/MaskedFrozenLake-v0", **kwargs)), 4)
    actions = np.random.default_rng(0).integers(4, size=(250, 4))
    assert_same(played(ours, actions), played(theirs, actions))
    assert ours.observation_space == theirs.observation_space


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("sb3_ext/Tiger-v0", {}),
        ("sb3_ext/MaskedFrozenLake-v0", {"show": "column"}),
        ("sb3_ext/MemoryChain-v0", {"length": 2}),
        ("sb3_ext/RepeatPrevious-v0", {"k": 1, "length": 3}),
    ],
)
def test_what_is_seen_and_paid_is_as_frequent_as_in_the_env_itself(env_id: str, kwargs: dict[str, Any]) -> None:
    """All of four steps together, whose actions are given."""
    made = gym.make(env_id, **kwargs)
    ours = vec_env(TabularPOMDP.from_env(made), 4000, seed=0)
    theirs = make_vec_env(env_id, 500, seed=0, env_kwargs=kwargs)
    assert ours.observation_space == theirs.observation_space

    def stories(env: Any, n_runs: int) -> list[tuple[float, ...]]:
        told = []
        for _ in range(n_runs):
            parts = [env.reset()]
            for action in (0, 1, 0, 1):
                parts += env.step(np.full(env.num_envs, action))[:3]
            told += [
                tuple(row)
                for row in np.concatenate([part.reshape(env.num_envs, -1) for part in parts], axis=1).round(5).tolist()
            ]
        return told

    counted = [Counter(stories(env, n_runs)) for env, n_runs in ((ours, 2), (theirs, 4))]
    kinds = sorted(counted[0].keys() | counted[1].keys())
    one, other = (np.array([counts[kind] for kind in kinds]) for counts in counted)
    assert len(kinds) > 1 and p_of_same(one, other, np.zeros(len(kinds), int)) > 1e-3


def test_what_is_shown_of_an_observation() -> None:
    """Vectors, pictures and numbers, each in a space that holds it; or in one that is given."""
    of = tiger()

    def showing(shown: np.ndarray, **kwargs: Any) -> Any:
        return vec_env(dataclasses.replace(of, shown=shown), 2, seed=0, **kwargs)

    vectors = np.array([[0.0, 0.0], [1.0, 0.5], [-1.0, 0.5]], np.float32)
    env = showing(vectors)
    assert env.observation_space == spaces.Box(vectors.min(axis=0), vectors.max(axis=0))
    assert env.reset().tolist() == [[0.0, 0.0]] * 2
    for seen in env.step(np.zeros(2, int))[0]:
        assert seen.tolist() in vectors[1:].tolist()
    pictures = np.zeros((3, 4, 4, 1), np.uint8)
    assert showing(pictures).observation_space == spaces.Box(0, 255, (4, 4, 1), np.uint8)
    assert showing(np.array([4, 2, 0])).observation_space == spaces.Discrete(5)
    assert showing(vectors, observation_space=spaces.Box(-9.0, 9.0, (2,))).observation_space.high[0] == 9.0
    with pytest.raises(ValueError, match="does not hold 4, which is shown"):
        showing(np.array([4, 2, 0]), observation_space=spaces.Discrete(4))


def test_bad_input_of_what_is_seen() -> None:
    with pytest.raises(ValueError, match="first_observation is None"):
        vec_env(dataclasses.replace(tiger(), first_observation=None), 2)
    with pytest.raises(ValueError, match="observe: what is seen of a TabularPOMDP"):
        vec_env(tiger(), 2, observe=lambda s: s)
