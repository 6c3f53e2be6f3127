"""One run of several folders has one curve: each step counts once, and none is lost."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fake_runs import fake_monitor, fake_part, fake_run

from sb3_ext.viz.curves import NoReturns, read_evaluations, read_monitor
from sb3_ext.zoo.runs.chain_curves import chain_evaluations, chain_to, read_chain

LOGS = Path("logs/dqn")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def returns_of(folder: Path, source: Any = "evaluations") -> tuple[dict[int, float], list[str]]:
    """:return: mean return by step, and the lines"""
    chain, notes = chain_to(folder)
    curve = read_chain(chain, source, notes)
    return dict(zip(curve.steps.tolist(), curve.smoothed(1).tolist(), strict=True)), notes


def random_run(seed: int) -> tuple[Path, dict[int, float]]:
    """
    A run of 1000 steps that was killed at random steps and went on from checkpoints before them, evaluated each 10
    steps.

    :return: its last folder, and what a run would have written that was not killed
    """
    rng = np.random.RandomState(seed)
    expected: dict[int, float] = {}
    begin = 0
    parent: str | None = None
    for number in range(1, 5):
        end = 1000 if number == 4 else int(rng.randint(begin + 1, 1000))
        checkpoint = 1000 if number == 4 else int(rng.randint(begin, end + 1))
        ended = "finished" if number == 4 else str(rng.choice(["running", "interrupted"]))
        folder = fake_part(f"dqn/E_{number}", parent=parent, steps=begin, num_timesteps=checkpoint, ended=ended)
        before = {step: x for step, x in expected.items() if step <= begin}
        made = {step: float(rng.randn()) for step in range(begin + 1, end + 1) if step % 10 == 0}
        written = {**(before if rng.rand() < 0.5 else {}), **made}  # half of the folders have a copy
        if written:
            results = np.array(list(written.values()))[:, None] + [-1, 1]
            np.savez(folder / "evaluations.npz", timesteps=list(written), results=results, ep_lengths=results)
        expected = {**before, **made}
        begin, parent = checkpoint, folder.name
    return folder, expected


@pytest.mark.parametrize("seed", range(12))
def test_evaluations_are_those_of_the_run_that_was_not_interrupted(seed: int) -> None:
    folder, expected = random_run(seed)
    found, notes = returns_of(folder)
    assert notes == [] and list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()))


def test_evaluations_after_the_checkpoint_do_not_count_although_none_were_made_again() -> None:
    fake_part("dqn/E_1", 1, 2, 3, ended="running", num_timesteps=250)
    second = fake_part("dqn/E_2", parent="E_1", steps=250, ended="running")
    assert returns_of(second)[0] == {100: 1, 200: 2}
    np.savez(second / "evaluations.npz", timesteps=[320], results=[[4.0]])
    assert returns_of(second)[0] == {100: 1, 200: 2, 320: 4}


def test_one_folder_is_read_as_it_is() -> None:
    folder = fake_run("dqn/E_1", 1, 2, 3)
    fake_monitor(folder, 5, 6)
    for source, read in (("evaluations", read_evaluations), ("monitor", read_monitor)):
        chain, notes = chain_to(folder)
        curve, alone = read_chain(chain, source, notes), read(folder)  # type: ignore[arg-type] # one of two
        assert curve.name == alone.name == "E_1" and notes == []
        np.testing.assert_array_equal(curve.steps, alone.steps)
        np.testing.assert_array_equal(curve.returns, alone.returns)


def test_evaluations_of_other_numbers_of_episodes_are_means() -> None:
    fake_part("dqn/E_1", 1, 2, ended="interrupted", num_timesteps=200)
    folder = fake_part("dqn/E_2", 3, parent="E_1", steps=200)
    np.savez(folder / "evaluations.npz", timesteps=[300], results=[[5.0, 6.0, 10.0]], ep_lengths=[[1, 2, 3]])
    assert returns_of(folder)[0] == {100: 1, 200: 2, 300: 7}
    arrays = chain_evaluations(*chain_to(folder))
    assert set(arrays) == {"timesteps", "results"}, "lengths are not known of all"


def test_training_episodes_go_on_over_the_ends_of_folders() -> None:
    """Killed at step 40 and gone on with from 25, where an episode was under way; then stopped at 60."""
    first = fake_part("dqn/E_1", ended="running", num_timesteps=25)
    fake_monitor(first, 1, 2, 3, 4)
    second = fake_part("dqn/E_2", parent="E_1", steps=25, ended="interrupted", num_timesteps=60)
    fake_monitor(second, 5, 6, 7)
    third = fake_part("dqn/E_3", parent="E_2", steps=60)
    fake_monitor(third, 8)
    expected = {10: 1, 20: 2, 35: 5, 45: 6, 55: 7, 70: 8}
    assert returns_of(third, "monitor") == (expected, [])
    fake_monitor(third)  # no episode has ended there
    assert returns_of(third, "monitor") == ({step: x for step, x in expected.items() if step < 70}, [])


@pytest.mark.parametrize("is_saved", [False, True])
def test_episodes_that_a_failed_run_made_after_its_checkpoint_do_not_count(is_saved: bool) -> None:
    """It fails at step 42. With a dead worker all is saved; an error of the environment leaves the checkpoint of 25."""
    steps = 42 if is_saved else 25
    first = fake_part("dqn/E_1", ended="failed", num_timesteps=steps)
    fake_monitor(first, 1, 2, 3, 4)
    if is_saved:
        with zipfile.ZipFile(first / "CartPole-v1.zip", "w") as file:
            file.writestr("data", json.dumps({"num_timesteps": steps}))
    second = fake_part("dqn/E_2", parent="E_1", steps=steps)
    fake_monitor(second, 5)
    expected = {10: 1, 20: 2, 30: 3, 40: 4, 52: 5} if is_saved else {10: 1, 20: 2, 35: 5}
    assert returns_of(second, "monitor") == (expected, [])


def test_steps_go_on_where_monitor_counts_frames() -> None:
    """Four frames to a step: 100 steps are 400 frames, of which episodes end after 390."""
    fake_monitor(fake_part("dqn/E_1", ended="interrupted", num_timesteps=100), 1, 2, 3, length=130)
    second = fake_part("dqn/E_2", parent="E_1", steps=100)
    fake_monitor(second, 4, length=130)
    assert returns_of(second, "monitor")[0] == {130: 1, 260: 2, 390: 3, 520: 4}


def test_a_run_whose_beginning_is_gone_begins_where_it_went_on() -> None:
    folder = fake_part("dqn/E_2", 3, 4, parent="E_1", steps=500)
    fake_monitor(folder, 8)
    line = "logs/dqn/E_2: goes on after step 500 of a run, ../E_1, that is not there"
    assert returns_of(folder) == ({600: 3, 700: 4}, [line])
    assert returns_of(folder, "monitor") == ({510: 8}, [line])


def test_what_is_broken_in_an_earlier_folder_is_a_line_and_in_the_last_one_an_error() -> None:
    first = fake_part("dqn/E_1", 1, ended="interrupted", num_timesteps=100)
    second = fake_part("dqn/E_2", 2, parent="E_1", steps=100)
    for folder in (first, second):
        (folder / "0.monitor.csv").write_text("no header\n")
    (first / "evaluations.npz").write_bytes(b"no zip")
    found, notes = returns_of(second)
    assert found == {200: 2} and len(notes) == 1
    assert notes[0].startswith("logs/dqn/E_1/evaluations.npz: not what EvalCallback writes")
    assert notes[0].endswith("; the curve of logs/dqn/E_2 is without it")
    with pytest.raises(ValueError, match=r"E_2/0\.monitor\.csv: line 1"):
        returns_of(second, "monitor")
    (second / "evaluations.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"E_2/evaluations\.npz: not what"):
        returns_of(second)


def test_no_returns_are_named_by_the_last_folder() -> None:
    first = fake_part("dqn/E_1", ended="interrupted", num_timesteps=100)
    second = fake_part("dqn/E_2", parent="E_1", steps=100)
    with pytest.raises(NoReturns, match=r"E_2/evaluations\.npz: no such file"):
        returns_of(second)
    with pytest.raises(NoReturns, match=r"E_2: no \*monitor\.csv"):
        returns_of(second, "monitor")
    for folder in (first, second):
        fake_monitor(folder)
    with pytest.raises(NoReturns, match="E_2: no episode has ended yet"):
        returns_of(second, "monitor")
