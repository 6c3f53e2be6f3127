"""What the player sees: the picture, lines of text under it, and the question over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gymnasium as gym
import numpy as np

from sb3_ext.demonstrations.game import Game, Phase
from sb3_ext.demonstrations.keys import KeyMap, env_name

WINDOW = 600  # pixels that a small picture is enlarged to
LINE = 20  # pixels of a line of text


class Screen:
    """
    The picture of an environment with lines of text under it.

    :param env: whose `render` gives the picture
    :param title: of the window
    :param help_: lines that are always there
    :param zoom: as for `play`
    """

    def __init__(self, env: gym.Env, title: str, help_: Sequence[str], zoom: float | None) -> None:
        import pygame

        self.env, self.help = env, list(help_)
        height, width = self._picture().shape[:2]
        scale = zoom if zoom is not None else max(1, WINDOW // max(height, width))
        self.size = (round(width * scale), round(height * scale))
        self.font = pygame.font.Font(None, LINE)
        wide = max(self.font.size(line)[0] for line in self.help) + LINE
        pygame.display.set_caption(title)
        self.screen = pygame.display.set_mode((max(self.size[0], wide, 480), self.size[1] + 4 * LINE))

    def show(self, state: str) -> None:
        """
        The present picture, not flipped onto the display yet.

        :param state: line above the help
        """
        import pygame

        self.screen.fill((24, 26, 32))
        picture = pygame.surfarray.make_surface(self._picture().swapaxes(0, 1))
        left = (self.screen.get_width() - self.size[0]) // 2
        self.screen.blit(pygame.transform.scale(picture, self.size), (left, 0))
        for i, line in enumerate([state, *self.help]):
            colour = (240, 240, 240) if i == 0 else (150, 155, 165)
            self._write(line, (LINE // 2, self.size[1] + LINE // 2 + i * (LINE + 2)), colour)

    def _write(self, line: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        self.screen.blit(self.font.render(line, True, colour), at)

    def _picture(self) -> np.ndarray:
        picture = np.asarray(self.env.render())
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{env_name(self.env)} renders shape {picture.shape}; play needs pictures [H, W, 3]")
        return picture.astype(np.uint8, copy=False)


class Window(Screen):
    """
    The picture with lines of text under it, and the question over it.

    :param env: whose `render` gives the picture
    :param game: whose state the text tells
    :param zoom: as for `play`
    """

    def __init__(self, env: gym.Env, game: Game, zoom: float | None) -> None:
        self.game = game
        controls = "   ".join(f"{_names(codes)}: {what}" for what, codes in _grouped(game.controls).items())
        super().__init__(env, "sb3-ext demos play " + env_name(env), [keys_in_words(game.keys), controls], zoom)

    def draw(self) -> None:
        """Show the present state."""
        import pygame

        game = self.game
        wanted = "" if game.n_episodes is None else f" of {game.n_episodes}"
        state = [f"kept {len(game.kept)}{wanted}", f"seed {game.seed}", f"step {game.n_steps}"]
        state += [f"return {game.total_reward:g}", game.phase.value + (", slow" if game.slow else "")]
        self.show("   |   ".join(state))
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


def keys_in_words(keys: KeyMap) -> str:
    """:return: of single keys, those of the same action together; combinations need no telling"""
    groups: list[tuple[list[int], np.ndarray]] = []
    for combination, action in keys.actions.items():
        if len(combination) > 1:
            continue
        same = [codes for codes, known in groups if np.array_equal(known, action)]
        if same:
            same[0].extend(combination)
        else:
            groups.append((list(combination), action))
    return "   ".join(f"{_names(codes)}: {_short(action)}" for codes, action in groups)


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
