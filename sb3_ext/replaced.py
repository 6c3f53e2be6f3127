"""
Another library's function or class, replaced while a block runs: where it offers neither a parameter nor a hook. Each
name that is replaced stands in a contract test, so that an upgrade of that library says what moved.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:  # Any: whatever the attribute is
    """
    :param owner: module or class
    :param name: of its attribute, or of a builtin, such as "print", that a module calls
    :param value: within the block
    :raises AttributeError: where it has no such attribute
    """
    if not (inspect.ismodule(owner) and hasattr(builtins, name)):
        getattr(owner, name)
    is_own, before = name in vars(owner), vars(owner).get(name)  # as it lies there: a staticmethod, not its function
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
