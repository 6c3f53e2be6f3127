"""A corridor with a junction at its end. Where to turn is shown at its beginning alone."""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.envs.rendering import BLACK, BLUE, GREEN, WHITE, cell_size, check_render_mode, draw_cells, draw_disc
from sb3_ext.envs.tables import PomdpTables, TransitionTable, check_size

LEFT, DOWN, RIGHT, UP = range(4)  # FrozenLake's order
SIGN_UP, SIGN_DOWN, CORRIDOR, JUNCTION = range(4)
AS_THE_SIGN_SAID, WRONG_OR_WALL = 4.0, -0.1  # rewards


class TMazeEnv(gym.Env[np.int64, np.int64]):
    """Read a sign, walk along a corridor, turn as the sign said. Id ``sb3_ext/TMaze-v0``, 200 steps.

    Bakker 2001, "Reinforcement Learning with Long Short-Term Memory"::

        length = 4
                            |        observation    0 sign "up", 1 sign "down", 2 corridor, 3 junction
        sign - - - junction          action         0 left, 1 down, 2 right, 3 up
                            |

    The sign can be read in the first cell only, the junction lies ``length`` cells to the right of it. Turning there
    ends the episode with +4 if it is as the sign said and -0.1 if not. Who walks into a wall stays and gets -0.1;
    every other step pays 0. After the last action the junction is still shown.

    **Best return 4; without a memory 1.95, the mean of 4 and -0.1.** The value of the start is that times
    ``gamma ** length``: 3.2682912 and 1.5932920 for 10 cells and a discount of 0.98. With the state it is as with a
    memory.

    :param length: Steps from the sign to the junction
    :param render_mode: None, "ansi" (one line of text), or "rgb_array" (the maze from above, the better arm in green)
    :raises ValueError: if ``length`` is below 1
    """

    metadata = {  # noqa: RUF012 - gymnasium declares it so
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "action_names": ["left", "down", "right", "up"],
    }

    def __init__(self, length: int = 10, render_mode: str | None = None) -> None:
        if length < 1:
            raise ValueError(f"length {length} must be 1 or more: at 0 the sign would stand at the junction")
        check_render_mode(render_mode)
        self.length = length
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(4)
        self.action_space = spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """
        :param seed: Repeats the episode's sign
        :param options: Not used
        :return: The sign and an empty info
        """
        super().reset(seed=seed)
        self._sign = int(self.np_random.integers(2))
        self._cell, self._arm = 0, 0
        return np.int64(self._sign), {}

    def step(self, action: int | np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """
        :param action: 0 left, 1 down, 2 right, 3 up
        :return: Next observation, reward, terminated, truncated (never), empty info
        """
        self._cell, reward, terminated = self._after(self._sign, self._cell, int(action))
        if terminated:
            self._arm = -1 if action == UP else 1
        return np.int64(self._seen(self._sign, self._cell)), reward, terminated, False, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: Where the agent is and what the sign says; or [height, width, 3] uint8; or None
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi":
            turned = {-1: " turned up", 0: "", 1: " turned down"}[self._arm]
            return f"cell={self._cell}/{self.length} sign={('up', 'down')[self._sign]}{turned}"
        colours = np.full((3, self.length + 1, 3), BLACK)
        colours[1] = WHITE
        colours[0, -1] = colours[2, -1] = WHITE
        colours[2 * self._sign, -1] = GREEN
        size = cell_size(3, self.length + 1)
        picture = draw_cells(colours, size)
        draw_disc(picture, 1 + self._arm, self._cell, size, BLUE)
        return picture

    @cached_property
    def pomdp(self) -> PomdpTables:
        """States sign * (length + 1) + cell, then the end. A ValueError if these are too many."""
        n_cells = self.length + 1
        end = 2 * n_cells
        check_size(end + 1, 4, f"length {self.length}")
        table: TransitionTable = {}
        for state in range(end):
            sign, cell = divmod(state, n_cells)
            table[state] = {}
            for action in range(4):
                to, reward, terminated = self._after(sign, cell, action)
                table[state][action] = [(1.0, end if terminated else sign * n_cells + to, reward, terminated)]
        table[end] = {action: [(1.0, end, 0.0, True)] for action in range(4)}
        seen = [self._seen(sign, cell) for sign in (SIGN_UP, SIGN_DOWN) for cell in range(n_cells)]
        start = np.zeros(end + 1)
        start[[0, n_cells]] = 0.5
        return PomdpTables.of_states(table, start, np.array([*seen, JUNCTION]), np.arange(4), gamma=0.98)

    def _after(self, sign: int, cell: int, action: int) -> tuple[int, float, bool]:
        """:return: cell, reward, terminated"""
        if cell == self.length and action in (UP, DOWN):
            as_said = action == (UP if sign == SIGN_UP else DOWN)
            return cell, AS_THE_SIGN_SAID if as_said else WRONG_OR_WALL, True
        if action == RIGHT and cell < self.length:
            return cell + 1, 0.0, False
        if action == LEFT and cell > 0:
            return cell - 1, 0.0, False
        return cell, WRONG_OR_WALL, False

    def _seen(self, sign: int, cell: int) -> int:
        if cell == 0:
            return sign
        return JUNCTION if cell == self.length else CORRIDOR
