"""
Spaces as JSON. The reader builds spaces of numbers and nothing else: no class is named in the text, no code is run.

Bounds are exact: JSON's decimals give every float64 back, and float32 and integers fit in it or in Python's int.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

MAX_NUMBERS = 2**27  # in one space's bounds; a crafted shape must not fill the memory
BYTES_PER_BOUND = 64  # of a Box, while it is made: two bounds, their copies, and where they are finite
MAX_DEPTH = 8

Json = dict[str, Any]  # Any: what JSON may hold


def space_to_json(space: spaces.Space[Any]) -> Json:
    """
    :param space: Box, Discrete, MultiDiscrete, MultiBinary or a Dict of these
    :return: for `json.dumps`
    :raises ValueError: for any other space
    """
    if isinstance(space, spaces.Dict):
        # A list of pairs: the order of keys is that of the features that a network sees.
        return {"type": "Dict", "spaces": [[key, space_to_json(part)] for key, part in space.items()]}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound_to_json(space.low), "high": _bound_to_json(space.high)}
        return {"type": "Box", "dtype": str(space.dtype), "shape": list(space.shape), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "dtype": str(space.dtype), "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        numbers = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
        return {"type": "MultiDiscrete", "dtype": str(space.dtype), **numbers}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape), "n": space.n if isinstance(space.n, int) else None}
    raise ValueError(f"{space} is not a Box, Discrete, MultiDiscrete, MultiBinary or Dict of these")


def space_from_json(data: Json, name: str, max_numbers: int = MAX_NUMBERS) -> spaces.Space[Any]:
    """
    :param data: from `space_to_json`, or from anyone
    :param name: what to call it
    :param max_numbers: in all bounds together
    :raises ValueError: with the name, where it is not a space
    """
    try:
        return _space(data, 0, [min(max_numbers, MAX_NUMBERS)])
    except (ValueError, TypeError, KeyError, AssertionError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name}: not a space ({type(error).__name__}: {error})") from None


def _space(data: Json, depth: int, left: list[int]) -> spaces.Space[Any]:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    kind = data["type"]
    if kind == "Dict":
        parts = [(_key(key), _space(part, depth + 1, left)) for key, part in data["spaces"]]
        if len(dict(parts)) != len(parts):
            raise ValueError("a key appears twice")
        return spaces.Dict(parts)
    if kind == "Box":
        dtype, shape = _dtype(data), _shape(data["shape"], left)
        return spaces.Box(_bound(data["low"], shape, dtype), _bound(data["high"], shape, dtype), shape, dtype.type)
    if kind == "Discrete":
        dtype = _dtype(data)
        # Gymnasium 1.0 knows no other dtype than int64, nor the keyword.
        other: dict[str, Any] = {} if dtype == np.int64 else {"dtype": dtype.type}
        return spaces.Discrete(_integer(data["n"]), start=_integer(data["start"]), **other)
    if kind == "MultiDiscrete":
        dtype = _dtype(data)
        return spaces.MultiDiscrete(
            np.asarray(data["nvec"], dtype=dtype), dtype.type, start=np.asarray(data["start"], dtype=dtype)
        )
    if kind == "MultiBinary":
        shape = _shape(data["shape"], left)
        return spaces.MultiBinary(shape if data["n"] is None else _integer(data["n"]))
    raise ValueError(f"unknown type {kind!r}")


def _bound_to_json(bound: np.ndarray) -> Any:
    """:return: one number where all are equal, as for images, else nested lists"""
    if bound.size and np.all(bound == bound.flat[0]) and not np.any(np.signbit(bound) != np.signbit(bound.flat[0])):
        return bound.flat[0].item()
    return bound.tolist()


def _bound(data: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind != "b" and _has_bool(data):
        raise ValueError(f"a bound of a space of {dtype} is true or false")
    if isinstance(data, list):
        return np.asarray(data, dtype=dtype).reshape(shape)
    if not isinstance(data, bool | int | float):
        raise ValueError(f"bound {data!r} is not a number")
    return np.full(shape, data, dtype=dtype)


def _has_bool(data: Any) -> bool:
    return any(map(_has_bool, data)) if isinstance(data, list) else isinstance(data, bool)


def _dtype(data: Json) -> np.dtype:
    dtype = np.dtype(str(data["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError(f"dtype {dtype} is not one of numbers")
    return dtype


def _shape(data: Any, left: list[int]) -> tuple[int, ...]:
    if not isinstance(data, list):
        raise ValueError(f"shape {data!r} is no list")
    shape = tuple(_integer(size) for size in data)
    numbers = math.prod(shape)
    if any(size < 0 for size in shape) or numbers > left[0]:
        raise ValueError(f"shape {shape} has more than {left[0]} numbers or a negative size")
    left[0] -= numbers
    return shape


def _key(data: Any) -> str:
    if not isinstance(data, str) or not data.isprintable():
        raise ValueError(f"key {data!r} is no printable text")
    return data


def _integer(data: Any) -> int:
    if isinstance(data, bool) or not isinstance(data, int):
        raise ValueError(f"{data!r} is not an integer")
    return data
