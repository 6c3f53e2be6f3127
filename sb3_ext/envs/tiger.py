"""The tiger behind one of two doors: how often to listen before opening. It never ends by itself."""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.envs.rendering import BLUE, ORANGE, WHITE, check_render_mode, draw_cells, draw_disc
from sb3_ext.envs.tables import PomdpTables, TransitionTable

LISTEN, OPEN_LEFT, OPEN_RIGHT = range(3)
NOTHING, HEARD_LEFT, HEARD_RIGHT = range(3)
LISTENING, TIGER, TREASURE = -1.0, -100.0, 10.0  # rewards
SIZE = 48  # of a door in the picture, in pixels


class TigerEnv(gym.Env[np.int64, np.int64]):
    """Listen, or open one of two doors: a tiger is behind one of them. Id ``sb3_ext/Tiger-v0``, 100 steps.

    Kaelbling, Littman & Cassandra 1998, "Planning and acting in partially observable stochastic domains"::

        action          reward                    what is heard afterwards
        0 listen        -1                        1 left or 2 right: the tiger's side with probability ``accuracy``
        1 open left     +10, or -100 if the       1 or 2 with probability 1/2 each: it says nothing, for the tiger
        2 open right    tiger is there            has been put behind a door drawn anew

    Observation: ``Discrete(3)``, what is heard; 0, which is nothing, after ``reset`` alone. An episode has no end of
    its own. Values of the start with ``accuracy=0.85``, by discount, and returns within the 100 steps of the id:

    ==============  ==============  ===========  ==============
    discount        without memory  with memory  with the state
    ==============  ==============  ===========  ==============
    0.75            -4              1.9334       40
    0.95            -20             19.3714      200
    1, 100 steps    -100            107.0775     1000
    ==============  ==============  ===========  ==============

    Without memory listening for ever is best.

    :param accuracy: Probability that listening tells the truth
    :param render_mode: None, "ansi" (one line of text), or "rgb_array" (two doors, the tiger's in orange, with a disc
        on the side where something was heard)
    :raises ValueError: if ``accuracy`` is no probability
    """

    metadata = {  # noqa: RUF012 - gymnasium declares it so
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "action_names": ["listen", "open left", "open right"],
    }

    def __init__(self, accuracy: float = 0.85, render_mode: str | None = None) -> None:
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"accuracy {accuracy} must lie in [0, 1]")
        check_render_mode(render_mode)
        self.accuracy = accuracy
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(3)
        self.action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """
        :param seed: Repeats the episode
        :param options: Not used
        :return: 0, for nothing is heard yet, and an empty info
        """
        super().reset(seed=seed)
        self._tiger = int(self.np_random.integers(2))  # 0 left, 1 right
        self._heard = NOTHING
        return np.int64(NOTHING), {}

    def step(self, action: int | np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """
        :param action: 0 listen, 1 open the left door, 2 open the right one
        :return: What is heard, reward, terminated (never), truncated (never), empty info
        :raises ValueError: for another action, behind which there is no tiger
        """
        if action not in (LISTEN, OPEN_LEFT, OPEN_RIGHT):
            raise ValueError(f"action {action} must be 0 (listen), 1 or 2 (open the left or the right door)")
        reward, accuracy = LISTENING, self.accuracy
        if action != LISTEN:
            reward = TIGER if action - OPEN_LEFT == self._tiger else TREASURE
            self._tiger, accuracy = int(self.np_random.integers(2)), 0.5
        truly = self.np_random.random() < accuracy
        self._heard = HEARD_LEFT + (self._tiger if truly else 1 - self._tiger)
        return np.int64(self._heard), reward, False, False, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: Where the tiger is and what was heard; or ``(48, 96, 3)`` uint8; or None
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi":
            return f"tiger={('left', 'right')[self._tiger]} heard={('nothing', 'left', 'right')[self._heard]}"
        doors = np.array([[WHITE, WHITE]])
        doors[0, self._tiger] = ORANGE
        picture = draw_cells(doors, SIZE)
        if self._heard != NOTHING:
            draw_disc(picture, 0, self._heard - HEARD_LEFT, SIZE, BLUE)
        return picture

    @cached_property
    def pomdp(self) -> PomdpTables:
        """Two states, the tiger's side. What is heard depends on the action that led there."""
        table: TransitionTable = {}
        for tiger in (0, 1):
            table[tiger] = {LISTEN: [(1.0, tiger, LISTENING, False)]}
            for door in (0, 1):
                reward = TIGER if door == tiger else TREASURE
                table[tiger][OPEN_LEFT + door] = [(0.5, 0, reward, False), (0.5, 1, reward, False)]
        a = self.accuracy
        hears = np.array([[0.0, a, 1.0 - a], [0.0, 1.0 - a, a]])
        coin = np.array([[0.0, 0.5, 0.5]] * 2)
        return PomdpTables(
            P=table,
            start=np.array([0.5, 0.5]),
            observation=np.stack([hears, coin, coin]),
            first_observation=np.array([[1.0, 0.0, 0.0]] * 2),
            shown=np.arange(3),
            gamma=0.95,
        )
