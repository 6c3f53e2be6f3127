"""`sb3-ext runs COMMAND ...`: what lies in a log folder, as runs and not as folders."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from sb3_ext.cli.flags import Command, Parser
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.runs import listing, pages, removal
from sb3_ext.zoo.runs.listing import Listed
from sb3_ext.zoo.typed_ids import name_in_folders

DESCRIPTION = """runs of a log folder; one that was interrupted and gone on with is one run

  sb3-ext runs                                      a line for each, the latest at the end
  sb3-ext runs show ppo/CartPole-v1_3               all that is known, its files, and what to do next
  sb3-ext runs best --env CartPole-v1               path of the best model
  sb3-ext runs chain ppo/CartPole-v1_3              the parts of an interrupted run
  sb3-ext runs rm ppo/CartPole-v1_1 --chain         delete it

RUN is ALGO/ENV_3 in the log folder, its path, or four or more of the first characters of its id.
"""
SHORTEST_ID = 4


class RunsParser(Parser):
    """`runs` alone is `runs list`."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parameters as in `Parser.parse`."""
        is_list = not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"))
        return super().parse(["list", *arguments] if is_list else arguments)


def run(given: argparse.Namespace) -> None:
    """:param given: by the flags of a command of `runs`"""
    if not given.folder.is_dir():
        raise UserError(f"there is no folder {given.folder}: -f names the log folder of trainings")
    given.run(given)


def list_runs(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    runs = _wanted(given, _listed(given))
    if given.json:
        print(json.dumps([run.to_json() for run in runs], indent=2, allow_nan=False))
    else:
        print(listing.table_of(runs, datetime.now(timezone.utc)))


def show(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    run, part = _find(given.name, _listed(given), given.folder)
    print(pages.page_of(run, part, given.folder))


def chain(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    run, _ = _find(given.name, _listed(given), given.folder)
    print("\n".join(pages.parts_of(run.chain, given.folder)))


def best(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    runs = _wanted(given, _listed(given))
    kept = [(found, run) for run in runs if (found := run.best_kept) is not None]
    if not kept:
        raise UserError(f"{', '.join(run.name for run in runs)}: no best model, which `train --eval-freq` keeps")
    found, run = max(kept, key=lambda pair: (pair[0].mean, pair[1].changed))
    of = f"{found.n_episodes} episode{'s' * (found.n_episodes > 1)}"
    print(f"{run.name}: mean return {found.mean:.2f} of {of} at step {found.step}", file=sys.stderr)
    print(found.model)


def rm(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    runs = _listed(given)
    named = [_find(name, runs, given.folder)[1] for name in given.names]
    doomed = removal.to_remove(named, [run.chain for run in runs], given.folder, given.chain)
    sizes = {part: removal.readable(removal.size_of(part)) for part in doomed}
    if not given.yes:
        _ask([f"{part}  {size}" for part, size in sizes.items()])
    parts = [pair for run in runs for pair in zip(run.chain.parts, run.chain.manifests, strict=True)]
    curves = {pages.tensorboard_of(part, manifest) for part, manifest in parts if part in doomed}
    for part, size in sizes.items():
        removal.remove(part)
        print(f"Deleted {part}, {size}")
    for folder in sorted(filter(None, curves)):
        print(f"{folder} stays, with the curves of TensorBoard")


def _ask(lines: Sequence[str]) -> None:
    """:raises UserError: where the answer is no, or there is nobody to ask"""
    if not sys.stdin.isatty():
        raise UserError(f"{', '.join(lines)}: nobody is there to ask, and --yes deletes without asking")
    print("\n".join(lines))
    print("Delete them? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):  # "" too, where the terminal is closed
        raise UserError("nothing is deleted")


def _listed(given: argparse.Namespace) -> list[Listed]:
    """:return: all runs of the log folder; what is odd is said"""
    runs, notes = listing.listed(given.folder)
    for line in notes:
        print(line, file=sys.stderr)
    return runs


def _wanted(given: argparse.Namespace, runs: Sequence[Listed]) -> list[Listed]:
    """
    :return: those of ``--algo`` and ``--env``
    :raises UserError: where there is none
    """
    env = None if given.env is None else name_in_folders(given.env)
    wanted = [run for run in runs if given.algo in (None, run.algorithm) and env in (None, name_in_folders(run.env_id))]
    if wanted:
        return wanted
    asked = "".join([f" of {given.algo}" if given.algo else "", f" on {given.env}" if given.env else ""])
    there = {f"of {run.algorithm} " * bool(given.algo) + f"on {run.env_id}" * bool(given.env) for run in runs}
    hint = did_you_mean(asked.strip(), {name.strip() for name in there}) if asked and runs else ""
    raise UserError(f"no run{asked} in {given.folder}{hint}")


def _find(text: str, runs: Sequence[Listed], folder: Path) -> tuple[Listed, Path]:
    """
    :return: the run, and the folder that was meant, which may be an earlier part of it
    :raises UserError: for none, and for several
    """
    found = {part: run for run in runs for part in run.chain.parts if _means(text, part, run, folder)}
    if len(found) == 1:
        ((part, run),) = found.items()
        return run, part
    if found:
        raise UserError(f"{text} means {' and '.join(map(str, found))}: more characters tell them apart")
    names = {listing.name_of(part, folder) for run in runs for part in run.chain.parts}
    hint = did_you_mean(text, names) or "; `sb3-ext runs` lists them"
    raise UserError(f"no run {text} in {folder}{hint if names else ''}")


def _means(text: str, part: Path, run: Listed, folder: Path) -> bool:
    if text.rstrip("/") == listing.name_of(part, folder) or Path(text).resolve() == part.resolve():
        return True
    manifest = run.chain.manifests[run.chain.parts.index(part)]
    return manifest is not None and len(text) >= SHORTEST_ID and manifest.id.startswith(text)


def _parser() -> RunsParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = RunsParser("sb3-ext runs", description=DESCRIPTION, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="list|show|best|chain|rm")

    sub = commands.add_parser("list", help="a line for each run (this one, if none is named)")
    _add_folder(sub)
    sub.add_argument("--algo", help="only runs of this algorithm")
    sub.add_argument("--env", help="only runs of this environment")
    sub.add_argument("--json", action="store_true", help="all that is known, for programs")
    sub.set_defaults(run=list_runs)

    sub = commands.add_parser("show", help="all that is known of a run, its files, and what to do next")
    _add_run(sub)
    sub.set_defaults(run=show)

    sub = commands.add_parser("best", help="path of the model with the highest evaluation")
    _add_folder(sub)
    sub.add_argument("--env", required=True, help="environment id")
    sub.add_argument("--algo", help="only runs of this algorithm")
    sub.set_defaults(run=best)

    sub = commands.add_parser("chain", help="the folders of a run that was interrupted, and their steps")
    _add_run(sub)
    sub.set_defaults(run=chain)

    sub = commands.add_parser("rm", help="delete the folders of runs")
    sub.add_argument("names", nargs="+", metavar="RUN", help="ALGO/ENV_3, path, or id")
    _add_folder(sub)
    sub.add_argument("--chain", action="store_true", help="all parts of a run that was interrupted")
    sub.add_argument("--yes", action="store_true", help="do not ask")
    sub.set_defaults(run=rm)
    return parser


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--folder", type=Path, default=Path("logs"), help="log folder of trainings (logs)")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN", help="ALGO/ENV_3, path, or id")
    _add_folder(parser)


RUNS = Command("runs", "list runs, show one, find the best, delete", _parser, run)
