"""Which keywords a class takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from sb3_ext.errors import did_you_mean
from sb3_ext.moved_keywords import refuse_moved


def keywords_of(cls: type) -> set[str]:
    """:return: keywords that the constructor takes, also those that reach a base class through ``**kwargs``"""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def check_keywords(given: Iterable[str], known: set[str], what: str) -> None:
    """
    :param given: names from a yml or the command line
    :param known: the valid ones
    :param what: they name
    :raises ValueError: at the first unknown one, with its successor or the closest known one
    """
    given = list(given)
    refuse_moved(given, known)
    for name in given:
        if name not in known:
            raise ValueError(f"unknown {what}: {name!r}{did_you_mean(name, known)}")
