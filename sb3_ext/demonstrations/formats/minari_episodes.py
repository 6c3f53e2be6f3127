"""
The episodes in a folder of Minari::

    metadata.json                    spaces, number of episodes
    main_data.hdf5                   hdf5: a group ``episode_I`` each, a Dict of observations is a group in it
    I/metadata.json, I/part-0.arrow  arrow, parquet: a table each, of T+1 rows; the last one is padding but for the
                                     observations
"""

from __future__ import annotations

import io
import json
import math
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.budget import BYTES_PER_CHARACTER, Budget, RefusedError
from sb3_ext.demonstrations.data import Observations
from sb3_ext.demonstrations.formats.arrays import optional
from sb3_ext.demonstrations.formats.arrow import arrow_errors, bytes_of, numbers, read_batches
from sb3_ext.demonstrations.formats.hdf5 import Hdf5Reader

IsJpeg = Callable[[spaces.Space[Any]], bool]
"""whether Minari stores what is in the space as JPEG"""
# Of pages in a parquet file: none, or one that cannot make more than some 20 bytes of one.
CODECS = ("UNCOMPRESSED", "SNAPPY")
ROWS_AT_ONCE = 64
FLAGS = ("terminations", "truncations")


class Columns(NamedTuple):
    """One episode as it lies there."""

    observations: Observations
    """[T+1, *shape]"""
    actions: np.ndarray
    """[T, *shape]"""
    rewards: np.ndarray
    """[T]"""
    terminations: np.ndarray
    """[T]"""
    truncations: np.ndarray
    """[T]"""
    seed: int | None


def read_hdf5_episodes(
    folder: pathlib.Path,
    indices: Sequence[int],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    is_jpeg: IsJpeg,
    budget: Budget,
) -> Iterator[Columns]:
    """
    :param folder: of the data
    :param indices: of the episodes
    :param observation_space: of the metadata
    :param action_space: of it
    :param is_jpeg: see `IsJpeg`
    :param budget: pays for what is made
    :raises ValueError: with the file and the field
    """
    path = folder / "main_data.hdf5"
    if not path.is_file():
        raise RefusedError(f"{path}: missing; not a dataset of Minari")
    lossy = _Lossy(folder)
    with Hdf5Reader(path, "a dataset of Minari", budget) as file:

        def read(name: str, space: spaces.Space[Any]) -> np.ndarray:
            if is_jpeg(space) and len(file.shape(name) or ()) <= 2:
                lossy.warn()
                return decoded(file.read_bytes(name), space, f"{path}: {name}", budget)
            assert space.dtype is not None  # it is a space of arrays
            return file.read(name, itemsize=space.dtype.itemsize)

        for i in indices:
            name = f"episode_{i}"
            observations: Observations
            if isinstance(observation_space, spaces.Dict):
                observations = {key: read(f"{name}/observations/{key}", x) for key, x in observation_space.items()}
            else:
                observations = read(f"{name}/observations", observation_space)
            yield Columns(
                observations,
                read(f"{name}/actions", action_space),
                **{field: file.read(f"{name}/{field}", ndim=1) for field in ("rewards", *FLAGS)},
                seed=_seed(file.attribute(name, "seed"), f"{path}: {name}.seed"),
            )


def read_arrow_episodes(
    folder: pathlib.Path,
    indices: Sequence[int],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    is_jpeg: IsJpeg,
    budget: Budget,
) -> Iterator[Columns]:
    """Parameters and errors as in `read_hdf5_episodes`."""
    lossy = _Lossy(folder)
    for i in indices:
        place = folder / str(i)
        with arrow_errors(place):
            table = _Table(place, is_jpeg, lossy, budget)
            observations: Observations
            if isinstance(observation_space, spaces.Dict):
                observations = {
                    key: table.rows(table.field("observations", key), space, f"observations.{key}")
                    for key, space in observation_space.items()
                }
            else:
                observations = table.rows(table.column("observations"), observation_space, "observations")
            actions = table.rows(table.column("actions"), action_space, "actions")
            others = {name: numbers(table.column(name), name)[:-1] for name in ("rewards", *FLAGS)}
            seed = _seed(read_json(place / "metadata.json", budget).get("seed"), f"{place}: seed")
        yield Columns(observations, actions[:-1], **others, seed=seed)


