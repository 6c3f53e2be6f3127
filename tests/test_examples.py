"""`examples/`: each is one idea, short, and runs as a user would run it; training is short."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each prints, in numbers that hold after any training.
SAYS = {
    "actors": "steps of two actors: mean return ",
    "exact_gap": "QLearning after      0 steps: 100.0% short of the best policy\n",
    "imitate": "mean return ",
    "memory": "with a memory 1 can be had",
    "noise_schedule": "about -150 is as good as it gets",
    "own_head": "trained with Soft(dueling='avg', noise=None, td_loss='mse', temperature=0.2)",
    "rainbow_parts": "n_quantiles=32, kappa=1.0, priority='loss'), RankBased(alpha=0.6,",
    "save_and_share": "went on to step 1200\nthe same action in 100 of 100 states\n",
}
STEPS = {"save_and_share": "600", "exact_gap": "2000", "memory": "1100", "imitate": "1024 --expert-steps 1024"}


def test_all_examples_are_tested_and_short() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert [file.stem for file in files] == sorted(SAYS)
    for file in files:
        assert len(file.read_text().splitlines()) < 40, file.name


@pytest.mark.parametrize("name", sorted(set(SAYS) - {"actors"}))
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--steps", *STEPS.get(name, "300").split()])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert SAYS[name] in capsys.readouterr().out


def test_actors_are_processes_that_import_the_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "actors.py"), "--steps", "640"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS["actors"] in done.stdout
