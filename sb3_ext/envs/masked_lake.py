"""FrozenLake of which only a part of the position is seen. Ice, rewards, ends and pictures are always gymnasium's."""

from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from sb3_ext.envs.tables import PomdpTables

SHOWN = ("row", "column", "nothing")


class MaskedFrozenLake(FrozenLakeEnv):
    """FrozenLake-v1 that shows its row, its column, or nothing. Id ``sb3_ext/MaskedFrozenLake-v0``, 100 steps.

    Observation: ``Discrete``, the number of the row or column, counted from the upper left, or always 0; in the last
    step too. All else is FrozenLake's. ``P`` and ``initial_state_distrib`` are those of the lake, whose state is the
    cell; ``pomdp`` says what is seen of it.

    Values of the start with a discount of 0.99, no limit of steps, the slippery 4x4 map. Without memory: the best of
    the deterministic choices. With memory: an interval that holds the best.

    ========  ==============  ==================  ==============
    show      without memory  with memory         with the state
    ========  ==============  ==================  ==============
    row       0.14170         0.20796 to 0.20961  0.542026
    column    0.10010         0.13690 to 0.14009  0.542026
    nothing   0.04485         0.05871 to 0.05874  0.542026
    ========  ==============  ==================  ==============

    :param show: What is seen of the position: "row", "column" or "nothing"
    :param lake: What FrozenLake takes: ``map_name``, ``desc``, ``is_slippery``, ``render_mode``, ...
    :raises ValueError: if ``show`` is something else
    """

    metadata = {  # noqa: RUF012 - gymnasium declares it so
        **FrozenLakeEnv.metadata,
        "action_names": ["left", "down", "right", "up"],
    }

    def __init__(self, show: str = "row", **lake: Any) -> None:
        if show not in SHOWN:
            raise ValueError(f'show {show!r} must be "row", "column" or "nothing"')
        super().__init__(**lake)
        self.show = show
        cell = np.arange(self.nrow * self.ncol)
        self._seen = {"row": cell // self.ncol, "column": cell % self.ncol, "nothing": 0 * cell}[show]  # [S]
        self.observation_space = spaces.Discrete(int(self._seen.max()) + 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """
        :param seed: Repeats the episode
        :param options: Not used
        :return: What is seen of the start, and FrozenLake's info
        """
        state, info = super().reset(seed=seed, options=options)
        return int(self._seen[state]), info

    def step(self, a: int | np.int64) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """
        :param a: 0 left, 1 down, 2 right, 3 up
        :return: What is seen of the next cell; reward, terminated, truncated and info are FrozenLake's
        """
        state, reward, terminated, truncated, info = super().step(int(a))  # type: ignore[no-untyped-call]
        return int(self._seen[state]), reward, terminated, truncated, info

    @cached_property
    def pomdp(self) -> PomdpTables:
        """The lake, and what is seen of each cell."""
        shown = np.arange(int(self._seen.max()) + 1)
        return PomdpTables.of_states(self.P, self.initial_state_distrib, self._seen, shown, gamma=0.99)