class _Table:
    """
    One episode in Arrow.

    :param place: its folder
    :param is_jpeg: see `IsJpeg`
    :param lossy: warns of them
    :param budget: pays for what is made
    """

    def __init__(self, place: pathlib.Path, is_jpeg: IsJpeg, lossy: _Lossy, budget: Budget) -> None:
        self.place, self.is_jpeg, self.lossy, self.budget = place, is_jpeg, lossy, budget
        self.pa = optional("pyarrow")
        files = sorted(path for path in place.glob("part-*") if path.suffix in (".arrow", ".parquet"))
        if not files:
            raise RefusedError(f"{place}: no part-*.arrow or .parquet; not a dataset of Minari, or cut short")
        batches = [batch for file in files for batch in _batches(file, budget)]
        self.table = self.pa.Table.from_batches(batches).combine_chunks()

    def column(self, name: str) -> Any:  # Any: pyarrow ships no annotations
        if name not in self.table.column_names:
            raise ValueError(f"{name}: missing; the columns are {self.table.column_names}")
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks else self.pa.array([], column.type)

    def field(self, name: str, key: str) -> Any:  # Any: as above
        column = self.column(name)
        if not self.pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
            raise ValueError(f"{name}: {column.type}; the space is a Dict with {key}")
        return column.field(key)

    def rows(self, values: Any, space: spaces.Space[Any], name: str) -> np.ndarray:  # Any: as above
        """:return: [T+1, *shape]"""
        if self.is_jpeg(space) and not self.pa.types.is_nested(values.type):
            self.lossy.warn()
            return decoded(bytes_of(values, name, self.budget), space, f"{self.place}: {name}", self.budget)
        read = numbers(values, name)
        assert space.dtype is not None and space.shape is not None  # it is a space of arrays
        self.budget.take(read.size * (read.itemsize + space.dtype.itemsize), name)
        if read.size != len(read) * math.prod(space.shape):
            raise ValueError(f"{name}: shape {read.shape}, {space} needs {(len(read), *space.shape)}")
        return read.reshape(len(read), *space.shape)


def _batches(path: pathlib.Path, budget: Budget) -> Iterator[Any]:  # Any: pyarrow ships no annotations
    if path.suffix == ".arrow":
        yield from read_batches(path)
        return
    parquet = optional("pyarrow.parquet")
    with arrow_errors(path), parquet.ParquetFile(path) as file:
        groups = file.metadata
        codecs = {
            groups.row_group(i).column(k).compression
            for i in range(groups.num_row_groups)
            for k in range(groups.num_columns)
        }
        if not codecs <= set(CODECS):
            raise ValueError(f"compression {', '.join(sorted(codecs))}; only {' and '.join(CODECS)} are read")
        # Equal values are stored once, so it is rows that cost, not pages.
        width = sum(_width(field.type) for field in file.schema_arrow)
        budget.take(width * groups.num_rows, "rows")
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            batch.validate(full=True)
            budget.take(batch.nbytes - min(width * batch.num_rows, batch.nbytes), "rows")
            yield batch


def _width(kind: Any) -> int:  # Any: as above
    """:return: bytes of a row; those of texts and pictures are counted as they come"""
    pa = optional("pyarrow")
    if pa.types.is_struct(kind):
        return sum(_width(field.type) for field in kind)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    if pa.types.is_boolean(kind):
        return 1
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return int(kind.bit_width) // 8
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_string(kind):
        return 8
    raise ValueError(f"{kind}: numbers, fixed lists of them, and pictures are read")


def decoded(pictures: list[bytes], space: spaces.Space[Any], name: str, budget: Budget) -> np.ndarray:
    """
    :param pictures: JPEG, T of them
    :param space: of one, whose size it must have
    :param name: what to call them
    :param budget: pays for the pixels
    :return: [T, *shape] uint8
    :raises ValueError: for anything else
    """
    image = optional("PIL.Image")
    shape = space.shape
    assert shape is not None  # it is a space of images
    budget.take(len(pictures) * math.prod(shape), name)
    pixels = np.empty((len(pictures), *shape), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        try:
            with image.open(io.BytesIO(picture), formats=("JPEG",)) as opened:
                # Its header alone has been read.
                if (opened.height, opened.width, *([len(opened.getbands())] if len(shape) == 3 else [])) != shape:
                    raise RefusedError(f"{name}: picture {i} has size {opened.size}, {opened.mode}; {space} is wanted")
                pixels[i] = np.asarray(opened)
        except RefusedError:
            raise
        except (
            OSError,
            ValueError,
            SyntaxError,
            image.DecompressionBombError,
            image.DecompressionBombWarning,
        ) as error:
            raise RefusedError(f"{name}: picture {i} is no JPEG ({type(error).__name__})") from None
    return pixels


class _Lossy:
    """Says once that pictures are not what the environment gave."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.said = folder, False

    def warn(self) -> None:
        if not self.said:
            self.said = True
            warnings.warn(
                f"{self.folder}: its images are JPEG, which changes pixels: a discriminator can tell them from the "
                "environment's own by that alone. Record anew without (jpeg_encoding=False, Minari 0.5.4), or put the "
                "learner's frames through JPEG too",
                stacklevel=4,
            )


def read_json(path: pathlib.Path, budget: Budget) -> Any:
    """
    :param path: of the file
    :param budget: pays for it
    :raises ValueError: with the file
    """
    try:
        budget.take(path.stat().st_size * BYTES_PER_CHARACTER, path.name)
        return json.loads(path.read_text())
    except RefusedError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: not JSON ({error})") from None


def parse_json(text: Any, budget: Budget, name: str) -> Any:  # Any: JSON in JSON
    """
    :param text: to parse
    :param budget: pays for it
    :param name: what to call it
    :raises ValueError: for anything but JSON
    """
    if not isinstance(text, str):
        raise ValueError(f"{name}: {type(text).__name__} is no text")
    budget.take(len(text) * BYTES_PER_CHARACTER, name)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{name}: nested too deep") from None


def _seed(seed: Any, place: str) -> int | None:  # Any: JSON
    if seed is not None and (type(seed) is not int or seed < 0):
        raise RefusedError(f"{place}: {seed!r} is no seed")
    return seed
