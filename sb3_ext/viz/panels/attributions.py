"""What in the observation decides: heat over the picture, or a strip of signed inputs over the episode."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from sb3_ext.viz.pictures import pictures
from sb3_ext.viz.report_data import EpisodePanel
from sb3_ext.viz.trace import Trace

BUDGET = 1_500_000  # characters of base64 for the pictures of one stream, in all episodes
FULL_STRENGTH = 99.5  # percentile of a stream's attributions that is shown at full strength


class Attributions(EpisodePanel):
    """Of each stream of a network; all steps share one scale."""

    place = "stage"
    script = """
function heat(image, strength) {  // grey to transparent, red, yellow
  const canvas = make("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const x = pixels.data[i] / 255;
    pixels.data[i] = 225 + 30 * x;
    pixels.data[i + 1] = 30 + 195 * x * x;
    pixels.data[i + 2] = 60 - 20 * x;
    pixels.data[i + 3] = 255 * strength * Math.min(1, 1.4 * x);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

function setUpStrip(name, strip) {  // one row per component, one column per step; red is positive, blue negative
  const rows = strip.names.length ? strip.names : [...Array(strip.size).keys()].map(String);
  const node = track(`Attribution: ${name}`, strip.size > 1 ? `${rows[0]} (top) to ${rows.at(-1)}` : rows[0]);
  const canvas = make("canvas", { "aria-hidden": "true" }, node);
  canvas.width = T;
  canvas.height = strip.size;
  canvas.style.height = `${clamp(11 * strip.size, 22, 150)}px`;
  canvas.style.width = `${100 * T / end}%`;
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(T, strip.size);
  signed(strip).forEach((x, i) => {  // rows of the data are steps
    const at = 4 * ((i % strip.size) * T + Math.floor(i / strip.size));
    pixels.data.set([...(x > 0 ? [214, 80, 30] : [50, 110, 225]), Math.min(255, 2 * Math.abs(x))], at);
  });
  pen.putImageData(pixels, 0, 0);
}

const streams = Object.entries(data.attributions);
for (const [name, stream] of streams) if (stream.data) setUpStrip(name, stream);
const choice = $("overlay"), strength = $("strength");
if (choice) {
  make("option", { value: "" }, choice, "off");
  for (const [name, stream] of streams) if (stream.images) make("option", { value: name }, choice, name);
  choice.value = kept.overlay ?? choice.options[1].value;
  strength.value = kept.strength ?? strength.value;
  layers.push(async (t) => {
    const name = choice.value;
    if (name === "" || t >= T) return null;
    return heat(await picture(data.attributions[name].images, t), strength.value / 100);
  });
  choice.addEventListener("change", () => { kept.overlay = choice.value; show(now); });
  strength.addEventListener("input", () => { kept.strength = strength.value; show(now); });
}
"""

    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        found = {name: _encoded(values, trace.names.inputs, share) for name, values in trace.attributions.items()}
        return {"attributions": found} if found else None

    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        if not len(trace.frames) or not any("images" in stream for stream in content["attributions"].values()):
            return ""  # the strips are beside the tracks
        return """<div class="row">
        <label>Saliency <select id="overlay"></select></label>
        <label>Strength <input id="strength" type="range" min="0" max="100" value="70"></label>
      </div>"""


def _encoded(values: np.ndarray, names: tuple[str, ...], share: float) -> dict[str, Any]:
    """
    :param values: [T, rows, columns] >= 0, or [T, D] with signs
    :param names: D of them, or none
    :param share: of the budget
    :return: of one scale for the whole episode: pictures, or bytes from -127 to 127
    """
    sizes = np.abs(values.astype(np.float64))
    # The few largest of them would leave all others dark.
    scale = float(np.percentile(sizes, FULL_STRENGTH)) or float(sizes.max()) or 1.0
    if values.ndim == 3:
        return pictures((255 * np.minimum(sizes / scale, 1)).round().astype(np.uint8), int(BUDGET * share))
    signed = (127 * np.clip(values / scale, -1, 1)).round().astype(np.int8)
    return {"size": values.shape[1], "names": names, "data": base64.b64encode(signed.tobytes()).decode()}


PANEL = Attributions()
