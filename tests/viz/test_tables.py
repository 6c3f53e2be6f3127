"""Each value stands at its side of its cell: on grids that are not square, and whatever the actions' numbers are."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.figure import Figure
from stable_baselines3 import DQN, PPO

from sb3_ext import Rainbow
from sb3_ext.envs.grid_world import MOVES as STEPS
from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import PlannerPolicy, TabularMDP, q_table
from sb3_ext.viz.lab import resting
from sb3_ext.viz.tables import MOVES, SIDES, Cells, plot_q, plot_table, squares_of

WIDE = [[0, 0, 0, 0, 1], [0, 9, 0, 0, -1], [0, 0, 0, 0, 0]]
OPEN = Cells((3, 5))


def picture(figure: Figure) -> np.ndarray:
    (image,) = figure.axes[0].images
    seen = image.get_array()
    assert seen is not None
    return np.ma.filled(seen, np.nan)


def written(figure: Figure) -> dict[tuple[float, float], str]:
    """:return: texts by (x, y), in squares from the upper left"""
    return {text.get_position(): text.get_text() for text in figure.axes[0].texts}


def test_values_stand_at_their_sides() -> None:
    """3 x 5: rows taken for columns would put nearly all of them somewhere else."""
    q = np.arange(60.0).reshape(15, 4)
    seen = picture(plot_q(q, OPEN))
    assert seen.shape == (9, 15)
    for state in range(15):
        middle_row, middle_column = 3 * (state // 5) + 1, 3 * (state % 5) + 1
        for action, (down, right) in enumerate(STEPS):  # left, down, right, up as the environment moves
            assert seen[middle_row + down, middle_column + right] == q[state, action]
        assert seen[middle_row, middle_column] == q[state].mean()
        for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            assert np.isnan(seen[middle_row + down, middle_column + right])


def test_what_is_written_is_where_it_is_drawn() -> None:
    q = np.random.default_rng(0).normal(size=(15, 4))
    figure = plot_q(q, OPEN, title="all")
    squares, texts = picture(figure), written(figure)
    assert len(texts) == 15 * 5 and figure.axes[0].get_title(loc="left") == "all"
    for (x, y), text in texts.items():
        assert float(text) == pytest.approx(squares[int(y), int(x)], abs=0.0051)
    assert figure.axes[0].get_xlabel() == "column" and figure.axes[0].get_ylabel() == "row"
    assert figure.axes[0].yaxis_inverted()  # row 0 is above
    large = plot_q(np.zeros((400, 4)), Cells((20, 20)))
    assert picture(large).shape == (60, 60) and written(large) == {}


def test_sides_are_those_that_the_environment_goes_to() -> None:
    """For each of the three worlds: where an action leads, by its own table, is the side at which its value stands."""
    for env in (
        gym.make("sb3_ext/GridWorld-v0", move_prob=1.0, grid=WIDE),
        gym.make("FrozenLake-v1", is_slippery=False),
        gym.make("CliffWalking-v1"),
    ):
        cells = Cells.of(env)
        table = env.unwrapped.P  # type: ignore[attr-defined]
        told = set()
        for state, actions in table.items():
            for action, ((_, to, _, _),) in actions.items():
                (row, column), (to_row, to_column) = divmod(state, cells.shape[1]), divmod(to, cells.shape[1])
                if state not in cells.closed and abs(to_row - row) + abs(to_column - column) == 1:
                    side = {(0, -1): "left", (1, 0): "down", (0, 1): "right", (-1, 0): "up"}
                    assert cells.moves[action] == side[to_row - row, to_column - column]
                    told.add(action)
        assert told == {0, 1, 2, 3}
    assert set(SIDES) == set(MOVES)


def test_ends_and_cells_without_entrance_are_found() -> None:
    of = Cells.of(gym.make("sb3_ext/GridWorld-v0", grid=WIDE))
    assert (of.shape, of.ends, of.closed) == ((3, 5), {4: 1.0, 9: -1.0}, frozenset({6}))
    of = Cells.of(gym.make("FrozenLake-v1"))
    assert (of.shape, of.ends, of.closed) == ((4, 4), {5: 0.0, 7: 0.0, 11: 0.0, 12: 0.0, 15: 1.0}, frozenset())
    of = Cells.of(gym.make("CliffWalking-v1"))
    assert (of.shape, of.ends, of.closed) == ((4, 12), {47: -1.0}, frozenset(range(37, 47)))
    figure = plot_q(np.ones((15, 4)), Cells.of(gym.make("sb3_ext/GridWorld-v0", grid=WIDE)))
    squares = picture(figure)
    for state in (4, 6, 9):
        row, column = divmod(state, 5)
        assert np.isnan(squares[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]).all()
    texts = written(figure)
    assert texts[13, 1] == "end +1" and texts[13, 4] == "end -1" and (4, 4) not in texts
    assert len(figure.axes[0].patches) == 3


def test_models_with_q_values_are_drawn() -> None:
    env = GridWorldEnv(WIDE)
    dqn = DQN("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)
    for model in (dqn, Rainbow("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)):
        q = q_table(model, resting(model))
        assert q is not None
        for figure in (
            plot_table(model),
            plot_table(model, env),
            plot_table(model, gym.make("sb3_ext/GridWorld-v0", grid=WIDE)),
        ):
            np.testing.assert_array_equal(picture(figure), squares_of(q, Cells.of(env)))
        np.testing.assert_array_equal(picture(plot_table(model, shape=(3, 5))), squares_of(q, OPEN))
        turned = plot_table(model, shape=(5, 3), moves=("up", "right", "down", "left"))
        assert picture(turned)[0, 1] == q[0, 0] and picture(turned)[1, 0] == q[0, 3]
        assert picture(turned)[3, 1] == q[3, 0]
    on_lake = DQN("MlpPolicy", "FrozenLake-v1", buffer_size=10, device="cpu")
    assert picture(plot_table(on_lake, "FrozenLake-v1")).shape == (12, 12)


def test_colours_are_even_around_zero_only_where_there_are_both_signs() -> None:
    for values, limits in (((-1.0, 4.0), (-4.0, 4.0)), ((-3.0, -1.0), (-3.0, -1.0)), ((2.0, 5.0), (2.0, 5.0))):
        q = np.full((15, 4), values[0])
        q[7] = values[1]
        (image,) = plot_q(q, OPEN).axes[0].images
        assert image.get_clim() == limits


def test_what_cannot_be_drawn_is_refused() -> None:
    env = GridWorldEnv(WIDE)
    dqn = DQN("MlpPolicy", env, buffer_size=10, device="cpu")
    with pytest.raises(ValueError, match=r"^15 states with 4 actions are no grid of 4 x 4 cells with four moves$"):
        plot_table(dqn, "FrozenLake-v1")
    with pytest.raises(ValueError, match=r"^TaxiEnv is no grid world that is known: give shape=\(rows, columns\)$"):
        plot_table(dqn, "Taxi-v4")
    with pytest.raises(ValueError, match=r"^PPO has no Q-values to draw$"):
        plot_table(PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu"))
    with pytest.raises(ValueError, match=r"^PlannerPolicy has no Q-values to draw$"):
        plot_table(PlannerPolicy.from_env(env))
    with pytest.raises(
        ValueError, match=r"^DQNPolicy has no environment with it: give env, or shape=\(rows, columns\)$"
    ):
        plot_table(dqn.policy)
    with pytest.raises(ValueError, match=r"^moves .* must be left, down, right, up in the order of the actions$"):
        plot_table(dqn, shape=(3, 5), moves=("left", "right", "up", "up"))
    with pytest.raises(ValueError, match=r"^no cell has finite values to draw$"):
        plot_q(np.full((15, 4), np.nan), OPEN)


def test_a_process_in_which_nothing_happens_is_enough_to_ask_a_model() -> None:
    env = GridWorldEnv(WIDE)
    model = Rainbow("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)
    asked = q_table(model, TabularMDP.from_env(env, 0.9))
    np.testing.assert_array_equal(q_table(model, resting(model)), asked)
