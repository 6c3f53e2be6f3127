"""`sb3-ext train --seeds 0-4`: the same training with each seed, as if each had been typed on its own."""

from __future__ import annotations

import argparse
import contextlib
import glob
import shlex
import signal
import sys
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

from sb3_ext.cli.values import MAX_SEED
from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.listing import Listed, listed_of, table_of
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.runs.next_steps import going_on
from sb3_ext.zoo.runs.seeds import SeedRuns
from sb3_ext.zoo.signals import SIGNALS, exit_code
from sb3_ext.zoo.typed_command import without_flag, without_secrets
from sb3_ext.zoo.typed_ids import name_in_folders

MOST = 1000
FAILED, WRONG_INPUT = 1, 2  # exit codes


def seeds(text: str) -> tuple[int, ...]:
    """
    Type of a flag.

    :param text: ``0-4``, ``0,3,7``, ``0-2,7``
    :return: seeds in that order
    """
    found: list[int] = []
    for part in text.split(","):
        first, is_range, last = part.partition("-")
        ends = (first, last) if is_range else (first, first)
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise argparse.ArgumentTypeError(f"{text!r} are no seeds, as 0-4 or 0,3,7 are")
        begin, end = map(int, ends)
        if not begin <= end <= MAX_SEED:
            raise argparse.ArgumentTypeError(f"{part!r} must go up, and not above {MAX_SEED}")
        if len(found) + end - begin >= MOST:
            raise argparse.ArgumentTypeError(f"{text!r} are more than {MOST} seeds")
        found += range(begin, end + 1)
    twice = next((seed for seed in found if found.count(seed) > 1), None)
    if twice is not None:
        raise argparse.ArgumentTypeError(f"{text!r} has {twice} twice, which would be the same run twice")
    return tuple(found)


def written(values: Sequence[int]) -> str:
    """:return: as `seeds` reads it"""
    begins = [i for i in range(len(values)) if i == 0 or values[i] != values[i - 1] + 1]
    parts = [values[i:j] for i, j in pairwise([*begins, len(values)])]
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def check(given: argparse.Namespace) -> None:
    """
    :param given: by the flags of `train`
    :raises UserError: for flags that do not go together
    """
    if given.seeds is None:
        if given.jobs is not None:
            raise UserError(f"--jobs {given.jobs} is for --seeds: one training is one process")
        return
    reasons = {
        "--seed": (given.seed is not None, "leave out one of them"),
        "--resume": (given.resume is not None, "an interrupted run goes on with its own seed"),
        "-optimize": (given.optimize_hyperparameters, "a search has one seed, by --seed"),
    }
    for flag, (is_given, reason) in reasons.items():
        if is_given:
            raise UserError(f"--seeds with {flag}: {reason}")


def train_seeds(given: argparse.Namespace) -> int:
    """
    :param given: by the flags of `train`, checked
    :return: exit code: 0 only where all have finished
    """
    typed = without_flag(without_flag(given.typed, "--seeds"), "--jobs")
    made = _Made(Path(given.log_folder), given.algo, name_in_folders(given.env))
    is_quiet = given.verbose == 0
    order = {seed: i + 1 for i, seed in enumerate(given.seeds)}

    def begin(seed: int) -> None:
        if not is_quiet:
            print(f"Seed {seed}, {order[seed]} of {len(order)}", flush=True)

    def goes_on(seed: int, code: int) -> bool:
        # Nothing was begun: what was typed is wrong, and is the same for all of them.
        return code != WRONG_INPUT or seed in made.by_seed()

    children = SeedRuns([sys.executable, "-m", "sb3_ext", *typed[1:]], given.jobs or 1, begin, goes_on)
    children.run(given.seeds)
    runs = made.by_seed()
    if not runs and WRONG_INPUT in children.codes.values():
        return WRONG_INPUT  # it has said why
    rows, _ = listed_of([runs[seed] for seed in given.seeds if seed in runs], made.folder)
    left = [seed for seed in given.seeds if seed not in children.codes]
    if not is_quiet:
        _tell(rows, given, left, typed)
    stopped = {exit_code(number) for number in SIGNALS} if children.asked_by is not None else set()
    failed = {seed: code for seed, code in children.codes.items() if code != 0 and code not in stopped}
    for seed, code in failed.items():
        print(f"sb3-ext train: seed {seed} {_how(code)}", file=sys.stderr)
    if children.asked_by is not None:
        return exit_code(children.asked_by)
    has_finished = len(rows) == len(given.seeds) and all(run.state == "finished" for run in rows)
    return 0 if has_finished and not failed else FAILED


class _Made:
    """Folders of runs that have come since."""

    def __init__(self, folder: Path, algo: str, name: str) -> None:
        self.folder = folder
        self._runs, self._pattern = folder / algo, f"{glob.escape(name)}_*"
        self._before = set(self._runs.glob(self._pattern))

    def by_seed(self) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for run in self._runs.glob(self._pattern):
            if run not in self._before:
                with contextlib.suppress(UserError):  # which `sb3-ext runs` says
                    manifest = Manifest.read(run)
                    if manifest is not None:
                        found[manifest.seed] = run
        return found


def _tell(rows: Sequence[Listed], given: argparse.Namespace, left: Collection[int], typed: Sequence[str]) -> None:
    """What has become of them, and how to go on."""
    unfinished = [run for run in rows if run.state != "finished"]
    if rows:
        print(table_of(rows, datetime.now(timezone.utc)))
    if unfinished or left:
        print("Go on with")
    for run in unfinished:
        assert run.chain.manifest is not None  # by which it was found
        print(f"  {going_on(run.chain.manifest.command, run.chain.last)}")
    if left:
        print(f"  {shlex.join(without_secrets([*typed, '--seeds', written(sorted(left))]))}")
    n_finished = len(rows) - len(unfinished)
    line = f"{n_finished} of {len(given.seeds)} seeds have finished"
    scores = [run.best.mean for run in rows if run.best is not None]
    if len(scores) > 1:
        line += f"; best evaluations: mean {fmean(scores):.2f}, standard deviation {stdev(scores):.2f}"
    if n_finished > 0:
        line += f". `sb3-ext table {shlex.quote(given.log_folder)} --env {given.env}` compares"
    print(line)


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
