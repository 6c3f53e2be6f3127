"""
Wrong input of every command, as bad_inputs.txt lists it: exit code 2 and one line, before any work is done and without
a file that is left behind.

A line there is a command line, ` => ` and what the last line of stderr contains. It is typed in a folder that holds
`FILES`, an agent that was never trained with what a training leaves beside it, demonstrations and a study.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import yaml
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy

from sb3_ext import demonstrations
from sb3_ext.cli import hub, report, video
from sb3_ext.cli import main as cli
from sb3_ext.cli.main import COMMANDS
from sb3_ext.viz.lab_server import LabServer
from sb3_ext.zoo.checked_settings import checked
from sb3_ext.zoo.experiment import Experiment

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

LIST = Path(__file__).with_name("bad_inputs.txt")
SETTINGS = {"policy": "MlpPolicy", "n_timesteps": 100}
# Where work begins, which no wrong input reaches.
WORK: list[tuple[Any, str]] = [
    (Experiment, "learn"),
    (ExperimentManager, "learn"),
    (optuna.study.Study, "optimize"),
    (BasePolicy, "predict"),
    (video, "film"),
    (report, "film"),
    (report, "evaluate"),
    (hub, "evaluate"),
    (demonstrations, "record"),
    (LabServer, "serve_forever"),
]
CLOSED = "http://127.0.0.1:9"
"""a hub that does not answer"""


def block(**settings: Any) -> str:  # Any: values of YAML
    """:return: of a yml"""
    return yaml.safe_dump({"CartPole-v1": {**SETTINGS, **settings}})


FILES = {
    "notes.txt": "hello\n",
    "text.zip": "hello\n",
    "text.npz": "hello\n",
    "text.pkl": "hello\n",
    "taken.json": "{}\n",
    "empty.yml": "",
    "list.yml": "- 1\n",
    "scalar.yml": "hello\n",
    "broken.yml": "a: [1\n",
    "nothing.yml": "CartPole-v1:\n",
    "other.yml": "Pendulum-v1: {policy: MlpPolicy, n_timesteps: 100}\n",
    "no_policy.yml": "CartPole-v1: {n_timesteps: 100}\n",
    "wrapper.yml": block(env_wrapper="nosuch.Wrapper"),
    "wrapper_name.yml": block(env_wrapper=[{"gymnasium.wrappers.FlattenObservatoin": {}}]),
    "wrapper_word.yml": block(env_wrapper="Wrapper"),
    "callback.yml": block(callback="nosuch.Callback"),
    "schedule.yml": block(learning_rate="foo_1"),
    "many.yml": block(n_timesteps="many"),
    "no_settings.py": "x = 1\n",
    "broken_package.py": "import nosuch_part\n",
}


def cases() -> list[tuple[str, str]]:
    """:return: command lines, and what their last lines contain"""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [(command, line) for command, _, line in (text.rpartition(" => ") for text in lines)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: in which the lines are typed"""
    path = tmp_path_factory.mktemp("inputs")
    prepare(path)
    return path


def prepare(path: Path) -> None:
    """:param path: an empty folder"""
    for name, text in FILES.items():
        (path / name).write_text(text)
    (path / "envs").mkdir()
    run = path / "logs" / "ppo" / "CartPole-v1_1"
    settings = run / "CartPole-v1"
    settings.mkdir(parents=True)
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    model.save(run / "CartPole-v1.zip")
    (settings / "config.yml").write_text(yaml.safe_dump(SETTINGS))
    np.savez(
        run / "evaluations.npz", timesteps=np.array([50, 100]), results=np.ones((2, 1)), ep_lengths=np.ones((2, 1))
    )
    with Monitor(gym.make("CartPole-v1"), str(run / "0")) as env:
        env.reset(seed=0)
        while not any(env.step(0)[2:4]):
            pass
    demonstrations.save(demonstrations.record(model, "CartPole-v1", 1), path / "demos.npz")
    walker = PPO("MlpPolicy", "FrozenLake-v1", device="cpu", n_steps=8, batch_size=8)
    demonstrations.save(demonstrations.record(walker, "FrozenLake-v1", 1), path / "lake.npz")
    optuna.create_study(storage=f"sqlite:///{path}/study.db", study_name="one").add_trial(
        optuna.trial.create_trial(value=0.0)
    )


def files(folder: Path) -> set[Path]:
    """:return: below it, but for what Python makes of modules"""
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture
def idle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: the folder, in which nobody works, and from which no hub is reached"""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("work was begun")

    for owner, name in WORK:
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", CLOSED)
    return folder


@pytest.mark.parametrize(("command", "line"), cases())
def test_wrong_input_is_one_line_before_any_work(
    command: str, line: str, idle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(idle)
    assert cli.main(shlex.split(command)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("sb3-ext") and line in said
    assert files(idle) == before


def test_the_list_is_long_and_has_every_command() -> None:
    commands = [command for command, _ in cases()]
    assert len(set(commands)) == len(commands) >= 150
    assert all(line for _, line in cases())
    assert set(COMMANDS) <= {command.partition(" ")[0] for command in commands}


def test_a_process_of_its_own_says_no_more(idle: Path) -> None:
    """No warning of a library comes before the line, nor a traceback after it."""
    for command in ("train --algo ppo --env CartPole-v1 -n -100", "report --algo ppo --env CartPole-v1 -n -3"):
        done = subprocess.run(
            [sys.executable, "-m", "sb3_ext", *shlex.split(command)], capture_output=True, text=True, cwd=idle
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "must be at least" in done.stderr


def test_numbers_that_yaml_takes_for_text_are_numbers() -> None:
    given = yaml.safe_load(
        "{learning_rate: 1e-3, n_timesteps: 1e5, policy_kwargs: {x: [1e-5, a]}, clip_range: lin_0.2}"
    )
    assert given["learning_rate"] == "1e-3"  # what YAML makes of it
    assert checked(given) == {
        "learning_rate": 1e-3,
        "n_timesteps": 100_000,
        "policy_kwargs": {"x": [1e-5, "a"]},
        "clip_range": "lin_0.2",
    }
