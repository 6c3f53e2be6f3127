"""`sb3-ext table`: what runs have reached, as a table for a paper. No number in it is without a run."""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_ext.cli.flags import Command, Parser
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.typed_ids import name_in_folders

if TYPE_CHECKING:
    from sb3_ext.viz.score_table import Reference, Row, Run

YML = (".yml", ".yaml")
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


def _parser() -> Parser:
    parser = Parser(
        "sb3-ext table",
        description="A table of scores: runs, mean, standard deviation, interquartile mean with its 95 % interval, "
        "CPU seconds. Of folders of runs, as logs/, or of CSV files with a run a line, as benchmarks/results/*.csv.",
    )
    parser.add_argument("sources", nargs="+", metavar="[LABEL=]SOURCE", help="folder of runs, or CSV file")
    parser.add_argument("--env", help="only runs of this environment")
    parser.add_argument("-o", "--output", type=Path, help="file to write (it is printed)")
    parser.add_argument("--format", choices=sorted(SUFFIXES.values()), help="(by the file's suffix, or markdown)")
    parser.add_argument(
        "--normalize",
        nargs="+",
        default=[],
        metavar="ENV=RANDOM,EXPERT",
        help="scores that are 0 and 1, or a yml of them: ENV: {random: 0, expert: 500}",
    )
    parser.add_argument("--versus", metavar="ALGORITHM", help="probability that the others score higher than this one")
    parser.add_argument(
        "--source",
        choices=("evaluations", "monitor"),
        default="evaluations",
        help="of folders: the last evaluation, or the last training episodes (evaluations)",
    )
    parser.add_argument("--window", type=int, default=100, help="training episodes to take the mean of (100)")
    parser.add_argument("--unfinished", action="store_true", help="of folders: count runs that have not ended, too")
    parser.add_argument("--score", default="final_mean", help="of CSV files: column of the scores (final_mean)")
    parser.add_argument("--by", nargs="+", default=[], help="of CSV files: more columns that tell algorithms apart")
    return parser


def table(given: argparse.Namespace) -> None:
    """:param given: by the flags of `table`"""
    format_ = _format_of(given)
    if given.window < 1:
        raise UserError(f"--window {given.window} must be >= 1")
    typed = [_labelled(text) for text in given.sources]
    references = _references(given.normalize)

    from sb3_ext.saving import write_whole
    from sb3_ext.viz.score_table import rows_of
    from sb3_ext.viz.table_text import FORMATS, columns_of, notes_of

    runs, left_out = _runs_of(typed, given)
    for line in left_out:
        print(line, file=sys.stderr)
    if not runs:
        of_env = f" of {given.env}" if given.env else ""
        raise UserError(f"no run{of_env} with a score in {', '.join(given.sources)}: there is no number to write")
    tasks = list(dict.fromkeys(run.task for run in runs))
    for env in set(references) - {name_in_folders(task) for task in tasks}:
        if not any(text.endswith(YML) for text in given.normalize):  # which may list more than there are runs of
            raise UserError(f"--normalize {env}: no run is of it{did_you_mean(env, tasks)}")
    references = {task: references[name] for task in tasks if (name := name_in_folders(task)) in references}
    lacking = [task for task in tasks if task not in references]
    if given.normalize and lacking:
        print(f"--normalize has no numbers for {', '.join(lacking)}: no normalised scores there", file=sys.stderr)
    rows = rows_of(runs, references, given.versus)
    _say_where_steps_differ(rows)
    text = FORMATS[format_](columns_of(rows, given.versus), notes_of(rows, references, given.versus))
    if given.output is None:
        print(text, end="")
        return

    def write(file: io.BufferedIOBase) -> None:
        file.write(text.encode())

    write_whole(given.output, format_, write)
    print(f"{len(rows)} rows of {len(runs)} runs: {given.output}")


def _format_of(given: argparse.Namespace) -> str:
    """:raises UserError: for an output that cannot be one"""
    output: Path | None = given.output
    if output is None:
        return given.format or "markdown"
    if output.is_dir():
        raise UserError(f"-o {output} is a folder; name a file in it")
    found = given.format or SUFFIXES.get(output.suffix)
    if found is None:
        raise UserError(f"-o {output}: a table ends in {', '.join(SUFFIXES)}, or --format says what it is")
    return str(found)


def _labelled(text: str) -> tuple[str | None, Path]:
    """:raises UserError: where nothing is there"""
    label, found, rest = text.partition("=")
    path = Path(rest if found else text)
    if not path.exists():
        raise UserError(f"there is no folder and no file {path}")
    return (label if found else None), path


