"""
Tensors of `torch.save`, without unpickling: what its pickle describes (`sb3_ext.exchange.state_pickles`) is counted
before a byte of it is read.

A zip of anyone's is opened by `open_zip`, and its members are read by `read_member`: nothing in it is unpacked, since
PyTorch and SB3 store without compressing.
"""

from __future__ import annotations

import io
import math
import pathlib
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch as th

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.state_pickles import Machine, Storage, View
from sb3_ext.exchange.tensor_files import MAX_TENSORS, check_finite

MAX_PICKLE_BYTES = 2**19  # of names, shapes and places: some 3000 tensors
MAX_DIRECTORY_BYTES = 2**20  # of a zip: some 10 000 members
CHUNK = 2**20

# What `zipfile` raises; RuntimeError is a password's.
_BROKEN = (zipfile.BadZipFile, OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error)


@contextmanager
def open_zip(file: pathlib.Path | bytes, name: str) -> Iterator[zipfile.ZipFile]:
    """
    :param file: path or content
    :param name: what to call it
    :return: the archive, of which not more than `MAX_DIRECTORY_BYTES` of a directory are read
    :raises UnsafeFile: in the block too, where it is broken or has a member twice
    """
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        try:
            with zipfile.ZipFile(_Frugal(stream)) as archive:
                names = archive.namelist()
                if len(set(names)) != len(names):
                    raise UnsafeFile(f"{name}: a member comes twice")
                yield archive
        except UnsafeFile:
            raise
        except _BROKEN as error:
            raise UnsafeFile(f"{name} is no whole zip ({error})") from None


class _Frugal(io.RawIOBase):
    """A zip's directory is read at one go, and becomes objects of 1 kB each: the one large read is refused."""

    def __init__(self, stream: io.BufferedIOBase | io.BytesIO) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size} bytes, more than {MAX_DIRECTORY_BYTES}")
        return self.stream.read(size)


def read_member(archive: zipfile.ZipFile, name: str, limit: int, what: str) -> bytes:
    """
    :param archive: of `open_zip`
    :param name: of a member
    :param limit: in bytes
    :param what: to call the archive
    :raises UnsafeFile: for one that is missing, too large or compressed
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise UnsafeFile(f"{what} has no {name}") from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise UnsafeFile(f"{what}: {name} is compressed, which SB3's and PyTorch's files are not")
    if info.file_size > limit:
        raise UnsafeFile(f"{what}: {name} has {info.file_size} bytes, more than {limit}")
    with archive.open(info) as file:
        content = b"".join(iter(lambda: file.read(CHUNK), b""))
    if len(content) != info.file_size:
        raise UnsafeFile(f"{what}: {name} has {len(content)} bytes and says {info.file_size}")
    return content


def read_tensors(content: bytes, name: str) -> dict[str, th.Tensor]:
    """
    :param content: of a file that `torch.save` made of a state dict
    :param name: what to call it
    :return: by name, each of finite numbers. Those that share memory in the file share it here
    :raises UnsafeFile: for more than tensors, and for tensors of more numbers than the file
    """
    with open_zip(content, name) as archive:
        pickles = [member for member in archive.namelist() if member.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UnsafeFile(f"{name} holds {len(pickles)} pickles, where PyTorch writes one")
        folder = pickles[0].removesuffix("data.pkl")
        if (
            f"{folder}byteorder" in archive.namelist()
            and read_member(archive, f"{folder}byteorder", 10, name) != b"little"
        ):
            raise UnsafeFile(f"{name} is of a machine with another order of bytes")
        views = _views_of(read_member(archive, pickles[0], MAX_PICKLE_BYTES, name), name)
        storages = _storages_of(views, name)
        n_bytes = sum(storage.size * storage.dtype.itemsize for storage in storages.values())
        if n_bytes > len(content):
            raise UnsafeFile(f"{name}: its tensors would take {n_bytes} bytes, and it has {len(content)}")
        numbers = {}
        for key, storage in storages.items():
            member = f"{folder}data/{key}"
            data = read_member(archive, member, len(content), name)
            if len(data) != storage.size * storage.dtype.itemsize:
                raise UnsafeFile(f"{name}: {member} has {len(data)} bytes, not {storage.size} of {storage.dtype}")
            numbers[key] = (
                th.frombuffer(bytearray(data), dtype=storage.dtype) if data else th.empty(0).to(storage.dtype)
            )
    tensors = {}
    for key, view in views.items():
        tensors[key] = numbers[view.storage.key].as_strided(view.shape, view.stride, view.offset)
        check_finite(tensors[key], f"{name}: {key}")
    return tensors


def _storages_of(views: dict[str, View], name: str) -> dict[str, Storage]:
    """
    :return: by key
    :raises UnsafeFile: where two tensors have a part of a storage in common. All of it they may: a layer may have two
        names, and on CUDA the weights of an LSTM lie one behind the other
    """
    storages: dict[str, Storage] = {}
    places: dict[str, dict[tuple[int, int], View]] = {}
    for key, view in views.items():
        storage = view.storage
        if storages.setdefault(storage.key, storage) != storage:
            raise UnsafeFile(f"{name}: {key}: storage {storage.key} has two sizes or types")
        same = places.setdefault(storage.key, {}).setdefault(view.place, view)
        if same != view:
            raise UnsafeFile(f"{name}: {key} shares its numbers with another tensor in another shape")
    for key, taken in places.items():
        ends = 0
        for first, last in sorted(taken):
            if first < ends:
                raise UnsafeFile(f"{name}: tensors overlap in storage {key}")
            ends = last
    return storages


def _views_of(pickle: bytes, name: str) -> dict[str, View]:
    """
    :param pickle: of `torch.save`
    :raises UnsafeFile: for any operation that a state dict does not need
    """
    try:
        views = Machine().run(pickle)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnsafeFile(f"{name} holds more than tensors, and nothing of it was run ({error})") from None
    if len(views) > MAX_TENSORS:
        raise UnsafeFile(f"{name} has {len(views)} tensors, more than {MAX_TENSORS}")
    for key, view in views.items():
        _check_view(view, f"{name}: {key}")
    return views


def _check_view(view: View, name: str) -> None:
    """:raises UnsafeFile: for a tensor of more numbers than it has in the file"""
    if len(view.stride) != len(view.shape) or len(view.shape) > 8:
        raise UnsafeFile(f"{name}: strides {view.stride} do not go with shape {view.shape}")
    if view.place[1] > view.storage.size:
        raise UnsafeFile(f"{name}: {view.shape} from {view.offset} on is more than its storage of {view.storage.size}")
    expected = 1
    for stride, size in sorted(
        (stride, size) for stride, size in zip(view.stride, view.shape, strict=True) if size != 1
    ):
        if stride != expected and math.prod(view.shape) > 0:
            raise UnsafeFile(f"{name}: strides {view.stride} of shape {view.shape} overlap or leave gaps")
        expected *= size
