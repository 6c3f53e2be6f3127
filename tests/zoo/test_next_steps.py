"""Commands that come next find the agent that they are about."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sb3_ext.cli.main import COMMANDS
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.runs.next_steps import going_on, next_steps


def trained(name: str, *models: str) -> Path:
    run = Path(name)
    run.mkdir(parents=True)
    for model in models:
        (run / model).touch()
    return run


@pytest.mark.parametrize(
    ("algo", "folder", "where"),
    [("r2d2", "logs", ""), ("r2d2", "my logs", " -f 'my logs'"), ("ppo", "logs", ""), ("ppo", "x", " -f x")],
)
def test_commands_name_the_run_and_leave_out_what_is_the_default(algo: str, folder: str, where: str) -> None:
    run = trained(f"{folder}/{algo}/sb3_ext-TMaze-v0_12", "best_model.zip", "sb3_ext-TMaze-v0.zip")
    trained(f"{folder}/{algo}/sb3_ext-TMaze-v0_13", "best_model.zip")
    enjoy, report, video = next_steps(algo, "sb3_ext/TMaze-v0", run)
    agent = f"--algo {algo} --env sb3_ext/TMaze-v0"
    always = where or (" -f logs" if algo == "ppo" else "")
    assert enjoy == f"sb3-ext enjoy {agent}{always} --exp-id 12 --load-best"
    assert report == f"sb3-ext report {agent}{where} --exp-id 12"
    assert video == f"sb3-ext video {agent}{where} --exp-id 12"
    given = COMMANDS["report"].parser().parse(shlex.split(report)[2:])
    assert AgentRef(given.algo, given.env, given.folder, given.exp_id).zip()[0] == run / "best_model.zip"


def test_modules_come_along_and_only_a_best_model_is_asked_for() -> None:
    run = trained("logs/r2d2/Maze-v0_1", "Maze-v0.zip")
    enjoy, *_ = next_steps("r2d2", "mine:Maze-v0", run, gym_packages=("a", "b"))
    assert enjoy == "sb3-ext enjoy --algo r2d2 --env mine:Maze-v0 --exp-id 1 --gym-packages a b"
    assert next_steps("r2d2", "Maze-v0", trained("logs/r2d2/Maze-v0_2", "0.monitor.csv")) == []


def test_a_folder_with_a_uuid_is_named_by_its_model() -> None:
    run = trained("logs/r2d2/Maze-v0_1_0b56ad40-95cd-4c4a-9d3f-2a8d1e5c7f10", "Maze-v0.zip")
    commands = next_steps("r2d2", "Maze-v0", run)
    assert [line.split()[1] for line in commands] == ["report", "video"]
    assert all(line.endswith(f"--model {run}/Maze-v0.zip") for line in commands)


def test_the_command_that_goes_on_says_what_was_blanked_in_it() -> None:
    run = Path("logs/ppo/E_1")
    line = going_on("sb3-ext train --algo ppo --env E --resume logs/ppo/E_0 -n 5", run)
    assert line == "sb3-ext train --algo ppo --env E -n 5 --resume logs/ppo/E_1"
    assert going_on("sb3-ext train -conf .../mine.yml", run).endswith("logs/ppo/E_1  # with what is left out put in")
