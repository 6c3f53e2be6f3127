"""
Exact values of gymnasium's environments, agreed on by three formulas (value iteration to 1e-10, policy iteration by
linear equations, linear programming by HiGHS); policy iteration of pymdptoolbox-roi 4.2.0 gives the same on
FrozenLake8x8 with gamma 0.9.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import TabularMDP


class Row(NamedTuple):
    """What is known of one environment under one discount."""

    env_id: str
    keywords: dict[str, Any]
    gamma: float
    value: float
    """of the start, under the best policy"""
    reached: float | None = None
    """undiscounted, by that policy within the limit of steps; None where there is no limit"""
    best: float | None = None
    """the same by the best policy that knows the time"""

    @property
    def name(self) -> str:
        """What a table calls it."""
        return " ".join([self.env_id, *(f"{key}={value}" for key, value in self.keywords.items())])

    def mdp(self) -> TabularMDP:
        """:return: its process"""
        return TabularMDP.from_env(gym.make(self.env_id, **self.keywords), self.gamma)


DRY: dict[str, Any] = {"is_slippery": False}
LAKE, LAKE8, TAXI, CLIFF = "FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1"
ROWS = [
    Row(LAKE, {}, 0.9, 0.068891, 0.729766, 0.744190),
    Row(LAKE, {}, 0.99, 0.542026, 0.740165, 0.744190),
    Row(LAKE, {}, 0.999, 0.785533, 0.740165, 0.744190),
    Row(LAKE, {}, 1.0, 14 / 17, 0.740165, 0.744190),
    Row(LAKE8, {}, 0.99, 0.414640, 0.862955, 0.913220),
    Row(LAKE8, {}, 0.999, 0.892635, 0.885654, 0.913220),
    Row(LAKE8, {}, 1.0, 1.0, 0.885654, 0.913220),
    Row(LAKE, DRY, 0.9, 0.590490, 1.0, 1.0),
    Row(LAKE, DRY, 0.99, 0.950990, 1.0, 1.0),
    Row(LAKE, DRY, 1.0, 1.0, 1.0, 1.0),
    Row(CLIFF, {}, 0.9, -7.458134),
    Row(CLIFF, {}, 0.99, -12.247898),
    Row(CLIFF, {}, 1.0, -13.0),
    Row("CliffWalkingSlippery-v1", {}, 0.99, -46.352672),
    Row(TAXI, {}, 0.9, -1.263323, 7.93, 7.93),
    Row(TAXI, {}, 0.99, 6.327464, 7.93, 7.93),
    Row(TAXI, {}, 1.0, 7.93, 7.93, 7.93),
    Row(TAXI, {"is_rainy": True}, 0.99, 2.247629, 3.954575, 3.954575),
]

# The maze of Russell and Norvig, figure 17.1, paid on arrival: the value of each of its twelve cells.
MAZE = GridWorldEnv(("...+", ".#.-", "S..."))
MAZE_VALUES = {
    0.9: "0.610462 0.766207 0.928180 0 0.487235 0 0.584934 0 0.373852 0.326623 0.427543 0.188825",
    1.0: "0.851558 0.907808 0.957808 0 0.801558 0 0.700274 0 0.745308 0.695308 0.651416 0.427925",
}
