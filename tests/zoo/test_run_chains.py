"""Chains against a second formula: to follow the parents of each folder by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.manifests import manifest

from sb3_ext.zoo.runs.chains import Chain, chains_of
from sb3_ext.zoo.runs.manifests import Manifest

LOGS = Path("logs/ppo")


def run(name: str, **changes: Any) -> Path:
    """The folder of a run with this manifest, whose id is the name."""
    folder = LOGS / name
    folder.mkdir(parents=True)
    manifest(id=name, **changes).write(folder)
    return folder


def child(name: str, parent: str, steps: int, **changes: Any) -> Path:
    return run(name, parent=parent, parent_folder=f"../{parent}", parent_steps=steps, **changes)


def named(chains: list[Chain]) -> list[tuple[str, ...]]:
    return [tuple(part.name for part in chain.parts) for chain in chains]


def test_a_run_that_was_interrupted_twice_is_one() -> None:
    """Also where only its last folder is asked for, and where the earlier ones were renamed."""
    run("E_1", ended="running", num_timesteps=200)
    child("E_2", "E_1", 200, ended="interrupted", num_timesteps=700)
    last = child("E_3", "E_2", 700, ended="finished", num_timesteps=1000)
    other = run("E_4", ended="finished")
    chains, notes = chains_of([LOGS / "E_1", LOGS / "E_2", last, other])
    assert named(chains) == [("E_1", "E_2", "E_3"), ("E_4",)] and notes == []
    assert [list(chain.cuts) for chain in chains] == [[200, 700, math.inf], [math.inf]]
    assert chains[0].last == last and chains[0].manifest == Manifest.read(last)
    assert [found and found.ended for found in chains[0].manifests] == ["running", "interrupted", "finished"]
    alone, notes = chains_of([last])
    assert alone == chains[:1] and notes == []
    assert chains_of([last, Path("logs/../logs/ppo/E_3"), last])[0] == alone, "one folder has several names"

    (LOGS / "E_1").rename(LOGS / "first")
    assert named(chains_of([last])[0]) == [("first", "E_2", "E_3")]


def test_parents_in_other_log_folders_are_found_where_they_lay(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Path("old/ppo/E_1")
    first.mkdir(parents=True)
    manifest(id="a" * 32).write(first)
    second = run("E_1", parent="a" * 32, parent_folder="../../../old/ppo/E_1", parent_steps=5)
    assert chains_of([second])[0][0].parts == (first, second)
    monkeypatch.chdir(second)
    assert chains_of([Path()])[0][0].parts == (Path("../../../old/ppo/E_1"), Path())
    manifest(id="b" * 32).write(Path("../../../old/ppo/E_1"))
    assert chains_of([Path()])[1] == [".: goes on after step 5 of a run, ../../../old/ppo/E_1, that is not there"], (
        "another run has its place"
    )


def test_runs_without_a_manifest_stand_alone_and_begin_chains() -> None:
    for name in ("E_1", "E_2"):
        (LOGS / name).mkdir(parents=True)
    last = run("E_3", parent_folder="../E_1", parent_steps=30)
    chains, notes = chains_of([LOGS / "E_1", LOGS / "E_2", last])
    assert named(chains) == [("E_2",), ("E_1", "E_3")] and notes == []
    assert chains[1].manifests == (None, Manifest.read(last)) and list(chains[1].cuts) == [30, math.inf]


def test_what_only_begins_with_a_model_is_a_run_of_its_own() -> None:
    first = run("E_1", ended="finished")
    anew = child("E_2", "E_1", 0)
    of_another_task = child("F_1", "E_1", 50, env_id="Pendulum-v1")
    by_another_algorithm = child("E_3", "E_1", 50, algorithm="a2c")
    chains, notes = chains_of([first, anew, of_another_task, by_another_algorithm])
    assert named(chains) == [("E_1",), ("E_2",), ("F_1",), ("E_3",)] and notes == []


def test_what_has_finished_stands_for_itself_unless_another_goes_on_from_its_end() -> None:
    line = "logs/ppo/E_2 goes on from step 60 of logs/ppo/E_1, which has finished: they share its steps"
    for ended, steps, expected in (
        ("finished", 100, [("E_1", "E_2")]),
        ("finished", 60, [("E_1",), ("E_1", "E_2")]),
        ("interrupted", 60, [("E_1", "E_2")]),
    ):
        first = run("E_1", ended=ended, num_timesteps=100)
        chains, notes = chains_of([first, child("E_2", "E_1", steps)])
        assert named(chains) == expected and notes == ([line] if len(expected) > 1 else [])
        shutil.rmtree(LOGS)


def test_two_that_go_on_from_one_are_two_runs_and_a_line() -> None:
    first = run("E_1", ended="interrupted", num_timesteps=100)
    runs = [first, child("E_2", "E_1", 100, num_timesteps=150), child("E_3", "E_1", 60), child("E_4", "E_3", 90)]
    chains, notes = chains_of(runs)
    assert named(chains) == [("E_1", "E_2"), ("E_1", "E_3", "E_4")] and list(chains[1].cuts) == [60, 90, math.inf]
    assert notes == ["logs/ppo/E_2 and logs/ppo/E_3 go on from logs/ppo/E_1: they share its steps"]


def test_what_was_killed_before_it_saved_a_step_is_no_run_where_another_goes_on() -> None:
    first = run("E_1", ended="interrupted", num_timesteps=100)
    runs = [first, child("E_2", "E_1", 100, began="2026-01-02"), child("E_3", "E_1", 100, began="2026-01-03")]
    assert (named(chains_of(runs)[0]), chains_of(runs)[1]) == ([("E_1", "E_3")], []), "the newest stands for both"
    runs.append(child("E_4", "E_1", 100, num_timesteps=300, began="2026-01-01"))
    assert (named(chains_of(runs)[0]), chains_of(runs)[1]) == ([("E_1", "E_4")], [])
    runs.append(child("E_5", "E_1", 100, ended="finished"))
    assert named(chains_of(runs)[0]) == [("E_1", "E_4"), ("E_1", "E_5")], "who has finished counts"


def test_what_is_odd_is_a_line() -> None:
    gone = child("E_2", "E_1", 40)
    copied = LOGS / "copy"
    shutil.copytree(gone, copied)
    manifest(id="E_2", num_timesteps=500, parent="E_1", parent_steps=40).write(copied)
    loops = [child("E_5", "E_6", 10), child("E_6", "E_5", 10)]
    broken = LOGS / "E_7"
    broken.mkdir()
    (broken / "run.json").write_text(json.dumps({"id": 3}))
    chains, notes = chains_of([gone, copied, *loops, broken])
    assert named(chains) == [("copy",), ("E_7",)], "of those that go on from each other, none ends"
    assert notes[0] == "logs/ppo/E_2: a copy of logs/ppo/copy, and is left out"
    assert "logs/ppo/copy: goes on after step 40 of a run that is not there" in notes
    assert any(line.startswith("logs/ppo/E_5: says that it goes on from logs/ppo/E_6, which") for line in notes)
    assert any(line.startswith("logs/ppo/E_7/run.json is broken: it lacks algorithm, env_id") for line in notes)
