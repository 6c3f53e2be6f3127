"""
Files of the repository that pages link to (settings, figures, code) become pages of the site: what a page of
docs/ calls ``../zoo_configs/r2d2.yml`` is there on the disk, on a code host and in the site.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
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
    """:return: with a page for each file that a page of the first level links to outside of docs/"""
    root = Path(config.docs_dir).parent
    pages = [page for page in files.documentation_pages() if "/" not in page.src_uri]
    for name in sorted({name for page in pages for name in LINK.findall(page.content_string)}):
        if (root / name).exists():  # a link to what is not there stays as it is, which is a warning
            files.append(File.generated(config, _uri(name), content=_shown(root / name, name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """:return: with its links to files outside led to their pages"""
    if page.file.src_uri in FIRST:
        page.meta["search"] = {"boost": 4}
    root = Path(config.docs_dir).parent
    return LINK.sub(lambda link: _uri(link[1]) if (root / link[1]).exists() else link[0], markdown)


def _uri(name: str) -> str:
    return f"files/{name.rstrip('/')}.md"


def _shown(path: Path, name: str) -> str:
    if path.is_dir():
        return f"{HIDDEN}# {name}\n\n" + "".join(f"- `{inner.name}`\n" for inner in sorted(path.iterdir()))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return HIDDEN + text
    return f"{HIDDEN}# {name}\n\n~~~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n~~~~~~\n"
