"""
Attributions as pictures: heat over the frames of an episode, streams side by side, and of vectors a bar of gradients
over time. Heat has one scale for a whole episode, so that steps can be compared.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sb3_ext.saving import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOT = 99.0  # percentile of the positive heat that is painted fully
COLOURS = (0.3, 0.75)  # part of matplotlib's inferno: with its ends more heat shows less on white frames
GAP = 4  # pixels around a picture
PAPER, INK = (255, 255, 255), (43, 47, 54)
MOST_ROWS = 40  # of inputs in a figure


def overlay(frames: np.ndarray, heat: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """
    Paint heat over frames. All of them share one scale: the 99th percentile of the positive heat and all above is
    painted fully. The largest value itself would leave the rest dark, as a few pixels of a gradient are far above it.

    :param frames: [T, height, width, 3] uint8
    :param heat: [T, rows, columns] >= 0, stretched to the frames bilinearly
    :param strength: share of the colour where it is hottest, in [0, 1]
    :return: [T, height, width, 3] uint8; a frame without heat is unchanged
    :raises ValueError: for other shapes or types, heat that is negative or not finite, and an impossible ``strength``
    """
    _check(frames, heat, strength)
    hot = _hot(heat)
    return np.stack([_painted(frame, part, hot, strength) for frame, part in zip(frames, heat, strict=True)])


def beside(
    frames: np.ndarray, heats: Mapping[str, np.ndarray], strength: float = 0.6, enlarge: int = 1
) -> Iterator[np.ndarray]:
    """
    The plain frame and one painted frame per stream side by side, each below its name, for a video: picture by picture,
    as a long episode would fill the memory. Every stream has its own scale, see `overlay`.

    :param frames: [T, height, width, 3] uint8
    :param heats: by stream [T, rows, columns] >= 0
    :param strength: share of the colour where it is hottest, in [0, 1]
    :param enlarge: whole factor for small frames
    :return: T pictures [height', width', 3] uint8 of one size, with even sides, which video codecs ask for
    :raises ValueError: as `overlay`, without any heat, and for ``enlarge`` < 1
    """
    if not heats:
        raise ValueError("heats: there is no stream to show")
    if enlarge < 1:
        raise ValueError(f"enlarge {enlarge} must be >= 1")
    for heat in heats.values():
        _check(frames, heat, strength)
    return _side_by_side(frames, heats, strength, enlarge)


def input_bars(
    gradients: Mapping[str, np.ndarray],
    observations: np.ndarray,
    path: str | os.PathLike[str],
    names: Sequence[str] | None = None,
) -> pathlib.Path:
    """
    Draw how much a usual change of each input changes the streams, over an episode: the gradient's absolute value
    times the input's standard deviation over the episode. An input that never changes explains nothing and is blank.

    :param gradients: by stream [T, D] >= 0, of `Saliency`
    :param observations: [T, ...] of D numbers, in the units that the gradients are of: those that the network was
        given, so normalised ones behind a `VecNormalize`. One more step, the episode's end, is allowed
    :param path: file to write, which appears whole or not at all; ``.png`` is added where there is no suffix
    :param names: D of the inputs; None = their indices
    :return: the path with its suffix
    :raises ValueError: for numbers of steps, inputs or names that do not fit, gradients that are negative or not
        finite, and a suffix that is no picture's
    """
    from matplotlib.figure import Figure

    if not gradients:
        raise ValueError("gradients: there is no stream to show")
    flat = observations.reshape(len(observations), -1)
    for stream, given in gradients.items():
        if given.ndim != 2 or given.shape[1] != flat.shape[1] or len(flat) - len(given) not in (0, 1) or not len(given):
            raise ValueError(
                f"gradients of {stream!r} have shape {given.shape}; {len(flat)} observations of {flat.shape[1]} "
                f"numbers need ({len(flat)}, {flat.shape[1]}), or one step fewer"
            )
        _check_heat(f"gradients of {stream!r}", given)
    if names is None:
        names = [str(i) for i in range(flat.shape[1])]
    if len(names) != flat.shape[1]:
        raise ValueError(f"names: {len(names)} for {flat.shape[1]} inputs")

    n_rows = min(flat.shape[1], MOST_ROWS)
    figure = Figure(figsize=(10, 1.2 + len(gradients) * (0.9 + 0.22 * n_rows)), layout="constrained", facecolor="white")
    for i, (stream, given) in enumerate(gradients.items()):
        axes = figure.add_subplot(len(gradients), 1, i + 1)
        _plot_bars(axes, stream, usual_change(given, flat), names)
    figure.suptitle("How much a usual change of each input changes the output", color=_as_hex(INK), fontsize=13)
    return save_figure(figure, path)


def usual_change(gradients: np.ndarray, observations: np.ndarray) -> np.ndarray:
    """
    ``|dy/dx_i| std(x_i)``: how much the explained number moves where an input moves by its spread over the episode.

    :param gradients: [T, D] >= 0
    :param observations: [T, D], or one step more
    :return: [T, D]
    """
    effect: np.ndarray = gradients * observations.std(axis=0, dtype=np.float64)
    return effect


def _check(frames: np.ndarray, heat: np.ndarray, strength: float) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames have shape {frames.shape} of {frames.dtype}, not (T, height, width, 3) of uint8")
    if heat.ndim != 3 or 0 in heat.shape:
        raise ValueError(f"heat has shape {heat.shape}, not (T, rows, columns)")
    if len(frames) != len(heat):
        raise ValueError(
            f"{len(frames)} frames and heat of {len(heat)} steps: an episode has one frame more than steps, leave out "
            "the last one with frames[:-1]"
        )
    _check_heat("heat", heat)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} must be in [0, 1]")


def _check_heat(name: str, heat: np.ndarray) -> None:
    lowest = heat.min()
    if not (lowest >= 0 and np.isfinite(heat).all()):
        raise ValueError(f"{name}: must be >= 0 and finite; the lowest value is {lowest}")


def _hot(heat: np.ndarray) -> float:
    """:return: what is painted fully, of the pixels with any heat: most of a Grad-CAM may have none"""
    positive = heat[heat > 0]
    return float(np.percentile(positive, HOT)) if positive.size else 1.0


def _painted(frame: np.ndarray, heat: np.ndarray, hot: float, strength: float) -> np.ndarray:
    """:return: [height, width, 3] uint8"""
    from matplotlib import colormaps

    height, width, _ = frame.shape
    share = Image.fromarray((heat / hot).clip(0, 1).astype(np.float32))
    level = np.asarray(share.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    low, high = COLOURS
    colour = colormaps["inferno"](low + (high - low) * level)[:, :, :3] * 255
    alpha = (strength * level)[:, :, None]
    return np.rint(frame * (1 - alpha) + colour * alpha).astype(np.uint8)


def _side_by_side(
    frames: np.ndarray, heats: Mapping[str, np.ndarray], strength: float, enlarge: int
) -> Iterator[np.ndarray]:
    font = ImageFont.load_default()
    labels = ["frame", *heats]
    hots = {stream: _hot(heat) for stream, heat in heats.items()}
    height, width = enlarge * frames.shape[1], enlarge * frames.shape[2]
    boxes = [font.getbbox(label) for label in labels]
    column = max(width, *(int(np.ceil(box[2])) for box in boxes)) + GAP
    top = int(np.ceil(max(box[3] for box in boxes))) + 2 * GAP
    sides = (_even(column * len(labels) + GAP), _even(top + height + GAP))
    paper = Image.new("RGB", sides, PAPER)
    draw = ImageDraw.Draw(paper)
    for i, label in enumerate(labels):
        draw.text((GAP + i * column, GAP), label, fill=INK, font=font)
    blank = np.asarray(paper)
    for t, small in enumerate(frames):
        frame = small.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        picture = blank.copy()
        panels = [frame, *(_painted(frame, heat[t], hots[stream], strength) for stream, heat in heats.items())]
        for i, panel in enumerate(panels):
            left = GAP + i * column
            picture[top : top + height, left : left + width] = panel
        yield picture


def _even(n: int) -> int:
    return n + n % 2


def _plot_bars(axes: Axes, stream: str, effect: np.ndarray, names: Sequence[str]) -> None:
    """:param effect: [T, D]"""
    # The most telling ones, in their own order.
    shown = np.sort(np.argsort(-effect.mean(axis=0), kind="stable")[:MOST_ROWS])
    rest = effect.shape[1] - len(shown)
    axes.set_title(f"{stream}{f', {rest} weaker inputs left out' if rest else ''}", color=_as_hex(INK), loc="left")
    image = axes.imshow(
        effect[:, shown].T,
        aspect="auto",
        interpolation="nearest",
        cmap="inferno",
        vmin=0,
        vmax=_hot(effect),
        extent=(-0.5, len(effect) - 0.5, len(shown) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(shown)), [names[i] for i in shown])
    axes.set_xlabel("step", color=_as_hex(INK))
    axes.tick_params(colors=_as_hex(INK), length=0)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, extend="max", pad=0.01)
    bar.ax.tick_params(colors=_as_hex(INK), length=0)


def _as_hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
