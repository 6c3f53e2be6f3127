"""A player without hands: posted keys, and an environment that counts its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pygame = pytest.importorskip("pygame")


def down(name: str) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(name)))


def up(name: str) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.key.key_code(name)))


def tap(name: str) -> None:
    down(name)
    up(name)


def hold(names: list[str]) -> list[Callable[[], None]]:
    """Two frames: all of these go down, and all go up."""

    def press() -> None:
        for name in names:
            down(name)

    def release() -> None:
        for name in names:
            up(name)

    return [press, release]


class Counter(gym.Env):
    """
    Observation = (episodes begun, steps), reward = action. Each drawn frame calls the next item of a script, which
    posts keys; a script that ends closes the window.

    :param script: what to do before each frame's keys are read
    :param length: steps until it terminates
    :param observations: space of the observations
    """

    render_mode: str | None = "rgb_array"

    def __init__(
        self, script: list[Callable[[], None]], length: int = 3, observations: spaces.Space[Any] | None = None
    ) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1000}
        self.observation_space = observations or spaces.Box(0, 100, (2,), np.float32)
        self.action_space = spaces.Discrete(4)
        self.script, self.length, self.begun = iter(script), length, -1
        self.seeds: list[int | None] = []

    def _obs(self) -> Any:
        # float64 and one array for ever, as careless environments give them.
        self.row = getattr(self, "row", np.zeros(2))
        self.row[:] = self.begun, self.t
        return self.row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.begun += 1
        self.t = 0
        self.seeds.append(seed)
        return self._obs(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert type(action) is int
        self.t += 1
        return self._obs(), float(action), self.t == self.length, False, {}

    def render(self) -> Any:
        if pygame.display.get_surface() is not None:  # else the window asks how large the picture is
            next(self.script, lambda: pygame.event.post(pygame.event.Event(pygame.QUIT)))()
        return np.zeros((40, 60, 3), dtype=np.uint8)


def nothing() -> None:
    pass


def keys(*names: str) -> list[Callable[[], None]]:
    """One frame each: "a" tap, "+a" down, "-a" up, "" nothing."""
    how = {"+": down, "-": up}
    return [
        nothing if not n else (lambda n=n: how[n[0]](n[1:])) if n[0] in how else (lambda n=n: tap(n))  # type: ignore[misc]
        for n in names
    ]


ARROWS = {"left": 1, "right,d": 2, "left+up": 3, "noop": 0}
