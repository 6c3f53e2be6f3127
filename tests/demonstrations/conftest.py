"""Fixtures of the room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def dummy_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """pygame without a display."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()
