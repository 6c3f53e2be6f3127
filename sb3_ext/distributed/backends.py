"""Backends by name. Each is imported when it is asked for: what one of them needs, the others do without."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sb3_ext.distributed.backend import Backend

CLASSES = {
    "inline": ("sb3_ext.distributed.inline", "InlineBackend"),
    "process": ("sb3_ext.distributed.process", "ProcessBackend"),
    "ray": ("sb3_ext.distributed.ray", "RayBackend"),
}


def backend_named(given: str | Backend, kwargs: Mapping[str, Any]) -> Backend:
    """
    :param given: a name, or a backend
    :param kwargs: of the class that is named
    :return: the backend
    :raises ValueError: for another name or another object, or a package that is not installed
    """
    if not isinstance(given, str):
        if not isinstance(given, Backend):
            raise ValueError(f"backend {given!r} must be {', '.join(map(repr, CLASSES))} or have Backend's methods")
        if kwargs:
            raise ValueError(f"backend_kwargs {dict(kwargs)} are of a backend that is named: give them to its class")
        return given
    if given not in CLASSES:
        raise ValueError(f"backend {given!r} is none of {', '.join(map(repr, CLASSES))}")
    module, name = CLASSES[given]
    try:
        make = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != given:
            raise
        raise ValueError(f'backend {given!r} needs the package {given}: pip install "sb3-ext[{given}]"') from None
    try:
        backend: Backend = make(**kwargs)
    except TypeError as error:
        raise ValueError(f"backend_kwargs of {name}: {error}") from None
    return backend
