"""A maze drawn with numbers or letters. A cell's number is what arriving there pays, and an end's is paid once."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.envs.rendering import BLACK, BLUE, GREEN, RED, WHITE, cell_size, check_render_mode, draw_cells, draw_disc
from sb3_ext.envs.tables import TransitionTable

BLOCK = 9.0
LETTERS = {".": 0.0, "S": 0.0, "+": 1.0, "-": -1.0, "#": BLOCK}
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up: FrozenLake's order; neighbours are sideways

Grid: TypeAlias = Sequence[Sequence[float]] | Sequence[str] | str


class GridWorldEnv(gym.Env[np.int64, np.int64]):
    """The maze of Russell & Norvig, or another one. Id ``sb3_ext/GridWorld-v0``, 100 steps.

    ::

        0  0  0  1      ...+        0 "."  free: arriving pays ``default_reward``
        0  9  0 -1      .#.-        9 "#"  a block: who runs into it, or into the edge, stays
        0  0  0  0      S...        other  an end: arriving pays its number, once; "+" is 1 and "-" is -1

    Observation: ``Discrete``, row * columns + column from the upper left. Action: 0 left, 1 down, 2 right, 3 up. It
    happens with probability ``move_prob``; what is left goes to both sides in equal parts, nothing backwards.
    ``P`` and ``initial_state_distrib`` are those of gymnasium's toy text.

    "Artificial Intelligence: A Modern Approach", 3rd edition, figures 17.1 to 17.3, except that the reward of a cell is
    paid on arrival there and not on leaving it. **Value of the start in the maze above, no limit of steps: 0.745308
    with a discount of 1, 0.373852 with 0.9.**

    :param grid: Numbers by row as above, or lines of text (a list, or one string), in which "S" is the start
    :param move_prob: Probability that the agent goes where it wants to
    :param default_reward: Paid on arrival in, or staying in, a free cell
    :param start: (row, column) of the first cell; by default the lower left one
    :param render_mode: None, "ansi" (lines of text, "A" is the agent), or "rgb_array"
    :raises ValueError: if the rows differ in length, a cell is no number, no cell is free, the start is not free or
        given twice, ``move_prob`` is no probability, or ``default_reward`` is not finite
    """

    metadata = {  # noqa: RUF012 - gymnasium declares it so
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "action_names": ["left", "down", "right", "up"],
    }

    def __init__(
        self,
        grid: Grid = ("...+", ".#.-", "...."),
        move_prob: float = 0.8,
        default_reward: float = -0.04,
        start: Sequence[int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if not 0.0 <= move_prob <= 1.0:
            raise ValueError(f"move_prob {move_prob} must lie in [0, 1]")
        if not np.isfinite(default_reward):
            raise ValueError(f"default_reward {default_reward} must be a finite number")
        check_render_mode(render_mode)
        rows = _rows(grid)
        self.grid = np.array([[_number(cell, i, j) for j, cell in enumerate(row)] for i, row in enumerate(rows)])
        self.start = _start(
            self.grid, [(i, j) for i, row in enumerate(rows) for j, c in enumerate(row) if c == "S"], start
        )
        self.move_prob, self.default_reward, self.render_mode = move_prob, default_reward, render_mode
        self.P = self._table()
        n_columns = self.grid.shape[1]
        self.initial_state_distrib = np.zeros(self.grid.size)
        self.initial_state_distrib[self.start[0] * n_columns + self.start[1]] = 1.0
        self.observation_space = spaces.Discrete(self.grid.size)
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """
        :param seed: Repeats the episode's slips
        :param options: Not used
        :return: The start and an empty info
        """
        super().reset(seed=seed)
        self._state = int(self.initial_state_distrib.argmax())
        return np.int64(self._state), {}

    def step(self, action: int | np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """
        :param action: 0 left, 1 down, 2 right, 3 up
        :return: Next cell, reward, terminated, truncated (never), empty info
        """
        outcomes = self.P[self._state][int(action)]
        drawn = self.np_random.choice(len(outcomes), p=[probability for probability, *_ in outcomes])
        _, self._state, reward, terminated = outcomes[drawn]
        return np.int64(self._state), reward, terminated, False, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: The maze with the agent as lines of text, or as [height, width, 3] uint8; or None
        """
        if self.render_mode is None:
            return None
        row, column = divmod(self._state, self.grid.shape[1])
        if self.render_mode == "rgb_array":
            size = cell_size(*self.grid.shape)
            picture = draw_cells(self._colours(), size)
            draw_disc(picture, row, column, size, BLUE)
            return picture
        letters = np.select([self.grid == BLOCK, self.grid > 0, self.grid < 0], ["#", "+", "-"], ".")
        letters[row, column] = "A"
        return "\n".join("".join(line) for line in letters)

    def _table(self) -> TransitionTable:
        (n_rows, n_columns), grid = self.grid.shape, self.grid.tolist()
        chances = ((-1, (1.0 - self.move_prob) / 2), (0, self.move_prob), (1, (1.0 - self.move_prob) / 2))

        def arrival(row: int, column: int, direction: int) -> tuple[int, float, bool]:
            to_row, to_column = row + MOVES[direction][0], column + MOVES[direction][1]
            inside = 0 <= to_row < n_rows and 0 <= to_column < n_columns
            if not inside or grid[to_row][to_column] == BLOCK:
                to_row, to_column = row, column
            number = grid[to_row][to_column]
            return to_row * n_columns + to_column, number or self.default_reward, number != 0.0

        def outcomes(row: int, column: int, action: int) -> list[tuple[float, int, float, bool]]:
            if grid[row][column] != 0.0:  # an end, or a block where nobody can be
                return [(1.0, row * n_columns + column, 0.0, True)]
            return [(p, *arrival(row, column, (action + turn) % 4)) for turn, p in chances if p > 0.0]

        return {
            row * n_columns + column: {action: outcomes(row, column, action) for action in range(4)}
            for row in range(n_rows)
            for column in range(n_columns)
        }

    def _colours(self) -> np.ndarray:
        """:return: [rows, columns, 3]: the larger an end's number, the stronger its colour"""
        ends = np.where(self.grid == BLOCK, 0.0, self.grid)[:, :, None]
        strength = 0.4 + 0.6 * np.abs(ends) / max(np.abs(ends).max(), 1e-9)
        coloured = (1.0 - strength) * WHITE + strength * np.where(ends > 0, GREEN, RED)
        return np.where(self.grid[:, :, None] == BLOCK, BLACK, np.where(ends == 0.0, WHITE, coloured))


