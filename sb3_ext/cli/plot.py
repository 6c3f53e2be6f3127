"""`sb3-ext plot`: learning curves of the runs of log folders, a panel for each environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_ext.cli.flags import Command, Parser
from sb3_ext.cli.values import whole
from sb3_ext.errors import UserError
from sb3_ext.zoo.typed_ids import name_in_folders

if TYPE_CHECKING:
    from sb3_ext.viz.curves import Band
    from sb3_ext.zoo.runs.chain_curves import Source
    from sb3_ext.zoo.runs.chains import Chain
    from sb3_ext.zoo.runs.curves import Groups

NO_FILES = "no evaluations.npz and no monitor.csv"


def _parser() -> Parser:
    parser = Parser(
        "sb3-ext plot",
        description="Learning curves: the interquartile mean over runs with its 95 % interval. Runs of one algorithm "
        "and environment are one curve, and each environment has a panel; LABEL=FOLDER puts all runs below a folder "
        "into the curve of that name.",
    )
    parser.add_argument("folders", nargs="+", metavar="[LABEL=]FOLDER", help="of a run, or with runs below, as logs/")
    parser.add_argument("--env", help="only runs of this environment")
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.png"), help="picture (curves.png)")
    parser.add_argument(
        "--source",
        choices=("evaluations", "monitor"),
        help="evaluations on the way, or training episodes (evaluations where all runs have them)",
    )
    parser.add_argument("--window", type=whole(1), default=100, help="training episodes to smooth over (100)")
    parser.add_argument("--title", default="", help="above")
    return parser


def plot(given: argparse.Namespace) -> None:
    """:param given: by the flags of `plot`"""
    from sb3_ext.saving import save_figure
    from sb3_ext.viz.curve_pictures import plot_panels
    from sb3_ext.zoo.runs.curves import groups_of, of_several_folders

    env = None if given.env is None else name_in_folders(given.env)
    lines: list[str] = []
    groups = groups_of([_labelled(text) for text in given.folders], env, lines)
    lines += of_several_folders(groups, "curve")
    source = given.source or _source_of([chain for chains in groups.values() for chain in chains], lines)
    panels = _panels_of(groups, source, given.window, lines) if source else {}
    for line in lines:
        print(line, file=sys.stderr)
    if not panels:
        runs_of = f" of {given.env}" if given.env else ""
        nothing = f"no runs{runs_of} in {', '.join(given.folders)}"
        raise UserError(f"{nothing} with a return to draw" if source else f"{nothing}: {NO_FILES}")
    for task, bands in panels.items():
        for name, band in bands.items():
            interval = "" if band.low is None or band.high is None else f" [{band.low[-1]:.2f}, {band.high[-1]:.2f}]"
            reached = f"{band.iqm[-1]:.2f}{interval} after {band.steps[-1]:.0f} env steps"
            print(f"{name} on {task}: {reached}, {band.n_runs} run{'s' if band.n_runs > 1 else ''} ({source})")
    # The title takes the place of a single panel's.
    shown = {given.title or task: bands for task, bands in panels.items()} if len(panels) == 1 else panels
    title = given.title if len(panels) > 1 else ""
    print(save_figure(plot_panels(shown, title=title), given.output, dpi=150))


def _labelled(text: str) -> tuple[str | None, Path]:
    """:raises UserError: where nothing is there"""
    label, found, rest = text.partition("=")
    if found and not rest:
        raise UserError(f"{text!r} names no folder: LABEL=FOLDER")
    folder = Path(rest if found else text)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    return (label if found else None), folder


def _source_of(chains: Sequence[Chain], lines: list[str]) -> Source | None:
    """
    :param chains: runs
    :param lines: gets one where it is not the usual source
    :return: what all of those that have returns have; None = none has any
    """
    evaluated = [chain for chain in chains if _has(chain, "evaluations.npz")]
    others = [chain for chain in chains if not _has(chain, "evaluations.npz") and _has(chain, "*monitor.csv")]
    if evaluated and others:
        lines.append(f"{others[0].last} has no evaluations.npz: training episodes are drawn, of all runs")
    return "monitor" if others else "evaluations" if evaluated else None


def _has(chain: Chain, pattern: str) -> bool:
    return any(next(part.glob(pattern), None) is not None for part in chain.parts)


def _panels_of(groups: Groups, source: Source, window: int, lines: list[str]) -> dict[str, dict[str, Band]]:
    """
    :param groups: of `groups_of`
    :param lines: get what is left out or cut short
    :return: by environment, and by name of the curve
    """
    from sb3_ext.viz.curves import aggregate
    from sb3_ext.zoo.runs.curves import common_end, curves_of

    panels: dict[str, dict[str, Band]] = {}
    for (task, name), chains in groups.items():
        curves = curves_of(chains, source, lines)
        if curves:
            common_end(task, name, chains, curves, lines)
            panels.setdefault(task, {}).update(aggregate({name: list(curves.values())}, window=window))
    return panels


PLOT = Command("plot", "learning curves of several runs, with intervals, a panel for each environment", _parser, plot)
