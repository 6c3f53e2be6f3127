"""FrozenLake behind a mask: what is seen of it, that nothing else differs, and what it is worth without a memory."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.wrapped import episode

from sb3_ext.envs import MaskedFrozenLake
from sb3_ext.planning import TabularMDP, TabularPOMDP, evaluate, solve, solve_beliefs

WIDE = ["SFFF", "FHFG"]  # two rows and four columns


@pytest.mark.parametrize(
    ("show", "seen", "n"),
    [
        ("row", lambda cell: cell // 4, 2),
        ("column", lambda cell: cell % 4, 4),
        ("nothing", lambda cell: 0, 1),
    ],
)
def test_a_masked_lake_is_frozen_lake_but_for_what_is_seen(show: str, seen: Any, n: int) -> None:
    lake, masked = gym.make("FrozenLake-v1", desc=WIDE), gym.make("sb3_ext/MaskedFrozenLake-v0", desc=WIDE, show=show)
    assert masked.observation_space == spaces.Discrete(n)
    assert masked.action_space == lake.action_space
    assert masked.spec is not None and lake.spec is not None
    assert masked.spec.max_episode_steps == lake.spec.max_episode_steps
    actions = [2, 2, 1, 2, 0, 3] * 20
    for seed in range(10):
        first, *steps = episode(lake, actions, seed)
        expected = [seen(first)] + [(seen(cell), *rest) for cell, *rest in steps]
        assert episode(masked, actions, seed) == expected


@pytest.mark.parametrize("show", ["row", "column", "nothing"])
def test_the_tables_of_a_masked_lake_are_those_of_the_lake_and_say_what_is_seen(show: str) -> None:
    env = MaskedFrozenLake(show=show, desc=WIDE, is_slippery=False)
    tables = env.pomdp
    plain: Any = gym.make("FrozenLake-v1", desc=WIDE, is_slippery=False).unwrapped
    assert tables.P == env.P == plain.P
    np.testing.assert_array_equal(tables.start, [1, 0, 0, 0, 0, 0, 0, 0])
    expected = {"row": [0, 0, 0, 0, 1, 1, 1, 1], "column": [0, 1, 2, 3] * 2, "nothing": [0] * 8}[show]
    assert tables.observation.shape == (4, 8, max(expected) + 1)
    for after_any_action in [tables.first_observation, *tables.observation]:
        assert after_any_action.argmax(axis=1).tolist() == expected
        np.testing.assert_array_equal(np.sort(after_any_action, axis=1)[:, -1], 1)
        np.testing.assert_array_equal(after_any_action.sum(axis=1), 1)
    assert [env.observation_space.contains(shown) for shown in tables.shown] == [True] * (max(expected) + 1)


@pytest.mark.parametrize(
    ("show", "best_actions", "value"),
    [("row", (0, 0, 1, 2), 0.14170), ("column", (3, 3, 2, 3), 0.10010), ("nothing", (1,), 0.04485)],
)
def test_the_best_of_all_choices_without_memory_is_worth_what_the_docstring_says(
    show: str, best_actions: tuple[int, ...], value: float
) -> None:
    env = gym.make("sb3_ext/MaskedFrozenLake-v0", show=show)
    mdp = TabularMDP.from_env(env, gamma=0.99)
    assert mdp.start @ solve(mdp).v == pytest.approx(0.542026, abs=1e-6)
    seen = env.get_wrapper_attr("pomdp").first_observation.argmax(axis=1)
    values = {
        actions: float(mdp.start @ evaluate(mdp, np.array(actions)[seen]))
        for actions in itertools.product(range(4), repeat=len(best_actions))
    }
    best = max(values, key=lambda actions: values[actions])
    assert best == best_actions
    assert values[best] == pytest.approx(value, abs=5e-6)


def test_what_a_memory_is_worth_where_nothing_is_seen_is_what_the_docstring_says() -> None:
    pomdp = TabularPOMDP.from_env(gym.make("sb3_ext/MaskedFrozenLake-v0", show="nothing"))
    solution = solve_beliefs(pomdp, tol=2e-4)
    assert solution.upper - solution.lower <= 2e-4
    assert solution.lower <= 0.05874 and solution.upper >= 0.05871


def test_a_part_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match=r"show 'rows' must be \"row\", \"column\" or \"nothing\""):
        MaskedFrozenLake(show="rows")
