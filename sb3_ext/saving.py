"""
Files appear whole or not at all: they are written under a temporary name beside the target and then renamed.

A file keeps its mode, a link stays and what it points to is replaced. What processes left behind that died while they
wrote is removed at the next save into the same folder.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pathlib
import pickle
import platform
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.locks import IS_WINDOWS, try_lock
from sb3_ext.replaced import replaced

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Buffer

HOST = platform.node() or "localhost"
"""process ids mean something on one machine only, and folders may be shared"""
_TEMPORARY = re.compile(rf"\..*\.{re.escape(HOST)}\.(\d{{1,9}})-\d+\.tmp", re.DOTALL)
_count = itertools.count()
_under_way: set[pathlib.Path] = set()
"""this process's own: a dead one may have had its id"""


class AtomicSaveMixin(BaseAlgorithm):
    """Adds to SB3's `save` that a kill in the middle leaves the previous file whole."""

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        :param path: file to write; ``.zip`` is added where there is no suffix
        :param exclude: attributes to leave out beside the default ones
        :param include: attributes to keep although they are left out by default
        """
        write_whole(
            path, "zip", lambda target: super(AtomicSaveMixin, self).save(target, exclude=exclude, include=include)
        )


class AtomicReplaySaveMixin(AtomicSaveMixin, OffPolicyAlgorithm):
    """Adds the same to `save_replay_buffer`."""

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """:param path: file to write; ``.pkl`` is added where there is no suffix"""
        write_whole(path, "pkl", super().save_replay_buffer)


@contextlib.contextmanager
def whole_saves() -> Iterator[None]:
    """
    Adds the same to all of SB3's algorithms, to `VecNormalize`, and to `np.savez`, by which `EvalCallback` writes all
    its evaluations again each time; within the block.
    """

    def whole(save: Callable[..., None], suffix: str) -> Callable[..., None]:
        def save_whole(self: Any, path: Any, *args: Any, **kwargs: Any) -> None:  # Any: SB3's arguments, unread
            write_whole(path, suffix, lambda file: save(self, file, *args, **kwargs))

        return save_whole

    def pickle_to(env: VecNormalize, file: io.BufferedIOBase) -> None:
        pickle.dump(env, file)  # as SB3 2.9's `VecNormalize.save` does, which takes no open file

    def savez_whole(file: Any, *args: Any, **kwargs: Any) -> None:  # Any: NumPy's arguments, unread
        if isinstance(file, str | os.PathLike):
            path = os.fspath(file)
            named = pathlib.Path(path if path.endswith(".npz") else f"{path}.npz")
            write_whole(named, "npz", lambda opened: savez(opened, *args, **kwargs))
        else:
            savez(file, *args, **kwargs)

    savez = np.savez
    with (
        replaced(np, "savez", savez_whole),
        replaced(BaseAlgorithm, "save", whole(BaseAlgorithm.save, "zip")),
        replaced(OffPolicyAlgorithm, "save_replay_buffer", whole(OffPolicyAlgorithm.save_replay_buffer, "pkl")),
        replaced(VecNormalize, "save", whole(pickle_to, "pkl")),
    ):
        yield


def write_whole(
    path: str | pathlib.Path | io.BufferedIOBase, suffix: str, write: Callable[[io.BufferedIOBase], None]
) -> None:
    """
    :param path: final path, or an open file, which is written to directly, as is a pipe or a device
    :param suffix: added where the path has none, as SB3 does
    :param write: writes to the open file that it is given
    :raises OSError: naming the path, where the disk is full, whatever `write` makes of it
    """
    if not isinstance(path, str | pathlib.Path):
        write(path)
        return
    named = pathlib.Path(path)
    if named.suffix == "":
        named = named.with_name(f"{named.name}.{suffix}")
    final = pathlib.Path(os.path.realpath(named))
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists() and not final.is_file():
        with open(final, "wb") as file:
            write(file)
        return
    remove_leftovers(final.parent)
    with _temporary_name(final) as temporary:
        try:
            raw = TellingFile(temporary, stat.S_IMODE(final.stat().st_mode) if final.exists() else None)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(named)) from error
        try:
            with io.BufferedWriter(raw) as file:
                write(file)
                file.flush()
                os.fsync(raw.fileno())  # some file systems find out only now that they are full
        except Exception as error:  # any: zipfile and torch have their own words for a write that failed
            if raw.failure is None:
                raise
            raise OSError(raw.failure.errno, raw.failure.strerror, str(named)) from error
        os.replace(temporary, final)


class TellingFile(io.FileIO):
    """
    A new file that remembers why it could not be written to.

    :param path: where nothing is yet
    :param mode: its permissions, None = those that the user's umask leaves
    """

    def __init__(self, path: pathlib.Path, mode: int | None) -> None:
        self.failure: OSError | None = None
        super().__init__(path, "x", opener=lambda name, flags: os.open(name, flags, 0o666 if mode is None else mode))
        try_lock(self.fileno())
        # Where it is right already it is left: some file systems have one mode for all, and refuse any other.
        if mode is not None and mode != stat.S_IMODE(os.fstat(self.fileno()).st_mode):
            os.chmod(path, mode)  # also what the umask took away

    def write(self, data: Buffer, /) -> int:
        """:return: number of bytes written"""
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 120) -> pathlib.Path:
    """
    :param figure: of matplotlib
    :param path: file to write, which appears whole or not at all; ``.png`` is added where there is no suffix
    :param dpi: dots per inch
    :return: the path with its suffix
    :raises ValueError: for a suffix other than those of matplotlib, ``.png`` and ``.svg`` among them
    """
    path = pathlib.Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        known = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
        raise ValueError(f"path: {path}: no picture ends in .{suffix}; use one of {known}")
    write_whole(path, "png", lambda file: figure.savefig(file, format=suffix, dpi=dpi))  # type: ignore[arg-type]  # is one of bytes
    return path


def write_folder_whole(path: str | os.PathLike[str], write: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """
    :param path: final path of a folder, which must not exist: one that does may hold anything
    :param write: fills the empty folder that it is given
    :return: the final path
    :raises ValueError: if there is something, also if it appears while the folder is filled
    """
    final = pathlib.Path(path)
    taken = f"{final}: exists already; choose another path or remove it"
    if final.exists():
        raise ValueError(taken)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final.parent)
    with _temporary_name(final) as temporary:
        temporary.mkdir()
        with _held(temporary):
            write(temporary)
        try:
            os.rename(temporary, final)
        except OSError as error:
            if final.exists():
                raise ValueError(taken) from error
            raise
    return final


def remove_leftovers(folder: pathlib.Path) -> None:
    """:param folder: where temporary files and folders are removed that no process writes to any more"""
    with (
        contextlib.suppress(OSError),
        os.scandir(folder) as entries,
    ):  # one may write into a folder that one cannot list
        names = [(entry.name, found) for entry in entries if (found := _TEMPORARY.fullmatch(entry.name)) is not None]
        for name, found in names:
            left, pid = folder / name, int(found[1])
            if left in _under_way or (pid != os.getpid() and _is_alive(pid)):
                continue
            with contextlib.suppress(OSError), _held(left) as is_ours:  # in /tmp it may be another user's
                if is_ours:
                    _remove(left)


@contextlib.contextmanager
def _temporary_name(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """:return: a path beside it that nobody else has; what is there afterwards is removed"""
    # Cut: a name of 255 bytes shall not become longer than a name may be.
    temporary = final.with_name(f".{final.name[:30]}.{HOST}.{os.getpid()}-{next(_count)}.tmp")
    _under_way.add(temporary)
    try:
        yield temporary
    finally:
        _remove(temporary)
        _under_way.discard(temporary)


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[bool]:
    """
    :param path: of a temporary file or folder
    :return: False where someone else holds it: a process in another container, whose id means nothing here
    """
    if IS_WINDOWS:  # which opens no folders
        yield True
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if IS_WINDOWS:
        return True  # there `os.kill` ends a process, whatever the signal
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
