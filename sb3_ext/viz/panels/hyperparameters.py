"""The settings of the training."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData, card, table


class Hyperparameters(Panel):
    """A table."""

    place = "settings"
    order = 1

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {} if data.hyperparameters else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return card("hyperparameters", "Hyperparameters", table(data.hyperparameters), "card grow")


PANEL = Hyperparameters()
