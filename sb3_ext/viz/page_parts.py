"""What pages in one HTML file have in common: parts that are package data, JSON inside, a policy for what may run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from sb3_ext.saving import write_whole


def read_page(folder: str, scripts: Sequence[str] = ("page.js",)) -> tuple[str, str, str]:
    """
    :param folder: beside this file
    :param scripts: files in it, in the order in which they run
    :return: HTML with places for the other two, style, script
    """
    parts = files("sb3_ext.viz") / folder
    page, css, *js = ((parts / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", *scripts))
    return page, css, "\n".join(js)


def read_part(folder: str, name: str) -> str:
    """
    :param folder: beside this file
    :param name: of a file in it
    """
    return (files("sb3_ext.viz") / folder / name).read_text(encoding="utf-8")


def embedded(content: Any) -> str:  # Any: JSON
    """:return: JSON in which nothing can end the script element, or begin a comment in it"""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def hash_of(text: str) -> str:
    """:return: by which a Content-Security-Policy knows an inline element"""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_page(page: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    :param page: HTML
    :param path: file to write, which appears whole or not at all; ``.html`` is added where there is no suffix
    :return: the path with its suffix
    """
    path = pathlib.Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.html")
    content = page.encode(errors="replace")  # the name of a file may have halves of characters
    write_whole(path, "html", lambda file: _write(file, content))
    return path


def _write(file: io.BufferedIOBase, content: bytes) -> None:
    file.write(content)
