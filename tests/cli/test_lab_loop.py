"""A maze drawn on the page trains as its command says, and the page then shows what was learned: the real thing."""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import support.browser as driver
from support.browser import Browser
from support.lab_pages import LabPage
from support.served import served, serving

from sb3_ext import QLearning
from sb3_ext.cli import main as cli
from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import TabularMDP, evaluate, policy_table, q_table

pytestmark = pytest.mark.skipif(driver.CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with driver.running() as started:
        yield started


def test_a_drawn_maze_is_trained_and_shown(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = LabPage(browser, tmp_path)
    for tool, cell in (("block", (2, 1)), ("danger", (0, 0)), ("start", (2, 2))):
        page.choose("tool", tool)
        browser.click(page.cell(*cell))
    command = shlex.split(page.text("#command"))
    assert command[:5] == ["sb3-ext", "train", "--algo", "qlearning", "--env"]
    assert cli.main([*command[1:], "-n", "1500", "--eval-freq", "-1", "--final-eval-episodes", "0"]) == 0

    model = QLearning.load("logs/qlearning/sb3_ext-GridWorld-v0_1/sb3_ext-GridWorld-v0.zip")
    mdp = TabularMDP.from_env(GridWorldEnv([[-1, 0, 0, 1], [0, 9, 0, -1], [0, 9, 0, 0]], start=(2, 2)), model.gamma)
    policy, q = policy_table(model, mdp), q_table(model, mdp)
    assert q is not None
    with served("--algo", "qlearning", "--env", "sb3_ext/GridWorld-v0", "-f", "logs") as (address, _):
        browser.visit(address, 1280, 900)
        browser.wait_for("lab.agent !== null")
        assert page.grid() == [[-1, 0, 0, 1], [0, 9, 0, -1], [0, 9, 0, 0]]
        assert page.do("lab.maze.start") == 10 and page.do("lab.maze.gamma") == model.gamma
        assert page.text("#agent-title") == "Agent: QLearning"
        browser.click("#agent-show")
        browser.wait_for("lab.meeting !== null")
        assert not page.do("document.querySelector('#agent-figure').hidden")
        np.testing.assert_array_equal(np.reshape(page.do("[...lab.meeting.pi]"), (12, 4)), policy)
        np.testing.assert_allclose(np.reshape(page.do("[...lab.meeting.ownQ]"), (12, 4)), q, atol=1e-12)
        np.testing.assert_allclose(page.do("[...lab.meeting.v]"), evaluate(mdp, policy), atol=1e-9)
        assert page.text("#agent-says").startswith("It acts")
        assert browser.errors == []
        assert {url for url in browser.requests if not url.startswith("data:")} == {
            address,
            f"{address}lab.json",
            f"{address}policy",
        }
        # Another size is another maze, and its line comes from here as it would from the server.
        page.write("columns", "5")
        assert page.text("#agent-says") == "The model has 12 states, the maze 15."
        answer = page.do("ask('policy', {grid: [[0, 1]], prob: 0.8}).catch(error => error.message)")
        assert answer == "The server says: the model has 12 states, the maze 2"


def test_a_page_of_another_origin_reads_nothing_and_posts_nothing(browser: Browser) -> None:
    """A page of another port of this machine: of the same site, and not of the same origin."""
    plan = json.dumps({"grid": [[0, 1]], "plan": "value", "prob": 0.8, "gamma": 0.9})
    with serving() as server, serving() as another:
        address, other = server.url, another.url
        browser.visit(f"{other}lab.json", 400, 400)  # a page whose own policy allows everything
        for options in ("{}", "{mode: 'no-cors'}", f"{{method: 'POST', body: {json.dumps(plan)}}}"):
            path = "plan" if "POST" in options else "lab.json"
            told = browser.evaluate(
                f"fetch('{address}{path}', {options}).then(answer => answer.text()).catch(error => 'refused')"
            )
            assert told == "refused"
        # Sent blindly it is refused by the server itself.
        request = urllib.request.Request(f"{address}plan", plan.encode(), {"Origin": other.rstrip("/")})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(request, timeout=300)
        refused.value.close()


def test_no_page_holds_it_in_a_frame(browser: Browser, tmp_path: Path) -> None:
    with serving() as server:
        page = tmp_path / "frame.html"
        page.write_text(f'<iframe src="{server.url}"></iframe>')
        browser.open(page, 400, 400)
        browser.wait_for("document.querySelector('iframe').contentDocument === null")
        assert any("frame-ancestors" in error or "X-Frame-Options" in error for error in browser.errors)
