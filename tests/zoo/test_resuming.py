"""`--resume latest`, `--save-every`, SIGTERM: a run that is stopped again and again is one run, and finishes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common import callbacks
from stable_baselines3.common.evaluation import evaluate_policy
from support.manifests import manifest
from support.runs import ENV, NAME, RUNS, at_step, command, kill, killed, manifest_of, on_write

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.chains import chains_of
from sb3_ext.zoo.runs.manifests import Manifest, under_way
from sb3_ext.zoo.runs.resuming import latest_unfinished, to_resume

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


def run(name: str, began: int, model: str = f"{NAME}.zip", **changes: Any) -> Path:
    """A folder whose manifest has this id, begun on that day."""
    folder = RUNS / name
    folder.mkdir(parents=True)
    usual = {"algorithm": "r2d2", "env_id": ENV, "ended": "interrupted"}
    manifest(**{**usual, "id": name, "began": f"2026-01-{began:02d}", **changes}).write(folder)
    if model:
        (folder / model).touch()
    return folder


def latest(seed: int | None = None) -> Path:
    return latest_unfinished(RUNS, "r2d2", ENV, seed)


def test_the_latest_run_is_the_newest_that_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=rf"no run of r2d2 on {ENV} in logs/r2d2 can go on, there is none; leave"):
        latest()
    run("E_9", 1, ended="finished", num_timesteps=1000)
    run("E_8", 2, env_id="Other-v0")
    run("E_7", 2, algorithm="dqn")
    with pytest.raises(UserError, match=r"can go on: the newest, logs/r2d2/E_9, has finished, after 1000 steps$"):
        latest()
    first = run("E_1", 5, seed=3)
    run("E_2", 4, seed=4, ended="failed")
    assert latest() == first and latest(3) == first
    assert latest(4) == RUNS / "E_2"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "--resume latest: taking logs/r2d2/E_1, interrupted after 100 of 1000 steps of --seed 3",
        "--resume latest: taking logs/r2d2/E_2, failed after 100 of 1000 steps of --seed 4",
    ]
    with pytest.raises(UserError, match=r"of --seed 5 in logs/r2d2 can go on, there is none"):
        latest(5)

    part = run("E_3", 6, "", seed=3, parent="E_1", parent_folder="../E_1", parent_steps=100, ended="running")
    assert latest() == first, "the part that was killed had saved nothing"
    assert "taking logs/r2d2/E_1, killed after 100 of 1000 steps\n" in capsys.readouterr().out
    (part / "rl_model_50_steps.zip").touch()
    assert latest() == part
    with under_way(part):
        assert latest() == RUNS / "E_2"
    with under_way(first):
        assert latest() == RUNS / "E_2", "another process goes on with it"
    run("E_4", 7, parent="E_3", parent_folder="../E_3", parent_steps=100, ended="finished")
    assert latest() == RUNS / "E_2", "it has been gone on with"

    run("E_5", 8, "", ended="running")
    (RUNS / "E_2" / "run.json").unlink()
    with pytest.raises(UserError, match=r"the newest, logs/r2d2/E_5, had saved nothing yet; --save-every saves on"):
        latest()


def test_that_another_went_on_already_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    first = run("E_1", 1)
    run("E_2", 2, parent="E_1", parent_folder="../E_1", parent_steps=100, num_timesteps=100)
    assert to_resume(str(first), RUNS, "r2d2", ENV, None)[0] == first
    assert capsys.readouterr().out == "", "it has made no step"
    run("E_3", 3, parent="E_2", parent_folder="../E_2", parent_steps=100, num_timesteps=700)
    for named in (str(first), str(first.resolve())):
        assert to_resume(named, RUNS, "r2d2", ENV, None) == (Path(named), Manifest.read(first))
        there = Path(named).with_name("E_3")
        line = f"{there} went on from {named} already, to step 700: `--resume {there}` is that one\n"
        assert capsys.readouterr().out == line
    assert to_resume("latest", RUNS, "r2d2", ENV, None)[0] == RUNS / "E_3"
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_cannot_be_gone_on_with_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    other, mine = run("E_1", 1, env_id="Other-v0"), run("E_2", 1)
    for flags, line in (
        (("--resume", str(other)), "logs/r2d2/E_1 was a run of --algo r2d2 --env Other-v0, and goes on as such"),
        (("--resume", str(mine), "-i", str(mine / f"{NAME}.zip")), "--resume goes on with a run, -i with a model"),
        (("--resume", str(mine), "-optimize"), "--resume goes on with one training"),
        (("--save-every", "100", "--save-freq", "50"), "--save-every 100 does what --save-freq and --save-replay-b"),
    ):
        assert cli.main(command(*flags)) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert line in said
    with under_way(mine):
        assert cli.main(command("--resume", str(mine))) == 2
        assert "logs/r2d2/E_2 is under way in another process" in capsys.readouterr().err
    assert sorted(path.name for path in RUNS.iterdir()) == ["E_1", "E_2"]


def test_save_every_keeps_all_that_a_killed_run_goes_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice: killed after a checkpoint, and then before the next one."""
    flags = ("--save-every", "60", "--seed", "1")
    for n_made in (100, 30):
        with monkeypatch.context() as patch:
            at_step(n_made, kill(signal.SIGKILL), patch)
            killed(command(*flags, *(() if n_made == 100 else ("--resume", "latest")), settings=("normalize:True",)))
    first = RUNS / f"{NAME}_1"
    assert {path.name for path in first.glob("rl_model_*")} == {
        f"rl_model{part}_60_steps.{suffix}"
        for part, suffix in (("", "zip"), ("_replay_buffer", "pkl"), ("_vecnormalize", "pkl"))
    }
    assert cli.main(command(*flags, "--resume", "latest", settings=("normalize:True",))) == 0
    out = capsys.readouterr().out
    assert f"--resume latest: taking {first}, killed after 60 of 300 steps of --seed 1\n" in out
    assert "Going on after 60 of 300 steps" in out
    assert not (first / "run.lock").exists() and not (RUNS / f"{NAME}_3" / "run.lock").exists()
    assert (RUNS / f"{NAME}_3" / "replay_buffer.pkl").is_file(), "as with --save-replay-buffer"
    (chain,), notes = chains_of(sorted(RUNS.iterdir()))
    assert [part.name for part in chain.parts] == [f"{NAME}_1", f"{NAME}_3"] and notes == []
    assert manifest_of(f"{NAME}_3").ended == "finished"


