"""Learning curves of the training."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.viz.curves import WINDOW, Curve
from sb3_ext.viz.report_data import Panel, ReportData, card, rounded

MOST_POINTS = 300  # of a curve
MEANS = {"evaluations": "mean of the episodes of an evaluation", "monitor": f"mean of the last {WINDOW} episodes"}


class Curves(Panel):
    """Mean, and the middle 80 % of the episodes that it is made of."""

    place = "results"
    order = 1
    script = """
function drawCurves(svg, width, height) {
  const xs = range(data.curves.map((c) => c.steps)), ys = range(data.curves.map((c) => [c.low, c.high]));
  const heights = ticks(...ys, 5), marks = shorts(heights), steps = ticks(...xs, width / 70), times = shorts(steps);
  const left = 8 + 7.2 * Math.max(...marks.map((mark) => mark.length)), right = width - 14, bottom = height - 26;
  const x = (v) => left + (right - left) * (v - xs[0]) / (xs[1] - xs[0]);
  const y = (v) => bottom - (bottom - 8) * (v - ys[0]) / (ys[1] - ys[0]);
  heights.forEach((v, i) => {
    make("line", { class: "axis", x1: left, x2: right, y1: y(v), y2: y(v) }, svg);
    make("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, svg, marks[i]);
  });
  steps.forEach((v, i) => make("text", { x: x(v), y: height - 6, "text-anchor": "middle" }, svg, times[i]));
  data.curves.forEach((curve, i) => {
    const path = (values, back) => {
      const points = values.map((v, j) => `${x(curve.steps[j]).toFixed(1)} ${y(v).toFixed(1)}`);
      return (back ? points.reverse() : points).join("L");
    };
    const colour = COLOURS[i % COLOURS.length];
    make("path", { class: "band", fill: colour, d: `M${path(curve.low)}L${path(curve.high, true)}Z` }, svg);
    make("path", { class: "mean", stroke: colour, d: `M${path(curve.mean)}` }, svg);
  });
  const line = make("line", { class: "at", y1: 8, y2: bottom, visibility: "hidden" }, svg);
  const tip = make("div", { class: "tip", hidden: "", role: "status" }, svg.parentNode);
  const all = [...new Set(data.curves.flatMap((c) => c.steps))].sort((a, b) => a - b);
  const nearest = (steps, v) =>
    steps.reduce((best, s, i) => (Math.abs(s - v) < Math.abs(steps[best] - v) ? i : best), 0);
  let at = all.length - 1;
  const hide = () => { tip.hidden = true; line.setAttribute("visibility", "hidden"); };
  const point = (i) => {
    at = clamp(i, 0, all.length - 1);
    tip.replaceChildren();
    make("b", {}, tip, `${all[at].toLocaleString("en")} steps`);
    for (const curve of data.curves) {
      const j = nearest(curve.steps, all[at]);
      const [mean, low, high] = [curve.mean[j], curve.low[j], curve.high[j]].map(number);
      make("div", {}, tip, `${curve.name}: ${mean} (${low} to ${high})`);
    }
    tip.hidden = false;
    const beside = x(all[at]) > width / 2 ? x(all[at]) - 12 - tip.offsetWidth : x(all[at]) + 12;
    tip.style.left = `${clamp(beside, 0, Math.max(width - tip.offsetWidth, 0))}px`;
    line.setAttribute("x1", x(all[at]));
    line.setAttribute("x2", x(all[at]));
    line.setAttribute("visibility", "visible");
  };
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("pointermove", (event) => {
    const share = (event.clientX - svg.getBoundingClientRect().left - left) / (right - left);
    point(nearest(all, xs[0] + share * (xs[1] - xs[0])));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) point(at); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(to);
  });
}

data.curves.forEach((curve, i) => {
  make("span", {}, $("legend"), curve.name).style.setProperty("--colour", COLOURS[i % COLOURS.length]);
});
const last = data.curves.map((c) => `${c.name} ends at ${number(c.mean.at(-1))}`).join("; ");
chart($("curves"), `Return by environment steps. ${last}`, 290, drawCurves);
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {"curves": [_thinned(curve) for curve in data.curves]} if data.curves else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        kinds = {curve.source for curve in data.curves}
        lines = "; ".join(mean for kind, mean in MEANS.items() if kind in kinds)
        body = (
            '<p class="legend" id="legend"></p>\n  <div id="curves" class="chart"></div>\n  '
            f'<p class="hint">Lines: {lines}. Bands: the middle 80 % of these episodes.</p>'
        )
        return card("curve", "Training", body, "card grow")


def _thinned(curve: Curve) -> dict[str, Any]:
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
        "mean": rounded(curve.smoothed()[at]),
        "low": rounded(low),
        "high": rounded(high),
    }


PANEL = Curves()
