"""What is missing and why."""

from __future__ import annotations

from html import escape
from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData, card


class Notes(Panel):
    """A list."""

    place = "end"
    order = 2

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {} if data.notes else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return card("notes", "Notes", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in data.notes)}</ul>")


PANEL = Notes()
