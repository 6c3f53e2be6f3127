"""Returns of the evaluation: numbers, and a histogram with the mean and its interval."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData, card, number, span, statistics


class Evaluation(Panel):
    """The interval is the 95 % one of the mean, by the bootstrap over episodes. Of two agents `Scores` shows them."""

    place = "results"
    order = 2
    style = """
#returns { margin-top: 12px; }
"""
    script = """
function drawReturns(svg, width, height) {  // a histogram with the mean and its interval
  const { returns: values, mean, interval } = data.evaluation;
  const [low, high] = range(values), bottom = height - 24;
  const n = clamp(Math.ceil(2 * Math.cbrt(values.length)), 5, 20), counts = Array(n).fill(0);
  for (const v of values) counts[Math.min(Math.floor(n * (v - low) / (high - low)), n - 1)] += 1;
  const x = (v) => width * (v - low) / (high - low), most = Math.max(...counts);
  counts.forEach((count, i) => {
    const size = (bottom - 10) * count / most;
    const bar = { x: i * width / n + 1, y: bottom - size, width: width / n - 2, height: size, rx: 2 };
    if (count) make("rect", { class: "stack", ...bar }, svg);
  });
  if (interval) {
    const [from, to] = interval.map(x);
    make("rect", { class: "span", x: from, y: 0, width: Math.max(to - from, 1), height: bottom }, svg);
  }
  make("line", { class: "middle", x1: x(mean), x2: x(mean), y1: 0, y2: bottom }, svg);
  make("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }, svg);
  make("text", { x: 0, y: height - 6 }, svg, number(low));
  make("text", { x: width, y: height - 6, "text-anchor": "end" }, svg, number(high));
}

if ($("returns")) chart($("returns"), "Histogram of the returns", 120, drawReturns);
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {"evaluation": statistics(data.returns)} if len(data.returns) and data.versus is None else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        found = content["evaluation"]
        items = {"Mean": found["mean"], "Std": found["std"], "Min": found["min"], "Max": found["max"]}
        cells = [f"<div><dt>{name}</dt><dd>{number(x)}</dd></div>" for name, x in items.items()]
        hint = "Bars: episodes by return. Line and band: mean and its 95 % interval (bootstrap over episodes)."
        if found["interval"] is None:
            hint = "A single episode has no interval."
        else:
            label = f"95 % interval of the mean of {len(found['returns'])} episodes"
            cells.append(f'<div class="wide"><dt>{label}</dt><dd>{span(found["interval"])}</dd></div>')
        parts = [f'<dl class="facts four">{"".join(cells)}</dl>']
        if found["min"] < found["max"]:
            parts.append('<div id="returns" class="chart"></div>')
        elif found["interval"] is not None:
            hint = "All episodes have the same return."
        return card("evaluation", "Evaluation", "\n  ".join([*parts, f'<p class="hint">{hint}</p>']))


PANEL = Evaluation()
