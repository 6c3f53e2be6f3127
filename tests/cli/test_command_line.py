"""The front of `sb3-ext`: flags are parsed once, scripts of rl-zoo3 get theirs, errors are one line or all of it."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli import main as cli
from sb3_ext.cli.flags import StockParser
from sb3_ext.cli.main import COMMANDS
from sb3_ext.cli.stock_help import StockHelp
from sb3_ext.errors import UserError
from sb3_ext.replaced import replaced


def test_a_script_gets_its_flags_as_they_are_by_now_and_all_that_we_do_not_read() -> None:
    parser = StockParser("sb3-ext x", StockHelp("x", "", {}))
    parser.share("--env")
    parser.share("--n-timesteps", "-n", "--max-steps", type=int)
    parser.share("--gym-packages", nargs="+", default=[])
    parser.share("--no-render", action="store_true")
    parser.share("--exp-id", type=int, default=0)
    parser.add_argument("--preset")
    mine = "--max-steps=5 --env x/Y-v0 --preset p --gym-packages q r"
    typed = f"-params a:1 b:-2 {mine} --log-interval -2 -P".split(" ")
    given = parser.parse(typed)
    assert given.typed == ["sb3-ext", "x", *typed] and given.preset == "p"
    given.env, given.no_render = "Y-v0", True
    shared = "--env Y-v0 --n-timesteps 5 --gym-packages q r --no-render"
    expected = f"{shared} -params a:1 b:-2 --log-interval -2 -P".split(" ")
    assert given.argv() == expected
    with pytest.raises(UserError, match="--n-timesteps/-n/--max-steps: invalid int value: 'x'; see `sb3-ext x"):
        parser.parse(["-n", "x"])


def test_the_usage_names_every_algorithm_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f" {algo}," in " ".join(out.split()).replace("(", " ").replace(")", ",") for algo in ALGORITHMS)
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--nonsense", "sb3-ext: unrecognized arguments: --nonsense; see `sb3-ext --help`"),
        ("doctor --norun", "sb3-ext doctor: unrecognized arguments: --norun; see `sb3-ext doctor --help`"),
        (
            "train --gym-packages nope_envs",
            "sb3-ext train: --gym-packages nope_envs: no module named 'nope_envs'; PYTH",
        ),
        ("record_video --gym-packages nope_envs", "sb3-ext record_video: --gym-packages nope_envs: no module named"),
        # What rl-zoo3's own parsers refuse.
        ("train --n-jobs x", "sb3-ext train: argument --n-jobs: invalid int value: 'x'; see `sb3-ext train --help`"),
        ("enjoy --exp-id x", "sb3-ext enjoy: argument --exp-id: invalid int value: 'x'; see `sb3-ext enjoy --help`"),
        ("plot_train -a a", "sb3-ext plot_train: the following arguments are required: -e/--env, -f/--exp-folder; see"),
    ],
)
def test_wrong_flags_are_one_line_whoever_reads_them(
    arguments: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.argv
    assert cli.main(arguments.split()) == 2
    (err,) = capsys.readouterr().err.splitlines()
    assert err.startswith(line)
    assert sys.argv is before


@pytest.mark.parametrize("where", ["front", "end"])
def test_traceback_shows_all_of_an_error(where: str) -> None:
    command = ["demos", "info", "none.npz", "--traceback"]
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        cli.main(command if where == "end" else [command[-1], *command[:-1]])


def test_a_replaced_name_is_what_it_was_afterwards() -> None:
    class Base:
        @staticmethod
        def f() -> str:
            return "base"

    class Derived(Base):
        pass

    raw: Any = vars(Base)["f"]
    for owner in (Base, Derived):
        with contextlib.suppress(KeyError), replaced(owner, "f", staticmethod(lambda: "replaced")):
            assert owner.f() == "replaced"
            raise KeyError
        assert owner.f() == "base"
    assert vars(Base)["f"] is raw and "f" not in vars(Derived)
    with pytest.raises(AttributeError, match="no attribute 'g'"), replaced(Base, "g", 1):
        pass
