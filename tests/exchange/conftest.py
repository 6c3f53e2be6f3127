from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import Hub, reachable


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with reachable(monkeypatch) as server:
        yield server
