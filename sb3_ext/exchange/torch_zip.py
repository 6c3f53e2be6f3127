"""
Tensors of `torch.save`, without unpickling: of a pickle's operations the few are followed that describe tensors, and
what they describe is counted before a byte of it is read.

A zip of anyone's is opened by `open_zip`, and its members are read by `read_member`: nothing in it is unpacked, since
PyTorch and SB3 store without compressing.
"""

from __future__ import annotations

import io
import math
import pathlib
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import torch as th

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.tensor_files import MAX_TENSORS, check_finite

MAX_PICKLE_BYTES = 2**19  # of names, shapes and places: some 3000 tensors
MAX_DIRECTORY_BYTES = 2**20  # of a zip: some 10 000 members
CHUNK = 2**20

_STORAGES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": th.float64,
        "Float": th.float32,
        "Half": th.float16,
        "BFloat16": th.bfloat16,
        "Long": th.int64,
        "Int": th.int32,
        "Short": th.int16,
        "Char": th.int8,
        "Byte": th.uint8,
        "Bool": th.bool,
    }.items()
}
_DICT, _TENSOR, _PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)

# What `zipfile` raises; RuntimeError is a password's.
_BROKEN = (zipfile.BadZipFile, OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error)


class _Storage(NamedTuple):
    key: str
    dtype: th.dtype
    size: int
    """in numbers"""


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def place(self) -> tuple[int, int]:
        """First number of the storage, and the one after the last."""
        return self.offset, self.offset + math.prod(self.shape)


class _Name(NamedTuple):
    """Of something that a pickle would import."""

    text: str


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


def _storages_of(views: dict[str, _View], name: str) -> dict[str, _Storage]:
    """
    :return: by key
    :raises UnsafeFile: where two tensors have a part of a storage in common. All of it they may: a layer may have two
        names, and on CUDA the weights of an LSTM lie one behind the other
    """
    storages: dict[str, _Storage] = {}
    places: dict[str, dict[tuple[int, int], _View]] = {}
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


def _views_of(pickle: bytes, name: str) -> dict[str, _View]:
    """
    :param pickle: of `torch.save`
    :raises UnsafeFile: for any operation that a state dict does not need
    """

    def refuse(why: str) -> NoReturn:
        raise UnsafeFile(f"{name} holds more than tensors, and nothing of it was run ({why})")

    mark = object()
    stack: list[Any] = []  # Any: what a pickle may hold: text, numbers, tuples, dictionaries, and the classes above
    memo: dict[Any, Any] = {}

    def after_mark() -> list[Any]:
        at = len(stack) - 1
        while stack[at] is not mark:
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def pop(n: int) -> tuple[Any, ...]:
        items = tuple(stack[len(stack) - n :]) if n <= len(stack) else refuse("nothing is left to take")
        del stack[len(stack) - n :]
        return items

    def put_items(items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple of tuples as a key would take for ever to hash.
            if not isinstance(stack[-1], dict) or not isinstance(key, str) or key in stack[-1]:
                refuse(f"{str(key)[:50]!r} cannot be a new name")
            stack[-1][key] = value

    constants: dict[str, Callable[[], Any]] = {
        "MARK": lambda: mark,
        "EMPTY_TUPLE": tuple,
        "EMPTY_DICT": dict,
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
    }
    try:
        for op, argument, _ in pickletools.genops(pickle):
            match op.name:
                case "PROTO":
                    pass
                case "STOP":
                    break
                case "MARK" | "EMPTY_TUPLE" | "EMPTY_DICT" | "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append(constants[op.name]())
                case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                    stack.append(argument)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "TUPLE":
                    stack.append(tuple(after_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(pop(int(op.name[-1])))
                case "SETITEM":
                    put_items(list(pop(2)))
                case "SETITEMS":
                    put_items(after_mark())
                case "GLOBAL" if argument in (*_STORAGES, _DICT, _TENSOR, _PARAMETER):
                    stack.append(_Name(argument))
                case "BINPERSID":
                    stack.append(_storage(*pop(1)))
                case "REDUCE":
                    stack.append(_called(*pop(2)))
                case "BUILD" if isinstance(stack[-2], dict):  # versions of the modules, which `load_state_dict` guesses
                    pop(1)
                case _:
                    refuse(f"{op.name} {str(argument)[:100]}")
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, UnsafeFile):
            raise
        refuse(str(error))
    if len(stack) != 1 or not isinstance(stack[0], dict):
        refuse("it is no dictionary")
    if len(stack[0]) > MAX_TENSORS:
        raise UnsafeFile(f"{name} has {len(stack[0])} tensors, more than {MAX_TENSORS}")
    for key, view in stack[0].items():
        if not isinstance(view, _View):
            refuse(f"{key[:50]} is no tensor")
        _check_view(view, f"{name}: {key}")
    return stack[0]


def _storage(data: Any) -> _Storage:  # Any: of anyone
    """:raises ValueError: for what is none, or on no memory"""
    kind, name, key, device, size = data
    if kind != "storage" or not isinstance(key, str) or not isinstance(device, str) or device.startswith("meta"):
        raise ValueError(f"{str(data)[:100]} is no storage in memory")
    if type(size) is not int or size < 0:
        raise ValueError(f"a storage of {str(size)[:50]} numbers")
    return _Storage(key, _STORAGES[name.text], size)


def _called(name: Any, arguments: Any) -> Any:  # Any: of anyone
    """:raises ValueError: for any other call than the three of a state dict"""
    if name == _Name(_DICT) and arguments == ():
        return {}
    if name == _Name(_PARAMETER):
        view, _, _ = arguments
        return view
    if name != _Name(_TENSOR):
        raise ValueError(f"{str(name)[:50]} is called")
    storage, offset, shape, stride, *_ = arguments
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    for numbers in ((offset,), shape, stride):
        if not isinstance(numbers, tuple) or not all(type(x) is int and 0 <= x < 2**63 for x in numbers):
            raise ValueError(f"{str(numbers)[:50]} are no whole numbers")
    return _View(storage, offset, shape, stride)


def _check_view(view: _View, name: str) -> None:
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
