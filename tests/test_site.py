"""The documentation site: built without a warning, whole without a network, and searched from the disk."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import browser as driver

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None,
    reason="the extra `docs` is not installed",
)
SEARCH = "document.querySelector('[data-md-component=search-query]')"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: folder of the pages"""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # mkdocs-material's word about its successor
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def test_a_link_to_a_file_of_the_repository_leads_to_its_page(site: Path) -> None:
    assert 'href="files/zoo_configs/r2d2.yml.html"' in (site / "r2d2.html").read_text()
    assert "CartPoleNoVel-v1" in (site / "files" / "zoo_configs" / "r2d2.yml.html").read_text()


def test_each_name_of_the_reference_is_there(site: Path) -> None:
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        html = (site / "reference" / f"{page.stem}.html").read_text()
        names = [line.removeprefix("::: ") for line in page.read_text().splitlines() if line.startswith("::: ")]
        assert [name for name in names if f'id="{name}"' not in html] == []
        assert ":param" not in html and ":return:" not in html


@pytest.mark.skipif(driver.CHROMIUM is None, reason="no Chromium")
def test_a_search_for_burn_in_finds_the_keyword_of_r2d2(site: Path) -> None:
    with driver.running() as page:
        page.open(site / "index.html", 1280, 900)
        page.evaluate(f"{SEARCH}.focus()")
        page.evaluate(f"{SEARCH}.value = 'burn-in'")
        page.evaluate(f"{SEARCH}.dispatchEvent(new KeyboardEvent('keyup', {{bubbles: true}}))")
        page.wait_for("document.querySelector('.md-search-result__item')")
        found = page.evaluate("[...document.querySelectorAll('.md-search-result__link')].map(x => x.href)")
        assert any("reference/r2d2.html" in x and x.endswith("#sb3_ext.r2d2.r2d2.R2D2(burn_in)") for x in found[:4])
        assert page.errors == []
        assert {x.split(":")[0] for x in page.requests} <= {"file", "data"}  # no other host is asked for anything
