"""
Blocks of code on pages of documentation, and how the tests run them: in their order, in one namespace and one folder,
as someone who pastes one after the other would. What a block needs is said in comments before it, which no reader sees:

    <!-- not run: needs a cluster -->                    a reason
    <!-- slow: two processes -->                         run with -m slow alone; a reason
    <!-- tested: test_name -->                           run by a test of its own
    <!-- shortened: 50_000 -> 300; train -n 200 -->      its text is changed; flags are added to each `sb3-ext train`
    <!-- after: sb3-ext train --algo ppo ... -->         what the page takes for granted runs first
    <!-- file: mine.yml -->                              is written into a file of this name, for the blocks behind it
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import yaml

from sb3_ext.cli import main as cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

RUN = ("python", "bash", "yaml")
SHOWN = ("text", "json", "html")
KINDS = ("not run", "slow", "tested", "shortened", "after", "file")
COMMENT = re.compile(r"<!-- ([\w ]+): (.+) -->")


@dataclass(frozen=True)
class Block:
    """
    :param place: page and line, to click on
    :param language: as the fence says
    :param text: with a line break at its end
    :param marks: (kind, what stands behind it)
    """

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[tuple[str, str], ...]

    @property
    def place(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"

    @property
    def is_doctest(self) -> bool:
        """:return: whether it says what it prints; pages of such are run by doctest"""
        return self.language == "python" and self.text.startswith(">>>")

    def mark(self, kind: str) -> str | None:
        return next((said for known, said in self.marks if known == kind), None)

    def complaint(self) -> str | None:
        """:return: why nobody knows whether this block is run"""
        if self.language not in (*RUN, *SHOWN):
            return f"{self.language or 'no language'!r} behind ``` is none of {', '.join((*RUN, *SHOWN))}"
        unknown = [kind for kind, _ in self.marks if kind not in KINDS]
        if unknown:
            return f"{unknown[0]!r} is none of {', '.join(KINDS)}"
        if self.language == "bash" and not self.mark("not run"):
            strange = [words[0] for words in commands(self.text) if words[0] != "sb3-ext"]
            if strange:
                return f"{strange[0]} is not run by the tests: say why with <!-- not run: ... -->"
        return None

    def shortened(self) -> str:
        """:return: what is run in place of the text"""
        text = self.text
        for change in (self.mark("shortened") or "").split(";"):
            if " -> " in change:
                before, after = change.strip().split(" -> ")
                assert before in text, f"{self.place}: there is no {before} to shorten"
                text = text.replace(before, after)
            elif change.strip():
                command, flags = change.strip().split(maxsplit=1)
                text, n = re.subn(rf"^(sb3-ext {command}\b(?:\\\n|[^#\n])*)", rf"\1 {flags} ", text, flags=re.MULTILINE)
                assert n > 0, f"{self.place}: there is no {command} to shorten"
        return text


def blocks_of(page: Path) -> list[Block]:
    """:return: all that stands between fences, in order"""
    lines = page.read_text().splitlines()
    blocks: list[Block] = []
    marks: list[tuple[str, str]] = []
    start: int | None = None
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            if start is None:
                start = number
                continue
            text = textwrap.dedent("\n".join(lines[start + 1 : number]) + "\n")
            blocks.append(Block(page, start + 1, lines[start].strip().removeprefix("```").strip(), text, tuple(marks)))
            start, marks = None, []
        elif start is None:
            found = COMMENT.fullmatch(line.strip())
            marks = [*marks, (found[1], found[2])] if found else []
    assert start is None, f"{page}: a fence is not closed"
    return blocks


def commands(text: str) -> Iterator[list[str]]:
    """:return: the words of each line of a shell, without its comments"""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@dataclass
class Reader:
    """Pastes blocks of a page. The folder is the current one."""

    names: ModuleType = field(default_factory=lambda: ModuleType("page"))
    done_before: set[str] = field(default_factory=set)

    def run(self, block: Block) -> None:
        """:raises AssertionError: where a command fails"""
        for kind, said in block.marks:
            if kind == "after" and said not in self.done_before:
                self.done_before.add(said)
                self._shell(said, block.place)
        text = block.shortened()
        name = block.mark("file")
        if name is not None:
            Path(name).write_text(text)
        elif block.language == "python":
            exec(compile("\n" * block.line + text, str(block.page), "exec"), vars(self.names))
        elif block.language == "bash":
            self._shell(text, block.place)
        else:
            yaml.safe_load(text)

    def _shell(self, text: str, place: str) -> None:
        for words in commands(text):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
                assert cli.main(words[1:]) == 0, f"{place}: {shlex.join(words)}"
