"""The maze: its exact values, slips, blocks and ends on grids that are not square, what it draws, and wrong mazes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_checker import check_env
from support.wrapped import episode

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import TabularMDP, evaluate, solve

LEFT, DOWN, RIGHT, UP = range(4)
COURSE: list[list[float]] = [[0, 0, 0, 1], [0, 9, 0, -1], [0, 0, 0, 0]]
WIDE: list[list[float]] = [[0, 0, 9, 0, 0.5], [0, -1, 0, 9, 0], [0, 0, 0, 0, 2]]  # 3 x 5


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.9, "0.610462 0.766207 0.928180 0 0.487235 0 0.584934 0 0.373852 0.326623 0.427543 0.188825"),
        (1.0, "0.851558 0.907808 0.957808 0 0.801558 0 0.700274 0 0.745308 0.695308 0.651416 0.427925"),
    ],
)
def test_the_values_of_the_courses_maze_are_those_of_the_book(gamma: float, expected: str) -> None:
    values = solve(TabularMDP.from_env("sb3_ext/GridWorld-v0", gamma), tol=1e-10).v
    np.testing.assert_allclose(values, np.array(expected.split(), float), atol=5e-7)


def arrivals(grid: list[list[float]], row: int, column: int, action: int, move_prob: float) -> dict[Any, float]:
    """A second, slower formula: (row, column) after the action -> probability."""
    vector = {LEFT: (0, -1), DOWN: (1, 0), RIGHT: (0, 1), UP: (-1, 0)}
    sides = [UP, DOWN] if action in (LEFT, RIGHT) else [LEFT, RIGHT]
    chances: dict[Any, float] = {}
    for direction, p in [(action, move_prob), *((side, (1 - move_prob) / 2) for side in sides)]:
        to = row + vector[direction][0], column + vector[direction][1]
        if to not in [(i, j) for i in range(len(grid)) for j in range(len(grid[0])) if grid[i][j] != 9]:
            to = row, column
        chances[to] = chances.get(to, 0.0) + p
    return chances


@pytest.mark.parametrize("move_prob", [1.0, 0.8, 0.5, 0.0])
@pytest.mark.parametrize("grid", [COURSE, WIDE, [[-1, 0], [0, 0], [0, 0]]], ids=["3x4", "3x5", "3x2"])
def test_a_step_goes_ahead_or_aside_stays_at_blocks_and_edges_and_is_paid_on_arrival(
    grid: list[list[float]], move_prob: float
) -> None:
    env = GridWorldEnv(grid, move_prob=move_prob, default_reward=-0.25)
    columns = len(grid[0])
    assert env.observation_space == spaces.Discrete(len(grid) * columns)
    for row, numbers in enumerate(grid):
        for column, number in enumerate(numbers):
            for action in range(4):
                outcomes = env.P[row * columns + column][action]
                if number != 0:
                    assert outcomes == [(1.0, row * columns + column, 0.0, True)]
                    continue
                chances: dict[Any, float] = {}
                for probability, following, reward, terminated in outcomes:
                    to = divmod(following, columns)
                    arrived = grid[to[0]][to[1]]
                    assert (reward, terminated) == ((arrived, True) if arrived else (-0.25, False))
                    chances[to] = chances.get(to, 0.0) + probability
                expected = {to: p for to, p in arrivals(grid, row, column, action, move_prob).items() if p > 0}
                assert chances == pytest.approx(expected)


def test_an_end_pays_once_and_rows_are_not_columns() -> None:
    env = GridWorldEnv(WIDE, move_prob=1.0, default_reward=-0.5, start=(0, 0))
    assert [step[:3] for step in episode(env, [DOWN, DOWN, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT], seed=0)[1:]] == [
        (5, -0.5, False),
        (10, -0.5, False),
        (11, -0.5, False),
        (12, -0.5, False),
        (13, -0.5, False),
        (14, 2.0, True),
    ]
    assert list(env.step(RIGHT)[:3]) == [14, 0.0, True]


def test_what_happens_is_what_the_table_says() -> None:
    env = gym.make("sb3_ext/GridWorld-v0", grid=WIDE)
    mdp = TabularMDP.from_env(env, gamma=1.0)
    policy = solve(mdp).policy
    returns = []
    for seed in range(2000):
        state, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            state, reward, terminated, truncated, _ = env.step(policy[state])
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    exact = float(mdp.start @ evaluate(mdp, policy))  # 100 steps are enough for all but 1e-9 of it
    assert np.mean(returns) == pytest.approx(exact, abs=4 * np.std(returns) / len(returns) ** 0.5)


def test_numbers_lines_and_one_string_say_the_same() -> None:
    text = """
        ...+
        .#.-
        ..S.
    """
    twins: list[GridWorldEnv] = [
        GridWorldEnv(text),
        GridWorldEnv(["...+", ".#.-", "..S."]),
        GridWorldEnv(COURSE, start=[2, 2]),
        GridWorldEnv(np.array(COURSE), start=(2, 2)),  # type: ignore[arg-type]
    ]
    for env in twins:
        assert env.P == twins[0].P
        assert env.initial_state_distrib.tolist() == [0] * 10 + [1, 0]
        assert env.reset(seed=0)[0] == 10
    assert GridWorldEnv(COURSE).start == GridWorldEnv().start == (2, 0)
    assert GridWorldEnv(start=(0, 1)).start == (0, 1)


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
@pytest.mark.filterwarnings("error")
def test_a_maze_of_ones_own_passes_check_env(mode: str | None) -> None:
    check_env(gym.make("sb3_ext/GridWorld-v0", grid=WIDE, render_mode=mode), skip_render_check=False)


def test_the_maze_is_drawn_as_text_and_as_cells() -> None:
    env = GridWorldEnv(WIDE, move_prob=1.0, render_mode="ansi")
    env.reset(seed=0)
    env.step(RIGHT)
    assert env.render() == "..#.+\n.-.#.\n.A..+"
    env = GridWorldEnv(WIDE, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
    assert picture.shape == (3 * 48, 5 * 48, 3)
    middle = picture[24::48, 24::48].astype(int)  # [3, 5, 3]
    assert (middle[2, 0] == (50, 90, 200)).all()  # the agent
    assert middle[0, 2].tolist() == middle[1, 3].tolist() == [60, 60, 60]
    red, green, _ = np.moveaxis(middle, 2, 0)
    assert red[1, 1] > green[1, 1] + 50
    assert green[2, 4] > red[2, 4] + 50
    assert green[0, 4] > red[0, 4]
    assert green[0, 4] - red[0, 4] < green[2, 4] - red[2, 4]  # 0.5 is paler than 2
    assert GridWorldEnv().render() is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"move_prob": 1.2}, r"move_prob 1.2 must lie in \[0, 1\]"),
        ({"move_prob": float("nan")}, r"move_prob nan must lie in"),
        ({"default_reward": float("inf")}, r"default_reward inf must be a finite number"),
        ({"render_mode": "human"}, r"render_mode 'human' must be None, \"ansi\" or"),
        ({"start": (1, 1)}, r"start \(1, 1\) is a block: give start=\(row, column\) of a free cell"),
        ({"start": (1, 3)}, r"start \(1, 3\) is an end \(-1\): give start="),
        ({"start": (3, 0)}, r"start \(3, 0\) lies outside the grid of 3 x 4 cells"),
        ({"start": (-1, 0)}, r"start \(-1, 0\) lies outside the grid of 3 x 4 cells"),
        ({"start": 2}, r"start 2 must be \(row, column\)"),
        ({"grid": [[0, 0], [9, 0]]}, r"start \(1, 0\) is a block"),
        ({"grid": [[0, 0], [0]]}, r"row 1 of the grid has 1 cells, row 0 has 2: all must be as long"),
        ({"grid": ["..", "..."]}, r"row 1 of the grid has 3 cells, row 0 has 2"),
        ({"grid": [[1, 9], [9, -1]]}, r"the grid has no free cell"),
        ({"grid": []}, r"the grid has no free cell"),
        ({"grid": [[]]}, r"the grid has no free cell"),
        ({"grid": ""}, r"the grid has no free cell"),
        ({"grid": 5}, r"grid 5 must hold numbers by row, or lines of text"),
        ({"grid": [0, 0]}, r"row 0 of the grid is 0: it must be a list of numbers, or a line"),
        ({"grid": [[0, float("nan")]]}, r"cell \(0, 1\) is nan: it must be a finite number, 9 for a block"),
        ({"grid": [[0], [None]]}, r"cell \(1, 0\) is None: it must be a finite number"),
        ({"grid": ["..", ".x"]}, r"cell \(1, 1\) is 'x': it must be one of . S \+ - #, or a number"),
        ({"grid": ["S.", "S."]}, r"the grid has 2 cells 'S' and start is None: give one of them"),
        ({"grid": ["S.", ".."], "start": (1, 1)}, r"the grid has 1 cells 'S' and start is \(1, 1\): give one of them"),
    ],
)
def test_a_wrong_maze_is_refused_at_the_door(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridWorldEnv(**{"grid": COURSE, **wrong})
