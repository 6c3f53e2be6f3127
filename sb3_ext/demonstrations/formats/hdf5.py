"""
Arrays of an HDF5 file of unknown origin, one after the other.

HDF5 lets a file say "my data lie over there": external and soft links, raw storage in other files, virtual data sets.
None is followed, so that no other file of this machine becomes a demonstration. Sizes are counted before memory is
asked for: chunks that nobody wrote cost nothing on disk.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from sb3_ext.demonstrations.budget import Budget, RefusedError
from sb3_ext.demonstrations.formats.arrays import optional


class Hdf5Reader:
    """
    :param path: of the file
    :param what: it should be, for the message
    :param budget: what may be made
    :raises ValueError: here and in every method, with the file and the field, where something is wrong
    :raises ImportError: without h5py
    """

    def __init__(self, path: pathlib.Path, what: str, budget: Budget) -> None:
        self.path, self.budget = path, budget
        self._h5py = optional("h5py")
        try:
            self._file = self._h5py.File(path, "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise RefusedError(f"{path}: not {what}, or cut short ({error})") from None

    def __enter__(self) -> Hdf5Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def refuse(self, name: str, why: str) -> NoReturn:
        """:raises RefusedError: with file, field and reason"""
        raise RefusedError(f"{self.path}: {name}: {why}")

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def children(self, name: str = "") -> list[str]:
        """
        :param name: of a group, "" = the whole file
        :return: names in it, with the group's before them
        """
        with self._named(name or "the file"):
            group = self._find(name)
            if not isinstance(group, self._h5py.Group):
                self.refuse(name, "a group is needed")
            return [f"{name}/{child}" if name else child for child in group]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """:return: of a data set, None for anything else"""
        node = self._find(name)
        return node.shape if isinstance(node, self._h5py.Dataset) else None

    def read(self, name: str, kind: str = "biuf", ndim: int | None = None, itemsize: int = 0) -> np.ndarray:
        """
        :param name: path of the data set
        :param kind: what its dtype may be, as `numpy.dtype.kind`
        :param ndim: number of axes that it must have
        :param itemsize: of the dtype that it will be cast to, which is counted too
        """
        with self._named(name):
            data = self._dataset(name)
            if data.dtype.kind not in kind:
                self.refuse(name, f"dtype {data.dtype} is not of kind {' or '.join(kind)}")
            if ndim is not None and len(data.shape) != ndim:
                self.refuse(name, f"shape {data.shape} must have {ndim} axes")
            n_numbers = math.prod(data.shape)
            # A chunk is made whole, however little of it is asked for.
            n_chunk = math.prod(data.chunks or (0,))
            self.budget.take(max(n_numbers, n_chunk) * data.dtype.itemsize + n_numbers * itemsize, name)
            return np.asarray(data[()])

    def read_bytes(self, name: str) -> list[bytes]:
        """
        :param name: of rows of bytes, of one length or of several
        :return: each row
        """
        with self._named(name):
            data = self._dataset(name)
            if self._h5py.check_vlen_dtype(data.dtype) != np.uint8:
                return [row.tobytes() for row in self.read(name, kind="u", ndim=2)]
            if len(data.shape) != 1:
                self.refuse(name, f"shape {data.shape} must have 1 axis")
            # The bytes themselves lie in the file as they are; many rows may point to the same ones.
            rows = []
            self.budget.take(data.shape[0] * data.dtype.itemsize, name)
            for i in range(data.shape[0]):
                row = np.asarray(data[i], dtype=np.uint8).tobytes()
                self.budget.take(len(row), name)
                rows.append(row)
            return rows

    def read_text(self, name: str) -> str:
        """:return: of a single text"""
        with self._named(name):
            data = self._dataset(name)
            if data.shape != () or (data.dtype.kind != "S" and self._h5py.check_string_dtype(data.dtype) is None):
                self.refuse(name, f"shape {data.shape} of {data.dtype} is no single text")
            value = data[()]
            return value.decode() if isinstance(value, bytes) else str(value)

    def attribute(self, name: str, key: str) -> int | None:
        """
        :param name: of a group
        :param key: of an integer beside it
        :return: None where there is none
        """
        with self._named(f"{name}.{key}"):
            node = self._find(name)
            if node is None or key not in node.attrs:
                return None
            found = node.attrs.get_id(key)
            if found.shape != () or found.dtype.kind not in "iu":
                self.refuse(f"{name}.{key}", f"shape {found.shape} of {found.dtype} is no integer")
            return int(node.attrs[key])

    def _dataset(self, name: str) -> Any:  # Any: h5py ships no annotations
        data = self._find(name)
        if data is None:
            self.refuse(name, "missing")
        if not isinstance(data, self._h5py.Dataset) or data.shape is None:
            self.refuse(name, "an array is needed")
        properties = data.id.get_create_plist()
        if properties.get_external_count() > 0:
            self.refuse(name, "its numbers lie in another file, which is not read")
        if properties.get_layout() == self._h5py.h5d.VIRTUAL:
            self.refuse(name, "a virtual data set, whose numbers may lie in other files; it is not read")
        return data

    def _find(self, name: str) -> Any:  # Any: as above
        """:return: what lies there, None = nothing; links are refused"""
        with self._named(name):
            node: Any = self._file
            for part in name.split("/") if name else []:
                if not isinstance(node, self._h5py.Group):
                    self.refuse(name, "lies in what is no group")
                links, key = node.id.links, part.encode()
                # Not `part in node`: that follows the link.
                if not links.exists(key):
                    return None
                if links.get_info(key).type != self._h5py.h5l.TYPE_HARD:
                    self.refuse(name, "a link to another place or file, which is not followed")
                node = node[part]
            return node

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """What h5py says of a crafted or cut file, in one kind of error."""
        try:
            yield
        except RefusedError:
            raise
        except (
            ValueError,
            OSError,  # compression, or a file cut short
            KeyError,
            RuntimeError,
            TypeError,  # a type that NumPy has not
            MemoryError,
            OverflowError,
            UnicodeError,
            AttributeError,
        ) as error:
            self.refuse(name, f"cannot be read ({type(error).__name__}: {error})")
