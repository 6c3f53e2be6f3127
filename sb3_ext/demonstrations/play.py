"""
A person plays, and the episodes are kept as demonstrations.

Each frame draws what the environment shows, reads the keys, and makes one step: the action answers the picture on the
screen. Images are kept channels-first, as `record` keeps them and a learner sees them. Keys are followed through their
events, so a program that posts events plays like a hand. The episode begins with the first key of the game, so nobody
loses its first second.

           any game key            over                y, enter: kept
    READY ------------> RUNNING ----------> ASKING --------------------> READY of the next episode
      ^                  |   ^  esc: cut      |        n: discarded
      |        p, space  v   |                | asked after esc, or enough are kept
      +---- r ---------- PAUSED               v
      esc -----------------------------------> OVER
"""

from __future__ import annotations

import contextlib
import enum
import math
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecTransposeImage

from sb3_ext import nested
from sb3_ext.demonstrations.data import (
    Demonstrations,
    Episode,
    Observations,
    check_array,
    check_spaces,
    out_of_space,
    subspaces,
)
from sb3_ext.demonstrations.files import save
from sb3_ext.demonstrations.formats.npz_files import npz_path
from sb3_ext.demonstrations.record import LearnerView
from sb3_ext.versions import package_versions

Keys = Mapping[Any, Any]
"""Names of keys -> action. Any: gymnasium's `get_keys_to_action` has tuples and codes as keys; actions are arrays."""

NOOP = "noop"
SLOWER = 4.0
WINDOW = 600  # pixels that a small picture is enlarged to
LINE = 20  # pixels of a line of text

