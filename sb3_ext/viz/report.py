"""
One HTML file about a trained agent: an episode to step through, learning curves, evaluation, settings. Nothing is
loaded from outside, and no text of the data can become a part of the page.

Layout, style and script are in report_page/, and report_content.py makes the numbers and pictures. What a report has no
data for is left out of the page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from sb3_ext.saving import write_whole
from sb3_ext.viz.curves import WINDOW, Curve
from sb3_ext.viz.report_content import content_of
from sb3_ext.viz.trace import Trace


@dataclass(frozen=True)
class ReportData:
    """
    What a report shows. What is empty is left out.

    :raises ValueError: for returns that are no finite numbers, and for a trace whose parts do not fit together
    """

    title: str
    algorithm: str
    env_id: str
    trace: Trace
    curves: Sequence[Curve] = ()
    """of the training"""
    env_steps: int | None = None
    """that the agent was trained for; None = where the curves end"""
    returns: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """[K] of evaluation episodes"""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.returns.ndim != 1 or not np.isfinite(self.returns).all():
            raise ValueError(f"returns: shape {self.returns.shape} must be [episodes], of finite numbers")
        n_steps = len(self.trace)
        if n_steps == 0:
            raise ValueError("trace: it has no steps; watch an episode of at least one")
        if len(self.trace.frames) not in (0, n_steps + 1):
            raise ValueError(f"trace: {len(self.trace.frames)} frames of {n_steps} steps; one more is needed, or none")
        names = ("actions", "values", "q_values", "probabilities", "means", "stds", "hidden")
        parts = {name: getattr(self.trace, name) for name in names} | self.trace.attributions
        for name, part in parts.items():
            if part is not None and len(part) != n_steps:
                raise ValueError(f"trace: {len(part)} rows of {name!r} must be {n_steps}, one for each step")
        for name, part in self.trace.attributions.items():
            if part.ndim not in (2, 3):
                raise ValueError(
                    f"trace: attributions {name!r} of shape {part.shape} must be [steps, rows, columns] or "
                    "[steps, components]"
                )


def write_report(data: ReportData, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    :param data: to show
    :param path: file to write, which appears whole or not at all; ``.html`` is added where there is no suffix
    :return: the path with its suffix
    """
    path = pathlib.Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.html")
    page = build(data).encode(errors="replace")  # the name of a file may have halves of characters
    write_whole(path, "html", lambda file: _write(file, page))
    return path


def _write(file: io.BufferedIOBase, page: bytes) -> None:
    file.write(page)


def build(data: ReportData) -> str:
    """
    :param data: to show
    :return: an HTML page, all in one
    """
    folder = files("sb3_ext.viz") / "report_page"
    page, css, js = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    content = content_of(data.trace, data.curves, data.returns)
    for name, has in _sections(data, content).items():
        page = _keep_or_cut(page, name, has)
    return Template(page).substitute(
        title=escape(data.title),
        algorithm=escape(data.algorithm),
        env_id=escape(data.env_id),
        figures=_figures(data, content),
        player_class="" if content["frames"] else "no-frames",
        **_choices(content),
        hidden_hint=_hidden_hint(content),
        curves_hint=_curves_hint(data),
        evaluation=_evaluation(content["evaluation"]),
        evaluation_hint=_evaluation_hint(content["evaluation"]),
        hyperparameters=_rows(data.hyperparameters),
        versions=_rows(data.versions),
        command=escape(data.command or ""),
        notes="".join(f"<li>{escape(note)}</li>" for note in data.notes),
        data=_embedded(content),
        css=css,
        js=js,
        style_hash=_hash(css),
        script_hash=_hash(js),
    )


def _sections(data: ReportData, content: dict[str, Any]) -> dict[str, bool]:
    """:return: whether the page has each of them"""
    overlays = [x for x in content["attributions"].values() if "images" in x]
    evaluation = content["evaluation"]
    return {
        # A title that says both already is enough.
        "over": not (data.algorithm in data.title and data.env_id in data.title),
        "overlay": bool(overlays),
        "frames": content["frames"] is not None,
        "values": content["values"] is not None,
        "choices": any(content[key] is not None for key in ("q_values", "probabilities", "means")),
        "hidden": content["hidden"] is not None,
        "curves": bool(content["curves"]),
        "histogram": evaluation is not None and evaluation["min"] < evaluation["max"],
        "returns": evaluation is not None,
        "hyperparameters": bool(data.hyperparameters),
        "versions": bool(data.versions),
        "command": data.command is not None,
        "notes": bool(data.notes),
    }


