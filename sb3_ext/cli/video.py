"""`sb3-ext video`: an episode of a trained agent as a film."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_ext.cli.filming import add_film_flags, film, filming_of
from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of
from sb3_ext.cli.values import real
from sb3_ext.errors import UserError
from sb3_ext.zoo.agents import load_to_film

if TYPE_CHECKING:
    from sb3_ext.viz.trace import Trace

SMALL_SIDE = 240  # of a frame, in pixels: smaller ones are enlarged beside their heat


def _video_parser() -> Parser:
    parser = Parser("sb3-ext video", description="Film one episode of a trained agent: MP4 or GIF, no ffmpeg needed.")
    add_agent_flags(parser)
    add_film_flags(parser, "-n")
    parser.add_argument("-o", "--output", type=Path, default=Path("replay.mp4"), help=".mp4 or .gif (replay.mp4)")
    parser.add_argument("--fps", type=real(0, above=True), help="pictures a second (those of the environment)")
    return parser


def video(given: argparse.Namespace) -> None:
    """:param given: by the flags of `video`"""
    from sb3_ext.viz.overlay import input_bars
    from sb3_ext.viz.video import WITHOUT_A_DISPLAY, check_suffix, write_video

    check_suffix(given.output)
    how = filming_of(given)
    agent, trouble = load_to_film(agent_of(given))
    try:
        if trouble is not None:
            raise UserError(f"{trouble}. Without a display, {WITHOUT_A_DISPLAY}")
        how.check(agent)
        trace = film(agent, how)
    finally:
        agent.env.close()
    write_video(_explained(trace), given.output, given.fps or trace.fps)
    print(f"{len(trace)} steps, return {trace.episode_return:.2f}: {given.output}")
    if trace.attributions and not _is_heat(trace) and isinstance(trace.observations, np.ndarray):
        path = given.output.with_suffix(".png")
        print(input_bars(trace.attributions, trace.observations, path, trace.names.inputs or None))


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


VIDEO = Command("video", "film a trained agent: MP4 or GIF, with what its decisions hang on", _video_parser, video)
