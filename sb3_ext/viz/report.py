"""
One HTML file about a trained agent: an episode to step through, and panels about it and about the training. Nothing is
loaded from outside, and no text of the data can become a part of the page.

The page and the player are in report_page/, every panel in a file of panels/. What there is no data for is left out.
"""

from __future__ import annotations

import os
import pathlib
import re
from html import escape
from string import Template
from typing import Any

from sb3_ext.viz.page_parts import embedded, hash_of, read_page, write_page
from sb3_ext.viz.panels import PANELS
from sb3_ext.viz.pictures import pictures
from sb3_ext.viz.report_data import PLACES, Panel, number, rounded, span
from sb3_ext.viz.report_data import ReportData as ReportData
from sb3_ext.viz.trace import Trace

FRAME_BUDGET = 4_000_000  # characters of base64 for all frames


def write_report(data: ReportData, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    :param data: to show
    :param path: file to write, which appears whole or not at all; ``.html`` is added where there is no suffix
    :return: the path with its suffix
    """
    return write_page(build(data), path)


def build(data: ReportData) -> str:
    """
    :param data: to show
    :return: an HTML page, all in one
    """
    page, css, js = read_page("report_page")
    found = panels_of(data)
    css += "".join(panel.style for panel in found)
    js = "\n".join([js, *(f"{{{panel.script}}}" for panel in found if panel.script), "show(0);\n"])
    has_frames = len(data.trace.frames) > 0
    # A title that says both already is enough.
    page = _keep_or_cut(page, "over", not (data.algorithm in data.title and data.env_id in data.title))
    page = _keep_or_cut(page, "frames", has_frames)
    content = {**player_content(data.trace), **{key: x for part in found.values() for key, x in part.items()}}
    return Template(page).substitute(
        {place: _parts_at(place, data, found) for place in PLACES},
        title=escape(data.title),
        algorithm=escape(data.algorithm),
        env_id=escape(data.env_id),
        figures=_figures(data, content),
        player_class="" if has_frames else "no-frames",
        data=embedded(content),
        css=css,
        js=js,
        style_hash=hash_of(css),
        script_hash=hash_of(js),
    )


def panels_of(data: ReportData) -> dict[Panel, dict[str, Any]]:
    """:return: those that have something to show, and their content"""
    contents = ((panel, panel.content(data)) for panel in PANELS)
    return {panel: content for panel, content in contents if content is not None}


def player_content(trace: Trace) -> dict[str, Any]:
    """:return: what page.js itself draws, ready for JSON"""
    return {
        "fps": trace.fps,
        "ending": "terminated" if trace.terminated else "truncated" if trace.truncated else "cut",
        "actions": _actions(trace),
        "action_names": _action_names(trace),
        "rewards": rounded(trace.rewards),
        "frames": pictures(trace.frames, FRAME_BUDGET) if len(trace.frames) else None,
    }


def _actions(trace: Trace) -> list[Any]:
    """:return: of each step a number, for an action with a name, or a list"""
    if trace.actions.ndim == 1:
        return list(trace.actions.tolist())
    return rounded(trace.actions.reshape(len(trace), -1))


def _action_names(trace: Trace) -> list[str]:
    table = trace.q_values if trace.q_values is not None else trace.probabilities
    if trace.actions.ndim != 1:
        return []
    n_actions = int(trace.actions.max()) + 1 if table is None else table.shape[1]
    return list(trace.names.actions) or [str(a) for a in range(n_actions)]


def _parts_at(place: str, data: ReportData, found: dict[Panel, dict[str, Any]]) -> str:
    return "\n".join(panel.html(data, content) for panel, content in found.items() if panel.place == place)


def _keep_or_cut(page: str, name: str, keep: bool) -> str:
    part = re.compile(f" *<!-- if {name} -->\n(.*?) *<!-- end {name} -->\n", re.DOTALL)
    assert part.search(page)
    return part.sub(lambda found: found[1] if keep else "", page)


def _figures(data: ReportData, content: dict[str, Any]) -> str:
    trace, found = data.trace, content.get("evaluation")
    items: list[tuple[str, str, str]] = []
    if found is not None:
        n = len(data.returns)
        episodes = f"{n} episode{'s' if n > 1 else ''}"
        spread = found["min"] < found["max"]
        note = f"95 %: {span(found['interval'])}, {episodes}" if spread else f"in all of {episodes}"
        items.append(("Mean return", number(found["mean"]), note if n > 1 else episodes))
    n_steps = data.env_steps
    if n_steps is None and data.curves:
        n_steps = max(int(curve.steps[-1]) for curve in data.curves)
    if n_steps is not None:
        items.append(("Trained for", f"{n_steps:,}", "environment steps"))
    ending = {"terminated": "terminated", "truncated": "truncated", "cut": "cut off"}[content["ending"]]
    items.append(("This episode", number(trace.episode_return), f"return, {len(trace):,} steps, {ending}"))
    return "".join(f"<div><dt>{a}</dt><dd>{b} <small>{c}</small></dd></div>" for a, b, c in items)
