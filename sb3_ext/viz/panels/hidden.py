"""The way of the hidden state in two principal components."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.viz.report_data import EpisodePanel, rounded
from sb3_ext.viz.trace import Trace


class Hidden(EpisodePanel):
    """Output of the recurrent core."""

    place = "side"
    order = 2
    style = """
.path { display: block; width: 100%; height: 190px; background: var(--well); border-radius: 8px; }
.path polyline { fill: none; stroke: var(--soft); stroke-width: 1.2; opacity: .4; stroke-linejoin: round; }
.path .past { stroke: var(--accent); opacity: .9; }
.path circle { fill: var(--second); stroke: var(--card); stroke-width: 2; }
.path polyline, .path circle { vector-effect: non-scaling-stroke; }
"""
    script = """
function setUpHidden() {
  const xs = range(data.hidden.map((p) => p[0])), ys = range(data.hidden.map((p) => p[1]));
  const points = data.hidden.map(([x, y]) => [
    10 + 320 * (x - xs[0]) / (xs[1] - xs[0]), 180 - 170 * (y - ys[0]) / (ys[1] - ys[0])].map((v) => v.toFixed(1)));
  const svg = $("hidden");
  const shares = data.hidden_shares.map((share) => `${Math.round(100 * share)}%`).join(" and ");
  $("hidden-shares").textContent = `Principal components 1 and 2: ${shares} of the variance.`;
  svg.setAttribute("viewBox", "0 0 340 190");
  make("polyline", { points: points.join(" ") }, svg);
  const past = make("polyline", { class: "past" }, svg), dot = make("circle", { r: 5 }, svg);
  redraw.push((t) => {
    const step = Math.min(t, T - 1);
    past.setAttribute("points", points.slice(0, step + 1).join(" "));
    dot.setAttribute("cx", points[step][0]);
    dot.setAttribute("cy", points[step][1]);
  });
}

setUpHidden();
"""

    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        if trace.hidden is None or len(trace) < 2:
            return None
        points, shares = _projected(trace.hidden)
        return {"hidden": rounded(points), "hidden_shares": shares}

    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        drawing = (
            '<svg id="hidden" class="path" role="img" aria-label="Path of the hidden state, two principal components">'
            '</svg><p id="hidden-shares" class="hint"></p>'
        )
        return f'<div class="panel"><h3>Hidden state</h3>{drawing}</div>'


def _projected(hidden: np.ndarray) -> tuple[np.ndarray, list[float]]:
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
    return points, [float(s**2) / total if total > 0 else 0.0 for s in sizes[:2]]


PANEL = Hidden()
