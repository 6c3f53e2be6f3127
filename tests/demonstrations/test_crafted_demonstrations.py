"""Crafted and lossy files: one kind of error, and what was lost is said."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import random_demos, read_as, whole, write_as

EXTRA = "in the extra `demos`"

# Name of a data set -> what lies there in its place: None = nothing, else an argument of h5py's `create_dataset`.
H5: dict[str, tuple[str, Callable[[Any, Any], dict[str, Any] | None]]] = {
    "no number": ("num_episodes", lambda h5, f: {"data": h5.Empty("i8")}),
    "four numbers": ("num_episodes", lambda h5, f: {"data": np.zeros((2, 2))}),
    "negative": ("num_episodes", lambda h5, f: {"data": -1}),
    "text": ("observations_0", lambda h5, f: {"data": "text"}),
    "compound": ("observations_0", lambda h5, f: {"data": np.zeros(4, [("a", "f4"), ("b", "f4")])}),
    "reference": ("observations_0", lambda h5, f: {"data": f["actions_0"].ref, "dtype": h5.ref_dtype}),
    "vlen": ("actions_0", lambda h5, f: {"shape": (4,), "dtype": h5.vlen_dtype(np.float64)}),
    "opaque": ("actions_0", lambda h5, f: {"data": np.void(b"1234")}),
    "scalar": ("actions_0", lambda h5, f: {"data": 3}),
    "a version of numbers": ("version", lambda h5, f: {"data": 2.1}),
    "a version of bytes": ("version", lambda h5, f: {"data": np.bytes_(b"\xff\xfe")}),
    "missing": ("terminated_1", lambda h5, f: None),
    "many": ("terminated_1", lambda h5, f: {"data": [True, False]}),
    "more rewards": ("rewards_0", lambda h5, f: {"data": np.zeros(9)}),
}


@pytest.mark.parametrize("case", H5)
def test_crafted_h5_files_are_one_kind_of_error(tmp_path: Path, case: str) -> None:
    h5py = pytest.importorskip("h5py", reason=EXTRA)
    path = write_as("d3rlpy", random_demos(), tmp_path / "demos.h5")
    name, instead = H5[case]
    with h5py.File(path, "a") as file:
        options = instead(h5py, file)
        del file[name]
        if options is not None:
            file.create_dataset(name, **options)
    field = {"negative": "episodes", "more rewards": "episode 0: rewards"}.get(case, name)
    with pytest.raises(ValueError, match=rf"demos\.h5: {field}: ") as caught:
        read_as("d3rlpy", path, *whole(random_demos()))
    assert "\n" not in str(caught.value)


def test_a_group_is_no_array(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason=EXTRA)
    path = write_as("d3rlpy", random_demos(), tmp_path / "demos.h5")
    with h5py.File(path, "a") as file:
        del file["actions_0"]
        file.create_group("actions_0")
    with pytest.raises(ValueError, match=r"demos\.h5: actions_0: an array is needed"):
        read_as("d3rlpy", path, *whole(random_demos()))


METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "list": ({"total_episodes": [3]}, "total_episodes"),
    "vast": ({"total_episodes": 10**15}, "total_episodes"),
    "negative": ({"total_episodes": -3}, "total_episodes"),
    "more": ({"total_episodes": 4}, "episode_3"),
    "no space": ({"observation_space": "{}"}, "observation_space"),
    "null": ({"action_space": "null"}, "action_space"),
    "no JSON": ({"action_space": "{"}, "action_space"),
    "Tuple": ({"action_space": '{"type": "Tuple", "subspaces": []}'}, "action_space"),
    "no subspaces": ({"observation_space": '{"type": "Dict"}'}, "observation_space"),
    "spec": ({"sb3_ext_env_id": None, "env_spec": "[]"}, "env_spec"),
    "spec of numbers": ({"sb3_ext_env_id": None, "env_spec": 3}, "env_spec"),
    "format": ({"data_format": "pickle"}, "data_format"),
    "versions": ({"sb3_ext_versions": [1]}, "sb3_ext_versions"),
    "jpeg": ({"jpeg_encoding": "no"}, "jpeg_encoding"),
}


@pytest.mark.parametrize("case", METADATA)
def test_crafted_minari_metadata_is_one_kind_of_error(tmp_path: Path, case: str) -> None:
    pytest.importorskip("minari", reason=EXTRA)
    pytest.importorskip("h5py", reason=EXTRA)
    changes, field = METADATA[case]
    path = write_as("minari", random_demos(), tmp_path / "random-v0")
    metadata_path = path / "data" / "metadata.json"
    metadata_path.write_text(json.dumps(json.loads(metadata_path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"random-v0.data.*{field}"):
        read_as("minari", path)


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
@pytest.mark.parametrize("case", ["no column", "text", "null", "wide", "cut", "gone", "seed"])
def test_crafted_minari_tables_are_one_kind_of_error(tmp_path: Path, case: str, data_format: str) -> None:
    pytest.importorskip("minari", reason=EXTRA)
    pa = pytest.importorskip("pyarrow", reason=EXTRA)
    parquet = importlib.import_module("pyarrow.parquet")
    folder = write_as("minari", random_demos(), tmp_path / "random-v0", data_format=data_format) / "data" / "0"
    (file,) = folder.glob("part-*")
    if data_format == "arrow":
        with pa.ipc.open_file(file.read_bytes()) as reader:
            table = reader.read_all()
    else:
        table = parquet.read_table(file)
    at = table.schema.names.index("rewards")
    changed = {
        "no column": lambda: table.drop_columns(["actions"]),
        "text": lambda: table.set_column(at, "rewards", pa.array(["a"] * len(table))),
        "null": lambda: table.set_column(at, "rewards", pa.array([None] * len(table), pa.float64())),
        "wide": lambda: table.set_column(at, "rewards", pa.array([[1.0, 2.0]] * len(table), pa.list_(pa.float64(), 2))),
    }.get(case, lambda: table)()
    if data_format == "arrow":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, changed.schema) as writer:
            writer.write_table(changed)
    else:
        parquet.write_table(changed, file)
    if case == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif case == "gone":
        file.unlink()
    elif case == "seed":
        (folder / "metadata.json").write_text('{"seed": [1]}')
    with pytest.raises(ValueError, match=r"random-v0.data"):
        read_as("minari", folder.parent)


def test_offsets_that_leave_an_arrow_file_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason=EXTRA)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    fields = {"obs": pa.array([[[1.0, 2.0, 3.0]] * 8]), "acts": pa.array([[2] * 7])}
    fields |= {"infos": pa.array([["{}"]]), "terminal": pa.array([True])}
    batch = pa.RecordBatch.from_arrays(list(fields.values()), names=list(fields))
    path = tmp_path / "data.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert read_as("imitation", tmp_path, *whole(random_demos()), terminated=True).n_steps == 7
    # The one list of seven actions becomes one of a million.
    seven, million = (np.array([0, n], dtype=np.int32).tobytes() for n in (7, 10**6))
    content = path.read_bytes()
    at = content.rindex(seven)  # the numbers themselves lie behind their description
    path.write_bytes(content[:at] + million + content[at + len(seven) :])
    with pytest.raises(ValueError, match=r"data\.arrow: cannot be read \(ArrowInvalid"):
        read_as("imitation", tmp_path, *whole(random_demos()))


def test_jpeg_of_minari_is_told(tmp_path: Path) -> None:
    minari = pytest.importorskip("minari", reason=EXTRA)
    pytest.importorskip("h5py", reason=EXTRA)
    MinariStorage = importlib.import_module("minari.dataset.minari_storage").MinariStorage
    image = spaces.Box(0, 255, (40, 36, 3), np.uint8)
    rows = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), dtype=np.uint8)
    buffer = minari.data_collector.EpisodeBuffer(
        observations=rows,
        actions=np.array([0, 1]),
        rewards=np.zeros(2),
        terminations=np.array([False, True]),
        truncations=np.zeros(2, bool),
    )
    for data_format in ("hdf5", "arrow", "parquet"):
        folder = tmp_path / data_format
        storage = MinariStorage.new(folder, image, spaces.Discrete(2), data_format=data_format, jpeg_encoding=True)
        storage.update_metadata({"dataset_id": "a-v0", "minari_version": minari.__version__})
        storage.update_episodes([buffer] * 2)
        with pytest.warns(UserWarning, match="its images are JPEG, which changes pixels: a discriminator") as caught:
            demos = read_as("minari", folder)
        assert len(caught) == 1, "once, not for each episode"
        theirs = next(iter(minari.MinariDataset(folder).iterate_episodes())).observations
        np.testing.assert_array_equal(demos.episodes[0].observations, theirs)
        assert not np.array_equal(theirs, rows)


def test_parquet_and_dataset_dict_are_refused_with_advice(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason=EXTRA)
    spaces_of = whole(random_demos())
    (tmp_path / "a.parquet").touch()
    with pytest.raises(
        ValueError, match=r'a\.parquet: parquet is not what imitation saves; .*save_to_disk\("folder"\)'
    ):
        read_as("imitation", tmp_path / "a.parquet", *spaces_of)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "hub" / "data" / "train-0.parquet").touch()
    with pytest.raises(ValueError, match=r"hub: parquet \(train-0\.parquet, \.\.\.\) is not"):
        read_as("imitation", tmp_path / "hub", *spaces_of)
    folder = tmp_path / "dict"
    folder.mkdir()
    write_as("imitation", random_demos(), folder / "train")
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(
        ValueError, match=r"dict: a DatasetDict with the splits train; read one of them, as .*dict.train"
    ):
        read_as("imitation", folder, *spaces_of)


def test_floats_of_another_width_are_rounded_and_said_so_once(tmp_path: Path) -> None:
    """SB2's CartPole gave float64 observations, whatever its space said."""
    rng = np.random.default_rng(0)
    demos = random_demos("vector", "box", lengths=(4, 3, 6))
    path = write_as("sb2", demos, tmp_path / "a")
    with np.load(path) as file:
        parts = {name: values for name, values in file.items() if name not in ("final_obs", "terminated", "truncated")}
    wide = rng.normal(size=(13, 3))
    np.savez(path, **parts | {"obs": wide, "actions": parts["actions"].astype(np.float64) / 3})
    with pytest.warns(
        UserWarning, match="observations: float64 rounded to float32; actions: float64 rounded"
    ) as caught:
        read = read_as("sb2", path, *whole(demos), terminated=True)
    assert len(caught) == 1, "once, not for each episode"
    rows = np.concatenate([np.asarray(e.observations) for e in read.episodes])
    np.testing.assert_array_equal(rows, wide.astype(np.float32), strict=True)
    # Neither an overflow nor an integer is rounded.
    for values, message in ((np.full((13, 3), 1e300), r"1e\+300"), (np.full((13, 3), 2**24 + 1), "16777217")):
        np.savez(path, **parts | {"obs": values})
        with pytest.raises(ValueError, match=rf"{message} at .* is not exact as float32"):
            read_as("sb2", path, *whole(demos), terminated=True)
