"""
A table of scores as Markdown, LaTeX or CSV. Its columns say by name what they are; a dash stands for what no run
tells. Steps, seconds and comparisons are left out where no row has any.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sb3_ext.viz.bootstrap import N_BOOTSTRAP, Estimate
from sb3_ext.viz.score_table import Reference, Row

Cell: TypeAlias = str | int | float | Estimate | None
ALONE = "no interval"
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {char: rf"\{char}" for char in "&%$#_{}"}


def columns_of(rows: Sequence[Row], versus: str | None = None) -> dict[str, list[Cell]]:
    """
    :param rows: of `rows_of`
    :param versus: what they are compared with
    :return: [rows] cells by the column's name
    """
    columns: dict[str, list[Cell]] = {
        "env": [row.task for row in rows],
        "algorithm": [row.algorithm for row in rows],
        "runs": [row.n_runs for row in rows],
        "env steps": [row.steps for row in rows],
        "mean": [row.mean for row in rows],
        "standard deviation": [row.deviation for row in rows],
        "interquartile mean": [row.iqm for row in rows],
        "CPU seconds": [row.cpu_seconds for row in rows],
        "normalised": [row.normalised for row in rows],
        f"better than {versus}": [row.better for row in rows],
    }
    kept = {"standard deviation"}  # of single runs too, where a dash says that there is none
    return {name: x for name, x in columns.items() if name in kept or any(cell is not None for cell in x)}


def notes_of(rows: Sequence[Row], references: Mapping[str, Reference], versus: str | None = None) -> list[str]:
    """:return: sentences below the table: what its numbers are"""
    notes = [
        "Mean, standard deviation (n - 1) and interquartile mean are over runs.",
        f"In brackets the 95 % interval by the stratified bootstrap over runs ({N_BOOTSTRAP} resamplings).",
    ]
    if any(row.n_runs == 1 for row in rows):
        notes.append("One run has neither deviation nor interval.")
    if any(1 < row.n_runs < 4 for row in rows):
        notes.append("Below 4 runs the interquartile mean is the mean, and the interval is too narrow.")
    if any(row.normalised is not None for row in rows):
        tasks = {row.task for row in rows}
        given = [f"{task} {low:g} to {high:g}" for task, (low, high) in references.items() if task in tasks]
        notes.append(f"Normalised: interquartile mean where random is 0 and the expert 1 ({', '.join(given)}).")
    if any(row.better is not None for row in rows):
        notes.append(f"Better: probability that a run scores higher than one of {versus}; equal scores count half.")
    return notes


def as_markdown(columns: Mapping[str, Sequence[Cell]], notes: Sequence[str]) -> str:
    """:return: a table, with the notes below it"""
    names = list(columns)
    lines = [names, ["---" if name in ("env", "algorithm") else "---:" for name in names]]
    lines += [[_plain(_shown(cell)) for cell in cells] for cells in zip(*columns.values(), strict=True)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *notes, ""])


def as_latex(columns: Mapping[str, Sequence[Cell]], notes: Sequence[str]) -> str:
    """:return: a table that needs no package, with the notes as its caption"""
    alignment = "".join("l" if name in ("env", "algorithm") else "r" for name in columns)
    lines = [[_escaped(name) for name in columns]]
    lines += [[_escaped(_shown(cell)) for cell in cells] for cells in zip(*columns.values(), strict=True)]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\hline",
            head,
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            rf"\caption{{{_escaped(' '.join(notes))}}}",
            r"\end{table}",
            "",
        ]
    )


def as_csv(columns: Mapping[str, Sequence[Cell]], notes: Sequence[str]) -> str:
    """
    :param columns: of `columns_of`
    :param notes: not written: there are no comments in CSV
    :return: a number a cell, in full; the ends of an interval are columns of their own, and what is not known is empty
    """
    flat: dict[str, list[object]] = {}
    for name, cells in columns.items():
        flat[name] = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
        if any(isinstance(cell, Estimate) for cell in cells):
            for end in ("low", "high"):
                flat[f"{name}, {end}"] = [getattr(cell, end, None) for cell in cells]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name.replace(", ", "_").replace(" ", "_") for name in flat)
    writer.writerows(zip(*flat.values(), strict=True))
    return text.getvalue()


FORMATS: dict[str, Callable[[Mapping[str, Sequence[Cell]], Sequence[str]], str]] = {
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str | int):
        return str(cell)
    if not isinstance(cell, Estimate):
        return f"{cell:.{_decimals(cell)}f}"
    digits = _decimals(cell.value)
    if cell.low is None or cell.high is None:
        return f"{cell.value:.{digits}f} [-, {ALONE}]"
    return f"{cell.value:.{digits}f} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"


def _decimals(value: float) -> int:
    """:return: four digits or so of it"""
    return next((decimals for decimals, least in ((0, 1000), (1, 100), (2, 10)) if abs(value) >= least), 3)


def _plain(text: str) -> str:
    """A cell of Markdown ends at "|"."""
    return text.replace("|", r"\|")


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _LATEX[found[0]], text)
