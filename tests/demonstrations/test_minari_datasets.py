"""Minari's data sets: all of them comes back bit for bit, and none is run."""

from __future__ import annotations

import importlib
import json
import pathlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import (
    PAIRS,
    assert_same_space,
    random_demos,
    read_as,
    write_as,
)

from sb3_ext.demonstrations import from_arrays

BIT = spaces.Discrete(2)
IN_EXTRA = "in the extra `demos`"


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_minari_dataset_comes_back(tmp_path: pathlib.Path, observations: str, actions: str, data_format: str) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py" if data_format == "hdf5" else "pyarrow", reason=IN_EXTRA)
    demos = random_demos(observations, actions)
    path = write_as("minari", demos, tmp_path / "random-v0", data_format=data_format)
    again = read_as("minari", path)
    assert again == demos
    assert again.env_id == demos.env_id and again.versions == demos.versions
    assert_same_space(again.observation_space, demos.observation_space)
    assert_same_space(again.action_space, demos.action_space)
    assert read_as("minari", minari.MinariDataset(path / "data")) == demos
    assert [p.name for p in tmp_path.iterdir()] == ["random-v0"]


def test_minari_finds_it_by_id_and_knows_the_environment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    demos = replace(random_demos(), env_id="CartPole-v1")
    write_as("minari", demos, tmp_path / "cartpole" / "expert-v0", dataset_id="cartpole/expert-v0")
    dataset = minari.load_dataset("cartpole/expert-v0")
    assert dataset.total_episodes == 3 and dataset.total_steps == 11
    assert dataset.env_spec.id == "CartPole-v1"
    assert read_as("minari", "cartpole/expert-v0") == demos


def test_minari_that_knows_only_jpeg_gets_no_images(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    MinariStorage = importlib.import_module("minari.dataset.minari_storage").MinariStorage
    image = spaces.Box(0, 255, (40, 36, 3), np.uint8)  # smaller ones are none to Minari
    rows = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), dtype=np.uint8)
    demos = from_arrays([rows], [[0, 1]], [[0.0, 1.0]], terminated=[True], observation_space=image, action_space=BIT)
    assert read_as("minari", write_as("minari", demos, tmp_path / "images-v0")) == demos  # what JPEG would change
    new = MinariStorage.new

    def old(data_path: Any, observation_space: Any, action_space: Any, env_spec: Any, data_format: Any) -> Any:
        return new(data_path, observation_space, action_space, env_spec, data_format)

    monkeypatch.setattr(MinariStorage, "new", old)
    with pytest.raises(ValueError, match="observations: this Minari stores images with loss"):
        write_as("minari", demos, tmp_path / "more-v0")
    vectors = random_demos()
    assert read_as("minari", write_as("minari", vectors, tmp_path / "vectors-v0")) == vectors


def test_minari_dataset_without_spaces_runs_nothing(tmp_path: pathlib.Path) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    path = write_as("minari", replace(random_demos(), env_id="CartPole-v1"), tmp_path / "random-v0")
    marker = tmp_path / "marker"
    metadata_path = path / "data" / "metadata.json"
    metadata = json.loads(metadata_path.read_text())
    spec = json.loads(metadata["env_spec"])
    spec |= {"id": "Any-v0", "entry_point": "os:mkdir", "kwargs": {"path": str(marker)}}
    del metadata["observation_space"]
    metadata_path.write_text(json.dumps(metadata | {"env_spec": json.dumps(spec)}))
    with pytest.raises(ValueError, match=r"metadata\.json: observation_space: missing"):
        read_as("minari", path)
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever follows from what ran
        minari.MinariDataset(path / "data")
    assert marker.exists()


def test_minari_dataset_that_is_none_is_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_as("minari", tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"metadata\.json: missing"):
        read_as("minari", tmp_path)
    path = write_as("minari", random_demos(), tmp_path / "random-v0")
    with pytest.raises(ValueError, match="exists already"):
        write_as("minari", random_demos(), path)
    with pytest.raises(ValueError, match="dataset_id 'random' must look like"):
        write_as("minari", random_demos(), tmp_path / "random")
    h5py = importlib.import_module("h5py")
    file = path / "data" / "main_data.hdf5"
    with h5py.File(file, "a") as content:
        content["episode_0/terminations"][1] = True
    with pytest.raises(ValueError, match=r"random-v0.data: episode 0: terminations: set before the last step"):
        read_as("minari", path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a dataset of Minari, or cut short"):
        read_as("minari", path)
