"""Pages hang together: links lead somewhere, pictures are shown, and a spread says what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(page: Path) -> str:
    """:return: without blocks of code, in which brackets are not links and a number sign is a comment"""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """:return: targets of `[text](target)` and of pictures"""
    return re.findall(r"\]\(\s*<?([^)\s>]+)", re.sub(r"`[^`\n]*`", "", text))


def anchor(heading: str) -> str:
    """:return: what GitHub links a heading by: `## What is *it*?` -> what-is-it"""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#{1,6} (.*)$", text_of(page), flags=re.MULTILINE)}


def test_links_and_headings_are_told_apart_from_code() -> None:
    assert links("[a](b.md#c) `[x](y)` ![d](images/e.png) [f](<g>)") == ["b.md#c", "images/e.png", "g"]
    assert anchor("On a [GPU](gpu.md): `compile`, *why?*") == "on-a-gpu-compile-why"
    assert anchor("A--b, c & d") == "a--b-c--d"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    for link in links(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue  # the network is not asked
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: not in the repository"
        if heading:
            assert heading in anchors(target), f"{link}: no such heading in {target.name}"


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(text_of(page))}
    pictures = {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()}
    assert sorted(path.name for path in pictures - shown) == []


# A number and what it may be off by. A range, "returns of +-15", has no number before it.
SPREAD = re.compile(r"[\d.)] (?:\+-|±) [\d.]")
MEANING = re.compile(r"standard (?:deviation|error)")


def unsaid(text: str) -> list[str]:
    """
    :param text: of a page
    :return: paragraphs with a spread of which nobody says what it is: of a table in it, before it or after it,
        of other text somewhere in its section
    """
    found = []
    for section in re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE):
        paragraphs = ["", *(part for part in section.split("\n\n") if not part.startswith("![")), ""]
        for before, here, after in zip(paragraphs, paragraphs[1:], paragraphs[2:], strict=False):
            said = "\n".join((before, here, after)) if here.startswith("|") else section
            if SPREAD.search(here) and not MEANING.search(said):
                found.append(here)
    return found


def test_a_table_does_not_borrow_its_meaning_from_another_one() -> None:
    table = "| 1 +- 2 |\n| --- |"
    assert unsaid(f"# A\n\nmean and spread\n\n{table}") == [table]
    assert unsaid(f"# A\n\nstandard errors: 1 +- 2\n\nNow runs.\n\n{table}\n\nThese were long.") == [table]
    assert unsaid(f"# A\n\nstandard deviations:\n\n{table}") == unsaid("# A\n\na range of +-15") == []
    assert unsaid("# A\n\nstandard error\n\n# B\n\n3 ± 4") == ["3 ± 4"]


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name == "docs"], ids=lambda page: page.name)
def test_a_spread_says_which_deviation_it_is(page: Path) -> None:
    assert unsaid(text_of(page)) == []
