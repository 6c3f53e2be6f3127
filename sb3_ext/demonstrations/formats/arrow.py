"""
Columns of Arrow files of unknown origin.

A batch is validated before it is looked at, since Arrow itself trusts the offsets in a file. Its arrays lie in the file
as they are, so nothing is made by reading them; a compressed batch is refused before it is opened.
"""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sb3_ext.demonstrations.budget import Budget, RefusedError
from sb3_ext.demonstrations.formats.arrays import optional

MAGIC = b"ARROW1"


@contextmanager
def arrow_errors(path: pathlib.Path) -> Iterator[None]:
    """What pyarrow says of a crafted or cut file, in one kind of error, which names the file."""
    pa = optional("pyarrow")
    try:
        yield
    except RefusedError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:
        said = " ".join(str(error).split())
        raise RefusedError(f"{path}: cannot be read ({type(error).__name__}: {said})") from None


def read_batches(path: pathlib.Path) -> Iterator[Any]:  # Any: pyarrow ships no annotations
    """
    :param path: of an Arrow file or stream
    :return: its batches, validated
    :raises ValueError: with the file, where it is none or compressed
    """
    pa = optional("pyarrow")
    with arrow_errors(path):
        # A file is a stream between two marks, and an index that nobody needs.
        with path.open("rb") as file:
            begin = 8 if file.read(len(MAGIC)) == MAGIC else 0
        with pa.memory_map(str(path)) as source:
            source.seek(begin)
            for message in pa.ipc.MessageReader.open_stream(source):
                if message.type == "dictionary":
                    raise RefusedError(f"{path}: dictionaries are not read; write the numbers themselves")
                if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
                    raise RefusedError(f"{path}: compressed; write it without compression")
            source.seek(begin)
            with pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    batch.validate(full=True)
                    yield batch


def numbers(column: Any, name: str, row: int | None = None) -> np.ndarray:  # Any: an array of pyarrow
    """
    :param column: of numbers, or of lists of lists of them
    :param name: what to call it
    :param row: this one alone, None = all
    :return: one array; all lists of a depth have one length
    :raises ValueError: where they have not, or hold something else
    """
    pa = optional("pyarrow")
    where = "" if row is None else f" in row {row}"
    # An extension type of `datasets`, if that is imported; else Arrow sees what lies below.
    values = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
    values = values if row is None else values.slice(row, 1)
    shape = [] if row is not None else [len(values)]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or _is_fixed(pa, values.type):
        if values.null_count:
            raise ValueError(f"{name}: a list is missing")
        inner = values.flatten()
        if len(values) == 0 or len(inner) % len(values):
            raise ValueError(f"{name}: lists of different lengths{where}")
        if not _is_fixed(pa, values.type) and len(values.value_lengths().unique()) > 1:
            raise ValueError(f"{name}: lists of different lengths{where}")
        shape.append(len(inner) // len(values))
        values = inner
    if values.null_count:
        raise ValueError(f"{name}: a number is missing{where}")
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
        raise ValueError(f"{name}: {values.type}{where}; numbers are needed")
    read: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(shape)
    return read


def bytes_of(column: Any, name: str, budget: Budget) -> list[bytes]:  # Any: as above
    """
    :param column: of rows of bytes
    :param name: what to call it
    :param budget: pays for each
    """
    pa = optional("pyarrow")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)) or column.null_count:
        raise ValueError(f"{name}: {column.type}; rows of bytes are needed")
    rows = []
    for value in column:
        budget.take(len(value.as_buffer()), name)
        rows.append(value.as_py())
    return rows


def _is_fixed(pa: Any, kind: Any) -> bool:  # Any: as above
    return bool(pa.types.is_fixed_size_list(kind))


def _is_compressed(metadata: bytes) -> bool:
    """
    pyarrow does not say. A flatbuffer is a table of offsets: the header of a message is its field 2, the compression of
    a batch the header's field 3 (Arrow's Message.fbs).
    """

    def field(table: int, number: int) -> int:
        """:return: where the field lies, 0 = it has none"""
        (back,) = struct.unpack_from("<i", metadata, table)
        (size,) = struct.unpack_from("<H", metadata, table - back)
        entry = 4 + 2 * number
        if entry + 2 > size:
            return 0
        (offset,) = struct.unpack_from("<H", metadata, table - back + entry)
        return table + offset if offset else 0

    follow: Callable[[int], int] = lambda at: at + struct.unpack_from("<I", metadata, at)[0]  # noqa: E731
    try:
        header = field(follow(0), 2)
        return header != 0 and field(follow(header), 3) != 0
    except struct.error as error:
        raise ValueError(f"no message of Arrow ({error})") from None
