"""Files of strangers: their text names no code, they cost what their size allows, no other file is read for them."""

from __future__ import annotations

import functools
import importlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import random_demos, read_as, whole, write_as

from sb3_ext.demonstrations import (
    Demonstrations,
    from_arrays,
    load,
    save,
)
from sb3_ext.env_ids import id_of_file, without_module

EXTRA = "in the extra `demos`"


# ---------------------------------------------------------------------------------------------- text is no name of code

NAMES_CODE = ["evilmod:Foo-v0", "os:mkdir", ":Foo-v0", "a/b:c-v0"]


@pytest.mark.parametrize("env_id", [*NAMES_CODE, "../x", "/etc/x-v0", "a\x1b[2J-v0", "", "x" * 201, 3, None, ["a"]])
def test_an_id_of_a_file_is_a_plain_name(env_id: Any) -> None:
    with pytest.raises(ValueError, match="env_id: "):
        id_of_file(env_id)


@pytest.mark.parametrize("env_id", [*NAMES_CODE, "../x", "/etc/x-v0", 3])
def test_an_id_of_the_hub_is_a_plain_name(env_id: Any) -> None:
    from sb3_ext.errors import UserError
    from sb3_ext.exchange.environments import check_env_id

    check_env_id("CartPole-v1")
    with pytest.raises(UserError, match="env_id: "):
        check_env_id(env_id)


@pytest.mark.parametrize(
    "env_id",
    ["CartPole-v1", "ALE/Pong-v5", "sb3_ext/MemoryChain-v0", "D4RL/door/human-v2", "_Maze-v0", "Größe-v0", "迷路-v1"],
)
def test_plain_names_pass(env_id: str) -> None:
    assert id_of_file(env_id) == env_id == without_module(env_id) == without_module(f"module.sub:{env_id}")


