"""
One HTML file about a trained agent, or about two side by side: episodes to step through, and panels about them and
about the training. Nothing is loaded from outside, and no text of the data can become a part of the page.

The page and the player are in report_page/, every panel in a file of panels/. What there is no data for is left out.
"""

from __future__ import annotations

import os
import pathlib
import re
from html import escape
from string import Template
from typing import Any, NamedTuple

from sb3_ext.viz.page_parts import embedded, hash_of, read_page, read_part, write_page
from sb3_ext.viz.panels import PANELS
from sb3_ext.viz.pictures import pictures
from sb3_ext.viz.report_data import PLACES, EpisodePanel, Panel, number, rounded, span, statistics, trained_for
from sb3_ext.viz.report_data import ReportData as ReportData
from sb3_ext.viz.trace import Trace

SCRIPTS = ("page.js", "view.js", "charts.js")
FRAME_BUDGET = 4_000_000  # characters of base64 for all frames of all episodes


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
    page, css, js = read_page("report_page", SCRIPTS)
    view = read_part("report_page", "view.html")
    found, agents = panels_of(data), [episodes_of(agent, 1 / len(data.agents)) for agent in data.agents]
    shown = [panel for panel in PANELS if panel in found or any(panel in agent.html for agent in agents)]
    css += "".join(panel.style for panel in shown)
    js = "\n".join([js, *map(_script, shown), "start();\n"])
    has_frames = any(len(trace.frames) > 0 for agent in data.agents for trace in agent.episodes)
    # A title that says both already is enough.
    algorithm = " and ".join(agent.label for agent in data.agents)
    page = _keep_or_cut(page, "over", not (algorithm in data.title and data.env_id in data.title))
    page = _keep_or_cut(page, "several", len(data.episodes) > 1)
    content = {
        "fps": data.trace.fps,
        "episodes": [_episode_text(data, i) for i in range(len(data.episodes))],
        "agents": [
            {"name": one.label, "episodes": agent.contents} for one, agent in zip(data.agents, agents, strict=True)
        ],
        **{key: x for part in found.values() for key, x in part.items()},
    }
    return Template(page).substitute(
        {place: _parts_at(place, data, found) for place in PLACES},
        title=escape(data.title),
        algorithm=escape(algorithm),
        env_id=escape(data.env_id),
        figures=_figures(data),
        player_class=" ".join(
            name for name, there in (("no-frames", not has_frames), ("two", data.versus is not None)) if there
        ),
        views="\n".join(_view(view, data, i, agent) for i, agent in enumerate(agents)),
        data=embedded(content),
        css=css,
        js=js,
        style_hash=hash_of(css),
        script_hash=hash_of(js),
    )


def panels_of(data: ReportData) -> dict[Panel, dict[str, Any]]:
    """:return: those of the page that have something to show, and their content"""
    contents = ((panel, panel.content(data)) for panel in PANELS if isinstance(panel, Panel))
    return {panel: content for panel, content in contents if content is not None}


class Episodes(NamedTuple):
    """Of one agent."""

    contents: list[dict[str, Any]]
    """of each, what page.js and the scripts of its panels draw, ready for JSON"""
    html: dict[EpisodePanel, str]
    """of the panels that have something to show in any of them"""


def episodes_of(agent: ReportData, share: float) -> Episodes:
    """
    :param agent: whose they are
    :param share: of the page's budget for pictures that is this agent's
    """
    share /= len(agent.episodes)
    contents: list[dict[str, Any]] = []
    html: dict[EpisodePanel, str] = {}
    for trace in agent.episodes:
        content = {**player_content(trace, share), "panels": []}
        for panel in (panel for panel in PANELS if isinstance(panel, EpisodePanel)):
            part = panel.content(trace, share)
            if part is not None:
                content |= part
                content["panels"].append(_name(panel))
                html.setdefault(panel, panel.html(trace, part))
        contents.append(content)
    return Episodes(contents, html)


def player_content(trace: Trace, share: float = 1.0) -> dict[str, Any]:
    """
    :param trace: an episode
    :param share: of the budget for frames that is its own
    :return: what page.js itself draws, ready for JSON
    """
    return {
        "ending": ending_of(trace),
        "actions": _actions(trace),
        "action_names": _action_names(trace),
        "rewards": rounded(trace.rewards),
        "frames": pictures(trace.frames, int(FRAME_BUDGET * share)) if len(trace.frames) else None,
    }


def ending_of(trace: Trace) -> str:
    """:return: how the episode ended: terminated, truncated, or cut"""
    return "terminated" if trace.terminated else "truncated" if trace.truncated else "cut"


