"""
The play without its window: keys in, steps and episodes out.

       any game key            over                y, enter: kept
READY ------------> RUNNING ----------> ASKING --------------------> READY of the next episode
  ^                  |   ^  esc: cut      |        n: discarded
  |        p, space  v   |                | asked after esc, or enough are kept
  +---- r ---------- PAUSED               v
  esc -----------------------------------> OVER
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecTransposeImage

from sb3_ext import nested
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations
from sb3_ext.demonstrations.keys import KeyMap
from sb3_ext.demonstrations.record import LearnerView
from sb3_ext.versions import package_versions

# What the player tells us rather than the game. Keys of the game come first: a control keeps what they leave.
CONTROLS: dict[str, tuple[str, ...]] = {
    "pause": ("p", "space"),
    "slow": ("s", "tab"),
    "restart": ("r", "home"),
    "drop last kept": ("backspace", "delete"),
    "finish": ("escape", "q"),
}
YES = ("y", "return")
NO = ("n",)


class Phase(enum.Enum):
    """What the player is asked for."""

    READY = "press a key of the game to start"
    RUNNING = "running"
    PAUSED = "paused"
    ASKING = "keep this episode?"
    OVER = "over"


class Game:
    """
    The play without its window: keys in, steps and episodes out.

    :param env: whose `reset` and `step` are called
    :param keys: of the game
    :param seed: of the first episode
    :param n_episodes: over after so many kept ones, None = when the player finishes
    :param turn_based: step only when a key of the game goes down
    """

    def __init__(self, env: gym.Env, keys: KeyMap, seed: int, n_episodes: int | None, turn_based: bool) -> None:
        self.env, self.keys, self.seed, self.n_episodes, self.turn_based = env, keys, seed, n_episodes, turn_based
        view = LearnerView(env).env
        self.observation_space = view.observation_space
        self.transpose = view.transpose_observations if isinstance(view, VecTransposeImage) else None
        self.controls = _controls(keys)
        self.yes, self.no = codes_of(YES), codes_of(NO)
        self.kept: list[Episode] = []
        self.slow = False
        self.leaving = False
        self.phase = Phase.READY
        self._held: list[int] = []  # keys that are down, the latest last
        self._fresh: set[int] = set()  # that went down since the last step
        self._late: set[int] = set()  # that went down and up since then
        self._start()

    @property
    def n_steps(self) -> int:
        """Steps of the episode under way."""
        return len(self._actions)

    @property
    def total_reward(self) -> float:
        """Of the episode under way."""
        return math.fsum(self._rewards)

    @property
    def ending(self) -> str:
        """How the episode under way ended."""
        names = [name for name, value in (("terminated", self.terminated), ("truncated", self.truncated)) if value]
        return " and ".join(names) or "cut here"

    def press(self, code: int) -> None:
        """:param code: of a key that went down"""
        if self.phase is Phase.ASKING:
            self._answer(code)
        elif code in self.keys.codes:
            self._held = [*(c for c in self._held if c != code), code]
            self._fresh.add(code)
            self._late.discard(code)
            if self.phase is Phase.READY:
                self.phase = Phase.RUNNING
        elif self.controls.get(code) == "pause":
            if self.phase is not Phase.READY:
                self.phase = Phase.PAUSED if self.phase is Phase.RUNNING else Phase.RUNNING
        elif self.controls.get(code) == "slow":
            self.slow = not self.slow
        elif self.controls.get(code) == "restart":
            self._start()
        elif self.controls.get(code) == "drop last kept" and self.kept:
            self.kept.pop()
        elif self.controls.get(code) == "finish":
            self.leaving = True
            self.phase = Phase.ASKING if self.n_steps else Phase.OVER

    def release(self, code: int) -> None:
        """:param code: of a key that went up"""
        # A tap shorter than a frame still counts for one step.
        if self.phase is Phase.RUNNING and code in self._fresh:
            self._late.add(code)
        elif code in self._held:
            self._held.remove(code)

    def advance(self) -> None:
        """One frame: a step, if one is due."""
        if self.phase is not Phase.RUNNING or (self.turn_based and not self._fresh):
            return
        action = self.keys.action(self._held, self._actions[-1] if self._actions else None)
        self._held = [code for code in self._held if code not in self._late]
        self._fresh.clear()
        self._late.clear()
        if action is None:  # half of a combination at the very start
            return
        # A copy in, and a number where actions are numbers: environments may keep or change what they are given.
        given = action.copy() if action.shape else action.item()
        observation, reward, self.terminated, self.truncated, _ = self.env.step(given)
        self._actions.append(action)
        self._observations.append(self._row(observation))
        self._rewards.append(float(reward))
        if self.terminated or self.truncated:
            self.phase = Phase.ASKING

    def close(self) -> None:
        """Nobody answers any more: an episode that is over counts as kept, one under way is lost."""
        if self.phase is Phase.ASKING and (self.terminated or self.truncated):
            self.kept.append(self._episode())
        self.phase = Phase.OVER

    def demonstrations(self) -> Demonstrations:
        """:return: what was kept"""
        env_id = None if self.env.spec is None else self.env.spec.id
        return Demonstrations(
            tuple(self.kept), self.observation_space, self.env.action_space, env_id, package_versions()
        )

    def _start(self) -> None:
        observation, _ = self.env.reset(seed=self.seed)
        self._observations = [self._row(observation)]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self.terminated = self.truncated = False
        # Keys still held from the last episode do not start this one.
        self._held.clear()
        self._fresh.clear()
        self._late.clear()
        self.phase = Phase.READY

    def _answer(self, code: int) -> None:
        if code in self.yes:
            self.kept.append(self._episode())
        elif self.controls.get(code) == "finish":
            self.leaving = True
            return
        elif code not in self.no:
            return
        if self.leaving or len(self.kept) == self.n_episodes:
            self.phase = Phase.OVER
        else:
            self.seed += 1
            self._start()

    def _episode(self) -> Episode:
        # Where the player cut there is no terminal state behind the last step.
        cut = not (self.terminated or self.truncated)
        return Episode(
            nested.stack(self._observations),
            np.stack(self._actions),
            np.array(self._rewards),
            bool(self.terminated),
            bool(self.truncated) or cut,
            self.seed,
        )

    def _row(self, observation: Any) -> Observations:  # Any: what an environment may give
        if self.transpose is not None:
            # A new dictionary: the values of the environment's own would be replaced.
            observation = self.transpose(nested.map(np.asarray, observation))
        row: Observations = nested.map(
            lambda part, x: np.array(x, dtype=part.dtype), self.observation_space, observation
        )
        return row


def _controls(keys: KeyMap) -> dict[int, str]:
    controls: dict[int, str] = {}
    for what, names in CONTROLS.items():
        free = [code for code in codes_of(names) if code not in keys.codes]
        if not free:
            raise ValueError(f"keys: {' and '.join(names)} are both taken by the game; one must be left for: {what}")
        controls.update(dict.fromkeys(free, what))
    return controls


def codes_of(names: Sequence[str]) -> list[int]:
    """:return: of keys by pygame's names"""
    import pygame

    return [pygame.key.key_code(name) for name in names]
