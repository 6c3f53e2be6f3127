"""Mazes come and go as links and as text, and what is wrong in them is a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.lab_pages import COURSE, LabPage, env_of, env_of_kwargs, random_maze

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def test_a_link_brings_the_maze_back(page: LabPage, browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for i in range(6):
        maze = random_maze(rng, 7 * i)
        page.do(f"change({json.dumps(maze)})")
        page.browser.wait_for(f"location.hash.includes('gamma={maze['gamma']}') && linkTimer === null")
        link = page.do("location.hash")
        assert page.text("#link") == page.path.as_uri() + link
        other = LabPage(browser, tmp_path, link=link)
        assert other.do("lab.maze") == maze and other.message() is None
        assert other.do("lab.past.length") == 0
        env, expected = env_of_kwargs(other.text("#kwargs")), env_of(maze)
        assert env.P == expected.P and env.start == expected.start
        # The text of --env-kwargs comes back, too.
        other.do("change(DEFAULT)")
        other.write("paste", f"sb3-ext train --env-kwargs {env_kwargs(maze)} -params gamma:{maze['gamma']}")
        other.browser.click("#load")
        assert other.do("lab.maze") == maze
    assert other.text("#command").startswith(
        'sb3-ext train --algo qlearning --env sb3_ext/GridWorld-v0 --env-kwargs "grid:[['
    )


def env_kwargs(maze: dict[str, Any]) -> str:
    grid = np.reshape(maze["cells"], (maze["rows"], -1)).tolist()
    start = divmod(maze["start"], maze["columns"])
    return f'"grid:{grid}" "start:{start}" move_prob:{maze["prob"]} default_reward:{maze["reward"]}'


@pytest.mark.parametrize(
    "text",
    [
        "...+\n.#.-\nS...",
        "0 0 0 1\n0 9 0 -1\n0 0 0 0",
        "[[0,0,0,1.],[0,9,0,-1],[0,0,0,0]]",
        "grid:'...+\\n.#.-\\nS...'",
        "['...+', '.#.-', 'S...']",
        "#grid=...+|.#.-|....&gamma=0.9",
        "https://example.org/lab.html#grid=0,0,0,1;0,9,0,-1;0,0,0,0&prob=0.8",
    ],
)
def test_mazes_are_read_as_people_write_them(page: LabPage, text: str) -> None:
    page.do("change({...lab.maze, ...preset('Cliff')})")
    page.write("paste", text)
    page.browser.click("#load")
    assert page.message() is None
    assert page.grid() == COURSE and page.do("[lab.maze.start, lab.maze.prob, lab.maze.gamma]") == [8, 0.8, 0.9]


@pytest.mark.parametrize(
    ("link", "line"),
    [
        ("#what", "The link has no grid=."),
        ("#grid=", "There is no cell in that grid."),
        ("#grid=0,0;0", "Row 1 of the grid has 1 cells, row 0 has 2: all must be as long."),
        ("#grid=0,x;0,0", 'Reward "x" is not a number.'),
        ("#grid=9,9;9,1", "The grid has no free cell: 0 or “.” is one."),
        ("#grid=0,0;0,1e9", "Reward 1000000000 must lie within a million."),
        ("#grid=0,0;0,1&prob=1.2", "Move probability 1.2 must lie in [0, 1]."),
        ("#grid=0,0;0,1&gamma=NaN", 'Discount "NaN" is not a number.'),
        ("#grid=0,0;0,1&start=7,0", "Start (7, 0) lies outside the grid of 2 × 2 cells."),
        ("#grid=0,0;0,1&start=1,1", "Start (1, 1) is not a free cell."),
        ("#grid=" + ",".join("0" * 51), "1 × 51 cells are too many: 50 × 50 are the most."),
        ("#grid=%E0%A4%A", 'Reward "\ufffd%A" is not a number.'),
        ("#grid=<img/src=x>", 'Reward "<img/src=x>" is not a number.'),
    ],
)
def test_a_wrong_link_is_a_line_and_the_usual_maze(browser: Browser, tmp_path: Path, link: str, line: str) -> None:
    page = LabPage(browser, tmp_path, link=link)
    assert page.message() == line and page.grid() == COURSE
    assert browser.errors == [] and page.asked() == []


def test_wrong_numbers_are_named_and_change_nothing(page: LabPage) -> None:
    for field, text, line in [
        ("prob", "1.2", "Move probability 1.2 must lie in [0, 1]."),
        ("gamma", "", 'Discount "" is not a number.'),
        ("reward", "2e6", "Reward 2000000 must lie within a million."),
        ("rows", "0", "Rows 0 must lie in 1 to 50."),
        ("columns", "2.5", "Columns 2.5 must lie in 1 to 50."),
    ]:
        before = page.do("lab.maze")
        page.do(f"document.querySelector('#{field}').focus()")
        page.write(field, text)
        assert page.message() == line and page.do("lab.maze") == before
        assert page.do(f"document.querySelector('#{field}').getAttribute('aria-invalid')") == "true"
        page.do("document.activeElement.blur()")
        shown = page.do(f"[document.querySelector('#{field}').value, document.querySelector('#{field}').ariaInvalid]")
        assert shown == [str(before[field]), None]  # as the maze has it
    page.write("prob", "1/3")
    assert page.do("lab.maze.prob") == 1 / 3 and page.message() is None
    # Half a number is no error yet.
    for text in ("0.", "."):
        page.do(f"$('gamma').value = '{text}'; $('gamma').dispatchEvent(new Event('input'))")
    assert page.do("lab.maze.gamma") == 0 and page.message() is None
    page.write("columns", "2")
    assert page.grid() == [[0, 0], [0, 9], [0, 0]]
    page.write("rows", "4")
    assert page.grid() == [[0, 0], [0, 9], [0, 0], [0, 0]] and page.do("lab.maze.start") == 6
