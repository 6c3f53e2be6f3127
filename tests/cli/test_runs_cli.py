"""`sb3-ext runs` on folders as trainings leave them: what is listed, shown, best, and what may be deleted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.fake_runs import fake_run
from support.manifests import manifest

from sb3_ext.cli import main as cli
from sb3_ext.zoo.runs import manifests
from sb3_ext.zoo.runs.manifests import Manifest

ENDED = {"ended_at": "2026-01-01T11:00:00+00:00", "cpu_seconds": 12.5, "versions": {"sb3_ext": "0.1.0"}}
COMMAND = "sb3-ext train --algo ppo --env E --seed 0"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()


def made(name: str, *scores: float, begin: int = 100, parent: Path | None = None, **values: Any) -> Path:
    """:return: folder of a run; its id is its name's characters as numbers"""
    folder = fake_run(name, *scores, begin=begin)
    algo, _, env = name.rpartition("_")[0].rpartition("/")
    known: dict[str, Any] = {"id": name_id(name), "algorithm": algo.rpartition("/")[2], "env_id": env}
    if parent is not None:
        before = Manifest.read(parent)
        assert before is not None
        known |= {"parent": before.id, "parent_folder": f"../{parent.name}", "parent_steps": before.num_timesteps}
    known |= {"seed": 0, "n_timesteps": 1000, "num_timesteps": 1000, "ended": "finished", "command": COMMAND}
    manifest(**{**ENDED, **known, **values}).write(folder)
    return folder


def name_id(name: str) -> str:
    return name.encode().hex().rjust(32, "0")[::-1]


