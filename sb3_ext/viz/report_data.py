"""What a report is made of, and what a panel of it is: of the page, or of an episode in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, ClassVar, Literal

import numpy as np

from sb3_ext.planning.gap_file import GapCurve
from sb3_ext.viz.bootstrap import N_BOOTSTRAP
from sb3_ext.viz.curves import Curve
from sb3_ext.viz.trace import Trace

Place = Literal["facts", "stage", "side", "results", "settings", "end"]
PLACES: tuple[Place, ...] = ("facts", "stage", "side", "results", "settings", "end")
"""in an episode: among the facts of the step, below its picture, beside it; of the page: cards below the episode"""
PARTS = ("actions", "values", "q_values", "probabilities", "means", "stds", "hidden")


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

    more: Sequence[Trace] = ()
    """further episodes of the agent, to choose from"""
    versus: ReportData | None = None
    """another agent in the same environment, in as many episodes; title, versions and notes of the page are not its"""
    name: str = ""
    """of the agent beside another; "" = its algorithm"""

    def __post_init__(self) -> None:
        if self.returns.ndim != 1 or not np.isfinite(self.returns).all():
            raise ValueError(f"returns: shape {self.returns.shape} must be [episodes], of finite numbers")
        for trace in self.episodes:
            _check(trace)
            if _parts(trace).keys() != _parts(self.trace).keys():
                raise ValueError(
                    f"more: an episode of {sorted(_parts(trace))} beside one of {sorted(_parts(self.trace))}"
                )
        if self.versus is None:
            return
        if self.versus.versus is not None or len(self.versus.episodes) != len(self.episodes):
            raise ValueError(
                f"versus: {len(self.versus.agents)} agents in {len(self.versus.episodes)} episodes each; it must be "
                f"one, in {len(self.episodes)}"
            )
        if self.label == self.versus.label:
            raise ValueError(f"name {self.label!r} is that of both agents; give them names that tell them apart")

    @property
    def episodes(self) -> tuple[Trace, ...]:
        """of this agent"""
        return (self.trace, *self.more)

    @property
    def agents(self) -> tuple[ReportData, ...]:
        """this one, and the other"""
        return (self,) if self.versus is None else (self, self.versus)

    @property
    def label(self) -> str:
        """by which the agent is told apart"""
        return self.name or self.algorithm


def _parts(trace: Trace) -> dict[str, np.ndarray]:
    """:return: what there is for each step"""
    found = {name: getattr(trace, name) for name in PARTS}
    return {name: part for name, part in found.items() if part is not None} | trace.attributions


def _check(trace: Trace) -> None:
    n_steps = len(trace)
    if n_steps == 0:
        raise ValueError("trace: it has no steps; watch an episode of at least one")
    if len(trace.frames) not in (0, n_steps + 1):
        raise ValueError(f"trace: {len(trace.frames)} frames of {n_steps} steps; one more is needed, or none")
    for name, part in _parts(trace).items():
        if len(part) != n_steps:
            raise ValueError(f"trace: {len(part)} rows of {name!r} must be {n_steps}, one for each step")
    for name, part in trace.attributions.items():
        if part.ndim not in (2, 3):
            raise ValueError(
                f"trace: attributions {name!r} of shape {part.shape} must be [steps, rows, columns] or "
                "[steps, components]"
            )


class Panel(ABC):
    """
    A part of the page below the episode, all of it in one file of panels/: ``PANEL`` there is one. A report has it
    where it has content.
    """

    place: ClassVar[Place]
    order: ClassVar[int] = 0
    """within its place"""
    style: ClassVar[str] = ""
    """CSS"""
    script: ClassVar[str] = ""
    """JavaScript, run once in a block of its own after page.js"""

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


class EpisodePanel(ABC):
    """
    A part of the player, as `Panel`. The page has it once for each agent, and draws it anew for each episode that is
    chosen: `html` must be the same for all of an agent's.
    """

    place: ClassVar[Place]
    order: ClassVar[int] = 0
    """within its place"""
    style: ClassVar[str] = ""
    """CSS, by classes: an id is that of one agent's"""
    script: ClassVar[str] = ""
    """JavaScript, run in a function for each episode that is opened. It is given ``data`` of the episode, ``$`` within
    the agent's part of the page, ``T`` and ``track``; it draws, may push to ``redraw`` and ``layers``: see view.js"""

    @abstractmethod
    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        """
        :param trace: the episode
        :param share: of the page's budget for pictures that is this episode's
        :return: for JSON, what the script finds in ``data``; None = there is nothing to show
        """

    @abstractmethod
    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        """
        :param trace: an episode of the agent
        :param content: of it
        :return: an element, or none; no text of the data is in it that was not escaped
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
    return columns({k: (v,) for k, v in rows.items()})


def columns(rows: Mapping[str, Sequence[str]], heads: Sequence[str] = ()) -> str:
    """
    :param rows: by name, a text for each column
    :param heads: names of the columns
    :return: HTML
    """
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = [f"<tr><td></td>{top}</tr>"] if heads else []
    for name, texts in rows.items():
        cells = "".join(f"<td>{escape(str(text))}</td>" for text in texts)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    kind = ' class="columns"' if heads else ""
    return f"<table{kind}>{''.join(lines)}</table>"


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


def statistics(returns: np.ndarray) -> dict[str, Any]:
    """:return: with the 95 % interval of the mean by the bootstrap, which a single episode has not"""
    interval = None
    if len(returns) > 1:
        draws = np.random.default_rng(0).choice(returns, (N_BOOTSTRAP, len(returns)))
        interval = [float(x) for x in np.percentile(draws.mean(axis=1), (2.5, 97.5))]
    return {
        "returns": returns.tolist(),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "interval": interval,
        "min": float(returns.min()),
        "max": float(returns.max()),
    }


def trained_for(agent: ReportData) -> int | None:
    """:return: env steps, None where nobody knows"""
    if agent.env_steps is None and agent.curves:
        return max(int(curve.steps[-1]) for curve in agent.curves)
    return agent.env_steps
