"""What the agent sees, of a vector: each number by its name, and what of it decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.viz.report_data import EpisodePanel
from sb3_ext.viz.trace import Trace

MOST = 24  # rows


class Inputs(EpisodePanel):
    """As the network is given them; a bar of each stream says how much a usual change of the number changes it."""

    place = "side"
    order = 3
    style = """
.inputs { display: grid; grid-template-columns: fit-content(52%) minmax(30px, 1fr) max-content; row-gap: 2px; }
.inputs li {
  display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; column-gap: 10px; align-items: center;
  padding: 1px 6px; font-size: .82rem; line-height: 1.35;
}
.inputs .number { text-align: right; color: var(--soft); white-space: nowrap; }
.inputs .bars { display: grid; gap: 2px; }
.inputs .bars i { display: block; height: 5px; border-radius: 2px; background: var(--colour); }
.panel .legend { margin: 8px 0 0; }
@media (min-width: 761px) {  /* what is higher than the picture goes on beside the tracks */
  .card:not(.two):not(.no-frames) .player:is(:has(.inputs > :nth-child(9)), :has(.inputs):has(.path)) {
    grid-template: "stage now" auto "control now" 1fr / minmax(0, 1.5fr) minmax(270px, 1fr);
  }
}
"""
    script = """
const { names, shown, values } = data.inputs;
const strips = Object.entries(data.attributions ?? {}).filter(([, strip]) => strip.data);
const strengths = strips.map(([, strip]) => signed(strip));
const rows = names.map((name) => {
  const row = make("li", {}, $("inputs"));
  make("span", { class: "name" }, row, name);
  const box = make("span", { class: "bars", "aria-hidden": "true" }, row);
  const bars = strips.map((_, k) => make("i", {}, box));
  bars.forEach((bar, k) => bar.style.setProperty("--colour", COLOURS[k % COLOURS.length]));
  return { bars, number: make("span", { class: "number" }, row) };
});
if (strips.length) legend($("inputs-legend"), strips.map(([name]) => ({ name })));
else $("inputs-legend").remove();
redraw.push((t) => {
  rows.forEach(({ bars, number: text }, i) => {
    text.textContent = number(values[t][i]);
    bars.forEach((bar, k) => {
      const x = t < T ? strengths[k][t * strips[k][1].size + shown[i]] : 0;
      bar.style.width = `${100 * Math.abs(x) / 127}%`;
    });
  });
});
"""

    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        seen = trace.observations
        if not isinstance(seen, np.ndarray) or seen.ndim > 3 or seen.dtype.kind not in "biuf" or seen.size == 0:
            return None
        flat = seen.reshape(len(seen), -1)  # [T+1, D]
        shown = _most_telling(trace, flat.shape[1])
        names = trace.names.inputs or (["observation"] if flat.shape[1] == 1 else list(map(str, range(flat.shape[1]))))
        return {
            "inputs": {
                "names": [names[i] for i in shown],
                "shown": shown,
                "values": [[_short(x) for x in row] for row in flat[:, shown].tolist()],
                "n": flat.shape[1],
            }
        }

    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        left_out = content["inputs"]["n"] - len(content["inputs"]["shown"])
        parts = ["As the network is given them."]
        if any(x.ndim == 2 for x in trace.attributions.values()):
            parts.append(
                "Bars: how much a usual change of the number changes the stream, on one scale for the episode."
            )
        if left_out:
            parts.append(f"{left_out} are left out.")
        return (
            '<div class="panel"><h3>Inputs</h3><ol id="inputs" class="inputs"></ol>'
            f'<p id="inputs-legend" class="legend"></p><p class="hint">{" ".join(parts)}</p></div>'
        )


def _most_telling(trace: Trace, n: int) -> list[int]:
    """:return: which of n inputs are shown, in their order"""
    effects = [np.abs(x).mean(axis=0) for x in trace.attributions.values() if x.ndim == 2 and x.shape[1] == n]
    order = np.argsort(-np.max([x / (x.max() or 1.0) for x in effects], axis=0), kind="stable") if effects else range(n)
    return sorted(int(i) for i in order[:MOST])


def _short(x: float) -> float | None:
    """:return: 4 significant digits, as the page shows"""
    return float(f"{x:.4g}") if np.isfinite(x) else None


PANEL = Inputs()
