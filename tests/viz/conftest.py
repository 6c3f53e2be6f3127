from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import support.browser as driver
import torch as th
from support.browser import Browser
from support.lab_pages import LabPage


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    th.set_num_threads(1)  # small networks


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with driver.running() as started:
        yield started


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[LabPage]:
    """The maze lab on the screen of a desktop. Whatever is done, the console stays empty and nothing is asked for."""
    opened = LabPage(browser, tmp_path)
    yield opened
    assert browser.errors == [] and opened.asked() == []
