"""Demonstrations from wherever they are, in whichever format, and back."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.formats import FORMATS
from sb3_ext.demonstrations.formats.base import Format, Path, Task, is_path
from sb3_ext.demonstrations.formats.npz import Npz
from sb3_ext.specs import resolve

FormatLike = Format | str | Mapping[str, Mapping[str, Any]]
"""a format, its short name, or name and keywords: ``{"sb2": {"terminated": True}}``"""


class Trajectory(Protocol):
    """What is read of `imitation.data.types.Trajectory`."""

    obs: Any
    acts: Any
    infos: Any
    terminal: bool


def load(
    source: Any,
    format: FormatLike | None = None,
    *,
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
    env_id: str | None = None,
    max_bytes: int | None = None,
) -> Demonstrations:
    """
    Read demonstrations. No file runs code, and none costs more memory than its size allows.

    :param source: a file or a folder, a list of `imitation`'s `Trajectory`, a `minari.MinariDataset`. Any: whatever a
        format recognises
    :param format: None = found out. An object says what the file may not: ``SB2(terminated=True)``
    :param observation_space: of the task, where the format does not hold it
    :param action_space: likewise
    :param env_id: likewise, to write down; its time limit may tell cuts from terminations
    :param max_bytes: that reading may make, None = 256 MiB, or 100 times the size on disk where that is more
    :raises ValueError: with the file and the field, where it is not what it should be
    :raises FileNotFoundError: if there is none
    """
    chosen = resolve(Format, format, FORMATS) if format is not None else find(source)()
    known = observation_space is not None and action_space is not None
    task = Task(observation_space, action_space, env_id) if known else None  # type: ignore[arg-type]  # they are known
    return chosen.read(source, task, max_bytes)


def save(demos: Demonstrations, path: Path, format: FormatLike | None = None) -> pathlib.Path:
    """
    Write demonstrations. The file or folder appears whole or not at all.

    :param demos: to write
    :param path: where; a file is replaced, a folder must not exist
    :param format: None = our own ``.npz``, which `load` gives back bit for bit and which holds whatever they do
    :return: the path with its suffix
    :raises ValueError: for what the format has no place for
    """
    return (Npz() if format is None else resolve(Format, format, FORMATS)).write(demos, path)


def find(source: object) -> type[Format]:
    """
    :param source: see `load`
    :return: its format; a user's is asked before ours
    :raises FileNotFoundError: if there is none
    :raises ValueError: for what is none
    """
    for kind in reversed(FORMATS.values()):
        if kind.recognises(source):
            return kind
    if not is_path(source):
        raise ValueError(f"{type(source).__name__} is no path, and none of {', '.join(FORMATS)}")
    if not pathlib.Path(source).exists():
        raise FileNotFoundError(
            f'there is no {source}; a data set of Minari by its id needs format="minari" (--from minari)'
        )
    raise ValueError(f"{source} is none of {', '.join(FORMATS)} by its name and content: say it by format= (--from)")
