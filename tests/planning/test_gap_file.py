"""The file of a run in which its distance from the best policy is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sb3_ext.planning.gap_file import NAME, GapFile, Yardstick, read_gap

BEST = Yardstick(best_value=0.542, best_return=None, gamma=0.99)


def written(folder: Path, steps: list[int]) -> GapFile:
    file = GapFile(folder / NAME, BEST)
    file.begin(0)
    for n in steps:
        file.add({"steps": float(n), "gap": n / 7, "states_wrong": 2.0})
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written(tmp_path, [0, 1000, 2000])
    found = read_gap(tmp_path)
    assert found.yardstick == BEST
    assert found.steps.dtype == np.int64 and found.steps.tolist() == [0, 1000, 2000]
    np.testing.assert_allclose(found.values["gap"], found.steps / 7, rtol=1e-9)
    assert np.isnan(found.values["return_exact"]).all() and "return" not in found.values


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    written(tmp_path, [0]).add({"steps": 10.0, "gap": 0.5, "q_error": np.nan})
    found = read_gap(tmp_path)
    assert found.steps.tolist() == [0, 10] and np.isnan(found.values["q_error"]).all()


def test_it_goes_on_from_the_step_that_training_goes_on_from(tmp_path: Path) -> None:
    written(tmp_path, [0, 1000, 2000, 2500])
    kept = GapFile(tmp_path / NAME, BEST).begin(2000)
    assert [row["steps"] for row in kept] == [0, 1000, 2000]
    assert read_gap(tmp_path).steps.tolist() == [0, 1000, 2000]
    assert GapFile(tmp_path / NAME, BEST).begin(0) == [], "a new training begins a new file"
    with pytest.raises(ValueError, match="nothing was measured yet"):
        read_gap(tmp_path)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, [0, 1000])
    file.path.write_text(file.path.read_text() + "2000,0.1")
    assert read_gap(tmp_path).steps.tolist() == [0, 1000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "a,b\n1,2\n", "line 1 is not the one"),
        (lambda text: text.replace("0.542", "NaN"), "line 1 is not the one"),
        (lambda text: text.replace("0.542", '"a"'), "line 1 is not the one"),
        (lambda text: text.replace("0.542", f"1{'0' * 400}"), "line 1 is not the one"),
        (lambda text: f"#{'[' * 100_000}\n", "line 1 is not the one"),
        (lambda text: text.replace('"best_return": null', '"best_return": []'), "line 1 is not the one"),
        (lambda text: text.replace('"n_episodes": null', '"n_episodes": 0'), "line 1 is not the one"),
        (lambda text: text.replace("steps,gap", "steps,gaps"), "line 2 must name the columns"),
        (lambda text: text + f"{'9' * 200_000},,,,,,,,\n", "line 5 is no measurement: '9{80}'$"),
        (lambda text: text + "1e300,,,,,,,,\n", "line 5 is no measurement"),
        (lambda text: text + "0.5,,,,,,,,\n", "line 5 is no measurement"),
        (lambda text: text + "99999999999999999999,,,,,,,,\n", "line 5 is no measurement"),
        (lambda text: text + "3000,nan,,,,,,,\n", "line 5 is no measurement"),
        (lambda text: text + "many,,,,,,,,\n", "line 5 is no measurement"),
        (lambda text: text + "500,0.1,,,,,,,\n", "its steps go back"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    file = written(tmp_path, [0, 1000])
    file.path.write_text(change(file.path.read_text()))
    with pytest.raises(ValueError, match=rf"optimality\.csv: {message}"):
        read_gap(tmp_path)


def test_a_file_that_no_run_writes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(10**10)  # holes take no space
    with pytest.raises(ValueError, match="10000000000 bytes are more than any run writes"):
        read_gap(tmp_path)


def test_a_run_without_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file; `sb3-ext train --optimality-gap`"):
        read_gap(tmp_path)
