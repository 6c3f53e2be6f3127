"""Flags that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import ast
import importlib
from pathlib import Path
from typing import Any, NoReturn

from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.typed_ids import environment_id


class Parser(argparse.ArgumentParser):
    """Its errors are one line, as all of ours."""

    def error(self, message: str) -> NoReturn:
        """:raises UserError: always"""
        raise UserError(f"{message}; see `{self.prog} --help`")


def add_agent_flags(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `agent_of` reads"""
    parser.add_argument("--algo", required=True, help="as for `sb3-ext enjoy`")
    parser.add_argument("--env", required=True, type=environment_id, help="environment id, or MODULE:ID")
    parser.add_argument("-f", "--folder", type=Path, default=Path("logs"), help="log folder of the training (logs)")
    parser.add_argument("--exp-id", type=int, default=0, help="run in it (0: the latest, -1: no folder per run)")
    parser.add_argument("--model", type=Path, help="a zip, with the settings beside it, or a folder of safe files")
    parser.add_argument("--last", action="store_true", help="the last model, although there is a best one")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--device", default="auto", help="PyTorch device")
    add_env_flags(parser)


def add_env_flags(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `env_kwargs_of` and `import_packages` read"""
    parser.add_argument("--env-kwargs", nargs="+", default=[], metavar="NAME:VALUE", help="for the environment")
    parser.add_argument("--gym-packages", nargs="+", default=[], help="to import, for the environments they register")


def agent_of(given: argparse.Namespace) -> AgentRef:
    """
    :param given: by the flags of `add_agent_flags`
    :return: the agent that they mean; the packages of its environment are imported
    """
    env_kwargs = env_kwargs_of(given)
    import_packages(given)
    return AgentRef(
        given.algo,
        given.env,
        given.folder,
        given.exp_id,
        "last" if given.last else "best or last",
        given.model,
        env_kwargs,
        given.seed,
        given.device,
    )


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
        importlib.import_module(package)
