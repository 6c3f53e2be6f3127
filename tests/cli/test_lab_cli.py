"""`sb3-ext lab` answers in one line, also where it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import pytest

from sb3_ext.cli import main as cli

MODULE = """
import gymnasium as gym
from sb3_ext.envs import TigerEnv

gym.register("LabTiger-v0", entry_point=TigerEnv)
"""


def test_the_value_of_a_memory(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, line in (
        (["sb3_ext/MaskedFrozenLake-v0"], "0.1417, with memory 0.2080 to 0.2096, with the state 0.5420"),
        (["sb3_ext/Tiger-v0"], "-20.0000, with memory 19.3714, with the state 200.0000"),
        (["sb3_ext/Tiger-v0", "--gamma", "0.75"], "-4.0000, with memory 1.9334, with the state 40.0000"),
        (["sb3_ext/TMaze-v0", "--env-kwargs", "length:5"], "1.7626, with memory 3.6157, with the state 3.6157"),
        (["sb3_ext/MemoryChain-v0"], "0.0000, with memory 1.0000, with the state 1.0000"),
    ):
        assert cli.main(["lab", "--memory-value", *arguments]) == 0
        assert capsys.readouterr().out == f"without memory {line}\n"


def test_more_beliefs_narrow_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    widths = []
    for limit in (["--seconds", "1e-9"], ["--max-beliefs", "10"], ["--tol", "0.03"], ["--max-beliefs", "1000"]):
        assert cli.main(["lab", "--memory-value", "sb3_ext/MaskedFrozenLake-v0", *limit]) == 0
        words = capsys.readouterr().out.replace(",", "").split()
        low, high = float(words[5]), float(words[7])
        assert low <= 0.2080 and high >= 0.2096
        widths.append(high - low)
    assert sorted(widths, reverse=True) == widths and widths[2] <= 0.03


def test_an_environment_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiger_of_the_lab.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert cli.main(["lab", "--memory-value", "tiger_of_the_lab:LabTiger-v0", "--gamma", "0.75"]) == 0
    finally:
        gym.registry.pop("LabTiger-v0", None)
        sys.modules.pop("tiger_of_the_lab", None)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--memory-value", "sb3_ext/Tiger-v0", "--algo", "ppo"], "--algo has nothing to do with --memory-value"),
        (["--memory-value", "sb3_ext/Tiger-v0", "--port", "0"], "--port has nothing to do with --memory-value"),
        (["--max-beliefs", "5"], "--max-beliefs is for --memory-value"),
        (
            ["--memory-value", "CartPole-v1"],
            "CartPole-v1 publishes no tables of what is seen (.pomdp): TabularPOMDP(mdp, observation), or "
            "TabularPOMDP.from_mdp(mdp, observe) where the state says what is seen",
        ),
        (
            ["--memory-value", "sb3_ext/Tigr-v0"],
            "unknown environment 'sb3_ext/Tigr-v0', did you mean 'sb3_ext/Tiger-v0'?",
        ),
        (
            ["--memory-value", "no_such_module:Tiger-v0"],
            "--memory-value no_such_module:Tiger-v0: no module named 'no_such_module'; PYTHONPATH=. finds modules of "
            "this folder",
        ),
        (["--memory-value", "a:b:c"], "--memory-value 'a:b:c' is neither ID nor MODULE:ID"),
        (["--memory-value", "sb3_ext/Tiger-v0", "--env-kwargs", "x"], "--env-kwargs 'x' is not NAME:VALUE"),
        (
            ["--memory-value", "sb3_ext/MaskedFrozenLake-v0", "--env-kwargs", "show:all"],
            """show 'all' must be "row", "column" or "nothing\"""",
        ),
        (
            ["--memory-value", "sb3_ext/Tiger-v0", "--gamma", "1"],
            "with gamma 1 a policy can go on for ever from 2 states (0, 1, ...): what is then best without seeing the "
            "state has no bounds; use gamma < 1",
        ),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", *arguments]) == 2
    assert capsys.readouterr().err == f"sb3-ext lab: {line}\n"
