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
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const command = $(button.dataset.of);
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {  // a page from a file may not write there in every browser; then it is marked, to be copied by hand
      getSelection().selectAllChildren(command);
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
"""

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {} if any(agent.command is not None for agent in data.agents) else None

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return "\n".join(_section(agent, data, i) for i, agent in enumerate(data.agents) if agent.command is not None)


def _section(agent: ReportData, data: ReportData, i: int) -> str:
    suffix, whose = (f"-{i + 1}" if i else ""), (f" of {escape(agent.label)}" if data.versus is not None else "")
    label = f' aria-label="Copy the command{whose}"' if whose else ""
    return f"""<section class="card" aria-labelledby="command-title{suffix}">
  <div class="title-row">
    <h2 id="command-title{suffix}">Command{whose}</h2>
    <button type="button" id="copy{suffix}" class="copy" data-of="command{suffix}"{label}>Copy</button>
  </div>
  <pre><code id="command{suffix}">{escape(agent.command or "")}</code></pre>
</section>"""


PANEL = CommandLine()
