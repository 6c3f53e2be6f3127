"""`--help`: of every command, quick, in one voice, and true of the parsers of rl-zoo3 that it stands for."""

from __future__ import annotations

import argparse
import ast
import importlib
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pytest

from sb3_ext.cli.demo_formats import OURS, help_of
from sb3_ext.cli.flags import StockParser
from sb3_ext.cli.main import COMMANDS
from sb3_ext.cli.stock import COMMANDS as STOCK
from sb3_ext.cli.stock_help import StockHelp
from sb3_ext.demonstrations.formats import FORMATS
from sb3_ext.replaced import replaced
from sb3_ext.zoo.registry import register

SUBCOMMANDS = {"demos": ["record", "play", "push", "pull", "info", "check", "reward", "convert"]}
# Defaults of rl-zoo3 that our commands do not have, or that are said in other words.
OTHER_DEFAULTS = {"--algo", "--env", "--folder", "-n", "--num-threads", "--verbose", "--format", "--trial-id", "--seed"}


class Seen(Exception):
    """A script has made its parser."""


def parser_of(command: str) -> argparse.ArgumentParser:
    """:return: the one that rl-zoo3's script makes, caught where it would read its arguments"""
    caught: list[argparse.ArgumentParser] = []

    def parse_args(parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        caught.append(parser)
        raise Seen

    register()
    script: Callable[[], Any] = partial(runpy.run_module, "rl_zoo3.record_video", run_name="__main__")
    if command != "record_video":
        module = "rl_zoo3.plots" if "plot" in command else f"rl_zoo3.{command}"
        script = getattr(importlib.import_module(module), command)
    with replaced(argparse.ArgumentParser, "parse_args", parse_args), pytest.raises(Seen):
        script()
    return caught[0]


@pytest.mark.parametrize("command", STOCK, ids=lambda command: command.name)
def test_help_lists_the_flags_of_the_script_and_ours_with_their_defaults(command: Any) -> None:
    parser = command.parser()
    assert isinstance(parser, StockParser)
    listed = {name: (names, does) for names, does in parser.text.flags().items() for name in names}
    theirs = {tuple(action.option_strings): action for action in parser_of(command.name)._actions}
    ours = {tuple(action.option_strings) for action in parser._actions}
    for names in {*theirs, *ours}:
        assert len({listed.get(name) for name in names}) == 1, names  # one row has them all
    assert set(listed) == {name for names in {*theirs, *ours} for name in names}
    for names, action in theirs.items():
        said = action.default not in (None, "", False, argparse.SUPPRESS) and action.default != []
        if said and not OTHER_DEFAULTS & {names[0], names[-1]}:
            shown = " ".join(map(str, action.default)) if isinstance(action.default, list) else str(action.default)
            assert f"({shown}" in listed[names[0]][1], names
        for choice in () if "--algo" in names else action.choices or ():
            assert choice in listed[names[0]][1], names


def test_help_looks_as_argparse_would_make_it() -> None:
    rows = [
        ("-n --number N", "how many (1)"),
        ("--quick", "soon"),
        ("-long --long-name FILE ...", "a file, and after it --many-more of them"),
    ]
    shown = StockHelp("x [flags]", "Do it.", {"what": rows}).shown(52)
    assert shown == (
        "usage: sb3-ext x [flags]\n\nDo it.\n\nwhat:\n"
        "  -n, --number N        how many (1)\n"
        "  --quick               soon\n"
        "  -long, --long-name FILE ...\n"
        "                        a file, and after it\n"
        "                        --many-more of them\n"
    )


def test_flags_of_our_formats_are_those_of_the_formats() -> None:
    assert {name: help_of(FORMATS[name]) for name in OURS} == OURS
    assert [name for name in FORMATS if FORMATS[name].__module__.startswith("sb3_ext.")] == list(OURS)


def test_help_of_every_command_is_quick_and_speaks_with_one_voice() -> None:
    """Quick: torch, SB3, rl-zoo3 and matplotlib take longer than all else, and are not imported."""
    asked = [[name, *sub] for name in COMMANDS for sub in ([], *([sub] for sub in SUBCOMMANDS.get(name, [])))]
    script = f"""
import contextlib, io, sys
from sb3_ext.cli.main import main
said = {{}}
for words in [[], *{asked!r}]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    said[" ".join(["sb3-ext", *words])] = out.getvalue()
slow = {{"torch", "stable_baselines3", "rl_zoo3", "matplotlib", "optuna", "pandas"}} & sys.modules.keys()
print([sorted(slow), said])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    slow, said = ast.literal_eval(done.stdout)
    assert not slow
    for command, text in said.items():
        assert text.startswith(f"usage: {command} "), command
        assert "%%" not in text and "--traceback" in text, command
    assert set(COMMANDS) == {command.split()[1] for command in list(said)[1:]}
