"""
What the script of a report draws, as plain numbers and pictures in base64: everything is rounded, thinned or compressed
here so that a page stays small.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sb3_ext.viz.curves import N_BOOTSTRAP, WINDOW, Curve
from sb3_ext.viz.trace import Trace

FRAME_BUDGET = 4_000_000  # characters of base64 for all frames
HEAT_BUDGET = 1_500_000  # for the attributions of one stream
# Tried in turn until the pictures fit: a divisor of the sides, and a quality; None = every pixel as it was. That is the
# smallest too for pictures that were drawn and not photographed: 0.5 kB for a frame of CartPole, 0.2 to 0.6 for Atari.
ENCODINGS: tuple[tuple[int, int | None], ...] = ((1, None), (1, 85), (1, 70), (1, 50), (2, 70), (2, 40), (4, 40))
FULL_STRENGTH = 99.5  # percentile of a stream's attributions that is shown at full strength
MOST_POINTS = 300  # of a curve


def content_of(trace: Trace, curves: Sequence[Curve], returns: np.ndarray) -> dict[str, Any]:
    """
    :param trace: of T >= 1 steps
    :param curves: of the training
    :param returns: [K] of evaluation episodes
    :return: all that the script draws, ready for JSON
    """
    hidden, shares = (None, None) if trace.hidden is None or len(trace) < 2 else _projected(trace.hidden)
    return {
        "fps": trace.fps,
        "ending": "terminated" if trace.terminated else "truncated" if trace.truncated else "cut",
        "actions": _actions(trace),
        "action_names": _action_names(trace),
        "rewards": _rounded(trace.rewards),
        "values": None if trace.values is None else _rounded(trace.values),
        "q_values": None if trace.q_values is None else _rounded(trace.q_values),
        "probabilities": None if trace.probabilities is None else _rounded(trace.probabilities),
        "means": None if trace.means is None else _rounded(trace.means.reshape(len(trace), -1)),
        "stds": None if trace.stds is None else _rounded(trace.stds.reshape(len(trace), -1)),
        "hidden": hidden,
        "hidden_shares": shares,
        "frames": _pictures(trace.frames, FRAME_BUDGET) if len(trace.frames) else None,
        "attributions": {name: _attributions(x) for name, x in trace.attributions.items()},
        "curves": [_curve(curve) for curve in curves],
        "evaluation": _statistics(returns) if len(returns) else None,
    }


def _actions(trace: Trace) -> list[Any]:
    """:return: of each step a number, for an action with a name, or a list"""
    if trace.actions.ndim == 1:
        actions: list[Any] = trace.actions.tolist()
        return actions
    return _rounded(trace.actions.reshape(len(trace), -1))


def _action_names(trace: Trace) -> list[str]:
    table = trace.q_values if trace.q_values is not None else trace.probabilities
    if trace.actions.ndim != 1:
        return []
    n_actions = int(trace.actions.max()) + 1 if table is None else table.shape[1]
    return list(trace.action_names) or [str(a) for a in range(n_actions)]


def _rounded(values: np.ndarray) -> list[Any]:
    """:return: nested lists of 6 significant digits; what is not finite is None"""

    def one(x: Any) -> Any:
        if isinstance(x, list):
            return [one(y) for y in x]
        return float(f"{x:.6g}") if np.isfinite(x) else None

    numbers: list[Any] = one(values.tolist())
    return numbers


def _projected(hidden: np.ndarray) -> tuple[list[Any], list[float]]:
    """
    :param hidden: [T, H]
    :return: [T, 2] on the first two principal components, and their shares of the variance
    """
    centred = hidden.reshape(len(hidden), -1).astype(np.float64)
    centred = centred - centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(hidden), 2))
    n = min(2, len(sizes))
    points[:, :n] = left[:, :n] * sizes[:n]
    total = float((sizes**2).sum())
    return _rounded(points), [float(s**2) / total if total > 0 else 0.0 for s in sizes[:2]]


def _pictures(pictures: np.ndarray, budget: int) -> dict[str, Any]:
    """
    :param pictures: [N, rows, columns] or [N, rows, columns, 3] uint8
    :param budget: characters of base64 for all of them, exceeded only where the coarsest encoding does
    :return: size in pixels, and each as a WebP in base64
    """
    images: list[str] = []
    # Every tenth of them tells whether all would fit.
    sample = pictures[:: max(len(pictures) // 10, 1)]
    for divisor, quality in ENCODINGS:
        is_last = (divisor, quality) == ENCODINGS[-1]
        per_picture = sum(len(_webp(picture, divisor, quality)) for picture in sample) / len(sample)
        if per_picture * len(pictures) > budget and not is_last:
            continue
        images = [_webp(picture, divisor, quality) for picture in pictures]
        if sum(map(len, images)) <= budget:
            break
    return {"height": pictures.shape[1], "width": pictures.shape[2], "images": images}


def _webp(picture: np.ndarray, divisor: int, quality: int | None) -> str:
    image = Image.fromarray(picture)
    if divisor > 1:
        image = image.resize((max(image.width // divisor, 1), max(image.height // divisor, 1)), Image.Resampling.BOX)
    file = io.BytesIO()
    if quality is None:
        image.save(file, "WEBP", lossless=True, quality=20, method=1)  # more effort gains nothing here
    else:
        image.save(file, "WEBP", quality=quality, method=2)
    return base64.b64encode(file.getvalue()).decode()


def _attributions(values: np.ndarray) -> dict[str, Any]:
    """
    :param values: [T, rows, columns] >= 0, or [T, D] with signs
    :return: of one scale for the whole episode: pictures, or bytes from -127 to 127
    """
    sizes = np.abs(values.astype(np.float64))
    # The few largest of them would leave all others dark.
    scale = float(np.percentile(sizes, FULL_STRENGTH)) or float(sizes.max()) or 1.0
    if values.ndim == 3:
        return _pictures((255 * np.minimum(sizes / scale, 1)).round().astype(np.uint8), HEAT_BUDGET)
    signed = (127 * np.clip(values / scale, -1, 1)).round().astype(np.int8)
    return {"size": values.shape[1], "data": base64.b64encode(signed.tobytes()).decode()}


def _curve(curve: Curve) -> dict[str, Any]:
    """:return: at most `MOST_POINTS` of mean, and 10th and 90th percentile of the episodes that it is made of"""
    n = len(curve.steps)
    at = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))
    if curve.source == "evaluations":
        episodes = [curve.returns[i] for i in at]
    else:
        episodes = [curve.returns[max(i + 1 - WINDOW, 0) : i + 1] for i in at]
    low, high = np.array([np.percentile(x, (10, 90)) for x in episodes]).T
    return {
        "name": f"{curve.name}, {'training' if curve.source == 'monitor' else 'evaluation'}",
        "steps": curve.steps[at].tolist(),
        "mean": _rounded(curve.smoothed()[at]),
        "low": _rounded(low),
        "high": _rounded(high),
    }


def _statistics(returns: np.ndarray) -> dict[str, Any]:
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
