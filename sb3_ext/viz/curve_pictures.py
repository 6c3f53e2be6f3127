"""
Learning curves as pictures: a line and its interval for each group of runs, its name beside the line's end, and a panel
for each environment. A name has one colour in all panels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, TypeAlias

from sb3_ext.viz.curves import Band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#2b2f36", "#767c86", "#e3e6ea"
# Okabe and Ito's, which the colour-blind can tell apart, without black and with a yellow that is seen on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a99a00")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # once the colours are used up
Style: TypeAlias = "tuple[str, str | tuple[int, tuple[float, ...]]]"
"""colour and dashes"""
LINE = 0.207  # inches: height of the one below all panels


def plot_curves(bands: Mapping[str, Band], *, title: str = "", ylabel: str = "return") -> Figure:
    """
    Draw a line and its interval for each group, with its name beside the line's end.

    :param bands: of `aggregate`
    :param title: above
    :param ylabel: what the curves are
    :return: a figure that is no part of pyplot: no window, nothing to close
    :raises ValueError: for no band
    """
    return plot_panels({title: bands}, ylabel=ylabel)


def plot_panels(panels: Mapping[str, Mapping[str, Band]], *, title: str = "", ylabel: str = "return") -> Figure:
    """
    Draw a panel for each environment, as `plot_curves` draws one. Returns of different environments have no common
    scale, so each panel has its own.

    :param panels: bands of `aggregate` by the panel's title
    :param title: above all panels
    :param ylabel: what the curves are
    :return: a figure that is no part of pyplot: no window, nothing to close
    :raises ValueError: for no panel, and for one without a band
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    empty = [name for name, bands in panels.items() if not bands]
    if empty or not panels:
        raise ValueError(f"bands: nothing to draw{f' in {empty}' * bool(panels)}; give `aggregate` at least one group")
    columns = math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    width, height = (8.0, 4.6) if len(panels) == 1 else (6.4 * columns, 3.8 * rows)
    free = LINE / height  # at the bottom
    layout = ConstrainedLayoutEngine(rect=(0, free, 1, 1 - free), wspace=0.04, hspace=0.06)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    styles = {name: _style(i) for i, name in enumerate(dict.fromkeys(chain(*panels.values())))}
    for i, (name, bands) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw(axes, bands, styles)
        axes.set_title(_text(name), color=INK, loc="left", fontweight="bold")
        axes.set_ylabel(ylabel if i % columns == 0 else "", color=INK)
        axes.set_xlabel("environment steps" if i + columns >= len(panels) else "", color=INK)
    if title:
        figure.suptitle(_text(title), color=INK, fontweight="bold", fontsize=14)
    shown = [band for bands in panels.values() for band in bands.values()]
    figure.text(1 - 0.04 / width, 0.0, _legend_of(shown), ha="right", va="bottom", fontsize=8, color=FAINT)
    return figure


def _draw(axes: Axes, bands: Mapping[str, Band], styles: Mapping[str, Style]) -> None:
    """Lines, intervals and names of one panel."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for name, band in bands.items():
        colour, dashes = styles[name]
        if band.low is not None and band.high is not None:
            axes.fill_between(band.steps, band.low, band.high, color=colour, alpha=0.16, linewidth=0)
        marker = "o" if len(band.steps) == 1 else None
        axes.plot(band.steps, band.iqm, color=colour, linewidth=2, linestyle=dashes, marker=marker, zorder=3)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    _label_ends(axes, bands, styles)


def _style(i: int) -> Style:
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def _label_ends(axes: Axes, bands: Mapping[str, Band], styles: Mapping[str, Style]) -> None:
    """Names right of the axes, each with its line's colour and as near to the line's end as the others allow."""
    low, high = axes.get_ylim()
    # Fixed, so that a name stays beside its line.
    axes.set_ylim(low, high)
    gap = max(min(0.062, 1 / len(bands)), 0.03)  # of the height: a line of text, less where there are many
    wanted = [(float(band.iqm[-1]) - low) / (high - low) for band in bands.values()]
    heights = _spread(wanted, gap)
    for (name, band), height in zip(bands.items(), heights, strict=True):
        colour, dashes = styles[name]
        axes.plot(
            (1.015, 1.055),
            (height, height),
            transform=axes.transAxes,
            color=colour,
            linewidth=2,
            linestyle=dashes,
            clip_on=False,
        )
        runs = "1 run" if band.n_runs == 1 else f"{band.n_runs} runs"
        axes.text(
            1.07,
            height,
            _text(f"{name} ({runs})"),
            transform=axes.transAxes,
            va="center",
            color=INK,
            fontsize=10 if gap > 0.045 else 7,
        )


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """:return: heights in the same order, at least ``gap`` apart, up from the lowest and then down from the top"""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    heights = list(wanted)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + gap)
    top = 1.0
    for i in reversed(order):
        heights[i] = min(heights[i], top)
        top = heights[i] - gap
    return heights


def _text(name: str) -> str:
    """:return: no formula, whatever it has between dollar signs"""
    return name.replace("$", r"\$")


def _legend_of(bands: Sequence[Band]) -> str:
    if all(band.low is None for band in bands):
        return "Single runs: no interval."
    text = "Line: interquartile mean over runs. Band: its 95 % interval (stratified bootstrap)."
    return text + (" A single run has none." if any(band.low is None for band in bands) else "")
