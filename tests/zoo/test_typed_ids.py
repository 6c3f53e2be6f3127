"""`MODULE:ID` on the command line: each command imports the module, and all of them mean the same run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from sb3_ext.cli import main as cli
from sb3_ext.errors import UserError
from sb3_ext.exchange import hub
from sb3_ext.zoo.typed_ids import environment_id, name_in_folders

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

MODULE = """
import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

class Pole(CartPoleEnv):
    pass

gym.register("typed/Pole-v0", "typed_here:Pole", max_episode_steps=30)
"""
AGENT = ("--algo", "rainbow", "--env", "typed_here:typed/Pole-v0")


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the user's own, which nobody has imported yet."""
    (tmp_path / "typed_here.py").write_text(MODULE)
    (tmp_path / "typed_broken.py").write_text("import not_there_either")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    yield
    sys.modules.pop("typed_here", None)
    gym.registry.pop("typed/Pole-v0", None)


def test_every_command_knows_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ("-params", "learning_starts:60", "batch_size:4")
    begin = ["train", *AGENT, "-n", "80", "--eval-freq", "60", "--eval-episodes", "1", "--device", "cpu"]
    assert cli.main([*begin, "--final-eval-episodes", "1", *tiny]) == 0
    run = Path("logs/rainbow/typed-Pole-v0_1")
    assert (run / "typed-Pole-v0.zip").is_file()
    assert "--env typed_here:typed/Pole-v0" in (run / "typed-Pole-v0" / "command.txt").read_text()
    pushed: dict[str, Any] = {}

    def push(model: Any, repo_id: str, env_id: str, **_: Any) -> str:
        pushed[repo_id] = env_id
        return "there"

    monkeypatch.setattr(hub, "push_to_hub", push)
    monkeypatch.setattr(hub, "reach", lambda repo_id: None)
    commands = [
        ["enjoy", *AGENT, "-n", "5", "--no-render"],
        ["record_video", *AGENT, "--max-steps", "5"],
        ["video", *AGENT, "-n", "5"],
        ["report", *AGENT, "-n", "1", "--n-timesteps", "5"],
        ["push_to_hub", *AGENT, "--repo-id", "me/pole", "-n", "0", "--no-replay"],
        ["demos", "record", *AGENT, "-n", "1"],
        ["plot", "logs", "--env", "typed_here:typed/Pole-v0"],
    ]
    for command in commands:
        sys.modules.pop("typed_here", None)
        gym.registry.pop("typed/Pole-v0", None)
        assert cli.main(command) == 0, command
    assert pushed == {"me/pole": "typed/Pole-v0"}
    assert Path("demos/typed-Pole-v0.npz").is_file()
    assert len(list(run.glob("videos/*step-5.mp4"))) == 1
    gc.collect()  # files that the stock scripts left open, before warnings are heard again
    out = capsys.readouterr().out
    assert out.count("Trusting ") == 6 and "5 steps, return" in out


@pytest.mark.parametrize(
    ("command", "typed", "message"),
    [
        ("train", "typed_nowhere:Pole-v0", "no module named 'typed_nowhere'; PYTHONPATH=. finds"),
        ("enjoy", "typed_here:typed/Pol-v0", "typed_here registers no 'typed/Pol-v0', did you mean 'typed/Pole-v0'"),
        ("video", "typed_here:typed:Pole-v0", "is neither ID nor MODULE:ID"),
        ("train", ":Pole-v0", "is neither ID nor MODULE:ID"),
        ("record_video", "typed_here:", "is neither ID nor MODULE:ID"),
    ],
)
def test_what_is_wrong_with_one_is_said_in_a_line(
    command: str, typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--algo", "rainbow", "--env", typed]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sb3-ext {command}: ") and message in err and err.count("\n") == 1


def test_the_parts_of_a_command() -> None:
    assert environment_id("CartPole-v1") == "CartPole-v1"
    assert name_in_folders("typed_here:typed/Pole-v0") == "typed-Pole-v0"
    with pytest.raises(UserError, match="not_there_either"):
        environment_id("typed_broken:X-v0")
    with pytest.raises(UserError, match=r"no module named 'typed_here\.no'"):
        environment_id("typed_here.no:X-v0")
