"""Mazes for the page of the maze lab, what the page says of them, and the same from the planner."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from support.browser import Browser

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import TabularMDP
from sb3_ext.viz.lab import build

BLOCK = 9.0
COURSE = [[0, 0, 0, 1], [0, 9, 0, -1], [0, 0, 0, 0]]
CHANCES = (1.0, 0.8, 0.5, 1 / 3, 0.0)
GAMMAS = (0.9, 0.99, 0.5, 1.0, 0.999)
STEP_REWARDS = (-0.04, 0.0, -1.0, 0.1)
# Solves mazes with both methods and nothing drawn.
SOLVE = """mazes => mazes.map(maze => {
    const rules = new Rules(maze), told = x => Number.isFinite(x) ? x : x > 0 ? "inf" : "-inf";
    return [ValueIteration, PolicyIteration].map(method => {
        const solver = new method(rules);
        solver.end();
        return {v: Array.from(solver.v, told), q: Array.from(solver.q, told), n: solver.n, done: solver.isDone};
    });
})"""


class LabPage:
    """
    The page, open in a browser.

    :param browser: shows it
    :param folder: for the file
    :param given: what the file knows besides
    :param link: behind the file's name
    """

    def __init__(
        self,
        browser: Browser,
        folder: Path,
        given: dict[str, Any] | None = None,
        link: str = "",
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
    ) -> None:
        self.browser, self.path = browser, folder / "lab.html"
        self.path.write_text(build(given), encoding="utf-8")
        browser.open(self.path, width, height, dark, link)

    def do(self, script: str) -> Any:  # Any: JSON
        return self.browser.evaluate(script)

    def text(self, selector: str) -> str:
        text: str = self.do(f"document.querySelector({json.dumps(selector)}).textContent")
        return text

    def cell(self, row: int, column: int) -> str:
        """:return: selector"""
        return f"#board [aria-rowindex='{row + 1}'] [aria-colindex='{column + 1}']"

    def label(self, row: int, column: int) -> str:
        """:return: what a screen reader says of a cell"""
        label: str = self.do(f"document.querySelector({json.dumps(self.cell(row, column))}).getAttribute('aria-label')")
        return label

    def grid(self) -> list[list[float]]:
        grid: list[list[float]] = self.do("table(lab.maze)")
        return grid

    def choose(self, name: str, value: str) -> None:
        """Clicks on a radio button's label."""
        self.browser.click(f"label:has(> [name={name}][value={value}])")

    def write(self, field: str, text: str) -> None:
        """Writes into a field, as far as its page can tell."""
        events = "for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {bubbles: true}))"
        self.do(f"(field => {{ field.value = {json.dumps(text)}; {events} }})(document.querySelector('#{field}'))")

    def message(self) -> str | None:
        shown: str | None = self.do(
            "document.querySelector('#message').hidden ? null : document.querySelector('#message').textContent"
        )
        return shown

    def asked(self) -> list[str]:
        """:return: addresses of what was asked for outside of the file"""
        return [url for url in self.browser.requests if not url.startswith(("data:", self.path.as_uri()))]


def given(pi: Any, q: Any = None, name: str = "QLearning", reward: Any = None) -> dict[str, Any]:  # Any: JSON
    """:return: what a file knows of an agent on the course's maze, and of a reward, as the command line writes it"""
    lab = {
        "model": {"name": name, "algo": "qlearning", "n_states": len(pi)},
        "grid": COURSE,
        "start": [2, 0],
        "prob": 0.8,
        "default_reward": -0.04,
        "gamma": 0.95,
        "reward": reward,
    }
    return {"lab": lab, "policy": {"name": name, "pi": pi, "q": q, "value": None, "gamma": 0.95}}


def random_maze(rng: np.random.Generator, i: int) -> dict[str, Any]:
    """:return: a maze as the page has it: 2 to 6 rows and columns, all kinds of ends, at times none"""
    rows, columns = rng.integers(2, 7, size=2).tolist()
    kinds = rng.choice(
        [0.0, BLOCK, 1.0, -1.0, 0.5, 3.0, -2.5], size=rows * columns, p=[0.7, 0.15, 0.05, 0.05, 0.02, 0.02, 0.01]
    )
    kinds[rng.integers(rows * columns)] = 0.0
    return {
        "rows": rows,
        "columns": columns,
        "cells": kinds.tolist(),
        "start": int(np.flatnonzero(kinds == 0.0)[0]),
        "prob": CHANCES[i % len(CHANCES)],
        "gamma": GAMMAS[i // 5 % len(GAMMAS)],
        "reward": STEP_REWARDS[i // 25 % len(STEP_REWARDS)],
    }


def env_of(maze: dict[str, Any]) -> GridWorldEnv:
    grid = np.reshape(maze["cells"], (maze["rows"], maze["columns"])).tolist()
    start = divmod(maze["start"], maze["columns"])
    return GridWorldEnv(grid, move_prob=maze["prob"], default_reward=maze["reward"], start=start)


def mdp_of(maze: dict[str, Any]) -> TabularMDP:
    return TabularMDP.from_env(env_of(maze), maze["gamma"])


def env_of_kwargs(text: str) -> GridWorldEnv:
    """:return: what the text for `--env-kwargs` makes, read as a shell and the command line read it"""
    pairs = (word.partition(":") for word in shlex.split(text))
    return GridWorldEnv(**{name: ast.literal_eval(value) for name, _, value in pairs})
