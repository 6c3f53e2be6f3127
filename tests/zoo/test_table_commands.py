"""Tables by the command line: trained, watched, filmed, reported on, recorded, searched for, gone on with."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.utils import ALGOS
from support.runs import at_step, kill

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import load
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.tabular.dyna import PlanningTable
from sb3_ext.zoo import register

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

register()
LAKE = "FrozenLake-v1"
TABLES = [algo for algo, row in ALGORITHMS.items() if row.is_tabular]
QUIET = ("--eval-freq", "-1", "--final-eval-episodes", "0", "--seed", "5")


def train(algo: str, *more: str, n: int = 800) -> int:
    return cli.main(["train", "--algo", algo, "--env", LAKE, "-n", str(n), *QUIET, *more])


@pytest.mark.parametrize("algo", TABLES)
def test_a_trial_builds_a_model_and_the_converter_repeats_it(algo: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    explored = set()
    for _ in range(20):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER[algo](trial, 0, 4, {})
        assert keywords == HYPERPARAMS_CONVERTER[algo](trial.params)
        check_keywords(keywords, keywords_of(ALGOS[algo]), "keyword")
        model: Any = ALGOS[algo]("TablePolicy", LAKE, **keywords)
        explored.add(json.dumps(keywords["exploration"]))
        assert 0.9 < model.gamma < 1.0
    assert len(explored) == 20


def test_a_search_runs(capsys: pytest.CaptureFixture[str]) -> None:
    search = ("-optimize", "--n-trials", "2", "--n-evaluations", "1", "--eval-episodes", "1", "--no-optim-plots")
    assert train("prioritizedsweeping", *search, n=200) == 0
    assert "planning_steps" in capsys.readouterr().out


def test_a_trained_table_is_watched_filmed_reported_on_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """Panels that a table has nothing for, such as saliency, are left out of its report."""
    assert train("dynaq", "--optimality-gap", "200", n=2000) == 0
    assert re.search(r"Optimality gap: [\d.]+ of V\* 0\.542", capsys.readouterr().out)
    agent = ["--algo", "dynaq", "--env", LAKE]
    assert cli.main(["enjoy", *agent, "-n", "30", "--no-render"]) == 0
    assert cli.main(["report", *agent, "-n", "2", "--max-steps", "5"]) == 0
    page = Path("report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert "gap to V* = 0.542 (discount 0.99)" in page
    (data,) = data["agents"][0]["episodes"]
    assert np.shape(data["q_values"])[1:] == (4,) and len(data["values"]) == len(data["q_values"])
    assert not any("attribution" in key for key in data)
    assert cli.main(["video", *agent, "-n", "1", "-o", "film.mp4", "--max-steps", "5"]) == 0
    assert Path("film.mp4").stat().st_size > 1000
    assert cli.main(["demos", "record", *agent, "-n", "3"]) == 0
    assert len(load("demos/FrozenLake-v1.npz").episodes) == 3


@pytest.mark.parametrize("algo", ["dynaq", "prioritizedsweeping"])
def test_what_plans_and_was_interrupted_learns_what_it_would_have(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(algo) == 0
    with monkeypatch.context() as patch:
        at_step(301, kill(signal.SIGINT), patch, FrozenLakeEnv)
        assert train(algo) == 130
    assert train(algo, "--resume", f"logs/{algo}/{LAKE}_2") == 0
    whole, resumed = (_loaded(algo, number) for number in (1, 3))
    for mine, theirs in ((whole.policy, resumed.policy), (whole.seen, resumed.seen)):
        for name, x in mine.state_dict().items():
            np.testing.assert_array_equal(theirs.state_dict()[name], x)
    assert whole.num_timesteps == resumed.num_timesteps and whole.seen.n_pairs > 20


def _loaded(algo: str, number: int) -> PlanningTable:
    model: Any = ALGOS[algo].load(f"logs/{algo}/{LAKE}_{number}/{LAKE}.zip")
    assert isinstance(model, PlanningTable)
    return model