@pytest.fixture
def evil_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: what appears when ``evilmod`` is imported"""
    marker = tmp_path / "imported"
    (tmp_path / "evilmod.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    return marker


@pytest.mark.parametrize("env_id", NAMES_CODE)
def test_npz_whose_id_names_a_module_is_refused_when_it_is_read(tmp_path: Path, evil_module: Path, env_id: str) -> None:
    from sb3_ext.cli import main as cli

    path = save(random_demos(), tmp_path / "demos")
    with np.load(path) as file:
        parts = dict(file)
    header = json.loads(str(parts["header"])) | {"env_id": env_id}
    np.savez(path, **parts | {"header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"demos\.npz: env_id: .* names a module to import, which only you may"):
        load(path)
    assert cli.main(["demos", "check", str(path)]) == 2
    assert not evil_module.exists()


@pytest.mark.parametrize("place", ["sb3_ext_env_id", "env_spec"])
def test_minari_folder_whose_id_names_a_module_is_refused(tmp_path: Path, evil_module: Path, place: str) -> None:
    pytest.importorskip("minari", reason=EXTRA)
    path = write_as("minari", random_demos(), tmp_path / "random-v0")
    metadata_path = path / "data" / "metadata.json"
    metadata = json.loads(metadata_path.read_text()) | {"sb3_ext_env_id": None}
    spec = {"id": "evilmod:Foo-v0", "entry_point": "evilmod:Foo"}
    metadata[place] = json.dumps(spec) if place == "env_spec" else "evilmod:Foo-v0"
    metadata_path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=rf"metadata\.json: {place}: 'evilmod:Foo-v0' names a module to import"):
        read_as("minari", path)
    assert not evil_module.exists()


def test_a_module_that_the_user_names_is_left_out_of_what_is_written(tmp_path: Path) -> None:
    demos = random_demos()
    fields: dict[str, Any] = dict(
        observations=[e.observations for e in demos.episodes],
        actions=[e.actions for e in demos.episodes],
        terminated=[True] * 3,
    )
    typed = from_arrays(
        **fields, observation_space=demos.observation_space, action_space=demos.action_space, env_id="my.envs:Foo-v0"
    )
    assert typed.env_id == "Foo-v0" and load(save(typed, tmp_path / "a")).env_id == "Foo-v0"
    with pytest.raises(ValueError, match=r"env_id: 'my.envs:Foo-v0' names a module"):
        replace(demos, env_id="my.envs:Foo-v0")
    with pytest.raises(ValueError, match="env_id: 'a b' is no name"):  # what could not be read is not written
        save(replace(demos, env_id="a b"), tmp_path / "b")
    assert not (tmp_path / "b.npz").exists()


def test_text_that_moves_the_cursor_is_refused(tmp_path: Path) -> None:
    path = save(replace(random_demos(), versions={"numpy": "\x1b[2J"}), tmp_path / "demos")
    with pytest.raises(ValueError, match="versions: must map"):
        load(path)


# ------------------------------------------------------------------------------- a file costs what its size allows


def zeros(n_steps: int = 2_500, shape: tuple[int, ...] = (50, 50)) -> Demonstrations:
    """6 MB of zeros, which deflate makes into 6 kB."""
    space = spaces.Box(0, 255, shape, np.uint8)
    rows = np.zeros((n_steps + 1, *shape), np.uint8)
    return from_arrays(
        [rows],
        [np.zeros(n_steps, int)],
        [np.zeros(n_steps)],
        terminated=[True],
        observation_space=space,
        action_space=spaces.Discrete(2),
    )


@pytest.mark.parametrize("name", ["npz", "sb2", "d3rlpy", "minari hdf5", "minari parquet"])
def test_a_small_file_does_not_become_a_large_one(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The floor is lowered, so that the test need not make a quarter of a gigabyte.
    monkeypatch.setattr("sb3_ext.demonstrations.budget.ALWAYS_ALLOWED", 2**22)
    demos = zeros()
    read: Callable[..., Demonstrations]
    if name == "npz":
        path, read = save(demos, tmp_path / "a"), load
    elif name == "sb2":
        path, read = write_as("sb2", demos, tmp_path / "a"), lambda p, **k: read_as("sb2", p, *whole(demos), **k)
    elif name == "d3rlpy":
        h5py = pytest.importorskip("h5py", reason=EXTRA)
        path, read = tmp_path / "a.h5", lambda p, **k: read_as("d3rlpy", p, *whole(demos), **k)
        with h5py.File(path, "w") as file:
            file.create_dataset("observations", (2_501, 50, 50), "u1", chunks=(1, 50, 50))  # nothing is written
            file["actions"], file["rewards"] = np.zeros(2_501, int), np.zeros(2_501)
            file["terminals"], file["timeouts"] = np.arange(2_501) == 2_500, np.zeros(2_501)
    else:
        pytest.importorskip("minari", reason=EXTRA)
        data_format = name.split()[1]
        pytest.importorskip("h5py" if data_format == "hdf5" else "pyarrow", reason=EXTRA)
        path, read = (
            write_as("minari", demos, tmp_path / "a-v0", data_format=data_format),
            functools.partial(read_as, "minari"),
        )
        if data_format == "hdf5":
            h5py = pytest.importorskip("h5py", reason=EXTRA)
            with h5py.File(path / "data" / "main_data.hdf5", "w") as file:
                group = file.create_group("episode_0")
                group.create_dataset("observations", (2_501, 50, 50), "u1", chunks=(1, 50, 50))
                group["actions"], group["rewards"] = np.zeros(2_500, int), np.zeros(2_500)
                group["terminations"], group["truncations"] = np.arange(2_500) == 2_499, np.zeros(2_500)
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"bytes on disk become \d+ or more in memory, \d+ are allowed; pass max_by"
        ):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5e6, "refused before it was made"
    assert read(path, max_bytes=10**9).n_steps in (2_500, 2_501)
    with pytest.raises(ValueError, match="max_bytes 0 must be at least 1"):
        read(path, max_bytes=0)


def test_many_episodes_cost_too(tmp_path: Path) -> None:
    demos = random_demos("number", lengths=(1,) * 3)
    path = save(demos, tmp_path / "a")
    with np.load(path) as file:
        parts = dict(file)
    n = 200_000
    np.savez_compressed(path, **parts | {"lengths": np.ones(n, dtype=np.int64)})
    with pytest.raises(ValueError, match=r"lengths: .* in memory"):
        load(path)


def test_a_space_of_a_few_letters_is_not_made_large(tmp_path: Path) -> None:
    path = save(random_demos(), tmp_path / "a")
    with np.load(path) as file:
        parts = dict(file)
    header = json.loads(str(parts["header"]))
    header["observation_space"] |= {"shape": [2**25]}
    np.savez(path, **parts | {"header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"observation_space: not a space .* more than"):
        load(path)


def test_compressed_arrow_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason=EXTRA)
    demos = random_demos("image")
    path = write_as("imitation", demos, tmp_path / "folder")
    file = path / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as reader:
        table = reader.read_all()
    for codec in ("zstd", "lz4"):
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        with pytest.raises(ValueError, match=r"\.arrow: compressed; write it without"):
            read_as("imitation", path, *whole(demos))


# ------------------------------------------------------------------------------------ no other file is read for it


def with_links(path: Path, name: str, other: Path, how: str) -> None:
    """Put what lies in another file in the place of one data set."""
    h5py = pytest.importorskip("h5py", reason=EXTRA)
    with h5py.File(path, "a") as file:
        data = file[name]
        shape, dtype = data.shape, data.dtype
        del file[name]
        if how == "external link":
            file[name] = h5py.ExternalLink(str(other), "data")
        elif how == "soft link":
            file["elsewhere"] = h5py.ExternalLink(str(other), "/")
            file[name] = h5py.SoftLink("/elsewhere/data")
        elif how == "external storage":
            raw = other.with_suffix(".raw")
            raw.write_bytes(bytes(int(np.prod(shape)) * dtype.itemsize))
            file.create_dataset(name, shape, dtype, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(other), "data", shape)
            file.create_virtual_dataset(name, layout)


HOW = {
    "external link": "a link to another place or file",
    "soft link": "a link to another place or file",
    "external storage": "its numbers lie in another file",
    "virtual": "a virtual data set",
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("format_name", ["d3rlpy 2", "d3rlpy 1", "minari"])
def test_bytes_of_other_files_become_no_demonstrations(tmp_path: Path, how: str, format_name: str) -> None:
    h5py = pytest.importorskip("h5py", reason=EXTRA)
    demos = random_demos()
    read: Callable[[], Demonstrations]
    if format_name == "minari":
        pytest.importorskip("minari", reason=EXTRA)
        folder = write_as("minari", demos, tmp_path / "a-v0")
        path, name, read = (
            folder / "data" / "main_data.hdf5",
            "episode_0/observations",
            lambda: read_as("minari", folder),
        )
    else:
        path, name = write_as("d3rlpy", demos, tmp_path / "a.h5"), "observations_0"
        if format_name == "d3rlpy 1":
            name = "observations"
            with h5py.File(path, "w") as file:
                file["observations"], file["actions"] = np.zeros((4, 3), np.float32), np.full(4, 3)
                file["rewards"], file["terminals"], file["timeouts"] = np.zeros(4), [0, 0, 0, 1], np.zeros(4)
        read = lambda: read_as("d3rlpy", path, *whole(demos))  # noqa: E731
    read()
    other = tmp_path / "secret.h5"
    with h5py.File(path) as file:
        values = file[name][()]
    with h5py.File(other, "w") as file:
        file["data"] = values
    with_links(path, name, other, how)
    with h5py.File(path) as file:
        assert file[name].shape == values.shape, "h5py itself follows it"
    with pytest.raises(ValueError, match=f"{name}: {HOW[how]}"):
        read()


# ----------------------------------------------------------------------------------------------- one family of error


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


# --------------------------------------------------------------------------------------------- formats with losses


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
