"""The panels of a report: every module of this folder is one, `PANEL`. Nothing else lists them."""

from __future__ import annotations

import importlib
import pkgutil

from sb3_ext.viz.report_data import PLACES, EpisodePanel, Panel

_FOUND: list[Panel | EpisodePanel] = [
    importlib.import_module(f"{__name__}.{m.name}").PANEL for m in pkgutil.iter_modules(__path__)
]
PANELS: tuple[Panel | EpisodePanel, ...] = tuple(
    sorted(_FOUND, key=lambda panel: (PLACES.index(panel.place), panel.order))
)
"""in their order on the page, which is that of their scripts too"""
