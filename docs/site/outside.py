"""
Files of the repository that pages link to (settings, figures, code) become pages of the site: what a page of
docs/ calls ``../zoo_configs/r2d2.yml`` is there on the disk, on a code host and in the site. Notebooks are files to
download there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)")
NOTEBOOK = ".ipynb"
LANGUAGES = {".py": "python", ".yml": "yaml", ".csv": "text"}
# Found first: whoever searches for a keyword wants its meaning.
FIRST = {
    "reference/r2d2.md",
    "reference/rainbow.md",
    "reference/td3.md",
    "r2d2.md",
    "rainbow.md",
    "td3.md",
    "gail.md",
    "tabular.md",
}
HIDDEN = "---\nsearch: {exclude: true}\nhide: [toc]\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """:return: with one for each file outside of docs/ that a page links to"""
    docs = Path(config.docs_dir)
    found = {
        name
        for page in files.documentation_pages()
        for link in LINK.findall(page.content_string)
        if (name := _name(link, page, docs))
    }
    for name in sorted(found):
        path = docs.parent / name
        content = path.read_bytes() if path.suffix == NOTEBOOK else _shown(path, name)
        files.append(File.generated(config, _uri(name), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """:return: with its links to files outside led to their pages"""
    if page.file.src_uri in FIRST:
        page.meta["search"] = {"boost": 4}

    def led(link: re.Match[str]) -> str:
        name = _name(link[1], page.file, Path(config.docs_dir))
        return link[0] if name is None else "../" * page.file.src_uri.count("/") + _uri(name)

    return LINK.sub(led, markdown)


def _name(link: str, page: File, docs: Path) -> str | None:
    """:return: path in the repository of what is there outside of docs/; MkDocs warns of links to nothing"""
    path = Path(os.path.normpath(docs / page.src_uri / ".." / link))
    outside = path.is_relative_to(docs.parent) and not path.is_relative_to(docs)
    return path.relative_to(docs.parent).as_posix() if outside and path.exists() else None


def _uri(name: str) -> str:
    return f"files/{name}" if name.endswith(NOTEBOOK) else f"files/{name}.md"


def _shown(path: Path, name: str) -> str:
    if path.is_dir():
        return f"{HIDDEN}# {name}\n\n" + "".join(f"- `{inner.name}`\n" for inner in sorted(path.iterdir()))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return HIDDEN + text
    return f"{HIDDEN}# {name}\n\n~~~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n~~~~~~\n"