def test_a_part_that_was_killed_before_it_saved_a_step_leaves_the_run_where_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the best model so far, which nothing goes on from, and the model of a checkpoint without its replay."""
    flags = ("--save-every", "60", "--eval-freq", "30", "--eval-episodes", "1")
    at_step(80, kill(signal.SIGINT), monkeypatch)
    assert cli.main(command(*flags)) == 130
    for n_made, file in ((10, ""), (300, "rl_model_replay_buffer")):
        with monkeypatch.context() as patch:
            at_step(n_made, kill(signal.SIGKILL), patch)
            if file:
                on_write(file, kill(signal.SIGKILL), patch)
            killed(command(*flags, "--resume", "latest"))
    assert [path.name for path in sorted((RUNS / f"{NAME}_3").glob("*.zip"))] == [
        "best_model.zip",
        "rl_model_120_steps.zip",
    ]
    capsys.readouterr()
    assert cli.main(command(*flags, "--resume", "latest")) == 0
    out = capsys.readouterr().out
    assert f" has saved no step of its own: going on from {RUNS}/{NAME}_1\n" in out
    assert "Going on after 60 of 300 steps" in out
    (chain,), notes = chains_of(sorted(RUNS.iterdir()))
    assert [part.name for part in chain.parts] == [f"{NAME}_1", f"{NAME}_4"] and notes == []
    assert not (RUNS / f"{NAME}_1" / "run.lock").exists()


@pytest.mark.parametrize("when", ["it is made, at the step of a checkpoint", "it is written"])
def test_an_evaluation_is_not_lost_where_the_run_is_killed_while(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--save-every", "60", "--eval-freq", "30", "--eval-episodes", "1")
    file = RUNS / f"{NAME}_1" / "evaluations.npz"

    def steps(file: Path) -> list[int]:
        with np.load(file) as arrays:
            return [int(step) for step in arrays["timesteps"]]

    def kill_at_the_fourth() -> None:
        if file.is_file() and steps(file) == [30, 60, 90]:
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        kill_at_the_fourth()
        return evaluate_policy(*args, **kwargs)

    with monkeypatch.context() as patch:
        if when == "it is written":
            on_write(file.name, kill_at_the_fourth, patch)
        else:
            patch.setattr(callbacks, "evaluate_policy", evaluate)
        killed(command(*flags, steps=150))
    assert steps(file) == [30, 60, 90]
    assert cli.main(command(*flags, "--resume", "latest", steps=150)) == 0
    assert steps(RUNS / f"{NAME}_2" / file.name) == [30, 60, 90, 120, 150]


@pytest.mark.slow  # two processes that import PyTorch
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_ends_it_saved_and_the_latest_goes_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    long = command("--seed", "2", steps=1_000_000)
    with Path("out").open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "sb3_ext", *long], stdout=out, stderr=subprocess.STDOUT)
    monitor, give_up = RUNS / f"{NAME}_1" / "0.monitor.csv", time.monotonic() + 120
    while not (monitor.is_file() and len(monitor.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < give_up, Path("out").read_text()
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(120) == 128 + number, Path("out").read_text()
    assert f"{'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}: ending after this step" in Path("out").read_text()
    told = manifest_of(f"{NAME}_1")
    assert told.ended == "interrupted" and told.num_timesteps > 0 and told.cpu_seconds is not None
    saved = R2D2.load(RUNS / f"{NAME}_1" / f"{NAME}.zip", device="cpu")
    assert saved.num_timesteps == told.num_timesteps

    note = json.loads((RUNS / f"{NAME}_1" / "run.json").read_text())
    note["n_timesteps"] = told.num_timesteps + 50  # nobody waits for a million
    (RUNS / f"{NAME}_1" / "run.json").write_text(json.dumps(note))
    assert cli.main(command("--seed", "2", "--resume", "latest")) == 0
    assert f"Going on after {told.num_timesteps} of {told.num_timesteps + 50} steps" in capsys.readouterr().out
    assert manifest_of(f"{NAME}_2").num_timesteps >= told.num_timesteps + 50


def test_stopped_twice_it_is_one_run_and_one_curve_for_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--eval-freq", "30", "--eval-episodes", "2")
    resume: tuple[str, ...] = ("--seed", "7")  # typed once: the run keeps it
    for number in (signal.SIGINT, signal.SIGTERM):
        with monkeypatch.context() as patch:
            at_step(180, kill(number), patch)
            assert cli.main(command(*flags, *resume, steps=500)) == 128 + number
        resume = ("--resume", "latest")
    assert cli.main(command(*flags, *resume, steps=900)) == 0
    assert "-n 900 changes nothing: the run goes on to the 500 steps that it was to make" in capsys.readouterr().out
    folders = [RUNS / f"{NAME}_{n}" for n in (1, 2, 3)]
    (chain,), notes = chains_of(folders)
    assert chain.parts == tuple(folders) and notes == []
    assert [manifest_of(folder.name).ended for folder in folders] == ["interrupted", "interrupted", "finished"]
    assert [manifest_of(folder.name).seed for folder in folders] == [7, 7, 7]
    capsys.readouterr()

    assert cli.main(["runs", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["parts"] == list(map(str, folders)) and listed["state"] == "finished"
    assert (listed["num_timesteps"], listed["latest"]["step"]) == (500, 480)
    assert cli.main(["table", "logs", "--format", "csv"]) == 0
    table, said = capsys.readouterr()
    assert len(table.splitlines()) == 2 and re.search(r",r2d2,1,", table), said
    for source, last in (("evaluations", "480"), ("monitor", r"4\d\d|500")):
        assert cli.main(["plot", "logs", "-o", "curve.svg", "--source", source]) == 0
        assert re.search(rf"after ({last}) env steps, 1 run \({source}\)", capsys.readouterr().out)
    assert "1 run" in Path("curve.svg").read_text()
    assert cli.main(["report", "--algo", "r2d2", "--env", ENV, "-n", "0", "--max-steps", "4"]) == 0
    assert Path("report.html").is_file()
