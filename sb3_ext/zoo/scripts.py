"""
rl-zoo3's scripts, run in this process with arguments of ours. While one runs, a few names in it are replaced, which
tests/zoo/test_contract_zoo.py watches over.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from sb3_ext.errors import UserError
from sb3_ext.replaced import replaced

# Modules of rl-zoo3 and of ours that need it are imported where they are used: `sb3-ext --help` needs no extra.


def train(argv: Sequence[str], typed: Sequence[str], settings: Mapping[str, Any], verbose: int) -> int:
    """
    :param argv: of rl-zoo3's script
    :param typed: the command line, which is noted where the run is
    :param settings: keywords of `Experiment` beside rl-zoo3's
    :param verbose: see `sb3_ext.zoo.console`
    :return: exit code: 0, or that of the signal that ended training before its time, so that schedulers know of it
    """
    script = importlib.import_module("rl_zoo3.train")
    from sb3_ext.exchange.redaction import redacted_arguments
    from sb3_ext.zoo.console import FULL, SILENT, hush, silenced
    from sb3_ext.zoo.signals import exit_code, sigterm_as_ctrl_c
    from sb3_ext.zoo.typed_experiment import TypedExperiment

    made: list[TypedExperiment] = []

    def experiment(*args: Any, **kwargs: Any) -> TypedExperiment:  # Any: rl-zoo3's arguments, unread
        made.append(TypedExperiment(*args, **kwargs, **settings, command=typed))
        return made[-1]

    with (
        _as_its_process("train", argv),
        silenced() if verbose <= SILENT else contextlib.nullcontext(),
        replaced(script, "print", print if verbose >= FULL else hush),
        replaced(script, "ExperimentManager", experiment),
        replaced(sys, "orig_argv", redacted_arguments(list(typed))),  # written into the study of a search
        sigterm_as_ctrl_c(),
    ):
        script.train()
    return exit_code(made[0].stopped_by)


def enjoy(argv: Sequence[str], is_ours: bool = False) -> None:
    """
    :param argv: of rl-zoo3's script
    :param is_ours: the agent's files were just made by us
    """
    script = importlib.import_module("rl_zoo3.enjoy")
    with _as_its_process("enjoy", argv), _loading_as_we_do(script, is_ours):
        script.enjoy()


def record_video(argv: Sequence[str]) -> None:
    """:param argv: of rl-zoo3's script"""
    utils = importlib.import_module("rl_zoo3.utils")
    create = utils.create_test_env

    def create_as_trained(*args: Any, hyperparams: dict[str, Any], env_kwargs: dict[str, Any], **kwargs: Any) -> Any:
        of_yml = hyperparams.get("env_kwargs") or {}  # which rl-zoo3's script forgets, and not its enjoy
        return create(*args, hyperparams=hyperparams, env_kwargs={**of_yml, **env_kwargs}, **kwargs)

    with (
        _as_its_process("record_video", argv),
        replaced(utils, "create_test_env", create_as_trained),
        _loading_as_we_do(utils),
    ):
        runpy.run_module("rl_zoo3.record_video", run_name="__main__")  # a script without a function to call


def plot_function(name: str) -> Callable[[], None]:
    """
    :param name: of the function in ``rl_zoo3.plots``
    :return: it
    :raises ModuleNotFoundError: where an extra is missing
    """
    found: Callable[[], None] = getattr(importlib.import_module("rl_zoo3.plots"), name)
    return found


def plot(name: str, argv: Sequence[str]) -> None:
    """
    :param name: of the function in ``rl_zoo3.plots``
    :param argv: of it
    """
    from matplotlib import pyplot as plt

    script = plot_function(name)
    with _as_its_process(name, argv), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")  # said better below
        try:
            script()
        except ValueError as error:
            if "empty sequence" not in str(error):
                raise
            raise UserError("the file needs two runs or more of each algorithm and environment") from error
    if plt.get_backend().lower() == "agg":
        for number in plt.get_fignums():
            path = f"{name}_{number}.png"
            plt.figure(number).savefig(path)
            print(f"No display: saved {path}")
    plt.close("all")


@contextlib.contextmanager
def _as_its_process(command: str, argv: Sequence[str]) -> Iterator[None]:
    """Within the block a script reads these arguments, and what is wrong with them is one line."""

    def error(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise UserError(f"{message}; see `sb3-ext {command} --help`")

    with (
        replaced(sys, "argv", [f"sb3-ext {command}", *argv]),
        replaced(argparse.ArgumentParser, "error", error),
    ):
        yield


@contextlib.contextmanager
def _loading_as_we_do(script: ModuleType, is_ours: bool = False) -> Iterator[None]:
    """
    Within the block it says whose files are trusted, takes safe statistics where they are, and closes its workers.

    :param script: in whose name space `get_model_path` is looked up
    :param is_ours: the files were just made by us
    """
    utils = importlib.import_module("rl_zoo3.utils")
    from sb3_ext.exchange.trust import beside, load_statistics, say_trusted
    from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv

    find = utils.get_model_path

    def get_model_path(exp_id: int, folder: str, algo: str, env_name: str, *args: Any) -> tuple[str, str, str]:
        prefix, path, run = find(exp_id, folder, algo, env_name, *args)
        if not is_ours:
            say_trusted([path, *beside(Path(run) / env_name)])
        return prefix, path, run

    with (
        replaced(script, "get_model_path", get_model_path),
        replaced(utils.VecNormalize, "load", staticmethod(load_statistics)),
        replaced(utils, "SubprocVecEnv", UninterruptedSubprocVecEnv),
    ):
        yield