def _actions(trace: Trace) -> list[Any]:
    """:return: of each step a number, for an action with a name, or a list"""
    if trace.actions.ndim == 1:
        return list(trace.actions.tolist())
    return rounded(trace.actions.reshape(len(trace), -1))


def _action_names(trace: Trace) -> list[str]:
    """:return: of the actions, or those of their components that are known"""
    table = trace.q_values if trace.q_values is not None else trace.probabilities
    if trace.actions.ndim != 1 or trace.names.actions:
        return list(trace.names.actions)
    n_actions = int(trace.actions.max()) + 1 if table is None else table.shape[1]
    return [str(a) for a in range(n_actions)]


def _episode_text(data: ReportData, i: int) -> str:
    """:return: by which an episode is chosen"""
    traces = [agent.episodes[i] for agent in data.agents]
    name = f"{i + 1}" if data.trace.seed is None else f"seed {traces[0].seed}"
    if data.versus is None:
        return f"{name}: return {number(traces[0].episode_return)}, {len(traces[0]):,} steps"
    pairs = zip(data.agents, traces, strict=True)
    return f"{name}: " + ", ".join(f"{agent.label} {number(trace.episode_return)}" for agent, trace in pairs)


def _view(html: str, data: ReportData, i: int, agent: Episodes) -> str:
    """:return: the template of an agent's part of the player"""
    html = _keep_or_cut(html, "frames", len(data.agents[i].trace.frames) > 0)
    return Template(html).substitute(
        {place: _marked_at(place, agent) for place in PLACES},
        suffix=f"-{i + 1}" if i else "",
        whose=f'<h3 class="whose">{escape(data.agents[i].label)}</h3>' if len(data.agents) > 1 else "",
    )


def _marked_at(place: str, agent: Episodes) -> str:
    """:return: each element with the name of its panel: an episode in which that is empty goes without"""
    parts = ((panel, html) for panel, html in agent.html.items() if panel.place == place)
    return "\n".join(re.sub(r"^(<\w+)", rf'\1 data-panel="{_name(panel)}"', html) for panel, html in parts)


def _script(panel: Panel | EpisodePanel) -> str:
    if isinstance(panel, Panel) or not panel.script:
        return f"{{{panel.script}}}" if panel.script else ""
    given = "{ data, $, T, redraw, layers, kept, track, setUpTrack }"
    return f'episodePanels.push({{ name: "{_name(panel)}", draw({given}) {{{panel.script}}} }});'


def _name(panel: EpisodePanel) -> str:
    return type(panel).__name__


def _parts_at(place: str, data: ReportData, found: dict[Panel, dict[str, Any]]) -> str:
    return "\n".join(panel.html(data, content) for panel, content in found.items() if panel.place == place)


def _keep_or_cut(page: str, name: str, keep: bool) -> str:
    part = re.compile(f" *<!-- if {name} -->\n(.*?) *<!-- end {name} -->\n", re.DOTALL)
    assert part.search(page)
    return part.sub(lambda found: found[1] if keep else "", page)


def _figures(data: ReportData) -> str:
    items = _of_two(data) if data.versus is not None else _of_one(data)
    return "".join(f"<div><dt>{escape(a)}</dt><dd>{b} <small>{c}</small></dd></div>" for a, b, c in items)


def _of_one(data: ReportData) -> list[tuple[str, str, str]]:
    """:return: names, numbers, notes"""
    items: list[tuple[str, str, str]] = []
    if len(data.returns):
        items.append(("Mean return", *_mean_return(data)))
    n_steps = trained_for(data)
    if n_steps is not None:
        items.append(("Trained for", f"{n_steps:,}", "environment steps"))
    if not data.more:
        trace = data.trace
        ending = {"terminated": "terminated", "truncated": "truncated", "cut": "cut off"}[ending_of(trace)]
        items.append(("This episode", number(trace.episode_return), f"return, {len(trace):,} steps, {ending}"))
    return items


def _of_two(data: ReportData) -> list[tuple[str, str, str]]:
    """:return: names, numbers, notes"""
    return [(agent.label, *_mean_return(agent)) for agent in data.agents if len(agent.returns)]


def _mean_return(agent: ReportData) -> tuple[str, str]:
    """:return: it, and a note"""
    found, n = statistics(agent.returns), len(agent.returns)
    episodes = f"{n} episode{'s' if n > 1 else ''}"
    if n == 1:
        return number(found["mean"]), episodes
    spread = found["min"] < found["max"]
    return number(found["mean"]), f"95 %: {span(found['interval'])}, {episodes}" if spread else f"in all of {episodes}"
