"""`sb3-ext demos reward`: from recorded episodes to a reward in a file."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import load, save
from sb3_ext.imitation import MaxEntReward

RECORD = ["demos", "record", "--algo", "planner", "-n", "40"]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*RECORD, "--env", "FrozenLake-v1", "--gamma", "0.9"]) == 0
    capsys.readouterr()
    return Path("demos/FrozenLake-v1.npz")


def test_the_goal_is_told_and_written_down(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demos", "reward", str(recorded), "--gamma", "0.9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FrozenLake-v1, discount 0.9: 40 demonstrations, ")
    assert lines[1].startswith("log-likelihood of a step -0.0") and "(-1.3863 by chance)" in lines[1]
    assert (
        lines[3].startswith("arriving pays most in state 15 (") and lines[4] == "Saved demos/FrozenLake-v1.reward.json"
    )
    found = MaxEntReward.load("demos/FrozenLake-v1.reward.json")
    assert found.of_arrival is not None and found.of_arrival.argmax() == 15 and found.gamma == 0.9
    assert cli.main(["demos", "reward", str(recorded)]) == 2
    assert "demos/FrozenLake-v1.reward.json exists" in capsys.readouterr().err
    other = ["--features", "state_action", "--l2", "1e-3", "-o", "other", "--gamma", "0.9"]
    assert cli.main(["demos", "reward", str(recorded), *other]) == 0
    said = capsys.readouterr().out
    assert "arriving" not in said and "Saved other.json" in said
    assert json.loads(Path("other.json").read_text())["l2"] == 1e-3


def test_the_page_shows_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of docs/irl.md, with fewer episodes; the page is written and not served."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "irl.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^sb3-ext (.*)$", page, flags=re.MULTILINE)]
    assert [command[0] for command in commands] == ["demos", "demos", "lab"]
    for command, more in zip(commands, ([], [], ["--write", "maze.html"]), strict=True):
        assert cli.main([word.replace("1000", "50") for word in command] + more) == 0
    assert "arriving pays most in state 3 (" in capsys.readouterr().out
    found = MaxEntReward.load("demos/sb3_ext-GridWorld-v0.reward.json")
    assert found.of_arrival is not None and str(found.of_arrival[3]) in Path("maze.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--l2", "0"], "l2 0.0 must be positive"),
        (["--gamma", "1"], "gamma 1: the entropy"),
        (["--env", "CartPole-v1"], "CartPole-v1 publishes no transition table"),
        (["--env", "CliffWalking-v1"], "observations of Discrete(16), the table has 48 states"),
        (["--env-kwargs", "is_slippery:False"], "cannot follow"),
    ],
)
def test_what_cannot_be_is_one_line(
    recorded: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert cli.main(["demos", "reward", str(recorded), *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert line in said and "\n" not in said
    assert not list(Path("demos").glob("*.json"))


def test_an_environment_must_be_named(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(replace(load(recorded), env_id=None), Path("nameless.npz"))
    assert cli.main(["demos", "reward", "nameless.npz"]) == 2
    assert "nameless.npz does not name its environment: name it by --env" in capsys.readouterr().err
