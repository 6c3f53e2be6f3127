"""`train --seeds` with trainings in it, and `runs` of what they leave."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_ext.cli import main as cli
from sb3_ext.zoo.runs.manifests import Manifest

TRAIN = "train --algo qlearning --env FrozenLake-v1 --device cpu --final-eval-episodes 0 -n"
RUNS = Path("logs/qlearning")


def test_each_seed_has_a_run_and_a_best_model(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TRAIN.split(), "500", "--eval-freq", "200", "--seeds", "3,1", "--jobs", "2"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[-1].startswith("2 of 2 seeds have finished; best evaluations: mean ")
    assert [line.split()[1] for line in said[-3:-1]] == ["3", "1"], "in the order of the seeds"
    assert any(line.startswith("[seed 3] ") for line in said)
    assert cli.main(["runs", "--json"]) == 0
    runs = json.loads(capfd.readouterr().out)
    assert {run["seed"]: run["state"] for run in runs} == {1: "finished", 3: "finished"}
    assert cli.main(["runs", "best", "--env", "FrozenLake-v1"]) == 0
    assert Path(capfd.readouterr().out.strip()).is_file()


@pytest.mark.slow
def test_ctrl_c_ends_all_seeds_and_what_is_printed_goes_on_with_them() -> None:
    """Once the first of them trains; as a terminal sends it, to all processes of the command."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sb3_ext",
            *TRAIN.split(),
            "100000000",
            "--eval-freq",
            "-1",
            "--seeds",
            "0-2",
            "-v",
            "2",
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if "total_timesteps" in line:
                break
        os.killpg(command.pid, signal.SIGINT)
        rest, _ = command.communicate()
    assert command.returncode == 130
    manifest = Manifest.read(RUNS / "FrozenLake-v1_1")
    assert manifest is not None and manifest.ended == "interrupted" and manifest.seed == 0
    assert [path.name for path in RUNS.iterdir()] == ["FrozenLake-v1_1"]
    go_on, others, last = rest.splitlines()[-3:]
    assert last == "0 of 3 seeds have finished"
    assert others == f"  sb3-ext {TRAIN} 100000000 --eval-freq -1 -v 2 --seeds 1-2"
    words = shlex.split(go_on)
    assert words[-4:] == ["--seed", "0", "--resume", "logs/qlearning/FrozenLake-v1_1"]


@pytest.mark.slow
def test_what_is_wrong_with_the_settings_is_said_once() -> None:
    words = [*TRAIN.split(), "100", "--seeds", "0-2", "-v", "0", "-params", "n_envs:-2"]
    done = subprocess.run([sys.executable, "-m", "sb3_ext", *words], capture_output=True, text=True)
    assert done.returncode == 2 and not list(RUNS.glob("*"))
    assert done.stderr == "sb3-ext train: n_envs -2 must be an integer >= 1\n"
