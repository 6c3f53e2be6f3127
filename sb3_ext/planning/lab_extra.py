"""scipy, which the extra ``lab`` brings. It is imported where it is used, so that tables alone do without."""

from __future__ import annotations

import importlib
from typing import Any


def scipy_module(name: str) -> Any:  # Any: a module
    """
    :param name: "scipy.sparse", "scipy.optimize"
    :raises ModuleNotFoundError: without the extra that brings it
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f'exact answers need the lab extra: pip install "sb3-ext[lab]" ({error})'
        raise ModuleNotFoundError(message, name=error.name) from error
