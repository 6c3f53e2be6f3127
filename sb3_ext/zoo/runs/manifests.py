"""
What a run is and how far it came: `run.json` in its folder, written whole when training begins, after each checkpoint
and when it ends, whatever ends it. Killed in between, it says "running" and the steps of the last checkpoint; whether a
process is at it tells the lock of `run.lock`, which only a killed run leaves behind.

It holds no password. Paths of the machine are in it only as long as they are needed to go on: one that has finished
has none, because folders of runs are published.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from sb3_ext.errors import UserError
from sb3_ext.exchange.redaction import redacted
from sb3_ext.locks import try_lock
from sb3_ext.zoo.actors import ActorSettings

NAME, LOCK = "run.json", "run.lock"
EARLIER = "interrupted.json"
"""what runs of earlier versions have in its place until they end"""
MAX_BYTES = 1_000_000
MAX_STEPS = 10**18  # more than any run makes, and no more than arrays hold
MAX_FOLDERS_UP = 3  # to the log folder, "../../..", and what lies beside it: farther up are names of the machine

Ended = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Manifest:
    """
    Steps are env steps of all environments together, with those of the runs that it goes on from.

    :raises ValueError: for values that no run has, naming them
    """

    id: str
    """32 hexadecimal digits"""
    algorithm: str
    """the zoo's id"""
    env_id: str
    seed: int
    n_timesteps: int
    """planned"""
    num_timesteps: int
    """made, as of the last save"""
    parent: str | None
    """id of the run that it goes on from; None = of none, or of one that has no manifest"""
    parent_folder: str | None
    """where that one lay, from this folder; None = of none, or too far off"""
    parent_steps: int
    """with which it went on; 0 = it counts from the beginning"""
    ended: Ended
    trouble: str | None
    """that ended it, in a line"""
    command: str
    """as it was typed, without passwords and folders of the machine; "" = code"""
    versions: dict[str, str]
    commit: str | None
    """of the working tree that it ran in, if any"""
    began: str
    """ISO 8601, UTC, as the next"""
    ended_at: str | None
    cpu_seconds: float | None
    """of this part from the start of training: of its process, and of workers once they have ended"""
    tensorboard: str | None
    """folder of its curves, from this one where that names nothing of the machine"""
    actors: ActorSettings | None
    """that collected for it"""

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ValueError(f"{name} {value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
        for name in ("n_timesteps", "num_timesteps", "parent_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is negative")
            if getattr(self, name) > MAX_STEPS:
                raise ValueError(f"{name} is more than {MAX_STEPS:.0e}")
        if self.ended not in get_args(Ended):
            raise ValueError(f"ended {self.ended!r} is none of {', '.join(get_args(Ended))}")
        if not all(isinstance(x, str) for pair in self.versions.items() for x in pair):
            raise ValueError(f"versions {self.versions!r} are no texts")

    def write(self, folder: Path) -> None:
        """
        Whole or not at all.

        :param folder: of the run
        """
        from sb3_ext.saving import write_whole  # PyTorch comes with it, and lists of runs need none

        content = f"{json.dumps(asdict(self), indent=2)}\n".encode()

        def write(file: io.BufferedIOBase) -> None:
            file.write(content)

        write_whole(folder / NAME, "json", write)

    def without_machine(self) -> Manifest:
        """:return: without folders and addresses, which a run needs no more that has finished"""
        actors = None if self.actors is None else replace(self.actors, ray_address=None)
        return replace(self, tensorboard=self.tensorboard and redacted(self.tensorboard), actors=actors)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """
        :param folder: of a run
        :return: None where it has none: runs of earlier versions, and those of rl-zoo3 itself
        :raises UserError: for one that is broken
        """
        path = folder / NAME
        if not path.is_file():
            return None
        try:
            told = _json(path)
            missing = [field.name for field in fields(cls) if field.name not in told]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            values = {field.name: told[field.name] for field in fields(cls)}
            return cls(**{**values, "actors": _actors(values["actors"])})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is broken: {' '.join(str(error).split())[:200]}") from error


# The plain types of JSON. `bool` is an int to Python, and none here.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "algorithm", "env_id", "ended", "command", "began"), (str,)),
    **dict.fromkeys(("seed", "n_timesteps", "num_timesteps", "parent_steps"), (int,)),
    **dict.fromkeys(("parent", "parent_folder", "trouble", "commit", "ended_at", "tensorboard"), (str, type(None))),
    "versions": (dict,),
    "cpu_seconds": (int, float, type(None)),
}


def read_earlier(folder: Path) -> Manifest | None:
    """
    :param folder: of a run
    :return: of one of an earlier version that has not finished, what can be known; it has no id. None of any other
    :raises UserError: where that is broken
    """
    path = folder / EARLIER
    if not path.is_file():
        return None
    try:
        told = _json(path)
        made = told["num_timesteps"]  # None where it could not save a model at its end
        return Manifest(
            id="",
            algorithm=folder.resolve().parent.name,
            env_id="",
            seed=0,
            n_timesteps=told["n_timesteps"],
            num_timesteps=made or 0,
            parent=None,
            parent_folder=None,
            parent_steps=0,
            ended="running" if made is None else "interrupted",
            trouble=None,
            command="",
            versions={},
            commit=None,
            began="",
            ended_at=None,
            cpu_seconds=None,
            tensorboard=told["tensorboard"],
            actors=_actors(told.get("actors")),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is broken") from None


def _json(path: Path) -> dict[str, Any]:  # Any: of a file
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes are more than any run writes ({MAX_BYTES})")
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict):
        raise TypeError(f"{type(told).__name__} in place of names and values")
    return told


def _actors(told: Any) -> ActorSettings | None:  # Any: of a file
    return None if told is None else ActorSettings(**told)


@contextlib.contextmanager
def under_way(folder: Path) -> Iterator[None]:
    """
    :param folder: of a run that this process is at, which others can tell within the block
    :raises UserError: where another process is at it
    """
    path = folder / LOCK
    try:
        file = path.open("ab")
    except OSError:  # one that cannot be written to is nobody's; a full disk is said where something is saved
        yield
        return
    with file:
        if not try_lock(file.fileno()):
            raise UserError(f"{folder} is under way in another process, which must end first")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_under_way(folder: Path) -> bool:
    """
    :param folder: of a run
    :return: whether a process is at it; False too where that cannot be known: on Windows, and on file systems without
        locks
    """
    try:
        file = (folder / LOCK).open("r+b")
    except OSError:
        return False
    with file:
        return not try_lock(file.fileno())


def path_between(folder: Path, target: Path) -> str | None:
    """
    :param folder: of a run
    :param target: what it refers to
    :return: where that is, from the folder; None where this would name folders of the machine: it lies outside of the
        working directory, and not beside the log folder either
    """
    start, end = (Path(os.path.abspath(path)) for path in (folder, target))
    try:
        way = os.path.relpath(end, start)
    except ValueError:  # two drives of Windows
        return None
    here = Path.cwd()
    is_near = Path(way).parts.count("..") <= MAX_FOLDERS_UP
    return way if is_near or (here in start.parents and here in end.parents) else None


def commit_here() -> str | None:
    """:return: that of the working tree that the process is in, None where there is none"""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def utc_now() -> str:
    """:return: ISO 8601, to the second"""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
