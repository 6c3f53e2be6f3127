"""The packages that it was made with."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData, card, table


class Versions(Panel):
    """A table."""

    place = "settings"
    order = 2

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {} if data.versions else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return card("versions", "Versions", table(data.versions))


PANEL = Versions()
