"""`sb3-ext demos record --algo planner`: the expert that solves an environment, and what learns from it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sb3_ext import GAIL
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import load
from sb3_ext.planning import PlannerPolicy, TabularMDP, expected_return, policy_table

# rl-zoo3 and what it calls are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.collect()


def record(*arguments: str) -> int:
    return cli.main(["demos", "record", "--algo", "planner", *arguments])


def is_expected(returns: np.ndarray, expected: float) -> bool:
    return bool(abs(returns.mean() - expected) < 3 * returns.std() / len(returns) ** 0.5)


def test_taxi_is_driven_as_well_as_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert record("--env", "Taxi-v4", "-n", "200") == 0
    assert "Saved demos/Taxi-v4.npz" in capsys.readouterr().out
    demos = load("demos/Taxi-v4.npz")
    assert len(demos) == 200 and all(episode.terminated for episode in demos.episodes)
    assert is_expected(demos.returns, 7.93)
    planner = PlannerPolicy.from_env("Taxi-v4")
    for episode in demos.episodes[:20]:
        states = np.asarray(episode.observations)[:-1]
        np.testing.assert_array_equal(episode.actions, planner.predict(states, deterministic=True)[0])
    assert cli.main(["demos", "check", "demos/Taxi-v4.npz"]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_it_plans_for_the_environment_that_it_is_given() -> None:
    flags = ["--env", "FrozenLake-v1", "--env-kwargs", "is_slippery:False", "-n", "2"]
    assert record(*flags) == 0
    demos = load("demos/FrozenLake-v1.npz")
    assert demos.returns.tolist() == [1.0, 1.0] and demos.n_steps == 12


def test_its_mistakes_are_drawn() -> None:
    flags = ["--env", "FrozenLake-v1", "-n", "200", "--gamma", "0.9", "--epsilon", "0.3"]
    assert record(*flags) == 0
    demos = load("demos/FrozenLake-v1.npz")
    noisy = PlannerPolicy.from_env("FrozenLake-v1", gamma=0.9, epsilon=0.3)
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.9)
    assert is_expected(demos.returns, expected_return(mdp, policy_table(noisy, mdp, deterministic=False)))
    assert not is_expected(demos.returns, expected_return(mdp, policy_table(noisy, mdp)))


def test_gail_trains_on_it(folder: Path) -> None:
    assert record("--env", "Taxi-v4", "-n", "3") == 0
    quiet = ("-n", "64", "--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu")
    tiny = ("-params", "n_steps:16", "n_envs:2", "batch_size:32")
    assert cli.main(["train", "--algo", "gail", "--env", "Taxi-v4", *quiet, *tiny]) == 0
    model = GAIL.load(folder / "logs/gail/Taxi-v4_1/Taxi-v4.zip", device="cpu")
    assert policy_table(model, TabularMDP.from_env("Taxi-v4", 0.99)).shape == (500, 6)

    planned = "demonstrations:{'model': 'planner', 'n_episodes': 2, 'gamma': 0.9}"
    dry = "env_kwargs:{'is_slippery': False}"
    lake = ["train", "--algo", "gail", "--env", "FrozenLake-v1", *quiet]
    assert cli.main([*lake, *tiny, planned, dry]) == 0
    assert cli.main([*lake, *tiny, "demonstrations:{'model': 'planner', 'folder': 'logs'}"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--env CartPole-v1", "CartPole-v1 publishes no transition table (.P)"),
        ("--env Taxi-v4 --env-kwargs fickle_passenger:True", "its .P is not what it does"),
        ("--env sb3_ext/MaskedFrozenLake-v0", "4 observations of 16 states: a planner must see the state"),
        ("--env Taxi-v5", "unknown environment 'Taxi-v5', did you mean 'Taxi-v4'?"),
        ("--env Taxi-v4 --epsilon 0.1 --deterministic", "--epsilon 0.1 with --deterministic: mistakes are drawn"),
        ("--env Taxi-v4 --model a.zip", "--model a.zip: --algo planner has none"),
        ("--algo ppo --env Taxi-v4 --gamma 0.9", "--gamma is for --algo planner"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    arguments: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(*arguments.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sb3-ext demos: ") and message in line
    assert list(folder.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("command", ["train", "video", "report"])
def test_nobody_trains_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--algo", "planner", "--env", "Taxi-v4"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "only `sb3-ext demos record` and `lab` take it" in line
