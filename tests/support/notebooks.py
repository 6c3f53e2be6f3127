"""
Notebooks of examples/notebooks/: each is made of a tutorial, text and code, so that the two say the same.

    cd tests && python -m support.notebooks     # writes them anew after a change of a tutorial
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from support.pages import COMMENT, ROOT, Block, blocks_of, commands

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FOLDER = ROOT / "examples" / "notebooks"

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s]+)")
INSTALL = """\
# Where the package is missing, as in Colab, this installs it; elsewhere it does nothing.
from importlib.util import find_spec

REPOSITORY = ""  # of the package, "https://..."; empty: its release on PyPI
PACKAGE = "sb3-ext[{extras}]" + (f" @ git+{{REPOSITORY}}" if REPOSITORY else "")
if find_spec("sb3_ext") is None:
    %pip install -q "{{PACKAGE}}"
"""
EXTRAS = "zoo,viz"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_of(page: Path, short: bool = False) -> dict[str, Any]:
    """
    :param page: a tutorial
    :param short: as the tests run it: blocks are shortened as their comments say, and commands of a shell are calls in
        the kernel's own process
    :return: a notebook, as its file has it; of the page all but the line that links to it
    """
    lines = page.read_text().splitlines()
    code = {block.line: block for block in blocks_of(page) if block.language in ("python", "bash", "yaml")}
    cells: list[dict[str, Any]] = []
    text: list[str] = []
    number = 0
    while number < len(lines):
        number += 1
        block = code.get(number)
        if block is None:
            text.append(lines[number - 1])
            continue
        _add_text(cells, text, page)
        if len(cells) == 1:
            _add_code(cells, INSTALL.format(extras=EXTRAS))
        _add_code(cells, _cell_of(block, short))
        text = []
        number += block.text.count("\n") + 1  # behind the closing fence
    _add_text(cells, text, page)
    for index, cell in enumerate(cells):
        cell["id"] = f"{page.stem}-{index}".replace("_", "-")
    return {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}


def text_of(notebook: dict[str, Any]) -> str:
    """:return: what its file holds"""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _cell_of(block: Block, short: bool) -> str:
    text = block.shortened() if short else block.text
    name = block.mark("file")
    if name is not None:
        return f"%%writefile {name}\n{text}"
    if block.language == "python":
        return text
    if not short:
        return re.sub(r"^(?=sb3-ext )", "!", text, flags=re.MULTILINE)
    calls = [f"assert cli.main({words[1:]!r}) == 0, {shlex.join(words)!r}" for words in commands(text)]
    return "\n".join(["from sb3_ext.cli import main as cli", *calls])


def _add_text(cells: list[dict[str, Any]], lines: list[str], page: Path) -> None:
    to_itself = f"/{page.stem}.ipynb)"
    text = "\n".join(line for line in lines if not COMMENT.fullmatch(line.strip()) and to_itself not in line).strip()
    text = LINK.sub(lambda link: os.path.relpath(page.parent / link[1], FOLDER), text)
    if text:
        cells.append({"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)})


def _add_code(cells: list[dict[str, Any]], text: str) -> None:
    source = text.rstrip("\n").splitlines(keepends=True)
    cells.append({"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for tutorial in TUTORIALS:
        (FOLDER / f"{tutorial.stem}.ipynb").write_text(text_of(notebook_of(tutorial)))
