"""The maze lab in a browser: what is drawn, pressed and dragged arrives, is said, fits, and can be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, CONTROL, Browser
from support.lab_pages import LabPage, given, mdp_of

from sb3_ext.planning import backup, policy_iteration

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


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
    assert page.text("#state").startswith("Stopped after 10,000 sweeps and not done: no value is further than 147 from")
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
