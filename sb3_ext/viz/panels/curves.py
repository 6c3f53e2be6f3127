"""Learning curves of the training."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.viz.curves import WINDOW, Curve
from sb3_ext.viz.report_data import Panel, ReportData, card, rounded

MOST_POINTS = 300  # of a curve
MEANS = {"evaluations": "mean of the episodes of an evaluation", "monitor": f"mean of the last {WINDOW} episodes"}


class Curves(Panel):
    """Mean, and the middle 80 % of the episodes that it is made of."""

    place = "results"
    order = 1
    script = """
legend($("legend"), data.curves);
const last = data.curves.map((c) => `${c.name} ends at ${number(c.mean.at(-1))}`).join("; ");
chart($("curves"), `Return by environment steps. ${last}`, 290, lines(data.curves));
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        curves = shown(data)
        return {"curves": [_thinned(curve) for curve in curves]} if curves else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        kinds = {curve.source for curve in shown(data)}
        lines = "; ".join(mean for kind, mean in MEANS.items() if kind in kinds)
        body = (
            '<p class="legend" id="legend"></p>\n  <div id="curves" class="chart"></div>\n  '
            f'<p class="hint">Lines: {lines}. Bands: the middle 80 % of these episodes.</p>'
        )
        return card("curve", "Training", body, "card grow")


def shown(data: ReportData) -> list[Curve]:
    """:return: those of all agents; of two the evaluations alone, where both have them: four bands hide each other"""
    curves = [curve for agent in data.agents for curve in agent.curves]
    have_both = all(any(curve.source == "evaluations" for curve in agent.curves) for agent in data.agents)
    return [c for c in curves if c.source == "evaluations"] if len(data.agents) > 1 and have_both else curves


def _thinned(curve: Curve) -> dict[str, Any]:
    """:return: at most `MOST_POINTS` of mean, and 10th and 90th percentile of the episodes that it is made of"""
    n = len(curve.steps)
    at = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))
    if curve.source == "evaluations":
        episodes = [curve.returns[i] for i in at]
    else:
        episodes = [curve.returns[max(i + 1 - WINDOW, 0) : i + 1] for i in at]
    low, high = np.array([np.percentile(x, (10, 90)) for x in episodes]).T
    return {
        "name": f"{curve.name}, {'training' if curve.source == 'monitor' else 'evaluation'}",
        "steps": curve.steps[at].tolist(),
        "mean": rounded(curve.smoothed()[at]),
        "low": rounded(low),
        "high": rounded(high),
    }


PANEL = Curves()
