"""The agents to try: they are as they were published, reach what is said of them, and their demonstrations hold."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import train_agents
from packaging.requirements import Requirement
from train_agents import AGENTS, RECIPES, SCORE_SEED, SUMS, Recipe, readme, sums

from sb3_ext import demonstrations
from sb3_ext.demonstrations.check import check
from sb3_ext.exchange.agent_files import RESULTS, names_of
from sb3_ext.exchange.hub_data import DATA
from sb3_ext.exchange.safe_files import load_safe
from sb3_ext.planning import TabularMDP, evaluate, solve
from sb3_ext.planning.model_tables import policy_table
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import evaluate as play
from sb3_ext.zoo.agents import load_agent
from sb3_ext.zoo.runs.manifests import Manifest

N_EPISODES = {"qlearning": 100, "rainbowr": 40}
"""of one in which an episode is short, or hangs on luck; else 5"""
MAX_BYTES = 600_000
"""of an agent and its demonstrations"""


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    assert isinstance(request.param, Recipe)
    return request.param


def test_files_are_as_they_were_published() -> None:
    assert sums(AGENTS) == (AGENTS / SUMS).read_text()
    assert readme(AGENTS) == (AGENTS / "README.md").read_text()
    assert {path.name for path in AGENTS.iterdir()} == {"README.md", SUMS, *(recipe.name for recipe in RECIPES)}


def test_an_agent_reaches_what_is_said_of_it(recipe: Recipe) -> None:
    """Over other episodes than those of its score, within three standard errors and a hundredth."""
    folder = AGENTS / recipe.name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    assert names_of(folder) == (recipe.algo, recipe.env_id)
    said = json.loads((folder / RESULTS).read_text())
    n_episodes = N_EPISODES.get(recipe.algo, 5)
    agent = load_agent(AgentRef(recipe.algo, recipe.env_id, path=folder, seed=SCORE_SEED + 1, device="cpu"))
    returns = play(agent, n_episodes)
    agent.env.close()
    error = said["std"] / np.sqrt(n_episodes)
    assert abs(returns.mean() - said["mean"]) <= 3.0 * error + 0.01 * abs(said["mean"]), (returns, said)


def test_its_run_has_finished_and_names_nothing_of_a_machine(recipe: Recipe) -> None:
    manifest = Manifest.read(AGENTS / recipe.name)
    assert manifest is not None and manifest.ended == "finished"
    assert (manifest.algorithm, manifest.env_id) == (recipe.algo, recipe.env_id)
    assert manifest.num_timesteps >= manifest.n_timesteps > 0 and manifest.commit
    assert manifest.command.startswith(f"sb3-ext train --algo {recipe.algo} --env {recipe.env_id} --seed 10 ")
    assert "/" not in manifest.command.replace("sb3_ext/", "")


def test_its_demonstrations_hold(recipe: Recipe) -> None:
    """In the environment, where some are played again."""
    demos = demonstrations.load(AGENTS / recipe.name / DATA)
    assert len(demos) == recipe.n_demonstrations and demos.env_id == recipe.env_id
    assert recipe.min_return is None or demos.returns.min() >= recipe.min_return
    assert [finding.text for finding in check(demos, recipe.env_id, 200, 2) if finding.level == "error"] == []


def test_the_table_is_within_two_percent_of_the_best_one() -> None:
    """Its exact value, of the lake whose table is known."""
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.99)
    table = policy_table(load_safe(AGENTS / "qlearning-FrozenLake-v1", device="cpu"), mdp)
    value = float(mdp.start @ evaluate(mdp, table))
    assert value == pytest.approx(float(mdp.start @ solve(mdp).v), rel=0.02)


def test_a_training_that_was_cut_short_is_gone_on_with_and_one_that_ended_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[-1]
    runs = tmp_path / "logs" / recipe.algo
    like = Manifest.read(AGENTS / recipe.name)
    assert like is not None
    typed: list[tuple[str, ...]] = []

    def train(work: Path, *words: str) -> None:
        typed.append(words)
        run = runs / f"{recipe.env_id}_{len(typed)}"
        run.mkdir(parents=True)
        replace(like, ended="finished" if "--resume" in words else "interrupted").write(run)

    monkeypatch.setattr(train_agents, "command", train)
    for _ in range(2):
        assert train_agents.trained(recipe, tmp_path) == runs / "FrozenLake-v1_2"
    names = ("train", "--algo", "qlearning", "--env", "FrozenLake-v1")
    assert typed == [
        (*names, "--seed", "10", *recipe.flags),
        (*names, "--resume", "logs/qlearning/FrozenLake-v1_1"),
    ]


def brought_by(extra: str) -> set[str]:
    """:return: names of the distributions that are installed with it"""
    found: set[str] = set()
    wanted = [(requirement, extra) for requirement in metadata.requires("sb3-ext") or ()]
    while wanted:
        text, asked = wanted.pop()
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": asked})):
            continue
        try:
            needed = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted += [(text, asked) for text in needed for asked in (*requirement.extras, "")]
    return found


@pytest.mark.slow
def test_enjoy_needs_the_zoo_extra_alone(tmp_path: Path) -> None:
    """A process that can import nothing else of what is installed here."""
    there = brought_by("zoo")
    assert {"rl-zoo3", "safetensors", "torch"} <= there
    others = {
        module
        for module, names in metadata.packages_distributions().items()
        if not any(name.lower().replace("_", "-") in {*there, "sb3-ext"} for name in names)
    }
    assert {"captum", "minari", "onnx", "pytest"} <= others
    code = f"import sys; sys.modules |= dict.fromkeys({sorted(others)}); from sb3_ext.cli.main import main; "
    for recipe in RECIPES:
        words = ["enjoy", "--agent", str(AGENTS / recipe.name), "-n", "30", "--no-render"]
        done = subprocess.run(
            [sys.executable, "-c", f"{code}sys.exit(main({words}))"], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