def _references(typed: Sequence[str]) -> dict[str, Reference]:
    """:return: by environment, as in the names of folders"""
    from sb3_ext.viz.score_table import Reference

    found: dict[str, Reference] = {}
    for text in typed:
        if text.endswith(YML):
            blocks = _yml(Path(text))
        else:
            env, _, numbers = text.rpartition("=")
            pair = numbers.split(",")
            blocks = {env: {"random": pair[0], "expert": pair[1]} if len(pair) == 2 else None}
        for env, block in blocks.items():
            try:
                assert isinstance(block, dict)
                low, high = float(block["random"]), float(block["expert"])
                assert len(block) == 2 and math.isfinite(low) and math.isfinite(high) and low < high
            except (AssertionError, KeyError, TypeError, ValueError):
                what = "takes ENV=RANDOM,EXPERT, or a yml with ENV: {random: 0, expert: 500}, with RANDOM < EXPERT"
                raise UserError(f"--normalize {text}: {what}") from None
            found[name_in_folders(str(env))] = Reference(low, high)
    return found


def _yml(path: Path) -> dict[str, object]:
    import yaml

    if not path.is_file():
        raise UserError(f"--normalize {path}: there is no such file")
    try:
        blocks = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--normalize {path}: no yml: {error}") from error
    return blocks if isinstance(blocks, dict) else {str(path): None}


def _runs_of(typed: Sequence[tuple[str | None, Path]], given: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """
    :return: runs, and lines about what was left out
    :raises UserError: for an algorithm of two sources, whose runs might be the same ones
    """
    from sb3_ext.zoo.runs.curves import find_runs, groups_of
    from sb3_ext.zoo.runs.scores import scored

    env = None if given.env is None else name_in_folders(given.env)
    lines: list[str] = []
    of_folders: list[tuple[str | None, Path]] = []
    files: dict[Path, tuple[str | None, Path, bool]] = {}
    for label, path in typed:
        if path.is_file():
            files.setdefault(path.resolve(), (label, path, True))
        elif find_runs(path):
            of_folders.append((label, path))
        elif found := sorted(path.glob("*.csv")):
            for file in found:
                files.setdefault(file.resolve(), (label or file.stem, file, False))
        else:
            lines.append(f"{path}: no run, no evaluations.npz, no monitor.csv and no CSV file of results")
    groups = groups_of(of_folders, env, lines)
    runs, more = scored(groups, given.source, window=given.window, unfinished=given.unfinished)
    whose = dict.fromkeys(((run.task, run.algorithm) for run in runs), "the folders")
    others: list[str] = []
    for label, file, is_typed in files.values():
        read, notes = _read(label, file, given, None if is_typed else others)
        wanted = [run for run in read if env in (None, name_in_folders(run.task))]
        for task, algorithm in {(run.task, run.algorithm) for run in wanted}:
            if whose.setdefault((task, algorithm), str(file)) != str(file):
                both = f"{whose[task, algorithm]} and {file}"
                raise UserError(f"{algorithm} on {task} is in {both}: tell them apart by a name, as new={file}")
        runs += wanted
        more += notes if wanted or not read else []
    if others:
        more.append(f"left out, for they have no columns of algorithm, seed and {given.score}: {', '.join(others)}")
    return runs, lines + more


def _read(
    label: str | None, file: Path, given: argparse.Namespace, others: list[str] | None
) -> tuple[list[Run], list[str]]:
    """
    :param others: gets a file that is about something else; None = the file was typed, and must be about runs
    :return: as `read_results`
    """
    from sb3_ext.viz.result_files import NoResults, read_results

    try:
        return read_results(file, score=given.score, by=given.by, label=label)
    except ValueError as error:
        if others is None:
            raise
        if isinstance(error, NoResults):
            others.append(file.name)
            return [], []
        return [], [f"{error}; left out"]


def _say_where_steps_differ(rows: Sequence[Row]) -> None:
    """Algorithms in one table are taken for trained alike."""
    for task in dict.fromkeys(row.task for row in rows):
        steps = {row.algorithm: row.steps for row in rows if row.task == task and row.steps is not None}
        if len(steps) > 1 and min(steps.values()) < 0.99 * max(steps.values()):
            each = ", ".join(f"{algorithm} {n}" for algorithm, n in steps.items())
            print(f"{task}: not after the same number of env steps: {each}", file=sys.stderr)


TABLE = Command("table", "scores of several runs: Markdown, LaTeX or CSV, with intervals", _parser, table)
