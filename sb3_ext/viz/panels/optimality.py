"""How far the policy was from the best one during the training."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

from sb3_ext.planning.gap_file import GapCurve
from sb3_ext.viz.report_data import Panel, ReportData, card, number, rounded

MOST_POINTS = 1000  # of the curve: a gap jumps, so none of usual runs is left out


class Optimality(Panel):
    """The exact gap to V*; of a model without a table its estimated return, which is not called a gap."""

    place = "results"
    order = 4
    script = """
legend($("optimality-legend"), data.optimality.curves);
chart($("optimality"), data.optimality.label, 230, lines(data.optimality.curves, data.optimality.levels));
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        drawn = []
        for name, gap in _gaps(data):
            one = _exact(gap) if _is_exact(gap) else _estimated(gap)
            if one is not None:
                drawn.append(one)
                one["curves"][0]["name"] = name + one["curves"][0]["name"]
        if not drawn:
            return None
        parts = {key: [x for one in drawn for x in one[key]] for key in ("curves", "levels")}
        return {"optimality": {**parts, "label": "; ".join(one["label"] for one in drawn)}}

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        gaps = _gaps(data)
        is_exact = _is_exact(gaps[0][1])
        hints = [escape(name) + (_exact_hint(gap) if is_exact else _estimated_hint(gap)) for name, gap in gaps]
        body = (
            '<p class="legend" id="optimality-legend"></p>\n  <div id="optimality" class="chart"></div>\n  '
            f'<p class="hint">{"<br>".join(hints)}</p>'
        )
        return card("optimality", "Optimality gap" if is_exact else "Return, estimated", body, "card grow")


def _gaps(data: ReportData) -> list[tuple[str, GapCurve]]:
    """:return: by what stands before their names where there are two; an exact one and an estimate do not mix"""
    found = [(f"{a.label}: " if data.versus is not None else "", a.gap) for a in data.agents if a.gap is not None]
    return [(name, gap) for name, gap in found if _is_exact(gap) == _is_exact(found[0][1])]


def _is_exact(gap: GapCurve) -> bool:
    return gap.yardstick.n_episodes is None


def _exact(gap: GapCurve) -> dict[str, Any] | None:
    """:return: None where no policy had a finite value"""
    best, values = gap.yardstick, gap.values["gap"]
    name = f"gap to V* = {number(best.best_value)} (discount {number(best.gamma)})"
    drawn = _curve(name, gap.steps, values)
    if drawn is None:
        return None
    return {"curves": [drawn], "levels": [0.0], "label": f"Optimality gap, it ends at {number(drawn['mean'][-1])}"}


def _estimated(gap: GapCurve) -> dict[str, Any] | None:
    best = gap.yardstick
    drawn = _curve(f"return over {best.n_episodes} episodes", gap.steps, gap.values["return"], gap.values["return_se"])
    if drawn is None:
        return None
    levels = [] if best.best_return is None else [best.best_return]
    return {"curves": [drawn], "levels": levels, "label": f"Estimated return, it ends at {number(drawn['mean'][-1])}"}


def _curve(name: str, steps: np.ndarray, values: np.ndarray, errors: np.ndarray | None = None) -> dict[str, Any] | None:
    """:return: at most `MOST_POINTS`, with a band of two standard errors; None where there is no value"""
    there = np.flatnonzero(np.isfinite(values))
    if len(there) == 0:
        return None
    at = there[np.unique(np.linspace(0, len(there) - 1, min(len(there), MOST_POINTS)).round().astype(int))]
    curve = {"name": name, "steps": steps[at].tolist(), "mean": rounded(values[at])}
    if errors is not None:
        curve["low"], curve["high"] = (rounded((values + sign * 2.0 * errors)[at]) for sign in (-1.0, 1.0))
    return curve


def _exact_hint(gap: GapCurve) -> str:
    best, last = gap.yardstick, {name: float(values[-1]) for name, values in gap.values.items()}
    parts = ["V* less the value of the policy, at the start and for ever: a linear solve, not episodes."]
    if best.best_return is not None and math.isfinite(last["return_exact"]):
        now, most = number(last["return_exact"]), number(best.best_return)
        parts.append(f"Without discount, within the limit of steps: return {now} at the end, best {most}.")
    if math.isfinite(last["q_error"]):
        parts.append(f"Largest error of a Q-value at the end: {number(last['q_error'])}.")
    return " ".join(parts)


def _estimated_hint(gap: GapCurve) -> str:
    best = gap.yardstick
    line = "" if best.best_return is None else f"Dotted: {number(best.best_return)}, the best of who sees the state. "
    return f"{line}Band: two standard errors. Its actions depend on more than the state: no exact gap."


PANEL = Optimality()
