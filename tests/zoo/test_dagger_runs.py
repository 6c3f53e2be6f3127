"""DAgger from the command line: whom it asks, going on, and the agent as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from stable_baselines3 import PPO

from sb3_ext import DAgger
from sb3_ext.cli import main as cli
from sb3_ext.exchange.safe_files import load_safe, save_safe
from sb3_ext.imitation import Normalized
from sb3_ext.planning import PlannerPolicy
from sb3_ext.zoo.experts import expert_of

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("headless_folder")]
LAKE = ["--env", "FrozenLake8x8-v1", "--env-kwargs", "is_slippery:False"]
QUIET = ["--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu"]


def test_a_lake_is_learned_from_its_planner_and_the_agent_acts_from_files(tmp_path: Path) -> None:
    assert (
        cli.main(["train", "--algo", "dagger", *LAKE, "-n", "300", "--eval-freq", "200", "--optimality-gap", "100"])
        == 0
    )
    assert cli.main(["enjoy", "--algo", "dagger", "--env", "FrozenLake8x8-v1", "-n", "20", "--no-render"]) == 0
    model = DAgger.load("logs/dagger/FrozenLake8x8-v1_1/FrozenLake8x8-v1.zip", device="cpu")
    assert model.expert is None and model.labels is not None and len(model.labels) == 300
    save_safe(model, tmp_path / "safe")
    safe = load_safe(tmp_path / "safe", device="cpu")
    states = np.arange(64)
    assert isinstance(safe, DAgger) and safe.demonstrations is None and safe.n_steps == model.n_steps
    assert (safe.predict(states, deterministic=True)[0] == model.predict(states, deterministic=True)[0]).all()


def test_an_agent_is_asked_with_its_own_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    pole = ["--env", "CartPole-v1", *QUIET]
    assert cli.main(["train", "--algo", "dagger", *pole, "-n", "40"]) == 2
    assert "no ppo agent for CartPole-v1" in capsys.readouterr().err
    assert cli.main(["train", "--algo", "ppo", *pole, "-n", "256", "-params", "n_envs:2", "normalize:True"]) == 0
    asked = expert_of("CartPole-v1", "ppo")
    assert isinstance(asked, Normalized) and isinstance(asked.model, PPO) and asked.statistics is not None
    for given in ([], ["--expert", "ppo"], ["-params", "expert:{'model':'ppo','folder':'logs'}", "normalize:True"]):
        assert cli.main(["train", "--algo", "dagger", *pole, "-n", "100", *given]) == 0
    model = DAgger.load("logs/dagger/CartPole-v1_3/CartPole-v1.zip", device="cpu")
    path = "logs/ppo/CartPole-v1_1/CartPole-v1.zip"
    by_path = expert_of("CartPole-v1", {"model": "ppo", "path": path})
    assert isinstance(by_path, Normalized) and model.num_timesteps == 100
    buffer = io.BytesIO()
    model.save(buffer)
    assert b"expert" not in buffer.getvalue()


def test_a_run_goes_on_with_the_labels_that_it_has() -> None:
    assert cli.main(["train", "--algo", "dagger", *LAKE, *QUIET, "-n", "60", "--save-freq", "40"]) == 0
    (first,) = Path("logs/dagger").iterdir()
    again = ["train", "--algo", "dagger", *LAKE, *QUIET, "-n", "40", "-i", str(first / "rl_model_40_steps.zip")]
    assert cli.main(again) == 0
    model = DAgger.load("logs/dagger/FrozenLake8x8-v1_2/FrozenLake8x8-v1.zip", device="cpu")
    assert model.labels is not None and len(model.labels) == model.num_timesteps == 80


def test_demonstrations_are_the_first_round_where_they_are_given() -> None:
    record = ["demos", "record", "--algo", "planner", *LAKE, "-n", "2", "-o", "seen.npz"]
    assert cli.main(record) == 0
    assert cli.main(["train", "--algo", "dagger", *LAKE, *QUIET, "-n", "20", "--demonstrations", "seen.npz"]) == 0
    model = DAgger.load("logs/dagger/FrozenLake8x8-v1_1/FrozenLake8x8-v1.zip", device="cpu")
    assert model.labels is not None and len(model.labels) == 28 + 20 and model.n_rounds == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algo", "dagger", *LAKE, "--expert", "planer"], "unknown --algo 'planer'"),
        (["--algo", "dagger", "--env", "CartPole-v1", "--expert", "planner"], "publishes no transition table"),
        (["--algo", "ppo", "--env", "CartPole-v1", "--expert", "planner"], "ppo asks nobody, dagger does"),
        (["--algo", "dagger", "--env", "CartPole-v1", "--expert", "keyboard"], "there are 4: -params n_envs:1"),
        (["--algo", "dagger", *LAKE, "-params", "expert:{'modle':'ppo'}"], "unknown key 'modle', did you mean 'model'"),
        (["--algo", "dagger", *LAKE, "-params", "expert:{'gamma':0.9}"], "expert: "),
        (["--algo", "dagger", *LAKE, "-params", "beta:2.0"], "beta 2.0 must lie in [0, 1]"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *arguments, *QUIET, "-n", "20"]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1


def test_a_person_is_asked_for_the_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under SDL's dummy driver: each picture that is drawn presses a key."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")

    def draw(self: FrozenLakeEnv) -> np.ndarray:
        if pygame.display.get_surface() is not None:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT))
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(FrozenLakeEnv, "render", draw)
    lake = [
        "--env",
        "FrozenLake-v1",
        "--expert",
        "keyboard",
        "-params",
        "n_envs:1",
        "n_steps:4",
        "policy:'TablePolicy'",
    ]
    assert cli.main(["train", "--algo", "dagger", *QUIET, "-n", "8", *lake]) == 0
    model = DAgger.load("logs/dagger/FrozenLake-v1_1/FrozenLake-v1.zip", device="cpu")
    assert model.demonstrations is not None
    assert (model.demonstrations.transitions(False).actions == 2).all()  # right


def test_the_planner_plans_with_the_discount_that_is_asked_for() -> None:
    found = expert_of("FrozenLake-v1", {"model": "planner", "gamma": 0.5})
    assert isinstance(found, PlannerPolicy)
    other = PlannerPolicy.from_env("FrozenLake-v1", gamma=0.5)
    assert (found.probabilities == other.probabilities).all()
