"""
A person who is asked what to do in a state that somebody else drove into: the picture is drawn, keys are the answer.

Keys mean what they mean in `play`. A closed window is a Ctrl-C: the answers so far are whoever's that asked.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from sb3_ext.demonstrations.keys import TURN_BASED, Keys, env_name, key_map
from sb3_ext.demonstrations.play import check_numbers, check_picture, import_pygame, open_display
from sb3_ext.demonstrations.window import Screen, keys_in_words

PAUSE = "p"


class Person:
    """
    Called with the observation of its environment, answers with an action.

    :param env: that is driven, made with ``render_mode="rgb_array"``
    :param keys: as for `play`
    :param fps: answers per second, None = the environment's own, 0 = as fast as possible; nothing is asked before the
        first key
    :param zoom: as for `play`
    :param turn_based: wait for a key in each state; None = for grid worlds. Else the keys that are held are the answer
    :raises ValueError: where the environment draws no picture, or a key does not fit
    :raises ImportError: without pygame
    """

    def __init__(
        self,
        env: gym.Env,
        keys: Keys | None = None,
        fps: float | None = None,
        zoom: float | None = None,
        turn_based: bool | None = None,
    ) -> None:
        check_numbers(None, fps, zoom)
        check_picture(env)
        self.pygame = import_pygame()
        self.env, self.zoom = env, zoom
        open_display(self.pygame)  # which knows the keys; the window comes with the first question
        self.keys = key_map(env, keys)
        pause = self.pygame.key.key_code(PAUSE)
        self._pause: int | None = None if pause in self.keys.codes else pause
        self.fps = float(env.metadata.get("render_fps") or 30) if fps is None else fps
        self.turn_based = type(env.unwrapped).__name__ in TURN_BASED if turn_based is None else turn_based
        self.n_answers = 0
        self._held: list[int] = []  # keys that are down, the latest last
        self._last: np.ndarray | None = None
        self._is_paused = False
        self._screen: Screen | None = None

    def __call__(self, observations: Any) -> np.ndarray:  # Any: arrays, unread: the person looks at the picture
        """
        :param observations: [1, *shape]
        :return: [1, *shape] of the action space
        :raises KeyboardInterrupt: where the window is closed, or escape is pressed
        """
        screen = self._open()
        waits = self.turn_based or self._last is None
        while True:
            screen.show(f"label {self.n_answers}   |   {'paused' if self._is_paused else 'what would you do here?'}")
            self.pygame.display.flip()
            self._clock.tick(self.fps)
            released, is_pressed = self._read_keys()
            answers = (is_pressed or not waits) and not self._is_paused
            action = self.keys.action(self._held, self._last) if answers else None
            self._held = [code for code in self._held if code not in released]
            if action is not None:
                self._last = None if self.turn_based else action
                self.n_answers += 1
                answer: np.ndarray = action[None].copy()
                return answer

    def close(self) -> None:
        """The window goes; another question opens it again."""
        self.pygame.display.quit()
        self._screen = None

    def _open(self) -> Screen:
        if self._screen is None:
            open_display(self.pygame)
            self.pygame.font.init()
            self._clock = self.pygame.time.Clock()
            controls = f"{PAUSE}: pause   escape: end" if self._pause is not None else "escape: end"
            self._screen = Screen(
                self.env, "sb3-ext: labels for " + env_name(self.env), [keys_in_words(self.keys), controls], self.zoom
            )
        return self._screen

    def _read_keys(self) -> tuple[set[int], bool]:
        """:return: keys that went up, which still count once, and whether one of the game went down"""
        released: set[int] = set()
        is_pressed = False
        for event in self.pygame.event.get():
            if event.type == self.pygame.QUIT or (
                event.type == self.pygame.KEYDOWN
                and event.key == self.pygame.K_ESCAPE
                and event.key not in self.keys.codes
            ):
                self.close()
                raise KeyboardInterrupt
            if event.type == self.pygame.KEYDOWN and event.key in self.keys.codes:
                self._held = [*(code for code in self._held if code != event.key), event.key]
                released.discard(event.key)
                is_pressed = True
            elif event.type == self.pygame.KEYDOWN and event.key == self._pause:
                self._is_paused = not self._is_paused
            elif event.type == self.pygame.KEYUP and event.key in self._held:
                released.add(event.key)
        return released, is_pressed
