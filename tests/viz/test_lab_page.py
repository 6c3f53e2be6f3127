"""The maze lab in a browser: its answers are the planner's, and what is drawn, pressed, dragged and linked arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.browser as driver
from support.browser import CONTROL, Browser
from support.lab_pages import SOLVE, LabPage, env_of, env_of_kwargs, mdp_of, random_maze

from sb3_ext.planning import Solution, backup, evaluate, policy_iteration

pytestmark = pytest.mark.skipif(driver.CHROMIUM is None, reason="no Chromium")

COURSE = [[0, 0, 0, 1], [0, 9, 0, -1], [0, 0, 0, 0]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with driver.running() as started:
        yield started


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[LabPage]:
    """On the screen of a desktop. Whatever is done, the console stays empty and nothing is asked for."""
    opened = LabPage(browser, tmp_path)
    yield opened
    assert browser.errors == [] and opened.asked() == []


def solved(page: LabPage, mazes: list[dict[str, Any]]) -> Any:  # Any: of each maze, by both methods
    return page.do(f"({SOLVE})({json.dumps(mazes)})")


# ------------------------------------------------------------------------------------------------ the answers are right


def test_values_and_q_are_the_planners_on_a_hundred_mazes(page: LabPage) -> None:
    rng = np.random.default_rng(15)
    mazes = [random_maze(rng, i) for i in range(100)]
    compared, worst = 0, 0.0
    for maze, (by_values, by_policies) in zip(mazes, solved(page, mazes), strict=True):
        assert by_policies["done"] and (by_values["done"] or by_values["n"] == 10_000), maze
        free = np.array(maze["cells"]) == 0.0
        methods = [by_policies, by_values] if by_values["done"] else [by_policies]
        found = [(np.array(x["v"], float), np.array(x["q"], float).reshape(-1, 4)) for x in methods]
        expected = planned(maze)
        for v, q in found:
            if expected is None:
                np.testing.assert_array_equal(np.isinf(v), grows(maze))
                assert set(v[np.isinf(v)]) == {np.sign(maze["reward"]) * np.inf}
            else:
                worst = max(worst, np.abs(v - expected.v).max(), np.abs(q[free] - expected.q[free]).max())
                compared += 1
        finite = np.isfinite(found[0][0])
        np.testing.assert_array_equal(np.isfinite(found[-1][0]), finite)
        np.testing.assert_allclose(found[0][0][finite], found[-1][0][finite], rtol=0, atol=1e-9)
    assert compared >= 170 and worst <= 1e-9


def planned(maze: dict[str, Any]) -> Solution | None:
    """:return: of the planner, or None where there are no numbers, as may be with gamma 1"""
    try:
        return policy_iteration(mdp_of(maze))
    except ValueError:
        assert maze["gamma"] == 1.0
        return None


def grows(maze: dict[str, Any]) -> np.ndarray:
    """:return: [S] bool: where the best return of 1 000 steps is another one than of 500"""
    mdp, v = mdp_of(maze), np.zeros(len(maze["cells"]))
    returns = [v := backup(mdp, v).max(axis=1) for _ in range(1_000)]
    return np.asarray(np.abs(returns[-1] - returns[499]) > 1.0)


def test_each_sweep_is_a_backup_and_each_policy_is_evaluated(page: LabPage) -> None:
    maze = {**random_maze(np.random.default_rng(0), 3), "gamma": 0.9}
    sweeps, q, policies, tables = page.do(
        f"""(() => {{
            const rules = new Rules({json.dumps(maze)});
            const sweeps = new ValueIteration(rules), policies = new PolicyIteration(rules);
            const found = [[], [], [], []];
            for (let n = 0; n < 5; n++) {{
                sweeps.step();
                found[0].push([...sweeps.v]);
                found[1].push([...sweeps.q]);
            }}
            while (policies.step()) {{
                found[2].push([...policies.v]);
                found[3].push([...policies.entries[policies.n - 1].policy]);
            }}
            return found;
        }})()"""
    )
    mdp = mdp_of(maze)
    free = np.array(maze["cells"]) == 0.0
    v = np.zeros(len(free))
    for shown_v, shown_q in zip(sweeps, q, strict=True):
        expected = backup(mdp, v)
        v = expected.max(axis=1)
        np.testing.assert_allclose(shown_v, v, atol=1e-12)
        np.testing.assert_allclose(np.reshape(shown_q, (-1, 4)), expected, atol=1e-12)
    assert len(policies) >= 3 and np.array_equal(np.reshape(tables[0], (-1, 4))[free], np.full((free.sum(), 4), 0.25))
    for shown_v, table in zip(policies, tables, strict=True):
        policy = np.where(free[:, None], np.reshape(table, (-1, 4)), 0.25)
        np.testing.assert_allclose(shown_v, evaluate(mdp, policy), atol=1e-11)
    start = maze["start"]
    worth = np.array(policies)[:, start]
    assert (np.diff(worth) >= -1e-12).all()


@pytest.mark.parametrize("method", ["ValueIteration", "PolicyIteration"])
def test_steps_back_and_to_the_end_see_the_same_numbers(page: LabPage, method: str) -> None:
    forth, back, end, n = page.do(
        f"""(() => {{
            const rules = new Rules({{...preset("Lake"), prob: 0.5, gamma: 0.97, reward: -0.01}});
            const one = new {method}(rules), other = new {method}(rules);
            const shown = (s) => [s.n, s.change, s.changes.length, [...s.v], [...s.q]];
            const forth = [shown(one)], back = [];
            while (one.step()) forth.push(shown(one));
            other.end();
            for (let n = one.n; n >= 0; n--) {{ one.goTo(n); back.push(shown(one)); }}
            return [forth, back.reverse(), shown(other), other.n];
        }})()"""
    )
    assert forth == back and forth[-1] == end
    assert n > 140 if method == "ValueIteration" else 2 < n < 20  # past two of the sweeps that are kept


def test_policy_iteration_ends_on_ties(page: LabPage) -> None:
    # An open square has two best actions in most cells, and with no ends all actions tie everywhere.
    squares = [
        {"rows": n, "columns": n, "cells": [end, *[0] * (n * n - 1)], "start": 1, "prob": p, "gamma": g, "reward": r}
        for n in (2, 5, 6)
        for end in (1, 0)
        for p in (1.0, 1 / 3)
        for g in (0.9, 1.0)
        for r in (-0.04, 0.0)
    ]
    for maze, (by_values, by_policies) in zip(squares, solved(page, squares), strict=True):
        assert by_policies["done"] and by_policies["n"] < 20, maze
        v, expected = (np.array(found["v"], float) for found in (by_policies, by_values))
        np.testing.assert_allclose(v, expected, rtol=0, atol=1e-9)


def test_a_policy_that_never_ends_is_minus_infinity_and_one_that_may_stay_is_free(page: LabPage) -> None:
    def worth(maze: dict[str, Any], action: int) -> list[Any]:
        policy = np.eye(4)[[action] * len(maze["cells"])].ravel().tolist()
        found: list[Any] = page.do(f"[...new Rules({json.dumps(maze)}).evaluate({policy})].map(String)")
        return found

    row = {"rows": 1, "columns": 4, "cells": [0, 0, 0, 1], "start": 0, "prob": 1.0, "gamma": 1.0, "reward": -0.5}
    assert worth(row, 0) == ["-Infinity"] * 3 + ["0"]
    assert worth(row, 2) == ["0", "0.5", "1", "0"]
    assert worth({**row, "reward": 0}, 0) == ["0"] * 4
    assert worth({**row, "reward": 0.5}, 0) == ["Infinity"] * 3 + ["0"]
    # Who slips to the end in the long run ends surely, however slowly.
    slips = {**row, "rows": 2, "columns": 2, "cells": [0, 0, 0, 1], "prob": 0.9, "reward": 0}
    assert [round(float(x), 12) for x in worth(slips, 2)] == [1, 1, 1, 0]


# --------------------------------------------------------------------------------------------------- what the page says


def test_gamma_one_without_a_way_to_an_end_is_said(page: LabPage) -> None:
    page.do("change({...lab.maze, ...fromTable([[...'.#+'], [...'S#.']]), gamma: 1})")
    assert page.text("#note").startswith("With γ = 1 and −0.04 a step no policy comes to an end from 2 cells")
    assert page.label(0, 0) == "row 0, column 0: free, value −∞" and "value 0.99, best up" in page.label(1, 2)
    page.do("change({...lab.maze, reward: 0.1})")
    assert "paid for ever from" in page.text("#note") and "value ∞" in page.label(0, 0)
    page.do("change({...lab.maze, reward: 0})")
    assert "detours cost nothing" in page.text("#note") and "value 0" in page.label(0, 0)
    page.do("change({...lab.maze, ...fromTable([[...'...'], [...'S#.']]), gamma: 0.9})")
    assert page.text("#note") == "This maze has no end: draw a treasure."


def test_sweeps_are_capped_and_the_page_says_that_it_is_not_done(page: LabPage) -> None:
    page.do("change({...lab.maze, ...fromTable([[...'..'], [...'S.']]), gamma: 0.9999})")
    assert page.text("#n") == "10,000"
    assert page.text("#state").startswith("Stopped after 10,000 sweeps and not done: no value is further than 150 from")
    page.choose("method", "policy")
    assert page.text("#state") == "Done: no cell has a better action." and page.text("#start-value") == "−400"


def test_the_solver_is_stepped_by_its_buttons(page: LabPage) -> None:
    click = page.browser.click
    assert page.text("#state").startswith("Done") and page.text("#n") == "37" and page.text("#start-value") == "0.3739"
    click("#first")
    assert page.text("#n") == "0" and page.label(0, 0) == "row 0, column 0: free, value 0"
    click("#step")
    click("#step")
    assert page.text("#n") == "2" and page.label(0, 2).endswith("value 0.8597, best right")
    v = backup(mdp_of(page.do("lab.maze")), backup(mdp_of(page.do("lab.maze")), np.zeros(12)).max(axis=1)).max(axis=1)
    assert page.text("#start-value") == f"{v[8]:.3f}".replace("-", "−")
    assert page.text("#live").startswith("Sweep 2, largest change 0.563. Not done: no value is further than 5.1 from")
    click("#back")
    assert page.text("#n") == "1" and page.text("#change") == "0.792"
    page.do("document.querySelector('#speed').value = '60'")
    click("#run")
    assert page.do("document.querySelector('#run').getAttribute('aria-label')") == "Pause"
    page.browser.wait_for("document.querySelector('#run').getAttribute('aria-label') === 'Run'")
    assert page.text("#n") == "37" and page.text("#live").startswith("Sweep 37")
    page.choose("method", "policy")
    assert page.text("#step-name") == "Policy" and page.text("#n") == "4"
    click("#first")
    assert page.text("#state") == "The first policy takes every action with the same chance."
    click("#step")
    assert page.text("#state") == "This policy was evaluated exactly. The next one acts differently in 9 cells."
    click("#end")
    assert page.text("#n") == "4" and page.text("#start-value") == "0.3739"


def test_a_change_of_the_maze_stays_at_the_sweep_that_one_looks_at(page: LabPage) -> None:
    page.browser.click("#first")
    for _ in range(3):
        page.browser.click("#step")
    page.write("prob", "1")
    assert page.text("#n") == "3" and "value 0.7695, best right" not in page.label(0, 2)
    assert page.do("Math.abs(lab.solver.v[0] - (-0.04 - 0.9 * 0.04 + 0.81)) < 1e-12")
    page.browser.click("#end")
    page.write("gamma", "0.5")
    assert page.text("#state").startswith("Done")


def test_cells_are_drawn_with_each_tool_and_undone(page: LabPage) -> None:
    seen = [page.grid()]
    for tool, at, expected in [
        ("treasure", (2, 2), 1),
        ("danger", (2, 3), -1),
        ("block", (0, 1), 9),
        ("clear", (1, 1), 0),
        ("number", (1, 0), 0.5),
    ]:
        page.choose("tool", tool)
        page.browser.click(page.cell(*at))
        assert page.grid()[at[0]][at[1]] == expected, tool
        seen.append(page.grid())
    page.choose("tool", "start")
    page.browser.click(page.cell(0, 0))
    assert page.do("lab.maze.start") == 0 and page.label(0, 0).startswith("row 0, column 0: start")
    page.choose("tool", "look")
    page.browser.click(page.cell(2, 1))
    assert page.grid() == seen[-1] and page.text("#cell-what") == "Row 2, column 1 (state 9): free"
    page.browser.click("#undo")
    assert page.do("lab.maze.start") == 8
    for grid in reversed(seen[:-1]):
        page.browser.click("#undo")
        assert page.grid() == grid
    assert page.do("document.querySelector('#undo').disabled")
    for grid in seen[1:]:
        page.browser.click("#redo")
        assert page.grid() == grid
    # A start that is built over moves to a free cell; the last free cell stays.
    page.do("change({...lab.maze, ...fromTable([[...'#+'], [...'S.']])})")
    page.choose("tool", "block")
    page.browser.click(page.cell(1, 0))
    assert page.do("lab.maze.start") == 3 and page.message() is None
    page.browser.click(page.cell(1, 1))
    assert (
        page.grid() == [[9, 1], [9, 0]]
        and page.message() == "The last free cell stays free: somebody has to start there."
    )
    page.choose("tool", "number")
    page.write("number", "9")
    page.browser.click(page.cell(0, 0))
    assert page.message() == "An end cannot pay 9: 9 is a block."


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
def test_a_wall_is_drawn_by_dragging(page: LabPage, touch: bool) -> None:
    page.do("change({...lab.maze, ...withSize(lab.maze, 6, 6)})")
    page.choose("tool", "block")
    page.do("document.querySelector('#board').scrollIntoView({block: 'center'})")
    # A quick finger leaves cells out, which are drawn, too.
    page.browser.drag([page.cell(4, 0), page.cell(4, 3), page.cell(2, 5)], touch)
    walls = {(row, column) for row, line in enumerate(page.grid()) for column, cell in enumerate(line) if cell == 9}
    assert walls == {(1, 1), (4, 0), (4, 1), (4, 2), (4, 3), (3, 4), (2, 5)}
    page.browser.click("#undo")
    assert sum(cell == 9 for line in page.grid() for cell in line) == 1


def test_keys_alone_draw_a_maze(page: LabPage) -> None:
    press = page.browser.press
    page.do("document.querySelector('#tools input').focus()")
    for _ in range(9):
        press("Tab")
        if page.do("document.activeElement.matches('#board .cell')"):
            break
    assert page.do("document.activeElement.getAttribute('aria-label')").startswith(
        "row 2, column 0: start, value 0.3739, best up"
    )
    assert "solid" in page.do("getComputedStyle(document.activeElement).outline")
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        press(key)
    assert page.text("#cell-what").startswith("Row 0, column 0 ")
    for key, expected in [("t", 1), ("d", -1), ("b", 9), ("n", 0.5), ("c", 0), ("t", 1), ("Delete", 0)]:
        press(key)
        assert page.grid()[0][0] == expected and page.do("document.activeElement.dataset.s") == "0", key
    press("End")
    press("ArrowDown")
    assert page.label(1, 3) == "row 1, column 3: danger, pays −1"
    press("b")
    press("z", held=CONTROL)
    assert page.grid()[1][3] == -1
    press("y", held=CONTROL)
    assert page.grid()[1][3] == 9
    press("Home")
    press("s")
    assert page.do("lab.maze.start") == 4
    page.do("lab.tool = 'danger'; showInputs()")
    press("ArrowUp")
    press("Enter")
    assert page.grid()[0][0] == -1 and page.text("#live") == "row 0, column 0: danger, pays −1"


def test_numbers_are_shown_of_the_cell_under_the_pointer(page: LabPage) -> None:
    page.do("document.querySelector('#board').scrollIntoView({block: 'center'})")
    page.browser.drag([page.cell(0, 2), page.cell(0, 0)])
    rows = page.do(
        "[...document.querySelectorAll('#cell-actions tbody tr')].map(tr => [...tr.children].map(td => td.textContent))"
    )
    q = policy_iteration(mdp_of(page.do("lab.maze"))).q[0]
    assert [name for name, _ in rows] == ["left", "down", "right", "up"]
    np.testing.assert_allclose([float(x) for _, x in rows], q, atol=1e-6)
    assert page.do("[...document.querySelectorAll('#cell-actions .best th')].map(th => th.textContent)") == ["right"]
    page.browser.drag(["#stage-title"])
    assert page.text("#cell-what").startswith("Row 0, column 2 ")  # which was pressed


def test_arrows_are_all_best_actions(page: LabPage) -> None:
    page.do("change({...lab.maze, ...fromTable([[...'..+'], [...'...'], [...'S..']]), prob: 1})")
    heads = "[...document.querySelectorAll('#board [data-s=\"%d\"] .head')].map(x => Number(x.style.opacity) > 0)"
    assert page.do(heads % 6) == [False, False, True, True]
    assert page.do(heads % 1) == [False, False, True, False]
    page.choose("view", "q")
    bold = page.do("[...document.querySelectorAll('#board [data-s=\"6\"] text.q.best')].map(x => x.textContent)")
    assert bold == [".621", ".621"]
    assert page.do("document.querySelectorAll('#board .side').length") == 32


# ------------------------------------------------------------------------------------------ links, texts and wrong ones


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


# ------------------------------------------------------------------------------------------ an agent and a found reward


def given(pi: Any, q: Any = None, name: str = "QLearning", reward: Any = None) -> dict[str, Any]:
    """:return: as the command line writes it into a file"""
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


def test_an_agent_is_shown_beside_the_best_policy(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    pi, q = rng.dirichlet(np.ones(4), size=12), rng.normal(size=(12, 4))
    page = LabPage(browser, tmp_path, given(pi.tolist(), q.tolist()))
    mdp = mdp_of(page.do("lab.maze"))
    best, mine = policy_iteration(mdp), evaluate(mdp, pi)
    assert page.text("#agent-title") == "Agent: QLearning" and page.do("lab.maze.gamma") == 0.95
    page.browser.click("#agent-show")
    np.testing.assert_allclose(page.do("[...lab.meeting.v]"), mine, atol=1e-12)
    assert page.do("document.querySelectorAll('#agent-board .marked').length") == 9
    assert page.text("#agent-says") == (
        "It acts worse than it could in 9 of 9 cells, which have a mark in their corner. From the start it is worth "
        f"{mine[8]:.4g}, where {best.v[8]:.4g} is possible: it loses {best.v[8] - mine[8]:.4g}.".replace("-", "−")
    )
    page.choose("view", "q")
    shown = page.do("[...document.querySelectorAll('#agent-board [data-s=\"8\"] text.q')].map(x => x.textContent)")
    np.testing.assert_allclose([float(x.replace("−", "-")) for x in shown], q[8], atol=0.06)
    # A best action of a tie is not worse, whichever it is, and rounding is no loss.
    page.do("change({...lab.maze, prob: 1})")
    exact = policy_iteration(mdp_of(page.do("lab.maze")))
    page.do(f"lab.agent.policy.pi = {np.eye(4)[exact.policy].tolist()}; solveAnew(true)")
    assert page.text("#agent-says").startswith("It acts as well as can be in every cell.")
    assert page.text("#agent-says").endswith("which is the best there is.")
    page.write("columns", "5")
    assert page.text("#agent-says") == "The model has 12 states, the maze 15."
    assert page.do("document.querySelector('#agent-figure').hidden")
    assert browser.errors == [] and page.asked() == []


def test_a_found_reward_is_drawn_beside_the_true_one(browser: Browser, tmp_path: Path) -> None:
    found = np.linspace(-2, 1, 12).tolist()
    page = LabPage(
        browser, tmp_path, given(np.eye(4)[[0] * 12].tolist(), reward={"name": "MaxEnt", "of_arrival": found})
    )
    texts = "[...document.querySelectorAll('#%s-board text.v')].map(x => x.textContent)"
    assert page.do(texts % "true") == ["−0.04"] * 3 + ["1"] + ["−0.04"] * 2 + ["−1"] + ["−0.04"] * 4
    assert page.do(texts % "recovered")[0] == "−2" and page.do(texts % "recovered")[-1] == "1"
    assert page.text("#recovered-caption") == "MaxEnt"
    page.write("rows", "2")
    assert page.text("#rewards-say") == "The reward has 12 states, the maze 8."
    assert browser.errors == [] and page.asked() == []


@pytest.mark.parametrize(
    "nasty", ["</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "$css ${js}"]
)
def test_no_name_breaks_out_of_the_page(browser: Browser, tmp_path: Path, nasty: str) -> None:
    reward = {"name": nasty, "of_arrival": [0.0] * 12}
    page = LabPage(browser, tmp_path, given(np.full((12, 4), 0.25).tolist(), None, nasty, reward))
    page.browser.click("#agent-show")
    assert page.text("#agent-title") == f"Agent: {nasty} (qlearning)" and page.text("#recovered-caption") == nasty
    assert page.do("typeof window.hacked") == "undefined" and browser.errors == [] and page.asked() == []


# ------------------------------------------------------------------------------------------------- it fits, and is read


@pytest.mark.parametrize("width", [1280, 820, 390, 320])
def test_no_maze_is_wider_than_the_window(browser: Browser, tmp_path: Path, width: int) -> None:
    page = LabPage(
        browser,
        tmp_path,
        given(np.full((12, 4), 0.25).tolist(), reward={"name": "x" * 90, "of_arrival": [0.1] * 12}),
        width=width,
        height=844,
    )
    page.browser.click("#agent-show")
    for script in (
        "0",
        "change({...lab.maze, ...preset('Cliff')})",
        "change(random(6, 6, lab.maze))",
        "change(random(50, 50, lab.maze))",
        "change(random(1, 50, lab.maze))",
    ):
        page.do(script)
        for view in ("q", "v"):
            page.choose("view", view)
            assert page.do("document.documentElement.scrollWidth") <= width, script
            parts = "[...document.querySelectorAll('#board, #legend, #solve, #rules')]"
            boxes = page.do(f"{parts}.map(x => x.getBoundingClientRect().toJSON())")
            assert all(box["left"] >= 0 and box["right"] <= width and box["height"] > 5 for box in boxes)
    assert browser.errors == [] and page.asked() == []


def test_every_control_has_a_name_of_its_own(page: LabPage) -> None:
    controls = page.browser.controls()
    assert all(name.strip() for _, name in controls) and len(set(controls)) == len(controls)
    roles = [role for role, _ in controls]
    assert roles.count("radio") == 11 and roles.count("slider") == 2 and roles.count("spinbutton") == 2


def test_numbers_can_be_read_on_every_colour(browser: Browser, tmp_path: Path) -> None:
    bands = ["z", *(f"{sign}{i}" for sign in "pn" for i in range(1, 7))]
    grounds = {}
    for dark in (False, True):
        page = LabPage(browser, tmp_path, dark=dark)
        colours = page.do(
            f"""(() => {{
                const pen = new OffscreenCanvas(1, 1).getContext('2d', {{willReadFrequently: true}});
                const rgb = (colour) => {{
                    pen.fillStyle = colour;
                    pen.fillRect(0, 0, 1, 1);
                    return [...pen.getImageData(0, 0, 1, 1).data];
                }};
                const probe = (name) => {{
                    const node = make("div", {{ class: `cell ${{name}}` }}, document.body);
                    node.style.transition = "none";
                    const found = rgb(getComputedStyle(node).backgroundColor);
                    node.remove();
                    return found;
                }};
                return [rgb(getComputedStyle(document.body).color), ...{json.dumps(bands)}.map(probe)];
            }})()"""
        )
        ink, *found = (luminance(colour[:3]) for colour in colours)
        for name, ground in zip(bands, found, strict=True):
            low, high = sorted((ink, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, dark)  # WCAG 2.2, level AA
        assert len({tuple(colour) for colour in colours[1:]}) == len(bands)
        grounds[dark] = found[0]
    assert grounds[False] > 0.8 and grounds[True] < 0.05


def luminance(colour: list[int]) -> float:
    """:return: relative, as WCAG 2.2 defines it"""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_page_asks_nobody_and_runs_nothing_else(page: LabPage) -> None:
    refused = """new Promise(resolve => {
        document.addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective));
        %s
        setTimeout(() => resolve('allowed'), 3000);
    })"""
    assert page.do(refused % "fetch('http://127.0.0.1:9/').catch(() => 0);") == "connect-src"
    inject = (
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}));"
    )
    assert page.do(refused % inject) == "script-src-elem"
    assert page.do("typeof window.hacked") == "undefined"
    page.browser.errors.clear()  # what was refused
