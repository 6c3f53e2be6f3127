"""
A person plays, and the episodes are kept as demonstrations.

Each frame draws what the environment shows, reads the keys, and makes one step: the action answers the picture on the
screen. Images are kept channels-first, as `record` keeps them and a learner sees them. Keys are followed through their
events, so a program that posts events plays like a hand. The episode begins with the first key of the game, so nobody
loses its first second.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_ext import nested
from sb3_ext.demonstrations.array_spaces import check_array, check_spaces, subspaces
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.files import save
from sb3_ext.demonstrations.formats.npz_files import npz_path
from sb3_ext.demonstrations.game import Game, Phase
from sb3_ext.demonstrations.keys import TURN_BASED, Keys, env_name, key_map
from sb3_ext.demonstrations.window import Window

SLOWER = 4.0


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
    check_numbers(n_episodes, fps, zoom)
    if path is not None:
        path = npz_path(path)
        check_target(path, overwrite)
    pygame = import_pygame()
    env = _make(env_id, env_kwargs or {})
    with _closing(pygame, env if isinstance(env_id, str) else None):
        # Not pygame.init: it also looks for sound.
        open_display(pygame)
        pygame.font.init()
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31 - 2**16))
        if turn_based is None:
            turn_based = type(env.unwrapped).__name__ in TURN_BASED
        game = Game(env, key_map(env, keys), seed, n_episodes, turn_based)
        window = Window(env, game, zoom)
        if fps is None:
            fps = float(env.metadata.get("render_fps") or 30)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                _run(pygame, game, window, fps)
        finally:
            # An environment that fails costs the episode, not those before it.
            game.close()
            if game.kept and path is not None:
                save(game.demonstrations(), path)
    if not game.kept:
        raise ValueError("no episode was kept: nothing to return" + ("" if path is None else f", {path} not written"))
    return game.demonstrations()


def check_numbers(n_episodes: int | None, fps: float | None, zoom: float | None) -> None:
    if n_episodes is not None and n_episodes < 1:
        raise ValueError(f"n_episodes {n_episodes} must be at least 1")
    if fps is not None and fps < 0:
        raise ValueError(f"fps {fps} must be positive, or 0 for as fast as possible")
    if zoom is not None and zoom <= 0:
        raise ValueError(f"zoom {zoom} must be positive")


def _run(pygame: Any, game: Game, window: Window, fps: float) -> None:  # Any: the module
    """Until the player has finished, or enough episodes are kept."""
    clock = pygame.time.Clock()
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


def import_pygame() -> Any:  # Any: the module
    """:raises ImportError: without it"""
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
    # gymnasium sets the mode even where the environment does not know it.
    check_picture(env, isinstance(env_id, str) and "rgb_array" not in env.metadata.get("render_modes", []))
    # All that would refuse the episodes at the end refuses them before the first key.
    check_spaces(env.observation_space, env.action_space)
    observation, _ = env.reset(seed=0)
    spaces = subspaces(env.observation_space, "observations")
    for name, values in nested.named(observation, "observations"):
        check_array(np.asarray(values, dtype=spaces[name].dtype)[None], spaces[name], name)
    return env


def check_picture(env: gym.Env, has_none: bool = False) -> None:
    """
    :param env: to be played
    :param has_none: it cannot draw, whatever its mode
    :raises ValueError: where it gives no picture
    """
    if env.render_mode != "rgb_array" or has_none:
        modes = env.metadata.get("render_modes", [])
        raise ValueError(
            f"{env_name(env)} with render_mode {env.render_mode!r} gives no picture, its modes are {modes}; play draws "
            "the picture itself and needs 'rgb_array'"
        )


def open_display(pygame: Any) -> None:  # Any: the module
    """:raises ValueError: where there is none"""
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
