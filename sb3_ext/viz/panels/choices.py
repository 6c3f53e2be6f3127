"""What the agent chose from: Q-values, probabilities, or the distribution of a continuous action."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import EpisodePanel, rounded
from sb3_ext.viz.trace import Trace

PARTS = ("q_values", "probabilities", "means", "stds")


class Choices(EpisodePanel):
    """One row for each action, or for each component of it."""

    place = "side"
    order = 1
    style = """
.choices { display: grid; grid-template-columns: fit-content(44%) minmax(0, 1fr) max-content; row-gap: 3px; }
.choices li {
  display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; column-gap: 10px; align-items: center;
  padding: 2px 6px; border-radius: 6px; font-size: .82rem;
}
.choices .number { text-align: right; color: var(--soft); white-space: nowrap; }
.choices .bar { position: relative; height: 12px; }
.choices .bar i {
  position: absolute; top: 0; bottom: 0; left: 0; border-radius: 3px; background: var(--soft); opacity: .45;
}
.choices [aria-current] { background: var(--accent-soft); }
.choices [aria-current] .name, .choices [aria-current] .number { color: var(--ink); -webkit-text-stroke: .35px; }
.choices [aria-current] .bar i { background: var(--accent); opacity: 1; }
.choices.interval .bar { background: var(--well); border-radius: 3px; }
.choices.interval .bar i { background: var(--accent); opacity: .3; }
.choices.interval .bar b, .choices.interval .bar u {
  position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: var(--accent);
}
.choices.interval .bar u {
  top: 1px; bottom: 1px; width: 10px; margin-left: -5px; border-radius: 50%; background: var(--second);
}
@media (prefers-reduced-motion: no-preference) { .choices .bar i { transition: width .08s linear; } }
"""
    script = """
function choiceRow(name, isInterval) {
  const row = make("li", {}, $("choices"));
  make("span", { class: "name" }, row, name);
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, row);
  const parts = { row, bar: make("i", {}, bar), number: make("span", { class: "number" }, row) };
  return isInterval ? { ...parts, mean: make("b", {}, bar), done: make("u", {}, bar) } : parts;
}

function setUpBars(table, isShare) {  // Q-values: the lead over the worst action of the step, beside the largest lead
  const rows = data.action_names.map((name) => choiceRow(name, false));
  const lead = table.reduce((most, q) => Math.max(most, Math.max(...q) - Math.min(...q)), 0) || 1;
  redraw.push((t) => {
    const values = table[Math.min(t, T - 1)], low = isShare ? 0 : Math.min(...values);
    rows.forEach(({ row, bar, number: text }, a) => {
      bar.style.width = `${100 * (isShare ? values[a] : Math.max((values[a] - low) / lead, 0.005))}%`;
      text.textContent = isShare ? `${(100 * values[a]).toFixed(1)} %` : number(values[a]);
      if (t < T && data.actions[t] === a) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
  });
}

function setUpIntervals() {
  const { means, stds, actions } = data;
  const rows = means[0].map((_, d) => {
    const spread = means.map((m, t) => [m[d] - (stds ? stds[t][d] : 0), m[d] + (stds ? stds[t][d] : 0), actions[t][d]]);
    return { ...choiceRow(data.action_names[d] ?? String(d), true), range: range(spread) };
  });
  redraw.push((t) => {
    const step = Math.min(t, T - 1);
    rows.forEach(({ bar, mean, done, number: text, range: [low, high] }, d) => {
      const place = (x) => 100 * clamp((x - low) / (high - low), 0, 1);
      const m = means[step][d], s = stds ? stds[step][d] : 0;
      bar.style.left = `${place(m - s)}%`;
      bar.style.width = `${place(m + s) - place(m - s)}%`;
      mean.style.left = `${place(m)}%`;
      done.style.left = `${place(actions[step][d])}%`;
      text.textContent = stds ? `${number(m)} ± ${number(s)}` : number(m);
    });
  });
}

if (data.q_values || data.probabilities) setUpBars(data.q_values ?? data.probabilities, !data.q_values);
else setUpIntervals();
"""

    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for name in PARTS:
            values = getattr(trace, name)
            if values is not None:
                found[name] = rounded(values.reshape(len(values), -1))
        return found or None

    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        title, hint = _texts(content)
        kind = "bars" if "q_values" in content or "probabilities" in content else "interval"
        rows = f'<ol id="choices" class="choices {kind}"></ol>'
        return f'<div class="panel"><h3>{title}</h3>{rows}<p class="hint">{hint}</p></div>'


def _texts(content: dict[str, Any]) -> tuple[str, str]:
    """:return: title and hint"""
    if "q_values" in content:
        return "Q-values", "Bars: lead over the worst action of the step."
    if "probabilities" in content:
        return "Action probabilities", ""
    if "stds" in content:
        hint = "Line: mean. Band: one standard deviation to each side. Dot: what was done."
        return "Action distribution", hint
    return "Action", "Line: the policy's. Dot: what was done."


PANEL = Choices()
