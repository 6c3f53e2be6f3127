"""The command that trained the agent, to be copied."""

from __future__ import annotations

from html import escape
from typing import Any

from sb3_ext.viz.report_data import Panel, ReportData


class CommandLine(Panel):
    """With a button beside its title."""

    place = "end"
    order = 1
    script = """
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("command").textContent);
  } catch {  // a page from a file may not write there in every browser; then it is marked, to be copied by hand
    getSelection().selectAllChildren($("command"));
    return;
  }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return None if data.command is None else {}

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return f"""<section class="card" aria-labelledby="command-title">
  <div class="title-row"><h2 id="command-title">Command</h2><button type="button" id="copy">Copy</button></div>
  <pre><code id="command">{escape(data.command or "")}</code></pre>
</section>"""


PANEL = CommandLine()
