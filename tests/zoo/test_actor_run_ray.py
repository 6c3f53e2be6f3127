"""`sb3-ext train --actors N --backend ray`, and the doctor's look at an actor on Ray."""

from __future__ import annotations

import pytest
import torch as th
from stable_baselines3.common.monitor import load_results
from support.runs import NAME, RUNS, command

from sb3_ext import R2D2
from sb3_ext.cli import doctor
from sb3_ext.cli import main as cli

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # of the stock scripts


def test_in_lockstep_ray_makes_the_run_that_one_process_makes(ray_instance: str) -> None:
    flags = ("--actors", "2", "--lockstep", "--seed", "3", "--backend")
    assert cli.main(command(*flags, "inline", settings=("normalize:True",))) == 0
    assert cli.main(command(*flags, "ray", "--ray-address", ray_instance, settings=("normalize:True",))) == 0
    one, two = (RUNS / f"{NAME}_{n}" for n in (1, 2))
    weights = [R2D2.load(run / f"{NAME}.zip", device="cpu").policy.state_dict() for run in (one, two)]
    assert all(th.equal(value, weights[1][key]) for key, value in weights[0].items())
    episodes = [load_results(str(run)) for run in (one, two)]
    assert len(episodes[0]) > 10 and episodes[0][["r", "l"]].equals(episodes[1][["r", "l"]])
    written = (two / NAME / "config.yml").read_text()
    assert "backend: ray" in written and "address" not in written


def test_the_doctor_starts_an_actor_on_ray(ray_instance: str) -> None:
    assert doctor._error_of(doctor.actors()["ray"]) is None
