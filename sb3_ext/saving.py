"""Files appear whole or not at all: they are written under a temporary name beside the target and then renamed."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def write_whole(
    path: str | pathlib.Path | io.BufferedIOBase, suffix: str, write: Callable[[io.BufferedIOBase], None]
) -> None:
    """
    :param path: final path, or an open file, which is written to directly
    :param suffix: added where the path has none, as SB3 does
    :param write: writes to the open file that it is given
    """
    if not isinstance(path, str | pathlib.Path):
        write(path)
        return
    final = pathlib.Path(path)
    if final.suffix == "":
        final = final.with_name(f"{final.name}.{suffix}")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


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
    :raises ValueError: if there is something
    """
    final = pathlib.Path(path)
    if final.exists():
        raise ValueError(f"{final}: exists already; choose another path or remove it")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        write(temporary)
        os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final
