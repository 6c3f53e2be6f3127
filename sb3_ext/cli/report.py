"""`sb3-ext report`: one HTML page about a trained agent, or about two."""

from __future__ import annotations

import argparse
import contextlib
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
from sb3_ext.zoo.rivals import rival_of

if TYPE_CHECKING:
    from sb3_ext.planning.gap_file import GapCurve
    from sb3_ext.viz.curves import Curve
    from sb3_ext.viz.report import ReportData
    from sb3_ext.viz.trace import Trace


def _report_parser() -> Parser:
    parser = Parser(
        "sb3-ext report",
        description="One HTML page about a trained agent, or about two side by side: episodes to step through, curves, "
        "scores, settings.",
    )
    add_agent_flags(parser)
    add_film_flags(parser, default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="(report.html)")
    parser.add_argument("-n", "--n-eval-episodes", type=whole(0), default=20, help="not steps (20; 0: no evaluation)")
    shown = "to choose from in the page, of one seed after the other from --seed on (1)"
    parser.add_argument("--episodes", type=whole(1), default=1, help=shown)
    shown = "another agent beside it, from the same seeds: the latest run of ALGO, a run's folder, a zip, or safe files"
    parser.add_argument("--versus", metavar="ALGO|PATH|ALGO=PATH", help=shown)
    parser.add_argument("--title", help="of the page")
    return parser


def report(given: argparse.Namespace) -> None:
    """:param given: by the flags of `report`"""
    from sb3_ext.viz.report import write_report

    if given.output.is_dir():
        raise UserError(f"-o {given.output} is a folder: name a file, as in {given.output / 'report.html'}")
    how, ref = filming_of(given), agent_of(given)
    refs = [ref] if given.versus is None else [ref, rival_of(ref, given.versus)]
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        shown: list[tuple[Agent, Filming]] = []
        for ref in refs:
            agent, trouble = load_to_film(ref)
            stack.callback(agent.env.close)
            whose = f"{ref.algo}: " if len(refs) > 1 else ""
            notes += [f"{given.output.name}: no pictures, {trouble}"] if trouble else []
            if_possible = given.explain == "auto" and given.streams is None
            shown.append((agent, replace(_checked(agent, how, if_possible, notes, whose), is_filmed=not trouble)))
        if len(shown) > 1 and shown[0][0].path == shown[1][0].path:
            raise UserError(f"--versus {given.versus}: that is the same agent, {shown[0][0].path}")
        labels = _labels([agent for agent, _ in shown])
        found = [_data_of(agent, how, given, label) for (agent, how), label in zip(shown, labels, strict=True)]
    data = found[0] if len(found) == 1 else replace(found[0], versus=found[1])
    title = given.title or f"{' and '.join(labels)} on {data.env_id}"
    path = write_report(replace(data, title=title, notes=notes, versions=package_versions()), given.output)
    said = [_said(one, f"{one.label}: " if len(found) > 1 else "") for one in found]
    print(f"{'; '.join(said)}: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _data_of(agent: Agent, how: Filming, given: argparse.Namespace, label: str) -> ReportData:
    """
    :param agent: loaded
    :param how: it is filmed
    :param given: by the flags of `report`
    :param label: by which it is told apart
    :return: about it alone
    """
    from sb3_ext.viz.report import ReportData
    from sb3_ext.viz.video import check_frames

    traces = [_with_usual_changes(film(agent, how, i)) for i in range(given.episodes)]
    if how.is_filmed:
        check_frames(traces[0].frames)
    returns = np.zeros(0)
    if given.n_eval_episodes > 0:
        agent.env.seed(agent.ref.seed)  # so of two agents both begin alike, whatever was filmed before
        returns = evaluate(agent, given.n_eval_episodes)
    return ReportData(
        title="",
        algorithm=type(agent.model).__name__,
        env_id=agent.ref.env_id,
        trace=traces[0],
        more=traces[1:],
        name=label,
        curves=_curves_of(agent, label if given.versus else agent.ref.algo),
        gap=_gap_of(agent.path.parent),
        env_steps=agent.model.num_timesteps,
        returns=returns,
        hyperparameters={key: str(value) for key, value in agent.hyperparams.items() if value is not None},
        command=command_of(agent),
    )


def _labels(agents: list[Agent]) -> list[str]:
    """:return: names that tell them apart: by algorithm, else by run, else by file"""
    names = [type(agent.model).__name__ for agent in agents]
    runs = [f"{name}, {agent.path.parent.name}" for name, agent in zip(names, agents, strict=True)]
    files = [f"{name}, {agent.path.stem}" for name, agent in zip(names, agents, strict=True)]
    numbered = [f"{name} {i}" for i, name in enumerate(names, 1)]
    return next(labels for labels in (names, runs, files, numbered) if len(set(labels)) == len(labels))


def _said(data: ReportData, whose: str) -> str:
    """:return: what was filmed"""
    if data.more:
        mean = np.mean([trace.episode_return for trace in data.episodes])
        return f"{whose}{len(data.episodes)} episodes, mean return {mean:.2f}"
    return f"{whose}{len(data.trace)} steps, return {data.trace.episode_return:.2f}"


def _checked(agent: Agent, how: Filming, if_possible: bool, notes: list[str], whose: str) -> Filming:
    """
    :param if_possible: nobody asked for an explanation
    :param notes: get why there is none
    :param whose: before the note
    :return: without it where there is none
    """
    how.check_names(agent)
    try:
        how.check(agent)
    except ValueError as error:
        if not if_possible:
            raise
        notes.append(f"{whose}No attributions: {error}")
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


def _curves_of(agent: Agent, name: str) -> list[Curve]:
    """:return: of its run, from the first step on"""
    from sb3_ext.zoo.runs.chain_curves import curves_to

    odd: list[str] = []
    curves = curves_to(agent.path.parent, name, odd)
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
