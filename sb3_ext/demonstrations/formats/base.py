"""
What a format is: one class. The commands, `load`, `save`, the learners and the documentation know it by its row in
`sb3_ext.demonstrations.formats.FORMATS`.
"""

from __future__ import annotations

import os
import pathlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeGuard, get_args, get_type_hints

from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations

Path = str | os.PathLike[str]


class Task(NamedTuple):
    """What many files do not hold, and their reader's caller knows."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    env_id: str | None = None


class Option(NamedTuple):
    """What the command line says of a field of a format: ``Annotated[type, Option(...)]``."""

    help: str
    choices: tuple[tuple[str, Any], ...] = ()
    """the word that is typed, and the field's value; none = any text"""
    writing: bool = False
    """whether it is for writing, else for reading"""


@dataclass(frozen=True)
class Format(ABC):
    """
    A way to write demonstrations down. Its fields are what a reader or a writer may be told; those annotated by an
    `Option` are flags of the command line.

    A reader counts what it makes before it makes it (`Budget`), unpickles nothing, names file and field in a
    ValueError, and says what the file does not: an end or a final observation that nobody wrote down is unknown.
    """

    name: ClassVar[str]
    """short name"""
    about: ClassVar[str]
    """whose it is, for the documentation"""
    needs: ClassVar[str] = "-"
    """packages"""
    lacks: ClassVar[str] = "-"
    """what it cannot hold"""
    holds_spaces: ClassVar[bool] = False
    suffixes: ClassVar[tuple[str, ...]] = ()
    """of files, by which one to be written is known"""

    @classmethod
    def options(cls) -> dict[str, Option]:
        """:return: of the fields, by name"""
        hints = get_type_hints(cls, include_extras=True)
        found = {name: [x for x in get_args(hint) if isinstance(x, Option)] for name, hint in hints.items()}
        return {name: options[0] for name, options in found.items() if options}

    @classmethod
    @abstractmethod
    def recognises(cls, source: object) -> bool:
        """:return: whether this is one, by its name, or by a look into it where names do not tell"""

    @abstractmethod
    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: of the format
        """
        :param source: path of a file or folder, or other things that `recognises` is true of
        :param task: None = not known
        :param max_bytes: that reading may make, None = 256 MiB, or 100 times the size on disk where that is more
        :raises ValueError: with the file and the field
        """

    @abstractmethod
    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """
        :param demos: to write
        :param path: of the file or folder, which appears whole or not at all
        :return: the path, with its suffix
        :raises ValueError: for what the format has no place for
        """

    def task_of(self, source: object, task: Task | None) -> Task:
        """
        :return: the task
        :raises ValueError: where it is not known
        """
        if task is None:
            raise ValueError(
                f"{source}: the {self.name} format does not hold the spaces: give observation_space and action_space "
                "(--env on the command line)"
            )
        return task


def is_path(source: object) -> TypeGuard[Path]:
    """:return: whether it may name a file or a folder"""
    return isinstance(source, str | os.PathLike)


def is_plain(text: object) -> bool:
    """:return: whether it is text, and none that moves a terminal's cursor"""
    return isinstance(text, str) and text.isprintable()
