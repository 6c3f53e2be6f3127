"""What is in demonstrations, as text and as a picture."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.array_spaces import subspaces
from sb3_ext.demonstrations.consistency import inconsistency
from sb3_ext.demonstrations.data import Demonstrations, Episode, kept_steps
from sb3_ext.demonstrations.findings import describe
from sb3_ext.saving import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#2b2f36", "#d9dde3"
ENDS = {"terminated": "#c2543d", "truncated": "#2f6f9f", "both": "#7a5c99", "unknown": "#8a8f98"}
MOST_PANELS = 4  # of components of an action
MOST_BARS = 40  # of single values


def info(demos: Demonstrations, most_rows: int = 50) -> str:
    """
    :param demos: to describe
    :param most_rows: episodes that get a line of their own
    :return: lines of text
    """
    lines = [
        f"environment   {demos.env_id or 'unknown'}",
        *(f"{name:<13} {describe(space)}" for name, space in _spaces(demos)),
        f"made with     {', '.join(f'{name} {v}' for name, v in demos.versions.items()) or 'unknown'}",
        "",
        f"{'episode':>7}  {'return':>10}  {'steps':>7}  {'end':<10}  seed",
    ]
    for i, episode in enumerate(demos.episodes[:most_rows]):
        seed = "unknown" if episode.seed is None else str(episode.seed)
        lines.append(f"{i:>7}  {_number(episode.total_reward):>10}  {len(episode):>7}  {ending(episode):<10}  {seed}")
    if len(demos) > most_rows:
        lines.append(f"    ... and {len(demos) - most_rows} more")
    ends = [ending(episode) for episode in demos.episodes]
    counts = ", ".join(f"{ends.count(name)} {name}" for name in ENDS if name in ends)
    lines += [
        "",
        f"episodes      {len(demos)} ({counts}), {demos.n_steps} steps",
        f"return        {_spread(demos.returns)}",
        f"length        {_spread(demos.lengths)}",
        f"actions       {_actions(demos)}",
    ]
    labelled = [episode for episode in demos.episodes if episode.executed is not None]
    if labelled:
        n_other = sum(int((~episode.followed).sum()) for episode in labelled)
        lines.append(f"labels        in {len(labelled)} episodes; another action was executed in {n_other} steps")
    n_lacking = sum(not episode.final_known for episode in demos.episodes)
    if n_lacking:
        lines.append(f"final         observation unknown in {n_lacking} episodes")
    if any(episode.kept is not None for episode in demos.episodes):
        n_kept = sum(len(kept_steps(episode)) for episode in demos.episodes)
        lines.append(f"kept          {n_kept} steps, absorbing ones among them, are left to imitation")
    found = inconsistency(demos)
    if found is None:
        lines.append("inconsistency unknown: too few nearly equal states in different episodes")
    else:
        lines.append(
            f"inconsistency {min(found.share, 1):.0%} of the actions' differences remain in nearly equal states "
            f"({found.n_pairs} pairs)"
        )
    return "\n".join(lines)


def plot(demos: Demonstrations, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    Draw returns, lengths and actions.

    :param demos: to draw
    :param path: file to write, which appears whole or not at all; ``.png`` is added where there is no suffix
    :return: the path with its suffix
    :raises ModuleNotFoundError: without matplotlib
    """
    # The figure is no part of pyplot: no window, no global state, nothing to close.
    from matplotlib.figure import Figure

    components = _action_components(demos)
    n_panels = min(len(components), MOST_PANELS)
    figure = Figure(figsize=(11, 6.4), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2 * n_panels)
    _plot_returns(figure.add_subplot(grid[0, :n_panels]), demos)
    _plot_lengths(figure.add_subplot(grid[0, n_panels:]), demos)
    for i, (name, values, space) in enumerate(components[:n_panels]):
        axes = figure.add_subplot(grid[1, 2 * i : 2 * i + 2])
        _plot_actions(axes, values, space)
        axes.set_xlabel(name, color=INK)
        if i == 0:
            axes.set_title("Actions", color=INK, loc="left")
            axes.set_ylabel("share of steps", color=INK)
    more = len(components) - n_panels
    figure.suptitle(
        f"{demos.env_id or 'Unknown environment'}: {len(demos)} episodes, {demos.n_steps} steps"
        + (f"; the first {n_panels} of {len(components)} components of the actions" if more else ""),
        color=INK,
        fontsize=13,
        fontweight="bold",
    )
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GRID)
        axes.tick_params(colors=INK, length=0)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return save_figure(figure, path)


