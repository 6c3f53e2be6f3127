"""An agent and a recovered reward on the page of the maze lab, from its file and from its server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.lab_pages import LabPage, given, mdp_of

from sb3_ext.planning import evaluate, policy_iteration

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
