"""
The maze lab as one HTML file, which plans by itself and loads nothing from outside, and what it is given to show.

The page is in lab_page/. A file carries all that it shows; of a page that a server gives, the server is asked.
"""

from __future__ import annotations

from string import Template
from typing import Any

from sb3_ext.viz.page_parts import embedded, hash_of, read_page

SCRIPTS = ("solver.js", "maze.js", "board.js", "served.js", "page.js", "controls.js")


def build(given: dict[str, Any] | None = None) -> str:
    """
    :param given: what the file shows beside what its user draws, ready for JSON; None = its server is asked
    :return: an HTML page, all in one
    """
    page, css, js = read_page("lab_page", SCRIPTS)
    return Template(page).substitute(
        data=embedded(given), css=css, js=js, style_hash=hash_of(css), script_hash=hash_of(js)
    )
