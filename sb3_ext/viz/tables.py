"""
A table of Q-values as a picture: each cell of a grid world is three by three squares, the values of its four moves at
its four sides, and their mean in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import TabularMDP, q_table
from sb3_ext.planning.model_states import Model
from sb3_ext.viz.lab import resting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDES = {"left": (1, 0), "down": (2, 1), "right": (1, 2), "up": (0, 1)}
"""(row, column) among the squares of a cell"""
MOVES = ("left", "down", "right", "up")
"""by number, in mazes and on lakes; the cliff has other numbers"""
INK, DARK, GREEN, RED = "#1a1a1a", "#3d3d3d", "#0a7d3c", "#b3261e"
MOST_WRITTEN = 100
"""cells, above which no numbers are written"""
Environment: TypeAlias = gym.Env[Any, Any] | str


@dataclass(frozen=True)
class Cells:
    """How the states of a grid world lie. State = row * columns + column."""

    shape: tuple[int, int]
    """rows, columns"""
    moves: Sequence[str] = MOVES
    """where each action goes"""
    ends: dict[int, float] = field(default_factory=dict)
    """states in which the episode is over, and what arriving there pays"""
    closed: frozenset[int] = frozenset()
    """states that nobody arrives in, such as blocks"""

    @classmethod
    def of(cls, env: gym.Env[Any, Any]) -> Cells:
        """
        :param env: `GridWorldEnv`, FrozenLake or CliffWalking, wrapped or not
        :raises ValueError: for others
        """
        world = env.unwrapped
        if isinstance(world, GridWorldEnv):
            shape, moves = world.grid.shape, MOVES
        elif isinstance(world, FrozenLakeEnv):
            shape, moves = (world.nrow, world.ncol), MOVES
        elif isinstance(world, CliffWalkingEnv):
            shape, moves = world.shape, ("up", "right", "down", "left")
        else:
            raise ValueError(f"{type(world).__name__} is no grid world that is known: give shape=(rows, columns)")
        of = TabularMDP.from_table(world.P, np.asarray(world.initial_state_distrib), 0.0).outcomes
        state = of.row // len(moves)
        arrives = of.next != state
        last = arrives & of.terminated
        ends = {int(s): float(paid) for s, paid in zip(of.next[last], of.reward[last], strict=True)}
        seen = {*of.next[arrives].tolist(), *np.flatnonzero(world.initial_state_distrib).tolist()}
        rows, columns = shape
        return cls((int(rows), int(columns)), moves, ends, frozenset(range(rows * columns)) - seen)


def plot_table(
    model: Model,
    env: Environment | None = None,
    *,
    shape: tuple[int, int] | None = None,
    moves: Sequence[str] = MOVES,
    title: str = "",
) -> Figure:
    """
    :param model: with Q-values, which observes the number of a cell
    :param env: its environment, or the id; None = the model's own. `GridWorldEnv`, FrozenLake and CliffWalking say how
        their cells lie
    :param shape: (rows, columns) of another environment, whose states are numbered row by row
    :param moves: where its actions go
    :param title: above
    :return: a figure that is no part of pyplot: no window, nothing to close
    :raises ValueError: for a model without Q-values, or of an environment of another size
    """
    q = q_table(model, resting(model))
    if q is None:
        raise ValueError(f"{type(model).__name__} has no Q-values to draw")
    return plot_q(q, Cells(shape, moves) if shape is not None else _cells_of(model, env), title=title)


def plot_q(q: np.ndarray, cells: Cells, *, title: str = "") -> Figure:
    """
    :param q: [S, A] values
    :param cells: how the states lie
    :param title: above
    :return: a figure that is no part of pyplot
    :raises ValueError: where states or actions are not as many
    """
    from matplotlib.figure import Figure

    squares = squares_of(q, cells)
    rows, columns = cells.shape
    side = min(1.1, 12.0 / max(rows, columns))  # inches of a cell
    figure = Figure(figsize=(side * columns + 1.6, side * rows + 0.9), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    low, high = _limits(squares)
    picture = axes.imshow(squares, cmap="RdBu" if low < 0.0 < high else "viridis", vmin=low, vmax=high)
    figure.colorbar(picture, ax=axes, label="Q", shrink=0.9)
    axes.set_xticks(np.arange(columns) * 3 + 1, [str(j) for j in range(columns)])
    axes.set_yticks(np.arange(rows) * 3 + 1, [str(i) for i in range(rows)])
    axes.set(xlabel="column", ylabel="row")
    axes.tick_params(length=0)
    for edge in range(0, 3 * rows + 1, 3):
        axes.axhline(edge - 0.5, color=INK, linewidth=0.8)
    for edge in range(0, 3 * columns + 1, 3):
        axes.axvline(edge - 0.5, color=INK, linewidth=0.8)
    axes.set_title(title.replace("$", r"\$"), loc="left", fontweight="bold")
    _mark(axes, cells)
    if rows * columns <= MOST_WRITTEN:
        _write(axes, squares, side)
    return figure


def squares_of(q: np.ndarray, cells: Cells) -> np.ndarray:
    """
    :param q: [S, A] values
    :param cells: how the states lie
    :return: [3 * rows, 3 * columns] float64: of each cell the four values at its sides, their mean in the middle, NaN
        in the corners; NaN where nobody acts
    :raises ValueError: where states or actions are not as many
    """
    rows, columns = cells.shape
    if sorted(cells.moves) != sorted(SIDES):
        raise ValueError(f"moves {tuple(cells.moves)} must be {', '.join(MOVES)} in the order of the actions")
    if q.shape != (rows * columns, len(cells.moves)):
        raise ValueError(
            f"{q.shape[0]} states with {q.shape[1]} actions are no grid of {rows} x {columns} cells with four moves"
        )
    squares = np.full((rows, 3, columns, 3), np.nan)
    by_state = np.array(q, float)
    by_state[[*cells.ends, *cells.closed]] = np.nan
    by_cell = by_state.reshape(rows, columns, len(cells.moves))
    for action, move in enumerate(cells.moves):
        i, j = SIDES[move]
        squares[:, i, :, j] = by_cell[:, :, action]
    squares[:, 1, :, 1] = by_cell.mean(axis=2)
    return squares.reshape(3 * rows, 3 * columns)


def _cells_of(model: Model, env: Environment | None) -> Cells:
    if isinstance(env, str):
        made = gym.make(env)
        try:
            return Cells.of(made)
        finally:
            made.close()
    if env is not None:
        return Cells.of(env)
    own = model.get_env() if isinstance(model, BaseAlgorithm) else None
    if own is None:
        raise ValueError(f"{type(model).__name__} has no environment with it: give env, or shape=(rows, columns)")
    return Cells.of(own.get_attr("unwrapped")[0])


def _limits(squares: np.ndarray) -> tuple[float, float]:
    """:return: of the colours: as far below 0 as above where there are both, so that white is 0"""
    known = squares[np.isfinite(squares)]
    if len(known) == 0:
        raise ValueError("no cell has finite values to draw")
    low, high = float(known.min()), float(known.max())
    return (min(low, -high), max(high, -low)) if low < 0.0 < high else (low, high)


def _mark(axes: Axes, cells: Cells) -> None:
    """Ends with what they pay, and what nobody arrives in."""
    from matplotlib.patches import Rectangle

    def fill(state: int, **look: Any) -> tuple[float, float]:  # Any: of a patch
        i, j = divmod(state, cells.shape[1])
        axes.add_patch(Rectangle((3 * j - 0.5, 3 * i - 0.5), 3, 3, **look))
        return 3.0 * j + 1.0, 3.0 * i + 1.0

    for state in cells.closed:
        fill(state, facecolor=DARK, linewidth=0)
    for state, paid in cells.ends.items():
        colour = GREEN if paid > 0.0 else RED if paid < 0.0 else INK
        x, y = fill(state, facecolor="white", edgecolor=colour, linewidth=2, hatch="//" if paid <= 0.0 else None)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(
            x,
            y,
            f"end {paid:+g}" if paid else "end 0",
            color=colour,
            ha="center",
            va="center",
            weight="bold",
            size=8,
            bbox=box,
        )


def _write(axes: Axes, squares: np.ndarray, side: float) -> None:
    """:param side: of a cell, in inches"""
    picture = axes.images[0]
    for (i, j), value in np.ndenumerate(squares):
        if np.isfinite(value):
            red, green, blue, _ = picture.cmap(picture.norm(value))
            colour = INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            axes.text(j, i, _short(value), color=colour, ha="center", va="center", size=6.5 * side)


def _short(value: float) -> str:
    """:return: in at most six characters"""
    size = abs(value)
    digits = 2 if size < 10.0 else 1 if size < 100.0 else 0
    return f"{value:.0e}" if size >= 1e5 else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0: no -0.00
