"""`sb3-ext video` and `report`: agents of the log folder as pictures."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of
from sb3_ext.cli.values import real, whole
from sb3_ext.errors import UserError
from sb3_ext.versions import package_versions
from sb3_ext.zoo.agents import Agent, acts_greedily, command_of, evaluate, load_to_film
from sb3_ext.zoo.display import progress_bar

if TYPE_CHECKING:
    from sb3_ext.planning.gap_file import GapCurve
    from sb3_ext.viz.curves import Curve
    from sb3_ext.viz.trace import Explain, Trace

ATTRIBUTIONS = ("none", "saliency", "gradcam")
SMALL_SIDE = 240  # of a frame, in pixels: smaller ones are enlarged beside their heat


def _video_parser() -> Parser:
    parser = Parser("sb3-ext video", description="Film one episode of a trained agent: MP4 or GIF, no ffmpeg needed.")
    add_agent_flags(parser)
    _add_film_arguments(parser, "-n")
    parser.add_argument("-o", "--output", type=Path, default=Path("replay.mp4"), help=".mp4 or .gif (replay.mp4)")
    parser.add_argument("--fps", type=real(0, above=True), help="pictures a second (those of the environment)")
    return parser


def video(given: argparse.Namespace) -> None:
    """:param given: by the flags of `video`"""
    from sb3_ext.viz.overlay import input_bars
    from sb3_ext.viz.video import WITHOUT_A_DISPLAY, check_suffix, write_video

    check_suffix(given.output)
    explain = _explain(given)
    agent, trouble = load_to_film(agent_of(given))
    try:
        if trouble is not None:
            raise UserError(f"{trouble}. Without a display, {WITHOUT_A_DISPLAY}")
        trace = film(agent, given.max_steps, given.max_side, given.stochastic, explain)
    finally:
        agent.env.close()
    write_video(_explained(trace), given.output, given.fps or trace.fps)
    print(f"{len(trace)} steps, return {trace.episode_return:.2f}: {given.output}")
    if trace.attributions and not _is_heat(trace) and isinstance(trace.observations, np.ndarray):
        print(input_bars(trace.attributions, trace.observations, given.output.with_suffix(".png")))


def _explained(trace: Trace) -> np.ndarray:
    """:return: frames, of images with the heat of every stream beside them"""
    from sb3_ext.viz.overlay import beside

    if not _is_heat(trace):
        return trace.frames
    enlarge = max(SMALL_SIDE // max(trace.frames.shape[1:3]), 1)
    return np.stack(list(beside(trace.frames[:-1], trace.attributions, enlarge=enlarge)))


def _is_heat(trace: Trace) -> bool:
    """:return: whether pictures were explained, and not vectors"""
    return any(heat.ndim == 3 for heat in trace.attributions.values())


def _report_parser() -> Parser:
    parser = Parser(
        "sb3-ext report",
        description="One HTML page about a trained agent: an episode to step through, curves, scores, settings.",
    )
    add_agent_flags(parser)
    _add_film_arguments(parser, default="auto")
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
    agent, trouble = load_to_film(agent_of(given))
    notes = [f"{given.output.name}: no pictures, {trouble}"] if trouble else []
    try:
        explain = _explain(given) if given.explain != "auto" else _explain_if_possible(agent, notes)
        is_filmed = trouble is None
        trace = film(agent, given.max_steps, given.max_side, given.stochastic, explain, is_filmed)
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
        curves=_curves_of(agent.path.parent, agent.ref.algo),
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


def _explain_if_possible(agent: Agent, notes: list[str]) -> Explain | None:
    """:return: saliency where the model can be explained by it"""
    from sb3_ext.viz.attribution import Saliency
    from sb3_ext.viz.insight import mind_of

    starts = np.ones(1, dtype=bool)
    try:
        saliency = Saliency()
        obs, _ = agent.model.policy.obs_to_tensor(agent.env.reset())  # type: ignore[arg-type]  # no tuple of spaces
        saliency(mind_of(agent.model), agent.model, obs, None, starts)
    except ValueError as error:
        notes.append(f"No attributions: {error}")
        return None
    return saliency


def _with_usual_changes(trace: Trace) -> Trace:
    """:return: with attributions of vectors as `input_bars` draws them"""
    from sb3_ext.viz.overlay import usual_change

    if not isinstance(trace.observations, np.ndarray):
        return trace
    flat = trace.observations.reshape(len(trace.observations), -1)
    scaled = {k: usual_change(x, flat) if x.ndim == 2 else x for k, x in trace.attributions.items()}
    return replace(trace, attributions=scaled)


def _curves_of(folder: Path, name: str) -> list[Curve]:
    """:return: what there is"""
    from sb3_ext.viz.curves import read_evaluations, read_monitor

    curves = []
    for read in (read_evaluations, read_monitor):
        with contextlib.suppress(ValueError):  # an agent of the Hub comes without, a short run has no episode
            curves.append(read(folder, name))
    return curves


def _gap_of(folder: Path) -> GapCurve | None:
    """:return: what `sb3-ext train --optimality-gap` left"""
    from sb3_ext.planning.gap_file import NAME, read_gap

    return read_gap(folder) if (folder / NAME).is_file() else None


def film(
    agent: Agent,
    max_steps: int = 1000,
    max_side: int = 480,
    stochastic: bool = False,
    explain: Explain | None = None,
    is_filmed: bool = True,
) -> Trace:
    """
    :param agent: whose environment draws pictures
    :param max_steps: of the episode
    :param max_side: of a picture, in pixels
    :param stochastic: with exploration, although it acts greedily
    :param explain: attributions
    :param is_filmed: False = its environment draws no pictures
    :return: the episode
    """
    from sb3_ext.viz.trace import watch

    with progress_bar("filming", max_steps) as on_step:
        return watch(
            agent.model,
            agent.env,
            seed=agent.ref.seed,
            deterministic=acts_greedily(agent.ref.env_id) and not stochastic,
            max_steps=max_steps,
            film=is_filmed,
            max_side=max_side,
            explain=explain,
            on_step=on_step,
        )


def _add_film_arguments(parser: argparse.ArgumentParser, *names: str, default: str = "none") -> None:
    """:param names: more of ``--max-steps``"""
    shown = "at most, of the one episode (1000); -n of record_video films on over its end"
    parser.add_argument(
        *names, "--max-steps", "--n-timesteps", type=whole(1), default=1000, dest="max_steps", help=shown
    )
    parser.add_argument("--max-side", type=whole(1), default=480, help="of a picture, in pixels (480)")
    parser.add_argument("--stochastic", action="store_true", help="with exploration; Atari's agents always are")
    parser.add_argument(
        "--explain",
        choices=ATTRIBUTIONS if default in ATTRIBUTIONS else (default, *ATTRIBUTIONS),
        default=default,
        help=f"show what in the observation decides ({default})",
    )
    parser.add_argument("--streams", nargs="+", help="to explain, such as value and advantage (all)")


def _explain(given: argparse.Namespace) -> Explain | None:
    from sb3_ext.viz.attribution import GradCam, Saliency

    streams = None if given.streams is None else tuple(given.streams)
    return {"none": None, "saliency": Saliency(streams=streams), "gradcam": GradCam(streams=streams)}[given.explain]


VIDEO = Command("video", "film a trained agent: MP4 or GIF, with what its decisions hang on", _video_parser, video)
REPORT = Command(
    "report", "one HTML page about a trained agent: curves, an episode to step through, scores", _report_parser, report
)