def runs(*arguments: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[str, str]:
    assert cli.main(["runs", *arguments]) == code
    said = capsys.readouterr()
    return said.out, said.err


@pytest.fixture
def interrupted() -> list[Path]:
    """:return: the parts of a run, whose second one was killed after step 700 and evaluated once more before"""
    first = made("ppo/E_1", 1, 2, num_timesteps=200, ended="interrupted")
    (first / "best_model.zip").touch()
    second = made("ppo/E_2", 3, 4, 9, 5, 5, 8, begin=300, parent=first, num_timesteps=700, ended="running")
    third = made("ppo/E_3", 6, 6, 5, begin=800, parent=second, ended_at="2026-01-02T11:00:00+00:00")
    for part in (second, third):
        (part / "best_model.zip").touch()
    return [first, second, third]


def test_a_line_for_each_run_however_often_it_was_interrupted(
    interrupted: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made("dqn/E_1", seed=7, ended="failed", trouble="No space", num_timesteps=30)
    made("dqn/E_2", 1, seed=8, ended="running", num_timesteps=30, ended_at=None)
    fake_run("dqn/F_1", 3)
    table, err = runs(capsys=capsys)
    assert not err
    titles, *lines = [line.split() for line in table.splitlines()]
    assert titles == ["RUN", "SEED", "STEPS", "ENDED", "BEST", "LATEST", "AGE"]
    assert [line[:-2] for line in lines[:2]] == [
        ["dqn/E_1", "7", "30/1000", "failed", "-", "-"],
        ["ppo/E_3", "0", "1000/1000", "finished,", "3", "parts", "9.00", "at", "500", "5.00"],
    ]
    assert sorted(line[:8] for line in lines[2:]) == [
        ["dqn/E_2", "8", "30/1000", "killed", "1.00", "at", "100", "1.00"],
        ["dqn/F_1", "-", "-", "-", "3.00", "at", "100", "3.00"],
    ]
    only, _ = runs("list", "--algo", "ppo", "--env", "mine:E", capsys=capsys)
    assert [line.split()[0] for line in only.splitlines()] == ["RUN", "ppo/E_3"]


def test_programs_get_all_that_is_known(interrupted: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = runs("--json", "-f", "./logs", capsys=capsys)
    (run,) = json.loads(out)
    assert run["parts"] == [str(part) for part in interrupted] and run["folder"] == run["parts"][-1]
    assert run["name"] == "ppo/E_3" and run["id"] == name_id("ppo/E_3") and run["state"] == "finished"
    assert run["best"] == {"mean": 9.0, "step": 500, "episodes": 2, "model": "logs/ppo/E_2/best_model.zip"}
    assert run["latest"] == {"mean": 5.0, "step": 1000, "episodes": 2, "model": None}
    assert (run["num_timesteps"], run["n_timesteps"], run["seed"]) == (1000, 1000, 0)


def test_the_best_model_is_alone_in_its_line(interrupted: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (made("dqn/E_1", 1, 9.5) / "best_model.zip").touch()
    made("dqn/E_2", 99)  # whose model is gone
    (made("dqn/E_3", 9.5, ended_at="2025-01-01T00:00:00+00:00") / "best_model.zip").touch()  # as good, and older
    out, err = runs("best", "--env", "E", capsys=capsys)
    assert out == "logs/dqn/E_1/best_model.zip\n"
    assert err == "dqn/E_1: mean return 9.50 of 2 episodes at step 200\n"
    assert runs("best", "--env", "E", "--algo", "ppo", capsys=capsys)[0] == "logs/ppo/E_2/best_model.zip\n"


def test_a_model_of_steps_that_the_run_does_not_have_is_not_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    """The first part was killed after an evaluation that lies beyond its last checkpoint."""
    first = made("ppo/E_1", 5, 1, 9, num_timesteps=200, ended="running")
    (first / "best_model.zip").touch()
    second = made("ppo/E_2", 3, 4, begin=300, parent=first)
    (second / "best_model.zip").touch()
    out, err = runs("best", "--env", "E", capsys=capsys)
    assert out == "logs/ppo/E_2/best_model.zip\n" and "4.00 of 2 episodes at step 400" in err
    table, _ = runs(capsys=capsys)
    assert "5.00 at 100" in table, "an evaluation counts without its model"


def test_a_run_that_goes_on_takes_its_best_model_along(capsys: pytest.CaptureFixture[str]) -> None:
    """With the evaluations so far, which count once."""
    first = made("ppo/E_1", 5, 1, num_timesteps=200, ended="interrupted")  # from which the model was deleted
    second = made("ppo/E_2", 5, 1, 3, parent=first)
    (second / "best_model.zip").touch()
    out, err = runs("best", "--env", "E", capsys=capsys)
    assert out == "logs/ppo/E_2/best_model.zip\n" and "5.00 of 2 episodes at step 100" in err


def test_a_model_counts_with_the_evaluation_of_its_own_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """The best model so far was of a step behind the checkpoint; what the run kept since is worse than before."""
    first = made("ppo/E_1", 5, 1, 9, num_timesteps=200, ended="running")
    second = made("ppo/E_2", 5, 1, 3, 4, parent=first)
    with zipfile.ZipFile(second / "best_model.zip", "w") as file:
        file.writestr("data", json.dumps({"num_timesteps": 400}))
    out, err = runs("best", "--env", "E", capsys=capsys)
    assert out == "logs/ppo/E_2/best_model.zip\n" and "4.00 of 2 episodes at step 400" in err
    assert "5.00 at 100" in runs(capsys=capsys)[0], "an evaluation counts without its model"


@pytest.mark.parametrize(("algo", "step"), [("ppo", 100), ("r2d2", 300)])
def test_of_equally_good_models_ours_keep_the_latest(algo: str, step: int, capsys: pytest.CaptureFixture[str]) -> None:
    (made(f"{algo}/E_1", 5, 1, 5) / "best_model.zip").touch()
    assert runs("best", "--env", "E", capsys=capsys)[1].endswith(f"at step {step}\n")


def test_a_run_is_shown_with_its_files_and_what_comes_next(
    interrupted: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = runs("show", name_id("ppo/E_3")[:12], capsys=capsys)
    lines = page.splitlines()
    assert lines[0] == "ppo/E_3: ppo on E"
    for line in (
        "steps         1000 of 1000",
        "ended         finished",
        "CPU time      12 s",
        "best          mean return 9.00 of 2 episodes at step 500, logs/ppo/E_2/best_model.zip",
        "  ppo/E_1  steps 0 to 200, interrupted",
        "  ppo/E_2  steps 200 to 700, killed",
        "  ppo/E_3  steps 700 to 1000, finished",
        "Files in logs/ppo/E_3:",
        "        0 B  best_model.zip",
        "  sb3-ext report --algo ppo --env E --exp-id 3",
    ):
        assert line in lines, page
    parts, _ = runs("chain", "logs/ppo/E_1", capsys=capsys)
    assert parts.splitlines() == [line.strip() for line in lines if line.startswith("  ppo/")]
    earlier, _ = runs("show", "ppo/E_2/", capsys=capsys)
    assert "steps         700 of 1000" in earlier and "Files in logs/ppo/E_2:" in earlier


def test_an_unfinished_run_is_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    made("ppo/E_1", ended="interrupted", num_timesteps=300, trouble="worker 2 was ended by SIGKILL")
    page, _ = runs("show", "ppo/E_1", capsys=capsys)
    assert "ended         interrupted: worker 2 was ended by SIGKILL" in page
    assert page.endswith("Next:\n  sb3-ext train --algo ppo --env E --seed 0 --resume logs/ppo/E_1\n")
    fake_run("ppo/F_1")
    assert "manifest      none" in runs("show", "ppo/F_1", capsys=capsys)[0]


# ---------------------------------------------------------------------- rm


def test_a_run_is_deleted_and_its_neighbours_stay(capsys: pytest.CaptureFixture[str]) -> None:
    doomed, stays = made("dqn/E_1", 1, tensorboard="../../../tb/DQN_1"), made("ppo/E_1", 1)
    Path("tb/DQN_1").mkdir(parents=True)
    Path("elsewhere").mkdir()
    Path("elsewhere/kept").touch()
    (doomed / "link").symlink_to(Path("elsewhere").resolve())
    out, _ = runs("rm", "dqn/E_1", "--yes", capsys=capsys)
    assert out.startswith("Deleted logs/dqn/E_1, ")
    assert out.endswith("kB\ntb/DQN_1 stays, with the curves of TensorBoard\n") and Path("tb/DQN_1").is_dir()
    assert not Path("logs/dqn").exists() and stays.is_dir() and Path("elsewhere/kept").is_file()


def test_what_others_go_on_from_goes_with_them_or_stays(
    interrupted: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = runs("rm", "ppo/E_1", "--yes", capsys=capsys, code=2)
    assert "logs/ppo/E_2 goes on from logs/ppo/E_1: name both, or --chain takes the whole run" in err
    fork = made("ppo/E_4", 1, begin=300, parent=interrupted[0])
    _, err = runs("rm", "ppo/E_3", "--chain", "--yes", capsys=capsys, code=2)
    assert f"{fork} goes on from logs/ppo/E_1" in err and all(part.is_dir() for part in interrupted)
    out, _ = runs("rm", "ppo/E_4", "--yes", capsys=capsys)
    assert "E_4" in out
    out, _ = runs("rm", "ppo/E_2", "--chain", "--yes", capsys=capsys)
    assert [line.split(",")[0] for line in out.splitlines()] == [f"Deleted logs/ppo/E_{n}" for n in (3, 2, 1)]
    assert not any(part.exists() for part in interrupted)


def test_a_finished_run_is_no_part_of_the_one_that_begins_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    first = made("ppo/E_1", 1, 2, 3)
    made("ppo/E_2", 5, begin=200, parent=first, parent_steps=100)
    _, err = runs("rm", "ppo/E_2", "--chain", "--yes", capsys=capsys, code=2)
    assert "logs/ppo/E_1 is a run of its own" in err
    runs("rm", "ppo/E_2", "--yes", capsys=capsys)
    assert first.is_dir()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_a_terminal_is_asked(
    answer: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made("ppo/E_1")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    out, err = runs("rm", "ppo/E_1", capsys=capsys, code=code)
    assert out.startswith("logs/ppo/E_1  ") and folder.is_dir() == (code == 2)
    assert ("nothing is deleted" in err) == (code == 2)


def test_what_is_no_run_of_this_folder_stays(capsys: pytest.CaptureFixture[str]) -> None:
    outside = made("../other/ppo/E_1")
    Path("logs/ppo").mkdir()
    Path("logs/ppo/E_9").symlink_to(outside.resolve())
    Path("logs/mine").mkdir()
    Path("logs/mine/0.monitor.csv").touch()
    under_way = made("dqn/E_1", ended="running", ended_at=None)
    for name, line in {
        str(outside): f"no run {outside} in logs",
        "ppo/E_9": "no run ppo/E_9 in logs",
        "logs": "no run logs in logs",
        "mine": "logs/mine is no run of `sb3-ext train`: it has no run.json and no args.yml",
        "dqn/E_1": "logs/dqn/E_1 is under way",
    }.items():
        with manifests.under_way(under_way):
            assert line in runs("rm", name, "--yes", capsys=capsys, code=2)[1]
    assert len(list(outside.iterdir())) == 2 and under_way.is_dir() and Path("logs/mine").is_dir()
    _, err = runs("rm", "dqn/E_1", capsys=capsys, code=2)
    assert "nobody is there to ask, and --yes deletes without asking" in err


@pytest.mark.parametrize(
    ("parent_folder", "line"),
    [
        ("../E_9", "logs/ppo/E_9 is a link, or behind one: only logs's own folders are deleted"),
        ("../../../other/ppo/E_1", "other/ppo/E_1 does not lie in logs: -f names the log folder"),
    ],
)
def test_a_part_that_lies_elsewhere_stays(parent_folder: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    outside = made("../other/ppo/E_1", 1)
    Path("logs/ppo").mkdir()
    Path("logs/ppo/E_9").symlink_to(outside.resolve())
    child = made("ppo/E_2", 2, begin=1100, parent=outside, parent_folder=parent_folder, ended="interrupted")
    assert len(runs("chain", "ppo/E_2", capsys=capsys)[0].splitlines()) == 2
    _, err = runs("rm", "ppo/E_2", "--chain", "--yes", capsys=capsys, code=2)
    assert err == f"sb3-ext runs: {line}\n"
    assert child.is_dir() and Path("other/ppo/E_1/run.json").is_file()


def test_a_folder_with_runs_below_it_stays(capsys: pytest.CaptureFixture[str]) -> None:
    outer, inner = made("ppo/E_1", 1), made("ppo/E_1/again/E_1", 1)
    _, err = runs("rm", "ppo/E_1", "--yes", capsys=capsys, code=2)
    assert f"{outer} has runs below it, as {inner}" in err
    runs("rm", "ppo/E_1/again/E_1", "--yes", capsys=capsys)
    assert outer.is_dir() and not inner.exists()


def test_an_id_that_two_runs_begin_with_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    made("ppo/E_1", id="abcd1" + "0" * 27)
    made("ppo/E_2", id="abcd2" + "0" * 27)
    _, err = runs("show", "abcd", capsys=capsys, code=2)
    assert "abcd means logs/ppo/E_1 and logs/ppo/E_2: more characters tell them apart" in err
    assert runs("show", "abcd2", capsys=capsys)[0].startswith("ppo/E_2: ")
    assert "no run abc in logs" in runs("show", "abc", capsys=capsys, code=2)[1]
