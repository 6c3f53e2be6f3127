"""A command, how its flags are parsed, and the flags that several of them share."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sb3_ext.cli.stock_help import StockHelp
from sb3_ext.cli.values import device, seed, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_folders import said_by
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.typed_ids import environment_id, import_typed


class Parser(argparse.ArgumentParser):
    """Its errors are one line, as all of ours. Every command has ``--traceback``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: argparse's, unread
        super().__init__(*args, **kwargs)
        # Suppressed: of a command's own commands none takes it back.
        shown = "all of an error, and not its one line"
        self.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=shown)

    def error(self, message: str) -> NoReturn:
        """:raises UserError: always"""
        raise UserError(f"{message}; see `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """
        :param arguments: after the command
        :return: what they say; ``typed`` is the command line
        """
        given = self.parse_args(arguments)
        given.typed = [*self.prog.split(), *arguments]
        return given


class StockNamespace(argparse.Namespace):
    """What was typed for a script of rl-zoo3."""

    shared: Sequence[argparse.Action]
    """flags that we read too"""
    rest: list[str]
    """what the script alone reads, in the order in which it was typed"""

    def argv(self) -> list[str]:
        """:return: for the script: the values of the shared flags as they are by now, and the rest"""
        argv: list[str] = []
        for flag in self.shared:
            value = getattr(self, flag.dest)
            if value == flag.default:
                continue
            argv.append(flag.option_strings[0])  # the script's own name of it
            if isinstance(value, list):
                argv.extend(map(str, value))
            elif value is not True:
                argv.append(str(value))
        return argv + self.rest


class StockParser(Parser):
    """Of a script of rl-zoo3: those of its flags that we read too, and ours. All others are the script's."""

    def __init__(self, prog: str, text: StockHelp) -> None:
        super().__init__(prog, allow_abbrev=False)
        self._shared: list[argparse.Action] = []
        self.text = text
        """of ``--help``"""

    def format_help(self) -> str:
        """:return: also of the flags that the script alone reads"""
        return self.text.shown()

    def share(self, *names: str, **settings: Any) -> None:  # Any: argparse's
        """A flag that the script reads too, by the first of its names."""
        self._shared.append(self.add_argument(*names, **settings))

    def parse(self, arguments: Sequence[str]) -> StockNamespace:
        """Parameters as in `Parser.parse`."""
        given = StockNamespace(shared=self._shared)
        _, given.rest = self.parse_known_args(arguments, given)
        given.typed = [*self.prog.split(), *arguments]
        return given


@dataclass(frozen=True)
class Command:
    """What `sb3-ext NAME` does."""

    name: str
    help: str
    """a line of the usage"""
    parser: Callable[[], Parser]
    run: Callable[[argparse.Namespace], int | None]
    """takes what was parsed; returns the exit code, None = 0"""


def add_agent_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """
    :param parser: gets what `agent_of` reads
    :param required: whether it must be given
    """
    names = (
        parser.add_argument("--algo", required=required, help="as for `sb3-ext enjoy`"),
        parser.add_argument("--env", required=required, help="environment id, or MODULE:ID"),
    )
    parser.add_argument("-f", "--folder", type=Path, default=Path("logs"), help="log folder of the training (logs)")
    parser.add_argument(
        "--exp-id", type=whole(0, also={-1}), default=0, help="run in it (0: the latest, -1: no folder per run)"
    )
    shown = "a zip, with the settings beside it, or a folder of safe files, which says its --algo and --env"
    parser.add_argument("--model", "--agent", type=Path, action=_Model, names=names, help=shown)
    parser.add_argument("--last", action="store_true", help="the last model, although there is a best one")
    parser.add_argument("--seed", type=seed, default=0, help="(0)")
    parser.add_argument("--device", type=device, default="auto", help="PyTorch device")
    add_env_flags(parser)


class _Model(argparse.Action):
    """
    A folder of safe files says whose it is.

    :param names: the flags that are not needed then
    """

    def __init__(self, *args: Any, names: Sequence[argparse.Action], **kwargs: Any) -> None:  # Any: argparse's, unread
        super().__init__(*args, **kwargs)
        self._names = names

    def __call__(
        self, parser: argparse.ArgumentParser, given: argparse.Namespace, value: Any, flag: str | None = None
    ) -> None:
        """Keep the path."""
        setattr(given, self.dest, value)
        if not value.is_file():  # that there is no such folder is said later
            for name in self._names:
                name.required = False


def add_env_flags(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `env_kwargs_of` and `import_packages` read"""
    parser.add_argument("--env-kwargs", nargs="+", default=[], metavar="NAME:VALUE", help="for the environment")
    shown = "to import, for the environments they register"
    parser.add_argument("--gym-packages", nargs="+", default=[], metavar="MODULE", help=shown)


def agent_of(given: argparse.Namespace) -> AgentRef:
    """
    :param given: by the flags of `add_agent_flags`
    :return: the agent that they mean; the modules of its environment are imported
    :raises UserError: where its folder says another, or does not say which
    """
    env_kwargs = env_kwargs_of(given)
    import_packages(given)
    algo, env = given.algo, given.env
    if given.model is not None and not given.model.is_file() and (given.model.is_dir() or None in (algo, env)):
        algo, env = names_in(given.model, algo, env)
    return AgentRef(
        algo,
        environment_id(env),
        given.folder,
        given.exp_id,
        "last" if given.last else "best or last",
        given.model,
        env_kwargs,
        given.seed,
        given.device,
    )


def names_in(folder: Path, algo: str | None, env: str | None) -> tuple[str, str]:
    """
    :param folder: of safe files
    :param algo: as typed, if it was
    :param env: as typed, if it was, in place of what the folder says
    :return: algorithm and environment
    :raises UserError: where it is another algorithm's agent, or nobody says the environment
    """
    said = said_by(folder)
    if algo not in (None, said.algo):
        raise UserError(f"--algo {algo}: {folder} holds an agent of {said.algo}")
    env_id = said.env_id if env is None else environment_id(env)
    if env_id is None:
        raise UserError(f"{folder} does not say what it was trained on: name it by --env")
    return said.algo, env_id


def env_kwargs_of(given: argparse.Namespace) -> dict[str, Any]:
    """:raises UserError: for what is not NAME:VALUE"""
    kwargs = {}
    for text in given.env_kwargs:
        name, found, value = text.partition(":")
        if not found:
            raise UserError(f"--env-kwargs {text!r} is not NAME:VALUE")
        try:
            kwargs[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            kwargs[name] = value  # a word needs no quotes
    return kwargs


def import_packages(given: argparse.Namespace) -> None:
    """Those of ``--gym-packages`` register environments."""
    for package in given.gym_packages:
        import_typed(package, f"--gym-packages {package}")
