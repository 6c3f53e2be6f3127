"""`sb3-ext table` on folders and files, and what `all_plots` refuses."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from support.fake_runs import fake_monitor
from support.fake_runs import fake_run as run

from sb3_ext.cli import main as cli
from sb3_ext.zoo.runs.curves import groups_of
from sb3_ext.zoo.runs.scores import scored

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, str]], list[str]]:
    """:return: rows, and lines about what was left out"""
    assert cli.main(["table", *arguments, "--format", "csv"]) == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err.splitlines()


def test_runs_of_folders(capsys: pytest.CaptureFixture[str]) -> None:
    for i, end in enumerate((10.0, 20.0, 60.0)):
        run(f"dqn/MyEnv-v0_{i + 1}", 0, end)
        run(f"ppo/MyEnv-v0_{i + 1}_0b56ad40-95cd-4c4a-9d3f-2a8d1e5c7f10", 0, 5 * i)
    run("ppo/Other-v0_1", 7)
    rows, lines = table("logs", "logs/../logs/ppo", "--versus", "ppo", capsys=capsys)
    assert not lines
    assert [(row["env"], row["algorithm"], row["runs"], row["env_steps"]) for row in rows] == [
        ("MyEnv-v0", "dqn", "3", "200"),
        ("MyEnv-v0", "ppo", "3", "200"),
        ("Other-v0", "ppo", "1", "100"),
    ]
    assert float(rows[0]["mean"]) == 30 and float(rows[0]["standard_deviation"]) == pytest.approx(700**0.5)
    assert float(rows[0]["better_than_ppo"]) == pytest.approx(17 / 18), "10 and 10 are even"
    assert rows[2]["interquartile_mean"] == "7.0" and rows[2]["interquartile_mean_low"] == ""
    assert "CPU_seconds" not in rows[0], "folders do not tell"
    rows, _ = table("all=logs", "--env", "MyEnv-v0", "--normalize", "MyEnv-v0=0,10", capsys=capsys)
    assert [(row["algorithm"], row["runs"]) for row in rows] == [("all", "6")]
    assert float(rows[0]["normalised"]) == pytest.approx(np.mean([0.5, 1, 1, 2]))


def test_a_run_that_cannot_count_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    run("dqn/E_1", 1, 2, 3, 4)
    run("dqn/E_2", 2, 6)
    run("dqn/E_3")
    np.savez(run("dqn/E_4", 1) / "evaluations.npz", timesteps=[1], results=[[np.nan]])
    run("dqn/E_5", 1, 1, 1)
    Path("logs/dqn/E_5/interrupted.json").write_text('{"n_timesteps": 900, "num_timesteps": 300, "tensorboard": null}')
    run("ppo/E_1")
    Path("empty").mkdir()
    rows, lines = table("logs", "empty", capsys=capsys)
    assert lines == [
        "empty: no run, no evaluations.npz, no monitor.csv and no CSV file of results",
        "logs/dqn/E_5: has not ended (300 of 900 steps), and is left out; --unfinished counts it",
        "logs/dqn/E_3/evaluations.npz: no such file; EvalCallback writes it (`sb3-ext train --eval-freq ...`); "
        "the run is left out",
        "logs/dqn/E_4/evaluations.npz: curve 'E_4' from evaluations: returns must be finite; the run is left out",
        "logs/dqn/E_2 ends at step 200, where all runs of dqn on E are cut; one has 400",
        "logs/ppo/E_1/evaluations.npz: no such file; EvalCallback writes it (`sb3-ext train --eval-freq ...`); "
        "the run is left out",
        "ppo on E: no run is left, and so no row",
    ]
    assert [(row["runs"], row["env_steps"], row["mean"]) for row in rows] == [("2", "200", "4.0")]
    rows, _ = table("logs", "--unfinished", capsys=capsys)
    assert rows[0]["runs"] == "3"


def test_a_run_that_went_on_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C and `--resume` the first folder keeps its note, and the second has the rest of the evaluations."""
    run("dqn/E_1", 1, 2)
    Path("logs/dqn/E_1/interrupted.json").write_text("{")
    run("dqn/E_2", 3, 4, begin=300, command="--seed 5")
    run("dqn/E_3", 1, 2, 3, 6, command="--seed 5")
    run("dqn/E_4", 9, 9, 9, 9, command="-i logs/dqn/E_3/rl_model_100_steps.zip")
    run("dqn/F_1", 9, command="-i elsewhere/dqn/F_9/F.zip")
    run("dqn/F_2", 9, command="-i logs/dqn/E_3/E.zip")  # another task, to which nothing was added
    run("dqn/G_1", 1)
    Path("logs/dqn/G_1/interrupted.json").write_text("{")
    run("dqn/G_2", 8, command="--trained-agent logs/dqn/G_1/rl_model_50_steps.zip")
    rows, lines = table("logs", capsys=capsys)
    assert [(row["runs"], row["mean"]) for row in rows] == [("2", "5.0"), ("2", "9.0"), ("1", "8.0")]
    assert lines == [
        "logs/dqn/E_1/interrupted.json is broken; the run is left out",
        "logs/dqn/E_4: goes on, by -i, from dqn/E_3, and is left out beside it",
        "logs/dqn/E_2, logs/dqn/E_3: all of seed 5, and each counts as a run",
        "logs/dqn/G_1/interrupted.json is broken; the run is left out",
    ]
    assert cli.main(["table", "logs", "--unfinished"]) == 2
    line = "logs/dqn/E_1 ends at step 200, before logs/dqn/E_2 begins at 300: there is no step to compare them at"
    assert line in capsys.readouterr().err


