"""A run that was interrupted and gone on with is one run, whichever command reads it."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from support.fake_runs import fake_monitor, fake_part, fake_run

from sb3_ext.cli import main as cli
from sb3_ext.zoo.runs.chain_curves import curves_to

# rl-zoo3's scripts are not ours to keep free of deprecations.
of_rl_zoo3 = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def interrupted_run(number: int, *scores: float, ended: str = "finished", algo: str = "dqn") -> Path:
    """Four evaluations of two episodes: killed after the third, gone on with from step 200, twice."""
    first, second, third, fourth = scores
    names = [f"E_{number + i}" for i in range(3)]
    told: dict[str, Any] = {"cpu_seconds": 10.0, "seed": number}
    fake_part(f"{algo}/{names[0]}", first, second, -99, ended="running", num_timesteps=200, **told)
    part = fake_part(f"{algo}/{names[1]}", third, parent=names[0], steps=200, ended="interrupted", **told)
    # As a run that goes on has it: those before are in its own file.
    np.savez(part / "evaluations.npz", timesteps=[100, 200, 300], results=np.array(scores[:3])[:, None] + [-1, 1])
    return fake_part(f"{algo}/{names[2]}", fourth, parent=names[1], steps=300, num_timesteps=400, ended=ended, **told)


def table(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, str]], list[str]]:
    assert cli.main(["table", *arguments, "--format", "csv"]) == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err.splitlines()


def test_a_table_counts_it_once_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_run(1, 1, 2, 3, 4)
    fake_part("dqn/E_9", 1, 2, 3, 8, num_timesteps=400, cpu_seconds=50.0, seed=9)
    rows, lines = table("logs", capsys=capsys)
    assert lines == [] and [(row["runs"], row["env_steps"], row["mean"]) for row in rows] == [("2", "400", "6.0")]
    assert float(rows[0]["CPU_seconds"]) == (3 * 10 + 50) / 2
    rows, lines = table("logs/dqn/E_3", capsys=capsys)
    assert lines == [] and (rows[0]["runs"], rows[0]["mean"], rows[0]["CPU_seconds"]) == ("1", "4.0", "30.0")


def test_it_has_ended_once_its_last_part_has(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_run(1, 1, 2, 3, 4, ended="interrupted")
    fake_part("dqn/E_9", 1, 2, num_timesteps=200)
    rows, lines = table("logs", capsys=capsys)
    assert [row["runs"] for row in rows] == ["1"]
    assert lines == ["logs/dqn/E_3: has not ended (400 of 1000 steps), and is left out; --unfinished counts it"]
    rows, lines = table("logs", "--unfinished", capsys=capsys)
    assert [(row["runs"], row["mean"]) for row in rows] == [("2", "2.0")] and "CPU_seconds" not in rows[0]
    assert lines[-1] == "logs/dqn/E_9 ends at step 200, where all runs of dqn on E are cut; one has 400"


def test_of_runs_with_the_same_beginning_one_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """One folder that was resumed twice; and a run that went on from the middle of one that has finished."""
    fake_part("dqn/E_1", 1, ended="interrupted", num_timesteps=100)
    fake_part("dqn/E_2", 2, parent="E_1", steps=100, num_timesteps=200, seed=1)
    fake_part("dqn/E_3", 3, parent="E_1", steps=100, num_timesteps=200, seed=2)
    fake_part("dqn/F_1", 1, 5, num_timesteps=200, cpu_seconds=7.0)
    fake_part("dqn/F_2", 9, parent="F_1", steps=100, num_timesteps=200)
    fake_part("dqn/G_2", 6, parent="G_1", steps=100, num_timesteps=200)
    rows, lines = table("logs", capsys=capsys)
    assert [(row["env"], row["runs"], row["mean"]) for row in rows] == [
        ("E", "1", "2.0"),
        ("F", "1", "5.0"),
        ("G", "1", "6.0"),
    ]
    assert [row["CPU_seconds"] for row in rows] == ["3.0", "7.0", ""], "the beginning of G is not known"
    assert "logs/dqn/E_3: shares its first 100 steps with logs/dqn/E_2, and is left out beside it" in lines
    assert "logs/dqn/F_2: shares its first 100 steps with logs/dqn/F_1, and is left out beside it" in lines
    rows, lines = table("logs/dqn/E_3", "logs/dqn/F_2", capsys=capsys)
    assert [row["mean"] for row in rows] == ["3.0", "9.0"] and not any("left out" in line for line in lines)
    assert [row["CPU_seconds"] for row in rows] == ["3.0", ""], "F_1 went on after what F_2 has of it"


def test_a_plot_has_one_curve_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    last = interrupted_run(1, 1, 2, 3, 4)
    for source, lengths in (("evaluations", ()), ("monitor", (5, 6))):
        for part in (1, 2, 3) if lengths else ():
            fake_monitor(Path(f"logs/dqn/E_{part}"), *lengths, length=45)
        assert cli.main(["plot", "logs", "--window", "1"] + ["--source", "monitor"] * bool(lengths)) == 0
        said = capsys.readouterr()
        end = {"evaluations": "4.00 after 400", "monitor": "6.00 after 390"}[source]
        assert said.err == "" and said.out == f"dqn on E: {end} env steps, 1 run ({source})\ncurves.png\n"
    evaluated, trained = curves_to(last, "dqn", [])
    assert evaluated.smoothed().tolist() == [1, 2, 3, 4] and evaluated.name == "dqn"
    assert trained.steps.tolist() == [45, 90, 245, 290, 345, 390]


def test_a_report_of_an_agent_without_returns_has_no_curve() -> None:
    folder, notes = fake_run("dqn/E_1"), list[str]()
    assert curves_to(folder, "dqn", notes) == [] and notes == []
    (folder / "evaluations.npz").write_bytes(b"no zip")
    assert curves_to(folder, "dqn", notes) == [] and "not what EvalCallback writes" in notes[0]


@of_rl_zoo3
def test_all_plots_takes_the_whole_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_run(1, 1, 2, 3, 4)
    fake_run("dqn/E_9", 1, 2, 3, 8)
    fake_run("dqn/E_10", 1, 2)
    fake_run("dqn/E_11")
    command = ["all_plots", "-a", "dqn", "-e", "E", "-f", "logs", "--no-display"]
    assert cli.main([*command, "-print", "-o", "told"]) == 0
    said = capsys.readouterr()
    assert "E-DQN-logs: 2" in said.out and "6 +/- 1" in said.out and "Eval not found" not in said.out
    no_file, short = said.err.splitlines()
    assert no_file.startswith("logs/dqn/E_11/evaluations.npz: no such file") and no_file.endswith("is left out")
    assert short == (
        "logs/dqn/E_10: 2 evaluations, and the longest run of dqn on E has 4: all_plots leaves it out; -min cuts the "
        "others, as `sb3-ext plot` does"
    )
    assert Path("told.pkl").is_file()
    assert cli.main([*command, "-l", "ours", "-max", "200", "-print"]) == 0
    said = capsys.readouterr()
    assert "E-DQN-ours: 3" in said.out and "2 +/- 0" in said.out and said.err.count("\n") == 1
    assert cli.main([*command, "-min", "1", "-print"]) == 0
    said = capsys.readouterr()
    assert "E-DQN-logs: 3" in said.out and said.err.count("\n") == 1


@of_rl_zoo3
def test_plot_train_draws_it_as_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_run(1, 1, 2, 3, 4)
    for part, returns in ((1, (1, 2, 3, 4, 5)), (2, (6,)), (3, (7, 8))):
        fake_monitor(Path(f"logs/dqn/E_{part}"), *returns, length=45)
    older = fake_run("dqn/E_9")
    fake_monitor(older, 5)
    os.utime(older, (0, 0))
    drawn: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda: drawn.extend(plt.gca().lines))
    for axis in ("steps", "time"):
        assert cli.main(["plot_train", "-a", "dqn", "-e", "E", "-f", "logs", "-w", "1", "-x", axis]) == 0
    assert [line.get_label() for line in drawn] == ["E_9", "E_3"] * 2, "by their age"
    _, by_steps, _, by_time = drawn
    # Episodes of 45 steps, of which the first folder's count up to step 200; each at 0, 1, 2, ... seconds of its own.
    assert by_steps.get_ydata().tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert by_steps.get_xdata().tolist() == [45 * i for i in range(1, 8)]
    assert (np.array(by_time.get_xdata()) * 3600).round(6).tolist() == [0, 1, 2, 3, 3, 3, 4]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-l a b", "-l a b: each folder of -f needs one label, and there are 1"),
        ("-k colours", "invalid choice: 'colours'"),
        ("-k successes", "-k successes: logs/dqn/E_1 has none, only results"),
        ("-max 0", "-max/--max-timesteps: 0 must be at least 1"),
    ],
)
def test_wrong_input_of_all_plots_is_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake_run("dqn/E_1", 1, 2)
    assert cli.main(["all_plots", "-a", "dqn", "-e", "E", "-f", "logs", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and "+/-" not in said.out
