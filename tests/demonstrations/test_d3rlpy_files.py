"""d3rlpy's files: what they hold comes back bit for bit."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.demo_worlds import (
    ARRAYS_ONLY,
    bare,
    random_demos,
    read_as,
    whole,
    without_final,
    write_as,
)

from sb3_ext.demonstrations import Episode

IN_EXTRA = "in the extra `demos`"


@pytest.mark.parametrize(("observations", "actions"), ARRAYS_ONLY)
def test_d3rlpy_file_comes_back(tmp_path: pathlib.Path, observations: str, actions: str) -> None:
    pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos(observations, actions)
    assert read_as("d3rlpy", write_as("d3rlpy", demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)
    assert [p.name for p in tmp_path.iterdir()] == ["demos.h5"]


def test_d3rlpy_unknown_final_observations_come_back(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos("image")
    some = replace(demos, episodes=(without_final(demos.episodes[0]), *demos.episodes[1:]))
    assert read_as("d3rlpy", write_as("d3rlpy", some, tmp_path / "demos"), *whole(some)) == bare(some, seeds=False)


def test_d3rlpy_finds_what_it_looks_for(tmp_path: pathlib.Path) -> None:
    """The names and shapes that `d3rlpy.dataset.io.load` of 2.8.1 goes through."""
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos()
    with h5py.File(write_as("d3rlpy", demos, tmp_path / "demos.h5"), "r") as file:
        assert file["version"][()] == b"2.1" and file["num_episodes"][()] == 3
        for i, episode in enumerate(demos.episodes):
            found = {key.decode(): file[f"{key.decode()}_{i}"][()] for key in file["columns"][()]}
            assert list(found) == ["observations", "actions", "rewards", "terminated"]
            n = len(episode)
            shapes = [(n, 3), (n, 1), (n, 1)]
            assert [found[key].shape for key in ("observations", "actions", "rewards")] == shapes
            assert bool(found["terminated"]) == episode.terminated


@pytest.mark.parametrize("how", ["unknown", "drop", "repeat"])
def test_d3rlpy_files_without_final_observations(tmp_path: pathlib.Path, how: Any) -> None:
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos("image")
    new, old = write_as("d3rlpy", demos, tmp_path / "new.h5"), tmp_path / "old.h5"
    with h5py.File(new, "a") as file:
        for i in range(3):
            del file[f"final_observation_{i}"], file[f"truncated_{i}"]
    ends = np.zeros(demos.n_steps)
    ends[np.cumsum(demos.lengths) - 1] = 1
    with h5py.File(old, "w") as file:  # MDPDataset.dump of d3rlpy 1
        file["observations"] = np.concatenate([e.observations[:-1] for e in demos.episodes])  # type: ignore[index]
        file["actions"] = np.concatenate([e.actions for e in demos.episodes])
        file["rewards"] = np.concatenate([e.rewards for e in demos.episodes if e.rewards is not None])
        file["terminals"] = ends * np.repeat([e.terminated for e in demos.episodes], demos.lengths)
        file["episode_terminals"] = ends
        file["discrete_action"] = True
        file["version"] = "1.0"
    expected = []
    for e in demos.episodes:
        assert isinstance(e.observations, np.ndarray) and e.rewards is not None
        if how == "unknown":
            expected.append(without_final(e, truncated=not e.terminated, seed=None))
        elif how == "repeat":
            last = np.concatenate([e.observations[:-1], e.observations[-2:-1]])
            expected.append(Episode(last, e.actions, e.rewards, e.terminated, not e.terminated))
        elif len(e) > 1:
            expected.append(Episode(e.observations[:-1], e.actions[:-1], e.rewards[:-1], False, True))
    for path in (new, old):
        assert list(read_as("d3rlpy", path, *whole(demos), final_observation=how).episodes) == expected
    if how == "unknown":
        assert read_as("d3rlpy", new, *whole(demos)).episodes == tuple(expected), "which is the default"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("version", "2.0", "version: '2.0'"),
        ("actions_1", np.zeros((1, 1)), "actions: float64 numbers"),
        ("observations_2", np.zeros((6, 2), np.float32), r"observations_2: shape \(6, 2\)"),
        ("observations_0_0", np.zeros(3), "observations_0_0: a tuple"),
        ("rewards_0", "text", "rewards_0: dtype object"),
        ("num_episodes", 4, "observations_3|actions_3"),
    ],
)
def test_d3rlpy_wrong_files_are_refused(tmp_path: pathlib.Path, name: str, value: Any, message: str) -> None:
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    path = write_as("d3rlpy", random_demos(), tmp_path / "demos.h5")
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = value
    with pytest.raises(ValueError, match=rf"demos\.h5: .*({message})"):
        read_as("d3rlpy", path, *whole(random_demos()))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"demos\.h5: not a dataset of d3rlpy"):
        read_as("d3rlpy", path, *whole(random_demos()))