def _keep_or_cut(page: str, name: str, keep: bool) -> str:
    part = re.compile(f" *<!-- if {name} -->\n(.*?) *<!-- end {name} -->\n", re.DOTALL)
    assert part.search(page) or not keep
    return part.sub(lambda found: found[1] if keep else "", page)


def _figures(data: ReportData, content: dict[str, Any]) -> str:
    trace, found = data.trace, content["evaluation"]
    items: list[tuple[str, str, str]] = []
    if found is not None:
        n = len(data.returns)
        episodes = f"{n} episode{'s' if n > 1 else ''}"
        spread = found["min"] < found["max"]
        note = f"95 %: {_span(found['interval'])}, {episodes}" if spread else f"in all of {episodes}"
        items.append(("Mean return", _number(found["mean"]), note if n > 1 else episodes))
    n_steps = data.env_steps
    if n_steps is None and data.curves:
        n_steps = max(int(curve.steps[-1]) for curve in data.curves)
    if n_steps is not None:
        items.append(("Trained for", f"{n_steps:,}", "environment steps"))
    ending = {"terminated": "terminated", "truncated": "truncated", "cut": "cut off"}[content["ending"]]
    items.append(("This episode", _number(trace.episode_return), f"return, {len(trace):,} steps, {ending}"))
    return "".join(f"<div><dt>{a}</dt><dd>{b} <small>{c}</small></dd></div>" for a, b, c in items)


def _choices(content: dict[str, Any]) -> dict[str, str]:
    if content["q_values"] is not None:
        title, hint = "Q-values", "Bars: lead over the worst action of the step."
    elif content["probabilities"] is not None:
        title, hint = "Action probabilities", ""
    elif content["stds"] is not None:
        title, hint = (
            "Action distribution",
            "Line: mean. Band: one standard deviation to each side. Dot: what was done.",
        )
    else:
        title, hint = "Action", "Line: the policy's. Dot: what was done."
    is_interval = content["q_values"] is None and content["probabilities"] is None
    return {"choices_title": title, "choices_hint": hint, "choices_class": "interval" if is_interval else "bars"}


def _hidden_hint(content: dict[str, Any]) -> str:
    if content["hidden"] is None:
        return ""
    shares = content["hidden_shares"]
    return f"Principal components 1 and 2: {' and '.join(f'{share:.0%}' for share in shares)} of the variance."


def _curves_hint(data: ReportData) -> str:
    kinds = {curve.source for curve in data.curves}
    mean = {"monitor": f"mean of the last {WINDOW} episodes", "evaluations": "mean of the episodes of an evaluation"}
    lines = "; ".join(mean[kind] for kind in ("evaluations", "monitor") if kind in kinds)
    return f"Lines: {lines}. Bands: the middle 80 % of these episodes."


def _evaluation(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    items = {"Mean": found["mean"], "Std": found["std"], "Min": found["min"], "Max": found["max"]}
    cells = [f"<div><dt>{name}</dt><dd>{_number(x)}</dd></div>" for name, x in items.items()]
    if found["interval"] is not None:
        label = f"95 % interval of the mean of {len(found['returns'])} episodes"
        cells.append(f'<div class="wide"><dt>{label}</dt><dd>{_span(found["interval"])}</dd></div>')
    return "".join(cells)


def _evaluation_hint(found: dict[str, Any] | None) -> str:
    if found is None or found["interval"] is None:
        return "A single episode has no interval."
    if found["min"] == found["max"]:
        return "All episodes have the same return."
    return "Bars: episodes by return. Line and band: mean and its 95 % interval (bootstrap over episodes)."


def _rows(table: Mapping[str, str]) -> str:
    return "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in table.items())


def _embedded(content: dict[str, Any]) -> str:
    """:return: JSON in which nothing can end the script element, or begin a comment in it"""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """:return: by which a Content-Security-Policy knows an inline element"""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _span(interval: Sequence[float]) -> str:
    return f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")
