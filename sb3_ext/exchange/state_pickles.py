"""
The pickle of a state dict, read by a machine that knows the few operations that describe tensors. Any other one is
refused; nothing is imported or called.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch as th

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


class Storage(NamedTuple):
    key: str
    dtype: th.dtype
    size: int
    """in numbers"""


class View(NamedTuple):
    storage: Storage
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


class Machine:
    """
    A stack, as pickle's own machine has one.

    :raises ValueError: or LookupError, TypeError, AttributeError, for whatever is not a dictionary of tensors
    """

    def __init__(self) -> None:
        self.stack: list[
            Any
        ] = []  # Any: what a pickle may hold: text, numbers, tuples, dictionaries, and the classes above
        self.memo: dict[Any, Any] = {}

    def run(self, pickle: bytes) -> dict[str, View]:
        """:return: the tensors that it describes, by name"""
        for op, argument, _ in pickletools.genops(pickle):
            if op.name == "STOP":
                break
            work = _OPERATIONS.get(op.name)
            if work is None:
                raise ValueError(f"{op.name} {str(argument)[:100]}")
            work(self, argument)
        if len(self.stack) != 1 or not isinstance(self.stack[0], dict):
            raise ValueError("it is no dictionary")
        found: dict[str, View] = self.stack[0]
        for key, view in found.items():
            if not isinstance(view, View):
                raise ValueError(f"{key[:50]} is no tensor")
        return found

    def pop(self, n: int) -> tuple[Any, ...]:
        """:return: the last n, taken away"""
        if n > len(self.stack):
            raise ValueError("nothing is left to take")
        items = tuple(self.stack[len(self.stack) - n :])
        del self.stack[len(self.stack) - n :]
        return items

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def put_items(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple of tuples as a key would take for ever to hash.
            if not isinstance(self.stack[-1], dict) or not isinstance(key, str) or key in self.stack[-1]:
                raise ValueError(f"{str(key)[:50]!r} cannot be a new name")
            self.stack[-1][key] = value

    def push_name(self, text: str) -> None:
        if text not in (*_STORAGES, _DICT, _TENSOR, _PARAMETER):
            raise ValueError(f"GLOBAL {text[:100]}")
        self.stack.append(_Name(text))

    def build(self) -> None:
        """Versions of the modules, which `load_state_dict` guesses."""
        if not isinstance(self.stack[-2], dict):
            raise ValueError("BUILD None")
        self.pop(1)


def _storage(data: Any) -> Storage:  # Any: of anyone
    """:raises ValueError: for what is none, or on no memory"""
    kind, name, key, device, size = data
    if kind != "storage" or not isinstance(key, str) or not isinstance(device, str) or device.startswith("meta"):
        raise ValueError(f"{str(data)[:100]} is no storage in memory")
    if type(size) is not int or size < 0:
        raise ValueError(f"a storage of {str(size)[:50]} numbers")
    return Storage(key, _STORAGES[name.text], size)


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
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    for numbers in ((offset,), shape, stride):
        if not isinstance(numbers, tuple) or not all(type(x) is int and 0 <= x < 2**63 for x in numbers):
            raise ValueError(f"{str(numbers)[:50]} are no whole numbers")
    return View(storage, offset, shape, stride)


_MARK = object()
_Operation = Callable[[Machine, Any], None]
_OPERATIONS: dict[str, _Operation] = {
    "PROTO": lambda machine, _: None,
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    **dict.fromkeys(
        ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"), lambda machine, x: machine.stack.append(x)
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, x: machine.memo.update({x: machine.stack[-1]})),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, x: machine.stack.append(machine.memo[x])),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop(3)),
    "SETITEM": lambda machine, _: machine.put_items(list(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.put_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, text: machine.push_name(text),
    "BINPERSID": lambda machine, _: machine.stack.append(_storage(*machine.pop(1))),
    "REDUCE": lambda machine, _: machine.stack.append(_called(*machine.pop(2))),
    "BUILD": lambda machine, _: machine.build(),
}
