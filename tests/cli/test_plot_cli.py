"""`sb3-ext plot`: which runs are one curve, and what is said about those that are not all of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support.fake_runs import fake_monitor, fake_part, fake_run

from sb3_ext.cli import main as cli
from sb3_ext.viz import curve_pictures
from sb3_ext.zoo.runs.manifests import under_way

UUID = "0b56ad40-95cd-4c4a-9d3f-2a8d1e5c7f10"


@pytest.fixture(autouse=True)
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """:return: the figures, of which none is saved: what is in them is looked at"""
    monkeypatch.chdir(tmp_path)
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path, dpi: int) -> Path:
        figures.append(figure)
        return path

    monkeypatch.setattr("sb3_ext.saving.save_figure", keep)
    monkeypatch.setattr(curve_pictures, "_label_ends", lambda *_: None)  # lines of curves, and no others
    return figures


def plot(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """:return: the lines about curves, and those about what was left out"""
    assert cli.main(["plot", *arguments]) == 0
    said = capsys.readouterr()
    *lines, path = said.out.splitlines()
    assert path == "curves.png"
    return lines, said.err.splitlines()


def test_an_environment_has_a_panel_and_runs_with_a_uuid_are_of_one(
    drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, rest in enumerate(("", f"_{UUID}", "")):
        fake_run(f"dqn/A-v1_{number + 1}{rest}", 0, 10 * number)
    fake_run(f"ppo/A-v1_1_{UUID}", 0, 5)
    fake_run("ppo/B-v1_1", 0, 7)
    lines, notes = plot("logs", capsys=capsys)
    assert not notes and [line.split(" after")[0].split(" [")[0] for line in lines] == [
        "dqn on A-v1: 10.00",
        "ppo on A-v1: 5.00",
        "ppo on B-v1: 7.00",
    ]
    assert [line.rpartition("steps, ")[2] for line in lines] == [
        f"{n} (evaluations)" for n in ("3 runs", *["1 run"] * 2)
    ]
    (figure,) = drawn
    assert [(axes.get_title("left"), len(axes.lines)) for axes in figure.axes] == [("A-v1", 2), ("B-v1", 1)]
    assert figure.axes[0].lines[1].get_color() == figure.axes[1].lines[0].get_color()
    plot("all=logs", "--title", "Both", capsys=capsys)
    assert [(axes.get_title("left"), len(axes.lines)) for axes in drawn[1].axes] == [("A-v1", 1), ("B-v1", 1)]
    assert drawn[1].get_suptitle() == "Both"
    plot("logs", "--env", "B-v1", "--title", "One", capsys=capsys)
    assert [axes.get_title("left") for axes in drawn[2].axes] == ["One"] and drawn[2].get_suptitle() == ""


def test_the_run_that_cuts_a_curve_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    fake_run("dqn/A_1", 1, 2, 3, 4)
    fake_run("dqn/A_2", 3, 4)
    lines, notes = plot("logs", capsys=capsys)
    assert lines[0].startswith("dqn on A: 3.00 [") and "after 200 env steps" in lines[0]
    assert notes == ["logs/dqn/A_2 ends at step 200, where all runs of dqn on A are cut; one has 400"]
    fake_run("dqn/A_3", 3, 4, begin=300)
    assert cli.main(["plot", "logs"]) == 2
    line = "logs/dqn/A_2 ends at step 200, before logs/dqn/A_3 begins at 300: there is no step to compare them at"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("state", ["interrupted", "failed", "running", "killed"])
def test_it_is_said_of_that_run_that_it_has_not_ended(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake_part("dqn/A_1", 1, 2, 3)
    short = fake_part("dqn/A_2", 3, num_timesteps=100, ended="running" if state == "killed" else state)
    with under_way(short) if state == "running" else contextlib.nullcontext():
        _, notes = plot("logs", capsys=capsys)
    assert notes == [f"logs/dqn/A_2 ({state}) ends at step 100, where all runs of dqn on A are cut; one has 300"]


def test_runs_without_returns_are_left_out_and_others_decide_what_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    fake_run("dqn/A_1")
    assert cli.main(["plot", "logs"]) == 2
    assert capsys.readouterr().err == "sb3-ext plot: no runs in logs: no evaluations.npz and no monitor.csv\n"
    fake_monitor(fake_run("dqn/A_2", 1, 2), 5, 6, 7)
    lines, notes = plot("logs", capsys=capsys)
    assert lines == ["dqn on A: 2.00 after 200 env steps, 1 run (evaluations)"]
    (note,) = notes
    assert note.startswith("logs/dqn/A_1/evaluations.npz: no such file") and note.endswith("the run is left out")
    fake_monitor(fake_run("dqn/A_3"), 1, 2, 3)
    lines, notes = plot("logs", "--window", "1", capsys=capsys)
    assert lines[0].startswith("dqn on A: 5.00 [") and "after 30 env steps, 2 runs (monitor)" in lines[0]
    assert notes[0] == "logs/dqn/A_3 has no evaluations.npz: training episodes are drawn, of all runs"
    (Path("logs/dqn/A_2") / "evaluations.npz").write_bytes(b"no zip")
    assert cli.main(["plot", "logs", "--source", "evaluations"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "sb3-ext plot: no runs in logs with a return to draw"


def test_runs_of_several_experiments_are_told_apart_by_labels(capsys: pytest.CaptureFixture[str]) -> None:
    fake_run("old/dqn/A_1", 1)
    fake_run("new/dqn/A_1", 3)
    lines, notes = plot("logs", capsys=capsys)
    assert len(lines) == 1 and notes == ["dqn on A: one curve of logs/new/dqn and logs/old/dqn; LABEL=FOLDER makes two"]
    lines, notes = plot("old=logs/old", "new=logs/new", "logs/new/../new", capsys=capsys)
    assert [line.split(":")[0] for line in lines] == ["old on A", "new on A"] and not notes
