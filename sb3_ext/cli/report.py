"""`sb3-ext report`: one HTML page about a trained agent."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_ext.cli.filming import Filming, add_film_flags, film, filming_of
from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of
from sb3_ext.cli.values import whole
from sb3_ext.errors import UserError
from sb3_ext.versions import package_versions
from sb3_ext.zoo.agents import Agent, command_of, evaluate, load_to_film

if TYPE_CHECKING:
    from sb3_ext.planning.gap_file import GapCurve
    from sb3_ext.viz.curves import Curve
    from sb3_ext.viz.trace import Trace


def _report_parser() -> Parser:
    parser = Parser(
        "sb3-ext report",
        description="One HTML page about a trained agent: an episode to step through, curves, scores, settings.",
    )
    add_agent_flags(parser)
    add_film_flags(parser, default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="(report.html)")
    parser.add_argument("-n", "--n-eval-episodes", type=whole(0), default=20, help="not steps (20; 0: no evaluation)")
    parser.add_argument("--title", help="of the page")
    return parser


def report(given: argparse.Namespace) -> None:
    """:param given: by the flags of `report`"""
    from sb3_ext.viz.report import ReportData, write_report
    from sb3_ext.viz.video import check_frames

    if given.output.is_dir():
        raise UserError(f"-o {given.output} is a folder: name a file, as in {given.output / 'report.html'}")
    how = filming_of(given)
    agent, trouble = load_to_film(agent_of(given))
    notes = [f"{given.output.name}: no pictures, {trouble}"] if trouble else []
    try:
        how = _checked(agent, how, given.explain == "auto" and given.streams is None, notes)
        is_filmed = trouble is None
        trace = film(agent, how, is_filmed)
        if is_filmed:
            check_frames(trace.frames)
        returns = np.zeros(0)
        if given.n_eval_episodes > 0:
            returns = evaluate(agent, given.n_eval_episodes)
    finally:
        agent.env.close()
    name = type(agent.model).__name__
    data = ReportData(
        title=given.title or f"{name} on {agent.ref.env_id}",
        algorithm=name,
        env_id=agent.ref.env_id,
        trace=_with_usual_changes(trace),
        curves=_curves_of(agent),
        gap=_gap_of(agent.path.parent),
        env_steps=agent.model.num_timesteps,
        returns=returns,
        hyperparameters={key: str(value) for key, value in agent.hyperparams.items() if value is not None},
        versions=package_versions(),
        command=command_of(agent),
        notes=notes,
    )
    path = write_report(data, given.output)
    print(f"{len(trace)} steps, return {trace.episode_return:.2f}: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _checked(agent: Agent, how: Filming, if_possible: bool, notes: list[str]) -> Filming:
    """
    :param if_possible: nobody asked for an explanation
    :param notes: get why there is none
    :return: without it where there is none
    """
    how.check_names(agent)
    try:
        how.check(agent)
    except ValueError as error:
        if not if_possible:
            raise
        notes.append(f"No attributions: {error}")
        return replace(how, explain=None)
    return how


def _with_usual_changes(trace: Trace) -> Trace:
    """:return: with attributions of vectors as `input_bars` draws them"""
    from sb3_ext.viz.overlay import usual_change

    if not isinstance(trace.observations, np.ndarray):
        return trace
    flat = trace.observations.reshape(len(trace.observations), -1)
    scaled = {k: usual_change(x, flat) if x.ndim == 2 else x for k, x in trace.attributions.items()}
    return replace(trace, attributions=scaled)


def _curves_of(agent: Agent) -> list[Curve]:
    """:return: of its run, from the first step on"""
    from sb3_ext.zoo.chain_curves import curves_to

    odd: list[str] = []
    curves = curves_to(agent.path.parent, agent.ref.algo, odd)
    for line in odd:  # not on the page: it would name folders of this machine
        print(line, file=sys.stderr)
    return curves


def _gap_of(folder: Path) -> GapCurve | None:
    """:return: what `sb3-ext train --optimality-gap` left"""
    from sb3_ext.planning.gap_file import NAME, read_gap

    return read_gap(folder) if (folder / NAME).is_file() else None


REPORT = Command(
    "report", "one HTML page about a trained agent: curves, an episode to step through, scores", _report_parser, report
)
