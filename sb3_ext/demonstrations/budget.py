"""A file costs no more memory than its size allows. What reading it makes is counted before it is made."""

from __future__ import annotations

import os
import pathlib

# Deflate makes up to 1032 bytes of one. Of frames with much in common, as stacked pictures, it makes some 50.
ALLOWED_PER_BYTE = 100
ALWAYS_ALLOWED = 2**28
BYTES_PER_EPISODE = 2048  # objects around its arrays
BYTES_PER_CHARACTER = 40  # of JSON: a dictionary of one item takes 34


class RefusedError(ValueError):
    """What is wrong with a file; the text names file and field."""


class Budget:
    """
    :param path: of the file or folder, for messages
    :param n_bytes: its size
    :param max_bytes: what reading it may make, None = by the size
    :raises ValueError: if ``max_bytes`` is none that a file could need
    """

    def __init__(self, path: str | os.PathLike[str], n_bytes: int, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes {max_bytes} must be at least 1")
        self.path, self.n_bytes = path, n_bytes
        self.limit = max(ALWAYS_ALLOWED, ALLOWED_PER_BYTE * n_bytes) if max_bytes is None else max_bytes
        self.made = 0

    def take(self, n_bytes: int, name: str) -> None:
        """
        :param n_bytes: about to be made
        :param name: of what
        :raises RefusedError: where that is too much
        """
        self.made += int(n_bytes)
        if self.made > self.limit:
            raise RefusedError(
                f"{self.path}: {name}: {self.n_bytes} bytes on disk become {self.made} or more in memory, {self.limit} "
                f"are allowed; pass max_bytes={self.made} or more (--max-bytes) if you trust the file"
            )

    @property
    def left(self) -> int:
        """Bytes that may still be made."""
        return self.limit - self.made


def size_on_disk(path: pathlib.Path) -> int:
    """:return: bytes of a file, or of all files in a folder"""
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size
