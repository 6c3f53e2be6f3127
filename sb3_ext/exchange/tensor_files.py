"""
Safetensors of anyone. The header is checked here, before the library reads it: names, types, shapes and places are
counted, and fill the file without a gap. A tensor that is given back holds finite numbers.
"""

from __future__ import annotations

import importlib
import math
import pathlib
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch as th

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.strict_json import parse

MAX_WEIGHT_BYTES = 8 * 2**30
MAX_TENSORS = 10_000  # a ResNet-152 has 932
MAX_HEADER_BYTES = 200 * MAX_TENSORS
MAX_HEADER_VALUES = 16 * MAX_TENSORS
DTYPES = {
    "F64": th.float64,
    "F32": th.float32,
    "F16": th.float16,
    "BF16": th.bfloat16,
    "I64": th.int64,
    "I32": th.int32,
    "I16": th.int16,
    "I8": th.int8,
    "U8": th.uint8,
    "BOOL": th.bool,
}


class Tensors(NamedTuple):
    """A safetensors file."""

    path: pathlib.Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, th.dtype]

    def load(self) -> dict[str, th.Tensor]:
        """
        :return: on the CPU
        :raises UnsafeFile: for one with NaN or infinite numbers
        """
        library = _safetensors("safetensors")
        try:
            tensors: dict[str, th.Tensor] = _safetensors("safetensors.torch").load_file(self.path)
        except (library.SafetensorError, ValueError, OSError) as error:
            raise UnsafeFile(f"{self.path.name} is not a safetensors file, or cut off ({error})") from None
        for name, x in tensors.items():
            check_finite(x, f"{self.path.name}: {name}")
        return tensors


def read_header(path: pathlib.Path) -> Tensors:
    """
    :param path: of anyone's safetensors file
    :return: shapes and types by name, without reading a tensor
    :raises UnsafeFile: for one that is missing, too large or broken
    """
    if not path.is_file():
        raise UnsafeFile(f"{path.parent} has no {path.name}")
    size = path.stat().st_size
    if size > MAX_WEIGHT_BYTES:
        raise UnsafeFile(f"{path.name} has {size} bytes, more than {MAX_WEIGHT_BYTES}")
    broken = f"{path.name} is not a safetensors file, or cut off"
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise UnsafeFile(broken)
        (length,) = struct.unpack("<Q", start)
        if length > size - 8:
            raise UnsafeFile(broken)
        if length > MAX_HEADER_BYTES:
            raise UnsafeFile(f"{path.name}: its header has {length} bytes, more than {MAX_HEADER_BYTES}")
        header = file.read(length)
    entries = parse(header, f"{path.name}: its header", MAX_HEADER_BYTES, MAX_HEADER_VALUES)
    entries.pop("__metadata__", None)
    if len(entries) > MAX_TENSORS:
        raise UnsafeFile(f"{path.name} has {len(entries)} tensors, more than {MAX_TENSORS}")
    shapes, dtypes, places = {}, {}, []
    for name, entry in entries.items():
        dtype, shape, place = _entry(entry, f"{path.name}: {name}")
        shapes[name], dtypes[name] = shape, dtype
        places.append(place)
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise UnsafeFile(f"{path.name}: its tensors overlap, or leave a gap, at byte {end}")
        end = last
    if end != size - 8 - length:
        raise UnsafeFile(f"{broken}: its tensors end at byte {end}, and there are {size - 8 - length}")
    return Tensors(path, shapes, dtypes)


def _entry(entry: Any, name: str) -> tuple[th.dtype, tuple[int, ...], tuple[int, int]]:  # Any: JSON of anyone
    """:return: type, shape, and first and last byte"""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UnsafeFile(f"{name} must have dtype, shape and data_offsets")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsafeFile(f"{name}: dtype {dtype!r} is none of {', '.join(DTYPES)}")
    for key, numbers in (("shape", shape), ("data_offsets", place)):
        if not isinstance(numbers, list) or not all(type(x) is int and 0 <= x < 2**63 for x in numbers):
            raise UnsafeFile(f"{name}: {key} {numbers!r} is no list of whole numbers")
    n_bytes = math.prod(shape) * DTYPES[dtype].itemsize
    if len(shape) > 8 or len(place) != 2 or place[1] - place[0] != n_bytes:
        raise UnsafeFile(f"{name}: {shape} of {dtype} does not fill data_offsets {place}")
    return DTYPES[dtype], tuple(shape), (place[0], place[1])


def tensor_bytes(tensors: Mapping[str, th.Tensor]) -> bytes:
    """
    :return: a safetensors file
    :raises ValueError: for a tensor with NaN or infinite numbers, which no reader would take
    """
    for name, x in tensors.items():
        check_finite(x, name)
    save = _safetensors("safetensors.torch").save
    # Each with a memory of its own: the format has no shared ones.
    content: bytes = save({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})
    return content


def check_finite(x: th.Tensor, name: str) -> None:
    """:raises UnsafeFile: for NaN and infinite numbers"""
    if x.is_floating_point() and not bool(th.isfinite(x).all()):
        raise UnsafeFile(f"{name} holds NaN or infinite numbers")


def _safetensors(module: str) -> Any:  # Any: a module
    """:raises ModuleNotFoundError: without the extra that brings it"""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f'safe files need the zoo extra: pip install "sb3-ext[zoo]" ({error})'
        raise ModuleNotFoundError(message, name=error.name) from error
