"""JSON of anyone: counted before it is parsed, and nothing in it is read in two ways."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any, NoReturn

from sb3_ext.errors import UnsafeFile

# Settings have hundreds of values; the bounds of four small pictures, number by number, some 60 000.
MAX_VALUES = 2**18
MAX_JSON_BYTES = 8 * 2**20


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """
    :param path: of anyone's file
    :raises UnsafeFile: for one that is missing, too large or not a JSON object
    """
    if not path.is_file():
        raise UnsafeFile(f"{path.parent} has no {path.name}: it is not a folder of save_safe")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise UnsafeFile(f"{path.name} has {size} bytes, more than {MAX_JSON_BYTES}")
    return parse(path.read_bytes(), path.name, MAX_JSON_BYTES)


def json_bytes(data: Any, name: str) -> bytes:  # Any: JSON
    """
    :param data: to be written
    :param name: of the file
    :return: readable, and valid JSON
    :raises UnsafeFile: for more of it than `read_json` takes
    """
    content = json.dumps(data, indent=1, allow_nan=False).encode()
    parse(content, name, MAX_JSON_BYTES)
    return content


def parse(
    content: bytes, name: str, max_bytes: int, max_values: int = MAX_VALUES, infinite: bool = False
) -> dict[str, Any]:
    """
    :param content: of a file
    :param name: what to call it
    :param max_bytes: that it may have
    :param max_values: numbers, texts, lists and objects in it
    :param infinite: take NaN and Infinity, which Python writes and JSON has not
    :return: a JSON object
    :raises UnsafeFile: for anything else, for a key that comes twice, and for numbers that JSON or a float has not
    """
    if len(content) > max_bytes:
        raise UnsafeFile(f"{name} has {len(content)} bytes, more than {max_bytes}")
    # Every value but the first follows one of these. Those within a text are counted too, rather than read it twice.
    n_values = sum(map(content.count, (b"[", b"{", b",", b":")))
    if n_values > max_values:
        raise UnsafeFile(f"{name} has {n_values} brackets, commas and colons, more than {max_values}")
    try:
        data = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=float if infinite else _no_constant,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError) as error:
        raise UnsafeFile(f"{name} is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise UnsafeFile(f"{name} holds a {type(data).__name__}, not an object")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return data


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:50]} is too large for a float")
    return value