def _rows(grid: Any) -> list[Sequence[Any]]:
    """
    :param grid: what the user wrote, perhaps in a yml
    :return: the rows, equally long, of letters or perhaps numbers
    """
    if not isinstance(grid, (Sequence, np.ndarray)):
        raise ValueError(f"grid {grid!r} must hold numbers by row, or lines of text")
    rows = [line.strip() for line in grid.strip().splitlines()] if isinstance(grid, str) else list(grid)
    for i, row in enumerate(rows):
        if not isinstance(row, (Sequence, np.ndarray)):
            raise ValueError(f"row {i} of the grid is {row!r}: it must be a list of numbers, or a line of text")
        if len(row) != len(rows[0]):
            raise ValueError(f"row {i} of the grid has {len(row)} cells, row 0 has {len(rows[0])}: all must be as long")
    return rows


def _number(cell: Any, row: int, column: int) -> float:
    if isinstance(cell, str):
        if cell not in LETTERS:
            raise ValueError(f"cell ({row}, {column}) is {cell!r}: it must be one of {' '.join(LETTERS)}, or a number")
        return LETTERS[cell]
    if not isinstance(cell, (int, float, np.number)) or not np.isfinite(cell):
        raise ValueError(f"cell ({row}, {column}) is {cell!r}: it must be a finite number, 9 for a block")
    return float(cell)


def _start(grid: np.ndarray, marked: list[tuple[int, int]], start: Sequence[int] | None) -> tuple[int, int]:
    """
    :param grid: [rows, columns]
    :param marked: cells with the letter "S"
    :param start: what the caller says
    :return: (row, column) of a free cell
    """
    if not (grid == 0.0).any():
        raise ValueError("the grid has no free cell: 0 or '.' is one")
    if len(marked) + (start is not None) > 1:
        raise ValueError(f"the grid has {len(marked)} cells 'S' and start is {start}: give one of them")
    if start is not None and np.shape(start) != (2,):
        raise ValueError(f"start {start!r} must be (row, column)")
    row, column = marked[0] if marked else (grid.shape[0] - 1, 0) if start is None else map(int, start)
    if not (0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]):
        raise ValueError(f"start ({row}, {column}) lies outside the grid of {grid.shape[0]} x {grid.shape[1]} cells")
    if grid[row, column] != 0.0:
        what = "a block" if grid[row, column] == BLOCK else f"an end ({grid[row, column]:g})"
        raise ValueError(f"start ({row}, {column}) is {what}: give start=(row, column) of a free cell")
    return row, column
