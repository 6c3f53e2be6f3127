"""
Settings that are objects, and the short names by which a yml or a command line says them: `head`, `sampler`,
`exploration`.

Such an object is a dataclass of its settings and nothing else, so two that are equal do the same, and its fields are
all there is to write into a file.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def resolve(kind: type[T], given: object, table: Mapping[str, Callable[..., T]]) -> T:
    """
    :param kind: class or runtime protocol of the object; its name in lower case is the keyword in errors
    :param given: such an object, its short name (``"c51"``), or its name and keywords (``{"c51": {"n_atoms": 51}}``)
    :param table: short name -> class
    :return: the object that was given or meant
    :raises ValueError: for anything else, and for values that the class refuses
    """
    what = kind.__name__.lower()
    if isinstance(given, type):
        raise ValueError(f"{what} {given.__name__} is a class: give an object, {given.__name__}(...)")
    if isinstance(given, kind):
        return given
    name, keywords = _said(given)
    if name not in table:
        raise ValueError(
            f"{what} {given!r} is none of {', '.join(map(repr, table))}, such a name with its keywords "
            f"({{name: {{keyword: value}}}}), or an object with the methods of {kind.__name__}"
        )
    make = table[name]
    known = inspect.signature(make).parameters
    for keyword in keywords:
        if keyword not in known:
            raise ValueError(f"{what} {name!r} has no keyword {keyword!r}: {', '.join(known) or 'it has none'}")
    try:
        return make(**keywords)
    except TypeError as error:  # a comparison with a value of another kind
        raise ValueError(f"{what} {given!r} has a value of the wrong kind: {error}") from None


def fields_of(spec: DataclassInstance) -> dict[str, Any]:  # Any: whatever a setting may be
    """:return: what its class was called with, by name"""
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.init}


def _said(given: object) -> tuple[str, Mapping[str, Any]]:  # Any: as above
    """:return: name and keywords, or an empty name"""
    if isinstance(given, str):
        return given, {}
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, keywords),) = given.items()
        if isinstance(name, str) and isinstance(keywords, Mapping | None):
            return name, keywords or {}
    return "", {}