def test_runs_of_several_experiments_are_told_apart_by_labels(capsys: pytest.CaptureFixture[str]) -> None:
    run("old/dqn/E_1", 1)
    run("new/dqn/E_1", 3)
    rows, lines = table("logs", capsys=capsys)
    assert [row["mean"] for row in rows] == ["2.0"]
    assert lines == ["dqn on E: one row of logs/new/dqn and logs/old/dqn; LABEL=FOLDER makes two"]
    rows, lines = table("old=logs/old", "new=logs/new", capsys=capsys)
    assert [row["mean"] for row in rows] == ["1.0", "3.0"] and not lines
    rows, lines = table("both=logs", capsys=capsys)
    assert [row["mean"] for row in rows] == ["2.0"] and not lines


def test_training_episodes_are_cut_where_the_first_run_ends() -> None:
    for number, n_episodes in ((1, 10), (2, 5)):
        folder = run(f"dqn/E_{number}")
        fake_monitor(folder, *range(number, n_episodes + number))
    runs, lines = scored(groups_of([(None, Path("logs"))], None, []), "monitor", window=2)
    assert [x.score for x in runs] == [4.5, 5.5] and [x.steps for x in runs] == [50, 50]
    assert lines == ["logs/dqn/E_2 ends at step 50, where all runs of dqn on E are cut; one has 100"]


def test_runs_of_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    rainbow = str(RESULTS / "rainbow.csv")
    rows, _ = table(rainbow, "--env", "CartPole-v1", "--versus", "dqn", capsys=capsys)
    with open(rainbow, newline="") as file:
        mine = [row for row in csv.DictReader(file) if row["task"] == "CartPole-v1" and row["agent"] == "dqn"]
    (row,) = (row for row in rows if row["algorithm"] == "dqn")
    assert int(row["runs"]) == len(mine)
    assert float(row["mean"]) == pytest.approx(np.mean([float(x["final_mean"]) for x in mine]))
    assert float(row["CPU_seconds"]) == pytest.approx(np.mean([float(x["cpu_seconds"]) for x in mine]))
    rows, lines = table(str(RESULTS), "--env", "TMaze", capsys=capsys)
    assert {row["algorithm"] for row in rows} >= {"memory r2d2", "memory dqn"}
    assert any("acting.csv" in line and "left out" in line for line in lines)


