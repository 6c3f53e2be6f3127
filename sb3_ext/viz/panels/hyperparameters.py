"""The settings of the training."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData, card, columns, table


class Hyperparameters(Panel):
    """A table."""

    place = "settings"
    order = 1

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {} if any(agent.hyperparameters for agent in data.agents) else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        if data.versus is None:
            body = table(data.hyperparameters)
        else:
            names = dict.fromkeys(name for agent in data.agents for name in agent.hyperparameters)
            rows = {name: [agent.hyperparameters.get(name, "–") for agent in data.agents] for name in names}
            body = columns(rows, [agent.label for agent in data.agents])
        return card("hyperparameters", "Hyperparameters", body, "card grow")


PANEL = Hyperparameters()