_ARROWS = {"left": 0, "down": 1, "right": 2, "up": 3}
_STEER = {"left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, 1, 0), "down": (0, 0, 0.8)}
# Positive torque turns against the clock: the upright pendulum falls to the left.
_TORQUE = {"left": 2, "right": -2, "a": 0.7, "d": -0.7, NOOP: 0}
# Class of the unwrapped environment, so that variants by other ids are known too -> maps, the first one that fits.
# Where there is no noop the last action is held, for these environments have no action that does nothing.
DEFAULT_KEYS: dict[str, tuple[dict[str, Any], ...]] = {
    "CartPoleEnv": ({"left,a": 0, "right,d": 1},),
    "MountainCarEnv": ({"left,a": 0, "right,d": 2, NOOP: 1},),
    "Continuous_MountainCarEnv": ({"left,a": -1, "right,d": 1, NOOP: 0},),
    "AcrobotEnv": ({"left,a": 0, "right,d": 2, NOOP: 1},),
    "PendulumEnv": (_TORQUE,),
    "PendulumPixelsEnv": (_TORQUE,),
    "LunarLander": (
        {"left,a": 1, "up,w": 2, "right,d": 3, NOOP: 0},
        {
            "left,a": (-1, -1),
            "right,d": (-1, 1),
            "up,w": (1, 0),
            "up+left,w+a": (1, -1),
            "up+right,w+d": (1, 1),
            NOOP: (-1, 0),
        },
    ),
    "CarRacing": (
        {**_STEER, "up+left": (-1, 1, 0), "up+right": (1, 1, 0), NOOP: (0, 0, 0)},
        {"left": 2, "right": 1, "up": 3, "down": 4, NOOP: 0},
    ),
    "FrozenLakeEnv": (_ARROWS,),
    "CliffWalkingEnv": ({"up": 0, "right": 1, "down": 2, "left": 3},),
    "TaxiEnv": ({"down": 0, "up": 1, "right": 2, "left": 3, "1": 4, "2": 5},),
}
TURN_BASED = {"FrozenLakeEnv", "CliffWalkingEnv", "TaxiEnv", "MemoryChainEnv", "RepeatPreviousEnv"}

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


def play(
    env_id: str | gym.Env,
    keys: Keys | None = None,
    n_episodes: int | None = None,
    path: str | pathlib.Path | None = None,
    fps: float | None = None,
    zoom: float | None = None,
    seed: int | None = None,
    turn_based: bool | None = None,
    overwrite: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """
    Open a window and record what its player does, until enough episodes are kept or the player finishes.

    ``p`` or space pauses, ``s`` or tab slows down four times, ``r`` starts the episode again, backspace drops the
    episode kept last, escape or ``q`` finishes. At the end of an episode ``y`` or enter keeps it, ``n`` discards it;
    one that escape cuts is kept as truncated. A closed window or Ctrl-C keeps what is whole.

    :param env_id: gymnasium's id, or an environment made with ``render_mode="rgb_array"``
    :param keys: name of a key as in `pygame.key.name` -> action. ``"a,left"`` are two keys for one action,
        ``"up+left"`` is both held together, ``"noop"`` is what no key means: without it the last action is held. Of the
        keys held the largest mapped combination counts, of equal ones the latest. None = those of the environment, or
        digits for few discrete actions
    :param n_episodes: end after so many kept ones, None = when the player finishes
    :param path: file to save to, ``.npz``; None = return them only
    :param fps: steps per second, None = the environment's own, 0 = as fast as possible
    :param zoom: pixels of the window per pixel of the picture, None = enlarge small pictures
    :param seed: of the first episode, the next one has the next number; None = drawn
    :param turn_based: step only when a key of the game goes down; None = for grid worlds
    :param overwrite: whether ``path`` may exist
    :param env_kwargs: for `gymnasium.make`
    :return: the kept episodes, each with its seed
    :raises ValueError: if no episode was kept, or with the value, where an argument does not fit
    :raises ImportError: without pygame
    """
    if n_episodes is not None and n_episodes < 1:
        raise ValueError(f"n_episodes {n_episodes} must be at least 1")
    if fps is not None and fps < 0:
        raise ValueError(f"fps {fps} must be positive, or 0 for as fast as possible")
    if zoom is not None and zoom <= 0:
        raise ValueError(f"zoom {zoom} must be positive")
    if path is not None:
        path = npz_path(path)
        check_target(path, overwrite)
    pygame = _pygame()
    env = _make(env_id, env_kwargs or {})
    with _closing(pygame, env if isinstance(env_id, str) else None):
        # Not pygame.init: it also looks for sound.
        _open_display(pygame)
        pygame.font.init()
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31 - 2**16))
        if turn_based is None:
            turn_based = type(env.unwrapped).__name__ in TURN_BASED
        game = Game(env, key_map(env, keys), seed, n_episodes, turn_based)
        window = Window(env, game, zoom)
        if fps is None:
            fps = float(env.metadata.get("render_fps") or 30)
        clock = pygame.time.Clock()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                while game.phase is not Phase.OVER:
                    window.draw()
                    clock.tick(fps / SLOWER if game.slow else fps)
                    for event in pygame.event.get():
                        if event.type == pygame.QUIT:
                            game.close()
                        elif event.type == pygame.KEYDOWN:
                            game.press(event.key)
                        elif event.type == pygame.KEYUP:
                            game.release(event.key)
                    game.advance()
        finally:
            # An environment that fails costs the episode, not those before it.
            game.close()
            if game.kept and path is not None:
                save(game.demonstrations(), path)
    if not game.kept:
        raise ValueError("no episode was kept: nothing to return" + ("" if path is None else f", {path} not written"))
    return game.demonstrations()


class Phase(enum.Enum):
    """What the player is asked for."""

    READY = "press a key of the game to start"
    RUNNING = "running"
    PAUSED = "paused"
    ASKING = "keep this episode?"
    OVER = "over"


class KeyMap:
    """
    Which action the held keys mean.

    :param actions: codes of keys that are held together -> action
    :param noop: action of no key, None = the last action is held
    """

    def __init__(self, actions: Mapping[frozenset[int], np.ndarray], noop: np.ndarray | None) -> None:
        self.actions = dict(actions)
        self.noop = noop
        self.codes = frozenset().union(*actions)

    def action(self, held: Sequence[int], last: np.ndarray | None) -> np.ndarray | None:
        """
        :param held: codes of keys, the latest last
        :param last: action of the step before, None = there is none
        :return: the largest combination's, among equal ones the latest's; None where nothing says what to do
        """
        order = {code: i for i, code in enumerate(held)}
        together = [combination for combination in self.actions if combination <= order.keys()]
        if together:
            return self.actions[max(together, key=lambda c: (len(c), max(order[code] for code in c)))]
        return last if self.noop is None else self.noop


