"""What two agents reach, in one table."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from sb3_ext.viz.bootstrap import N_BOOTSTRAP
from sb3_ext.viz.report_data import Panel, ReportData, card, columns, number, span, statistics, trained_for


class Scores(Panel):
    """A column for each, and how far their means are apart."""

    place = "results"
    order = 3

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return None if data.versus is None else {}

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        rows = _rows(data.agents)
        body = [columns(rows, [agent.label for agent in data.agents])]
        if all(len(agent.returns) > 1 for agent in data.agents):
            body.append(f'<p class="hint">{escape(_difference(data))}</p>')
        return card("scores", "Scores", "\n  ".join(body), "card grow")


def _rows(agents: tuple[ReportData, ...]) -> dict[str, list[str]]:
    """:return: texts of all agents by what they are; what none of them has is left out"""
    rows: dict[str, list[str]] = {}
    for i, agent in enumerate(agents):
        for name, text in _texts(agent).items():
            rows.setdefault(name, ["–"] * len(agents))[i] = text
    return rows


def _texts(agent: ReportData) -> dict[str, str]:
    texts: dict[str, str] = {}
    n = len(agent.returns)
    if n:
        found = statistics(agent.returns)
        texts["Mean return"] = number(found["mean"])
        texts["95 % interval of it"] = "–" if found["interval"] is None else span(found["interval"])
        texts["Standard deviation"] = number(found["std"])
        texts["Lowest and highest"] = f"{number(found['min'])}, {number(found['max'])}"
        texts["Evaluated episodes"] = str(n)
    returns = [trace.episode_return for trace in agent.episodes]
    texts["Return above" if len(returns) == 1 else f"Mean of the {len(returns)} episodes above"] = number(
        float(np.mean(returns))
    )
    n_steps = trained_for(agent)
    if n_steps is not None:
        texts["Trained for, in env steps"] = f"{n_steps:,}"
    return texts


def _difference(data: ReportData) -> str:
    """:return: of the means, with its 95 % interval by the bootstrap over episodes of each agent"""
    rng = np.random.default_rng(0)
    first, second = (agent.returns for agent in data.agents)
    draws = [rng.choice(x, (N_BOOTSTRAP, len(x))).mean(axis=1) for x in (first, second)]
    low, high = np.percentile(draws[0] - draws[1], (2.5, 97.5))
    names = f"{data.agents[0].label} less {data.agents[1].label}"
    difference = f"Mean of {names}: {number(float(first.mean() - second.mean()))}, 95 %: {span((low, high))} "
    return difference + "(bootstrap over episodes of these two models; other runs of the algorithms may differ)."


PANEL = Scores()
