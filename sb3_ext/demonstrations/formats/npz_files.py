"""Arrays in an ``.npz`` of unknown origin: no pickle is loaded, and sizes are counted before memory is asked for."""

from __future__ import annotations

import io
import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any, NoReturn

import numpy as np

from sb3_ext.demonstrations.budget import Budget
from sb3_ext.saving import write_whole

DEFLATE_BOUND = 1032  # most bytes that deflate can make of one (zlib's "Technical Details")
# NotImplementedError is zipfile's word for a file that asks for a newer version of the format.
NO_ARCHIVE = (zipfile.BadZipFile, struct.error, EOFError, ValueError, NotImplementedError)


def npz_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """:return: the path with ``.npz``, as NumPy adds it: a dot in the name (``Hopper-v5.10``) is no suffix"""
    path = pathlib.Path(path)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def array_names(path: str | os.PathLike[str]) -> set[str]:
    """:return: of the arrays in a file, by which formats are told apart; none where it is not there or is none"""
    try:
        with zipfile.ZipFile(npz_path(path)) as archive:
            return _names(archive)
    except (*NO_ARCHIVE, OSError):
        return set()


def _names(archive: zipfile.ZipFile) -> set[str]:
    return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def write_npz(arrays: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """
    :param arrays: of numbers or text, by name
    :param path: of the file, which appears whole or not at all
    """

    def write(target: io.BufferedIOBase) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in arrays.items():
                # ZipInfo's fixed date: equal demonstrations give equal files.
                info = zipfile.ZipInfo(f"{name}.npy")
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(values, order="C"), allow_pickle=False)

    write_whole(path, "npz", write)


class NpzReader:
    """
    Arrays of an ``.npz`` of unknown origin, one after the other. Pickles are never loaded.

    :param path: of the file
    :param max_bytes: that reading may make, see `Budget`
    :raises ValueError: here and in `read`, with the file and the field, where something is wrong
    """

    def __init__(self, path: pathlib.Path, max_bytes: int | None = None) -> None:
        self.path = path
        self.budget = Budget(path, path.stat().st_size, max_bytes)
        try:
            self._archive = zipfile.ZipFile(path)
        except NO_ARCHIVE as error:
            raise ValueError(f"{path}: not an .npz file, or cut short ({error})") from None
        self.names = _names(self._archive)

    def __enter__(self) -> NpzReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def refuse(self, name: str, why: str) -> NoReturn:
        """:raises ValueError: with file, field and reason"""
        raise ValueError(f"{self.path}: {name}: {why}")

    def read(self, name: str, kind: str = "biuf", ndim: int | None = None, length: int | None = None) -> np.ndarray:
        """
        :param name: of the array
        :param kind: what its dtype may be, as `numpy.dtype.kind`
        :param ndim: number of axes that it must have
        :param length: of its first axis, which it then must have
        """
        if name not in self.names:
            self.refuse(name, "missing")
        info = self._archive.getinfo(f"{name}.npy")
        # Sizes that cannot be true are refused before memory is asked for.
        if info.file_size > DEFLATE_BOUND * info.compress_size + 1024 or info.compress_size > self.budget.n_bytes:
            self.refuse(name, f"claims {info.file_size} bytes in a file of {self.budget.n_bytes}")
        try:
            with self._archive.open(info) as member:
                shape, dtype = _npy_header(member)
                start = member.tell()
            if dtype.hasobject:
                self.refuse(name, "holds pickled objects, which can run code; arrays of numbers only")
            if dtype.kind not in kind:
                self.refuse(name, f"dtype {dtype} is not of kind {' or '.join(kind)}")
            if ndim is not None and len(shape) != ndim:
                self.refuse(name, f"shape {shape} must have {ndim} axes")
            if length is not None and shape[:1] != (length,):
                self.refuse(name, f"shape {shape}: {length} rows are needed")
            n_bytes = dtype.itemsize
            for size in shape:
                n_bytes *= size
            if n_bytes != info.file_size - start:
                self.refuse(name, f"{info.file_size - start} bytes for shape {shape} of {dtype}")
            self.budget.take(n_bytes, name)
            with self._archive.open(info) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            OSError,
            MemoryError,
            NotImplementedError,  # a compression that zipfile does not know
            RuntimeError,  # an encrypted member
            UnicodeError,
            SyntaxError,
            TypeError,
            _BadHeaderError,
        ) as error:
            self.refuse(name, f"cannot be read ({type(error).__name__}: {error})")


class _BadHeaderError(Exception):
    """NumPy says ValueError, which `NpzReader.read` raises itself."""


def _npy_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:  # Any: zipfile's own type is a subset of IO
    try:
        version = np.lib.format.read_magic(member)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = reader(member)
    except (ValueError, KeyError) as error:
        raise _BadHeaderError(str(error)) from None
    if any(size < 0 for size in shape):
        raise _BadHeaderError(f"shape {shape}")
    return shape, dtype