def key_map(env: gym.Env, keys: Keys | None) -> KeyMap:
    """
    :param env: whose actions they are
    :param keys: as for `play`
    :return: with codes and checked actions
    :raises ValueError: with the key and the fix, where a key or its action does not exist
    """
    if keys is not None:
        return _parse(keys, env.action_space, None)
    unwrapped: Any = env.unwrapped  # the method below is a custom of gymnasium's, not of its type
    # Ours first: they are more comfortable, and the codes of gymnasium's own MountainCar are of pygame 1.
    for candidate in DEFAULT_KEYS.get(type(unwrapped).__name__, ()):
        with contextlib.suppress(ValueError):
            return _parse(candidate, env.action_space, None)
    own: Keys = {}
    with contextlib.suppress(AttributeError):  # Atari's word for continuous actions, too
        own = unwrapped.get_keys_to_action()
    if own:
        # gymnasium's convention for these maps: action 0 is the one of no key.
        discrete = isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.start == 0
        return _parse(own, env.action_space, 0 if discrete else None, of_env=True)
    example = "left=0,right=1,noop=0" if isinstance(env.action_space, gym.spaces.Discrete) else "left=-1,right=1,noop=0"
    if isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.start == 0 and env.action_space.n <= 10:
        return _parse({str(action): action for action in range(int(env.action_space.n))}, env.action_space, None)
    raise ValueError(
        f"keys: none known for {_name(env)} with actions {env.action_space}; name them, for example --keys {example}"
    )


def parse_keys(text: str) -> dict[str, Any]:
    """
    :param text: ``left=0,right=1,noop=0``; ``up+left=2`` for keys held together, ``up=0:1:0`` for a vector
    :return: for `play`
    :raises ValueError: with the part that cannot be read
    """
    keys: dict[str, Any] = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        try:
            numbers = [float(number) for number in value.split(":")]
        except ValueError:
            numbers = []
        if not name.strip() or not found or not numbers:
            raise ValueError(f"keys: {part!r} in {text!r} is not KEY=ACTION, for example left=0 or up=0:1:0")
        if name.strip() in keys:
            raise ValueError(f"keys: {name.strip()!r} appears twice in {text!r}")
        keys[name.strip()] = numbers if len(numbers) > 1 else numbers[0]
    return keys


def _parse(keys: Keys, space: gym.Space[Any], noop: Any, of_env: bool = False) -> KeyMap:  # Any: an action in any form
    """
    :param keys: of a user, or of an environment's `get_keys_to_action`
    :param space: of the actions
    :param noop: action of no key, unless ``keys`` has one
    :param of_env: whether gymnasium's conventions hold: `()` is no key, "wa" is w and a together
    """
    actions: dict[frozenset[int], np.ndarray] = {}
    nothing = None if noop is None else _action(noop, space, NOOP)
    for name, value in keys.items():
        action = _action(value, space, name)
        if name in (NOOP, ()):
            nothing = action
            continue
        for combination in _combinations(name, of_env):
            if combination in actions:
                raise ValueError(f"keys: {name!r} is mapped twice")
            actions[combination] = action
    if not actions:
        raise ValueError(f"keys: {dict(keys)} has no key; name at least one, for example left=0")
    return KeyMap(actions, nothing)


def _combinations(name: Any, of_env: bool) -> Iterator[frozenset[int]]:  # Any: names, codes and tuples of both
    if not isinstance(name, str):
        yield frozenset(_code(part) for part in (name if isinstance(name, list | tuple) else (name,)))
        return
    for part in [name] if len(name) == 1 else name.split(","):
        try:
            # A comma and a plus are keys as well.
            yield frozenset(_code(key) for key in ([part] if len(part.strip()) <= 1 else part.split("+")))
        except ValueError:
            if not of_env:
                raise
            yield frozenset(_code(key) for key in part)


# gymnasium's MountainCar and others still have the codes of pygame 1 for keys without a character.
_OLD_CODES = dict(
    zip(
        range(273, 282),
        ("up", "down", "right", "left", "insert", "home", "end", "page up", "page down"),
        strict=True,
    )
)
_OLD_CODES |= {256 + digit: f"[{digit}]" for digit in range(10)} | {281 + f: f"f{f}" for f in range(1, 13)}
_OLD_CODES |= {303: "right shift", 304: "left shift", 305: "right ctrl", 306: "left ctrl"}
_OLD_CODES |= {307: "right alt", 308: "left alt"}