def ending(episode: Episode) -> str:
    """:return: "terminated", "truncated", "both" or "unknown" """
    if not episode.end_known:
        return "unknown"
    if episode.terminated and episode.truncated:
        return "both"
    return "terminated" if episode.terminated else "truncated"


def _plot_returns(axes: Axes, demos: Demonstrations) -> None:
    returns = demos.returns
    axes.set_title("Return", color=INK, loc="left")
    axes.set_xlabel("episode", color=INK)
    _whole_ticks(axes, len(demos))
    if np.isnan(returns).all():
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "rewards are unknown", transform=axes.transAxes, ha="center", color=INK)
        return
    mean, std = np.nanmean(returns), np.nanstd(returns)
    axes.axhspan(mean - std, mean + std, color="#2f6f9f", alpha=0.10, linewidth=0)
    axes.axhline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title(f"mean {_number(mean)} ± {_number(std)}", color=INK, loc="right", fontsize=10)
    _points(axes, demos, returns)
    axes.margins(y=0.15)


def _plot_lengths(axes: Axes, demos: Demonstrations) -> None:
    axes.set_title("Length in steps", color=INK, loc="left")
    axes.set_xlabel("episode", color=INK)
    _whole_ticks(axes, len(demos))
    _points(axes, demos, demos.lengths, stem=True)
    axes.set_ylim(0, float(demos.lengths.max()) * 1.15)
    # Beside the title, where no point lies.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, labelcolor=INK, fontsize=9)


def _points(axes: Axes, demos: Demonstrations, values: np.ndarray, stem: bool = False) -> None:
    ends = np.array([ending(episode) for episode in demos.episodes])
    for name, colour in ENDS.items():
        where = np.flatnonzero(ends == name)
        if where.size:
            if stem and len(demos) <= 100:
                axes.vlines(where, 0, values[where], color=colour, alpha=0.35, linewidth=2)
            axes.scatter(where, values[where], color=colour, s=36, label=name, edgecolors="white", zorder=3)


def _plot_actions(axes: Axes, values: np.ndarray, space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box) and (size := int(values.max() - values.min()) + 1) <= MOST_BARS:
        shown = np.arange(values.min(), values.min() + size)
        axes.bar(shown, [(values == value).mean() for value in shown], color="#4c8c6b", width=0.7)
        # Two actions are two slim bars, not two walls.
        middle, reach = values.min() + (size - 1) / 2, max(size, 8) / 2
        axes.set_xlim(middle - reach, middle + reach)
        axes.set_xticks(shown if size <= 20 else shown[::5])
        return
    axes.hist(values, bins=MOST_BARS, weights=np.full(len(values), 1 / len(values)), color="#4c8c6b")


def _whole_ticks(axes: Axes, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=min(10, count), integer=True, min_n_ticks=1))


def _action_components(demos: Demonstrations) -> list[tuple[str, np.ndarray, spaces.Space[Any]]]:
    """:return: name, [N] values and space of each component"""
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    flat = actions.reshape(len(actions), -1)
    if flat.shape[1] == 1:
        return [("action", flat[:, 0], demos.action_space)]
    return [(f"component {i}", flat[:, i], demos.action_space) for i in range(flat.shape[1])]


def _actions(demos: Demonstrations) -> str:
    space = demos.action_space
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    if isinstance(space, spaces.Discrete) and space.n <= MOST_BARS:
        first = int(space.start)
        return ", ".join(f"{first + a}: {(actions == first + a).mean():.0%}" for a in range(int(space.n)))
    flat = actions.reshape(len(actions), -1).astype(np.float64)
    return "; ".join(_spread(flat[:, i]) for i in range(min(flat.shape[1], MOST_PANELS))) + (
        f"; ... {flat.shape[1]} components" if flat.shape[1] > MOST_PANELS else ""
    )


def _spaces(demos: Demonstrations) -> list[tuple[str, spaces.Space[Any]]]:
    return [*subspaces(demos.observation_space, "observations").items(), ("action space", demos.action_space)]


def _spread(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if known.size == 0:
        return "unknown"
    text = f"{_number(known.mean())} ± {_number(known.std())}, {_number(known.min())} to {_number(known.max())}"
    return text if known.size == len(values) else f"{text}; unknown in {len(values) - known.size}"


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.6g}" if abs(value) >= 1000 else f"{value:.4g}"
