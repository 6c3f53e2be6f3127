"""`sb3-ext train --actors N` with actors in processes, which signals reach too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.monitor import load_results
from support.runs import NAME, RUNS, command

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.zoo.actors import ActorSettings
from sb3_ext.zoo.runs.checkpoints import newest_whole
from sb3_ext.zoo.runs.resuming import read_unfinished


@pytest.mark.filterwarnings("ignore")  # of the stock scripts
def test_in_lockstep_processes_make_the_run_that_one_process_makes(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--actors", "2", "--lockstep", "--seed", "3", "--eval-freq", "100", "--eval-episodes", "2", "--backend")
    for backend in ("inline", "process"):
        assert cli.main(command(*flags, backend, settings=("normalize:True", "n_envs:4"))) == 0
    assert "2 actors of 2 environments" in capsys.readouterr().out
    one, two = (RUNS / f"{NAME}_{n}" for n in (1, 2))
    weights = [R2D2.load(run / f"{NAME}.zip", device="cpu").policy.state_dict() for run in (one, two)]
    assert all(th.equal(value, weights[1][key]) for key, value in weights[0].items())
    episodes = [load_results(str(run)) for run in (one, two)]
    assert len(episodes[0]) > 10 and episodes[0][["r", "l"]].equals(episodes[1][["r", "l"]])
    results = [np.load(run / "evaluations.npz")["results"] for run in (one, two)]
    np.testing.assert_array_equal(*results)


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


MODULE = """
import gymnasium as gym
gym.register("Elsewhere-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=7)
"""


def test_sigterm_to_the_whole_process_group_saves(headless_folder: Path) -> None:
    """As SLURM sends it; and actors in processes know what MODULE:ID names."""
    (headless_folder / "elsewhere.py").write_text(MODULE)
    arguments = ["train", "--algo", "r2d2", "--env", "elsewhere:Elsewhere-v0", "-n", "1000000", "--eval-freq", "-1"]
    arguments += ["--device", "cpu", "--actors", "2", "--verbose", "0", "-params", "n_envs:4", "learning_starts:40"]
    arguments += ["buffer_size:4000", "batch_size:4"]
    with Path("out").open("w") as out:
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "sb3_ext", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    monitor = Path("logs/r2d2/Elsewhere-v0_1/monitor.csv")
    give_up = time.monotonic() + 120
    while not (monitor.is_file() and len(monitor.read_text().splitlines()) > 20):
        assert run.poll() is None and time.monotonic() < give_up, Path("out").read_text()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGTERM)
    assert run.wait(120) == 143, Path("out").read_text()
    while group_lives(run.pid):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    first = monitor.parent
    found = read_unfinished(first)
    assert found.actors == ActorSettings(2, 2)
    saved = newest_whole(first, found, "Elsewhere-v0", True, False)
    model = R2D2.load(saved.model, device="cpu")
    assert model.num_timesteps == saved.num_timesteps and model.num_timesteps > 100 and model._n_updates > 0
    assert set(load_results(str(first))["l"]) == {7}
