"""An agent and a recovered reward on the page of the maze lab, from its file and from its server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.lab_pages import LabPage, given, mdp_of
from support.served import serving

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import PlannerPolicy, evaluate, policy_iteration
from sb3_ext.viz.lab import Lab, ShownModel

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


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


def test_a_link_goes_before_what_the_server_was_given_and_a_server_that_is_gone_is_a_line(browser: Browser) -> None:
    env = GridWorldEnv(["..+", "S#-"], move_prob=0.5, default_reward=-0.1)
    with serving(Lab(env, ShownModel(PlannerPolicy.from_env(env, 0.8), "planner", 0.8))) as server:
        address = server.url
        browser.visit(address)
        browser.wait_for("lab.agent !== null")
        given_maze = browser.evaluate(
            "[table(lab.maze), lab.maze.start, lab.maze.prob, lab.maze.gamma, lab.maze.reward]"
        )
        assert given_maze == [[[0, 0, 1], [0, 9, -1]], 3, 0.5, 0.8, -0.1]
        browser.visit(f"{address}#grid=0,1;0,0&prob=1")
        browser.wait_for("lab.agent !== null")
        assert browser.evaluate("[table(lab.maze), lab.maze.prob]") == [[[0, 1], [0, 0]], 1]
        browser.evaluate("travel([fromHash('#grid=0,0,1;0,9,-1').maze], [])")
    browser.click("#agent-show")
    browser.wait_for("!document.querySelector('#message').hidden")
    line = browser.evaluate("document.querySelector('#message').textContent")
    # A connection that was open before may still tell it.
    assert line in ("The server does not answer: is it still running?", "The server says: the server ends")
    assert browser.evaluate("document.querySelector('#agent-figure').hidden")
