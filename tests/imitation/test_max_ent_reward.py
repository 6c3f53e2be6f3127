"""A recovered reward as a file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ext.imitation import MaxEntReward


def reward(of_arrival: np.ndarray | None) -> MaxEntReward:
    rng = np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(2), size=3)
    numbers = {"feature_gap": 1 / 3, "log_likelihood": -0.1, "gamma": 0.9, "l2": 1e-4}
    return MaxEntReward(
        rng.normal(size=3),
        rng.normal(size=(3, 2)),
        policy,
        of_arrival,
        history=np.array([-1.0, -0.1]),
        n_steps=7,
        converged=True,
        **numbers,
    )


@pytest.mark.parametrize("of_arrival", [None, np.array([0.1, -2.0, 1e-300])], ids=["actions", "arrival"])
def test_it_is_read_as_it_was_written(tmp_path: Path, of_arrival: np.ndarray | None) -> None:
    written = reward(of_arrival)
    written.save(tmp_path / "lake")
    for path in (tmp_path / "lake.json", tmp_path / "lake"):
        read = MaxEntReward.load(path)
        for field in fields(written):
            np.testing.assert_array_equal(getattr(read, field.name), getattr(written, field.name), field.name)
    assert read.n_iterations == 1 and [path.name for path in tmp_path.iterdir()] == ["lake.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said.pop("reward"), "'reward' is missing"),
        (lambda said: said.update(kind="picture"), "no file of MaxEntReward.save"),
        (lambda said: said.update(version=2), "no file of MaxEntReward.save"),
        (lambda said: said.update(reward=[[1.0, 2.0], [1.0]]), "'reward' holds something else than numbers"),
        (lambda said: said.update(reward=[1.0]), "'reward' must hold finite numbers along 2 axes, and has 1"),
        (lambda said: said.update(weights=[None]), "'weights' must hold finite numbers"),
        (lambda said: said.update(weights={"a": 1}), "'weights' holds something else"),
        (lambda said: said.update(policy=[[1.0, 0.0]]), r"policy has shape \(1, 2\), reward \(3, 2\)"),
        (lambda said: said.update(of_arrival=[1.0]), "of_arrival has 1 states, reward 3"),
        (lambda said: said.update(gamma="a"), "'gamma' holds something else"),
        (lambda said: said.update(n_steps=1.5), "n_steps must be a whole number"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "lake.json"
    reward(np.zeros(3)).save(path)
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=f"lake.json: {message}"):
        MaxEntReward.load(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"3"])
def test_garbage_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lake.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"lake.json: no (JSON|file) of MaxEntReward.save"):
        MaxEntReward.load(tmp_path / "lake.json")
    with pytest.raises(FileNotFoundError):
        MaxEntReward.load(tmp_path / "sea.json")


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        reward(np.array([0.0, np.nan, 0.0])).save(tmp_path / "lake")
    assert not list(tmp_path.iterdir())
