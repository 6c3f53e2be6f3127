"""Traces of every kind of model, without a model, and reports of them."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import numpy as np
from PIL import Image

from sb3_ext.planning.gap_file import EXACT, GapCurve, Yardstick
from sb3_ext.viz.curves import Curve
from sb3_ext.viz.names import Names
from sb3_ext.viz.report import ReportData
from sb3_ext.viz.trace import Trace

T, HEIGHT, WIDTH = 12, 24, 32


def bare_trace(**more: Any) -> Trace:
    rng = np.random.RandomState(0)
    parts: dict[str, Any] = dict(
        env_id="Some-v0",
        frames=np.zeros((0, 0, 0, 3), dtype=np.uint8),
        observations=rng.randn(T + 1, 4),
        actions=rng.randint(0, 3, T),
        rewards=rng.randn(T).round(3),
        episode_return=7.5,
        terminated=True,
        truncated=False,
        fps=50.0,
    )
    return Trace(**{**parts, **more})


def frames(n: int = T + 1, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (n, height, width, 3)).astype(np.uint8)


def traces() -> dict[str, Trace]:
    """One of each family, and with as little as there can be."""
    rng = np.random.RandomState(2)
    shares = rng.dirichlet(np.ones(3), T)
    q_values = rng.randn(T, 3) * 20
    means, stds = rng.randn(T, 2), rng.rand(T, 2)
    return {
        "recurrent_q": bare_trace(
            frames=frames(),
            actions=q_values.argmax(axis=1),
            names=Names(actions=("NOOP", "LEFT", "RIGHT")),
            values=q_values.max(axis=1),
            q_values=q_values,
            hidden=rng.randn(T, 16).astype(np.float32),
            attributions={"value": rng.rand(T, 6, 8), "advantage": rng.rand(T, 6, 8)},
        ),
        "probabilities": bare_trace(
            frames=frames(), values=rng.randn(T), probabilities=shares, attributions={"policy": rng.randn(T, 4)}
        ),
        "gaussian": bare_trace(
            actions=means + stds * rng.randn(T, 2), values=rng.randn(T), means=means, stds=stds, truncated=False
        ),
        "deterministic": bare_trace(frames=frames(), actions=means, values=rng.randn(T), means=means, terminated=False),
        "multi_discrete": bare_trace(actions=rng.randint(0, 4, (T, 3))),
        "single_step": bare_trace(
            frames=frames(2),
            actions=np.zeros(1, dtype=int),
            rewards=np.ones(1),
            values=np.ones(1),
            hidden=np.ones((1, 3)),
        ),
        "bare": bare_trace(),
    }


def curves() -> list[Curve]:
    rng = np.random.RandomState(3)
    return [
        Curve("run", np.arange(1, 6) * 1000, rng.randn(5, 4), "evaluations"),
        Curve("run", np.cumsum(rng.randint(1, 50, 700)), rng.randn(700), "monitor"),
    ]


def gap(n: int = 40) -> GapCurve:
    """Of a run with every column, in which the policy swings."""
    values = {name: np.abs(np.sin(np.arange(n))) / 2 for name in EXACT}
    return GapCurve(Yardstick(0.542, 0.744, 0.99), np.arange(n) * 1000, values)


def estimated_gap() -> GapCurve:
    """Of a model without a table."""
    steps, mean = np.arange(5) * 1000, np.linspace(0.1, 0.7, 5)
    return GapCurve(Yardstick(0.542, 0.744, 0.99, 2000), steps, {"return": mean, "return_se": np.full(5, 0.01)})


def report(trace: Trace, full: bool = True) -> ReportData:
    if not full:
        return ReportData("An agent", "Rainbow", "Some-v0", trace)
    return ReportData(
        "An agent",
        "Rainbow",
        "Some-v0",
        trace,
        curves(),
        returns=np.array([1.0, 2.5, 4.0, 8.0]),
        hyperparameters={"gamma": "0.99", "policy_kwargs": "{'net_arch': [64, 64]}"},
        versions={"sb3_ext": "0.1.0"},
        command="sb3-ext train --algo rainbow --env Some-v0",
        notes=("Evaluated greedily.",),
        gap=gap(),
    )


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def shown(page: str, agent: int = 0, episode: int = 0) -> dict[str, Any]:
    """:return: what a page has of an episode"""
    content: dict[str, Any] = embedded(page)["agents"][agent]["episodes"][episode]
    return content


def decoded(image: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB"))