def test_a_file_is_written_whole_and_by_its_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    run("dqn/E_1", 1)
    run("ppo/E_1", 1, 2, 3)
    assert cli.main(["table", "logs", "-o", "out/table.tex"]) == 0
    said = capsys.readouterr()
    assert said.out == "2 rows of 2 runs: out/table.tex\n"
    assert said.err == "E: not after the same number of env steps: dqn 100, ppo 300\n"
    assert Path("out/table.tex").read_text().startswith("\\begin{table}") and len(list(Path("out").iterdir())) == 1
    assert cli.main(["table", "logs"]) == 0
    assert "| E | dqn | 1 | 100 | 1.000 | - | 1.000 [-, no interval] |" in capsys.readouterr().out
    Path("scores.yml").write_text("E: {random: 0, expert: 2}\nUnused-v0: {random: 0, expert: 2}\n")
    rows, _ = table("logs", "--normalize", "scores.yml", capsys=capsys)
    assert [row["normalised"] for row in rows] == ["0.5", "1.5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "there is no folder and no file nowhere"),
        ("empty", "no run with a score in empty: there is no number to write"),
        ("logs --env Pong-v0", "no run of Pong-v0 with a score in logs"),
        ("logs -o x.docx", "-o x.docx: a table ends in .md, .tex, .csv, or --format says what it is"),
        ("logs -o empty", "-o empty is a folder"),
        ("logs --format html", "invalid choice: 'html'"),
        ("logs --versus sac", "no run is of 'sac', to compare with; there are dqn"),
        ("logs --window 0", "--window 0 must be >= 1"),
        ("logs --normalize E=5,1", "--normalize E=5,1: takes ENV=RANDOM,EXPERT"),
        ("logs --normalize E=1", "takes ENV=RANDOM,EXPERT"),
        ("logs --normalize E=1,2,3", "takes ENV=RANDOM,EXPERT"),
        ("logs --normalize E=nan,1", "takes ENV=RANDOM,EXPERT"),
        ("logs --normalize E", "takes ENV=RANDOM,EXPERT"),
        ("logs --normalize F=0,1", "--normalize F: no run is of it; known: E"),
        ("logs --normalize nosuch.yml", "--normalize nosuch.yml: there is no such file"),
        ("logs --normalize list.yml", "--normalize list.yml: takes ENV=RANDOM,EXPERT"),
        ("one.csv two.csv", "a on T is in one.csv and two.csv: tell them apart by a name, as new=two.csv"),
        ("one.csv --by colour", "one.csv: no column colour among task, agent, seed, final_mean"),
    ],
)
def test_wrong_input_is_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("dqn/E_1", 1)
    Path("empty").mkdir()
    Path("list.yml").write_text("- 1\n")
    for name in ("one.csv", "two.csv"):
        Path(name).write_text("task,agent,seed,final_mean\nT,a,0,1\n")
    before = set(Path().iterdir())
    assert cli.main(["table", *arguments.split()]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("sb3-ext table: ") and message in last
    assert set(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-a dqn -e E -f nosuch", "-f nosuch: there is no such folder"),
        ("-a dqn sac -e E -f logs", "nothing to put in the table for sac on E in logs"),
        ("-a dqn -e E Pong -f logs", "nothing to put in the table for dqn on Pong in logs"),
        ("-a ppo -e E -f logs", "ppo on E in logs: all_plots needs a run with two evaluations or more"),
        ("-a dqn -e E", "the following arguments are required: -f"),
    ],
)
def test_all_plots_writes_no_number_without_a_run(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("dqn/E_1", 1, 2)
    run("ppo/E_1", 1)
    assert cli.main(["all_plots", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and "0.0" not in said.out


@pytest.mark.filterwarnings("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
def test_all_plots_writes_a_table_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("dqn/E_1", 1, 2)
    run("dqn/E_2", 1, 4)
    assert cli.main(["all_plots", "--algos", "DQN", "-e", "E", "-f", "logs", "--no-display"]) == 0
    assert "3 +/- 1" in capsys.readouterr().out
