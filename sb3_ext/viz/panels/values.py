"""The value of a step: a number, and a track over the episode."""

from __future__ import annotations

from typing import Any

from sb3_ext.viz.report_data import EpisodePanel, rounded
from sb3_ext.viz.trace import Trace


class Values(EpisodePanel):
    """Expected return, in the units of the reward."""

    place = "facts"
    script = """
setUpTrack("Value", data.values, false);
redraw.push((t) => { $("value").textContent = t < T ? number(data.values[t]) : "–"; });
"""

    def content(self, trace: Trace, share: float) -> dict[str, Any] | None:
        return None if trace.values is None else {"values": rounded(trace.values)}

    def html(self, trace: Trace, content: dict[str, Any]) -> str:
        return '<div><dt>Value</dt><dd id="value"></dd></div>'


PANEL = Values()
