"""A file costs what its size allows, and no other file is read for it."""

from __future__ import annotations

import functools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

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

EXTRA = "in the extra `demos`"


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
