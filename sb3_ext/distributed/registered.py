"""Ids that a script registers, as by ``gym.register`` or by an import: the process of an actor has not run it."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import cloudpickle
import gymnasium as gym


def registered() -> bytes:
    """:return: all that gymnasium knows here, but what cannot be pickled"""
    specs = dict(gym.registry)
    try:
        pickled: bytes = cloudpickle.dumps(specs)
    except Exception:  # pickling runs code of whatever it meets
        pickled = cloudpickle.dumps({name: spec for name, spec in specs.items() if _can_be_pickled(spec)})
    return pickled


def register_missing(known: bytes) -> None:
    """:param known: what `registered` gave elsewhere; what is known here stays as it is"""
    specs = {name: spec for name, spec in cloudpickle.loads(known).items() if name not in gym.registry}
    # A package that registers its environments where it is imported would warn of each that is there already.
    for package in {_package(spec.entry_point) for spec in specs.values()} - {""}:
        with contextlib.suppress(
            ImportError
        ):  # of this machine, perhaps: then it is not the environment that is asked for
            importlib.import_module(package)
    for name, spec in specs.items():
        gym.registry.setdefault(name, spec)


def _package(entry_point: Any) -> str:  # Any: text, a callable or None
    return entry_point.split(":")[0].split(".")[0] if isinstance(entry_point, str) else ""


def _can_be_pickled(spec: Any) -> bool:  # Any: an EnvSpec
    try:
        cloudpickle.dumps(spec)
    except Exception:  # as above
        return False
    return True