def _code(key: Any) -> int:  # Any: a name or a code
    """
    :return: the code that pygame's events have
    :raises ValueError: where no key is called so
    """
    import pygame

    if isinstance(key, Integral):
        code = int(key)
        if code not in _OLD_CODES:
            # What has no name is no key, and events would never bring it.
            if not 0 <= code < 2**31 or not pygame.key.name(code):
                raise ValueError(f"keys: no key has the code {code}; name it: letters, digits, left, right, space, ...")
            return code
        key = _OLD_CODES[code]
    try:
        # gymnasium writes the space bar as " ".
        return pygame.key.key_code("space" if key == " " else key.strip())
    except (ValueError, AttributeError):  # AttributeError: no text
        raise ValueError(
            f"keys: no key is called {key!r}; letters, digits, left, right, up, down, space, return, ..."
        ) from None


def _action(value: Any, space: gym.Space[Any], name: Any) -> np.ndarray:  # Any: as in Keys
    assert space.shape is not None  # `_make` has checked that it is a space of arrays
    given = np.asarray(value)
    error = f"keys: action {value} of {name!r} is not in {space}"
    if given.dtype.kind not in "biuf" or (given.size != math.prod(space.shape)):
        raise ValueError(error)
    action = given.reshape(space.shape).astype(space.dtype)
    if out_of_space(action[None], space).any() or not np.allclose(action, given.reshape(space.shape)):
        raise ValueError(error)
    return action


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
        self.yes, self.no = _codes(YES), _codes(NO)
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
        return nested.map(lambda part, x: np.array(x, dtype=part.dtype), self.observation_space, observation)


