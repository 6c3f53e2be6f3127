"""What a report is made of, and what a panel of it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, ClassVar, Literal

import numpy as np

from sb3_ext.planning.gap_file import GapCurve
from sb3_ext.viz.curves import Curve
from sb3_ext.viz.trace import Trace

Place = Literal["facts", "stage", "side", "results", "settings", "end"]
PLACES: tuple[Place, ...] = ("facts", "stage", "side", "results", "settings", "end")
"""of page.html: among the facts of the step, below its picture, beside it; cards below the episode"""


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
    gap: GapCurve | None = None
    """how far from the best one the policy was while it trained; None = not measured"""

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


class Panel(ABC):
    """
    A part of the page, all of it in one file of panels/: ``PANEL`` there is one. A report has it where it has content.
    """

    place: ClassVar[Place]
    order: ClassVar[int] = 0
    """within its place"""
    style: ClassVar[str] = ""
    """CSS"""
    script: ClassVar[str] = ""
    """JavaScript, run once in a block of its own after page.js: it draws, and may push to ``redraw`` and ``layers``"""

    @abstractmethod
    def content(self, data: ReportData) -> dict[str, Any] | None:
        """
        :param data: of the report
        :return: for JSON, what the script finds in ``data``; None = there is nothing to show
        """

    @abstractmethod
    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        """
        :param data: of the report
        :param content: of this panel
        :return: its place on the page; no text of the data is in it that was not escaped
        """


def card(name: str, title: str, body: str, classes: str = "card") -> str:
    """
    :param name: of the panel, for the ids of its elements
    :param title: of the card
    :param body: HTML
    :param classes: of its element
    :return: a section below the episode
    """
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section class="{classes}" aria-labelledby="{name}-title">\n  {heading}\n  {body}\n</section>'


def table(rows: Mapping[str, str]) -> str:
    """:return: HTML of names and texts"""
    cells = (f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in rows.items())
    return f"<table>{''.join(cells)}</table>"


def number(value: float) -> str:
    """:return: as page.js writes it"""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def span(interval: Sequence[float]) -> str:
    """:return: both ends"""
    return f"{number(interval[0])} to {number(interval[1])}"


def rounded(values: np.ndarray) -> list[Any]:
    """:return: nested lists of 6 significant digits; what is not finite is None"""

    def one(x: Any) -> Any:  # Any: lists in lists
        if isinstance(x, list):
            return [one(y) for y in x]
        return float(f"{x:.6g}") if np.isfinite(x) else None

    return [one(x) for x in values.tolist()]
