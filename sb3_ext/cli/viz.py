"""`sb3-ext video`, `report` and `plot`: agents of the log folder as pictures."""

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
from sb3_ext.zoo.typed_ids import name_in_folders

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
        curves=_curves_of(agent.path.parent, given.algo),
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


def _plot_parser() -> Parser:
    parser = Parser(
        "sb3-ext plot",
        description="Learning curves: the interquartile mean over runs with its 95 % interval. Runs of one algorithm "
        "and environment are one curve; LABEL=FOLDER puts all runs below a folder into the curve of that name.",
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
    from sb3_ext.viz.curves import aggregate, plot_curves, read_evaluations, read_monitor

    groups = _groups_of(given.folders, given.env)
    runs = [run for group in groups.values() for run in group]
    source = given.source
    if source is None:
        source = "evaluations" if all((run / "evaluations.npz").is_file() for run in runs) else "monitor"
    read = {"evaluations": read_evaluations, "monitor": read_monitor}[source]
    bands = aggregate({name: [read(run) for run in group] for name, group in groups.items()}, window=given.window)
    for name, band in bands.items():
        interval = "" if band.low is None or band.high is None else f" [{band.low[-1]:.2f}, {band.high[-1]:.2f}]"
        n_runs = f"{band.n_runs} run{'s' if band.n_runs > 1 else ''}"
        print(f"{name}: {band.iqm[-1]:.2f}{interval} after {band.steps[-1]} env steps, {n_runs} ({source})")
    print(save_figure(plot_curves(bands, title=given.title), given.output, dpi=150))


def _groups_of(folders: list[str], env: str | None) -> dict[str, list[Path]]:
    """
    :param folders: as typed
    :param env: only its runs
    :return: folders of runs by the name of their curve
    :raises UserError: where there are none
    """
    wanted = None if env is None else name_in_folders(env)
    groups: dict[str, list[Path]] = {}
    for text in folders:
        label, found, rest = text.partition("=")
        if found and not rest:
            raise UserError(f"{text!r} names no folder: LABEL=FOLDER")
        folder = Path(rest if found else text)
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        files = [*folder.rglob("evaluations.npz"), *folder.rglob("*monitor.csv")]
        for run in sorted({path.parent for path in files}):
            name = run.resolve().name
            task = name.rpartition("_")[0] if name.rpartition("_")[2].isdigit() else name
            if wanted in (None, task):
                groups.setdefault(label if found else f"{run.resolve().parent.name} {task}", []).append(run)
    if not groups:
        runs_of = f" of {env}" if env else ""
        raise UserError(f"no runs{runs_of} in {', '.join(folders)}: no evaluations.npz and no monitor.csv")
    return groups


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
PLOT = Command("plot", "learning curves of several runs, with intervals", _plot_parser, plot)