class Window:
    """
    The picture with lines of text under it, and the question over it.

    :param env: whose `render` gives the picture
    :param game: whose state the text tells
    :param zoom: as for `play`
    """

    def __init__(self, env: gym.Env, game: Game, zoom: float | None) -> None:
        import pygame

        self.env, self.game = env, game
        height, width = self._picture().shape[:2]
        scale = zoom if zoom is not None else max(1, WINDOW // max(height, width))
        self.size = (round(width * scale), round(height * scale))
        self.font = pygame.font.Font(None, LINE)
        self.help = [
            "   ".join(f"{_names(codes)}: {_short(action)}" for codes, action in self._single_keys()),
            "   ".join(f"{_names(codes)}: {what}" for what, codes in _grouped(game.controls).items()),
        ]
        wide = max(self.font.size(line)[0] for line in self.help) + LINE
        pygame.display.set_caption("sb3-ext demos play " + _name(env))
        self.screen = pygame.display.set_mode((max(self.size[0], wide, 480), self.size[1] + 4 * LINE))

    def draw(self) -> None:
        """Show the present state."""
        import pygame

        game = self.game
        self.screen.fill((24, 26, 32))
        picture = pygame.surfarray.make_surface(self._picture().swapaxes(0, 1))
        left = (self.screen.get_width() - self.size[0]) // 2
        self.screen.blit(pygame.transform.scale(picture, self.size), (left, 0))
        wanted = "" if game.n_episodes is None else f" of {game.n_episodes}"
        state = [f"kept {len(game.kept)}{wanted}", f"seed {game.seed}", f"step {game.n_steps}"]
        state += [f"return {game.total_reward:g}", game.phase.value + (", slow" if game.slow else "")]
        for i, line in enumerate(["   |   ".join(state), *self.help]):
            colour = (240, 240, 240) if i == 0 else (150, 155, 165)
            self._write(line, (LINE // 2, self.size[1] + LINE // 2 + i * (LINE + 2)), colour)
        if game.phase is Phase.ASKING:
            self._ask()
        pygame.display.flip()

    def _ask(self) -> None:
        import pygame

        game = self.game
        lines = [
            f"return {game.total_reward:g}   {game.n_steps} steps   {game.ending}",
            f"Keep it?   {_names(game.yes)}: keep   {_names(game.no)}: discard"
            + ("   (then the end)" if game.leaving else ""),
        ]
        width = max(self.font.size(line)[0] for line in lines) + 2 * LINE
        box = pygame.Surface((width, (len(lines) + 1) * (LINE + 4)), pygame.SRCALPHA)
        box.fill((24, 26, 32, 230))
        corner = ((self.screen.get_width() - width) // 2, max(0, (self.size[1] - box.get_height()) // 2))
        self.screen.blit(box, corner)
        for i, line in enumerate(lines):
            self._write(line, (corner[0] + LINE, corner[1] + LINE // 2 + i * (LINE + 4)), (255, 214, 102))

    def _write(self, line: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        self.screen.blit(self.font.render(line, True, colour), at)

    def _picture(self) -> np.ndarray:
        picture = np.asarray(self.env.render())
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{_name(self.env)} renders shape {picture.shape}; play needs pictures [H, W, 3]")
        return picture.astype(np.uint8, copy=False)

    def _single_keys(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Keys of the same action together; combinations need no telling."""
        groups: list[tuple[list[int], np.ndarray]] = []
        for combination, action in self.game.keys.actions.items():
            if len(combination) > 1:
                continue
            same = [codes for codes, known in groups if np.array_equal(known, action)]
            if same:
                same[0].extend(combination)
            else:
                groups.append((list(combination), action))
        yield from groups


def _controls(keys: KeyMap) -> dict[int, str]:
    controls: dict[int, str] = {}
    for what, names in CONTROLS.items():
        free = [code for code in _codes(names) if code not in keys.codes]
        if not free:
            raise ValueError(f"keys: {' and '.join(names)} are both taken by the game; one must be left for: {what}")
        controls.update(dict.fromkeys(free, what))
    return controls


def _codes(names: Sequence[str]) -> list[int]:
    import pygame

    return [pygame.key.key_code(name) for name in names]


def _names(codes: Sequence[int]) -> str:
    import pygame

    return " / ".join(pygame.key.name(code) for code in codes)


def _grouped(controls: Mapping[int, str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for code, what in controls.items():
        groups.setdefault(what, []).append(code)
    return groups


def _short(action: np.ndarray) -> str:
    return " ".join(f"{float(number):g}" for number in action.reshape(-1))


def _name(env: gym.Env) -> str:
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id


def _pygame() -> Any:  # Any: the module
    # No greeting, and no search for a sound card by environments that draw with pygame too.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    try:
        import pygame
    except ImportError as error:
        raise ImportError('play needs pygame: pip install "sb3-ext[demos]"') from error
    return pygame


def _make(env_id: str | gym.Env, env_kwargs: Mapping[str, Any]) -> gym.Env:
    if isinstance(env_id, str):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*render_mode.*")  # said better below
            env = gym.make(env_id, **{"render_mode": "rgb_array", **env_kwargs})
    else:
        env = env_id
    modes = env.metadata.get("render_modes", [])
    # gymnasium sets the mode even where the environment does not know it.
    if env.render_mode != "rgb_array" or (isinstance(env_id, str) and "rgb_array" not in modes):
        raise ValueError(
            f"{_name(env)} with render_mode {env.render_mode!r} gives no picture, its modes are {modes}; play draws "
            "the picture itself and needs 'rgb_array'"
        )
    # All that would refuse the episodes at the end refuses them before the first key.
    check_spaces(env.observation_space, env.action_space)
    observation, _ = env.reset(seed=0)
    spaces = subspaces(env.observation_space, "observations")
    for name, values in nested.named(observation, "observations"):
        check_array(np.asarray(values, dtype=spaces[name].dtype)[None], spaces[name], name)
    return env


def _open_display(pygame: Any) -> None:  # Any: the module
    problem = ""
    try:
        pygame.display.init()
    except pygame.error as error:
        problem = f" ({error})"
    # Without a display SDL may choose a driver that shows nothing and hears no key: the game would never end.
    if problem or (pygame.display.get_driver() in ("dummy", "offscreen") and not os.environ.get("SDL_VIDEODRIVER")):
        raise ValueError(f"play needs a display{problem}; SDL_VIDEODRIVER=dummy plays without, by posted keys alone")


def check_target(path: pathlib.Path, overwrite: bool) -> None:
    """
    What would fail after an hour of play fails before it.

    :param path: file to be written
    :param overwrite: whether it may exist
    :raises ValueError: if it does and may not, or its folder cannot be written to
    """
    if path.exists() and not overwrite:
        raise ValueError(f"path: {path} exists; choose another name or allow overwriting")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"path: {folder} is no folder that can be written to")


@contextlib.contextmanager
def _closing(pygame: Any, env: gym.Env | None) -> Iterator[None]:  # Any: the module
    try:
        yield
    finally:
        pygame.display.quit()
        if env is not None:
            env.close()
