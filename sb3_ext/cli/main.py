"""
`sb3-ext COMMAND ...`: rl-zoo3's own scripts, with the user's own flags, in a process that knows our algorithms, and
commands of ours beside them.

Each command parses its flags once, then asks for what it needs to be installed, then for names, and works then. Wrong
input ends in one line and exit code 2. Errors that nobody wrote for the user keep their traceback.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli import demos, doctor, export, hub, lab, plot, report, runs, stock, table, video
from sb3_ext.cli.flags import Command, Parser
from sb3_ext.cli.one_line import one_line
from sb3_ext.errors import UserError, did_you_mean

OURS = (
    *(demos.DEMOS, video.VIDEO, report.REPORT, plot.PLOT, table.TABLE, runs.RUNS, lab.LAB),
    *(hub.PUSH, hub.LOAD, export.EXPORT, doctor.DOCTOR),
)
COMMANDS: dict[str, Command] = {command.name: command for command in (*stock.COMMANDS, *OURS)}


def usage() -> str:
    """:return: what `sb3-ext --help` prints"""
    lines = {
        kind: "\n".join(f"  {command.name:15} {command.help}" for command in commands)
        for kind, commands in (("stock", stock.COMMANDS), ("ours", OURS))
    }
    algorithms = textwrap.fill(
        f"rl-zoo3's scripts with the algorithms of sb3_ext ({', '.join(ALGORITHMS)}) beside the stock ones:", 100
    )
    return f"""usage: sb3-ext [--version] [-h] [--traceback] COMMAND ...

{algorithms}

{lines["stock"]}

and its own:

{lines["ours"]}

`sb3-ext COMMAND --help` lists the flags, which are rl-zoo3's for its scripts, and ours. Where something
goes wrong, `--traceback` shows more than the one line. Example:

  sb3-ext train --algo r2d2 --env CartPoleNoVel-v1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    :param argv: arguments without the program's name; None = those of the process
    :return: exit code
    """
    front = Parser("sb3-ext", add_help=False, allow_abbrev=False)
    front.add_argument("-h", "--help", action="store_true")
    front.add_argument("-V", "--version", action="store_true")
    front.add_argument("words", nargs=argparse.REMAINDER)
    try:
        given = front.parse(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"sb3-ext: {error}", file=sys.stderr)
        return 2
    if given.version:
        print(f"sb3-ext {sb3_ext.__version__}")
        return 0
    if given.help or not given.words:
        print(usage(), end="")
        return 0 if given.help else 2
    return _run(*given.words, traceback="traceback" in given)


def _run(name: str, *arguments: str, traceback: bool) -> int:
    try:
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)}")
        command = COMMANDS[name]
        given = command.parser().parse(arguments)
        traceback |= "traceback" in given
        return command.run(given) or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        line = None if traceback else one_line(error)
        if line is None:
            raise
        print(f"sb3-ext {name}{line}", file=sys.stderr)
        return 2
