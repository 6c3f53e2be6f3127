"""
Classes of users that safe files may name, as they may name ours.

Text from a file never names code: it chooses from a list. What is on that list beside our own is said by the program
that reads, in Python, and by the program that writes: a file holds the bare name of a class, and what the name means is
the reader's matter.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from sb3_ext.exchange.keyword_checks import annotations_of

PREFIX = "allowed."
"""of names in files, which no name of ours begins with"""
_classes: dict[str, type] = {}


def allow(*classes: type) -> None:
    """
    Let the safe files and those of the Hub hold these classes: heads, samplers and strategies of exploration, which are
    dataclasses, by their fields; cores, features extractors and other modules by their names, the weights in them as
    all weights. To be called where such files are written and where they are read.

    A file can then make such objects with any fields of the types that the class is annotated with, so allow nothing
    whose constructor does more than keep its arguments.

    :param classes: each dataclasses or `torch.nn.Module`; a class that was defined again takes the place of the first
    :raises ValueError: for any other class, and for two of one name
    """
    for cls in classes:
        _check(cls)
    for cls in classes:
        _classes[cls.__name__] = cls


def name_of(cls: type) -> str | None:
    """:return: what files call an allowed class, None for others"""
    return PREFIX + cls.__name__ if _classes.get(cls.__name__) is cls else None


def class_of(name: str) -> type | None:
    """:return: the allowed class that files call so, None where there is none"""
    return _classes.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None


def fields_of(cls: type) -> dict[str, str]:
    """:return: keyword and attribute of each setting of an allowed dataclass; no other class is an object in a file"""
    return {part.name: part.name for part in dataclasses.fields(cls) if part.init} if is_spec(cls) else {}


def is_spec(cls: type) -> bool:
    """:return: whether a file holds objects of the class, rather than the class itself"""
    return dataclasses.is_dataclass(cls) and not issubclass(cls, nn.Module)


def advice(cls: type) -> str:
    """:return: what to do where a class cannot be written, for the end of an error; empty where nothing can be done"""
    if not (is_spec(cls) or issubclass(cls, nn.Module)):
        return ""
    return f", unless sb3_ext.exchange.allow({cls.__name__}) is called here and where it is read"


def in_words(name: str) -> str:
    """
    :param name: in a file
    :return: why it means nothing here, for an error
    """
    bare = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or not bare.isidentifier() or len(bare) > 100:
        return f"{name[:100]!r} is not on the list of what a file may name"
    return f"{bare} is a class of the author's own: to read it, have yours and call sb3_ext.exchange.allow({bare})"


def _check(cls: object) -> None:
    if not isinstance(cls, type):
        raise ValueError(f"{cls!r} is no class: allow(MyHead), not allow(MyHead())")
    if not is_spec(cls) and not issubclass(cls, nn.Module):
        raise ValueError(f"{cls.__name__} is no dataclass, whose fields a file could hold, and no torch.nn.Module")
    there = _classes.get(cls.__name__, cls)
    if (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"{cls.__module__}.{cls.__qualname__}: {there.__module__}.{there.__qualname__} is allowed already, and "
            "files hold the bare name: rename one of them"
        )
    try:
        annotations_of(cls)
    except NameError as error:
        raise ValueError(f"{cls.__name__}: an annotation of its constructor cannot be resolved ({error})") from None
