"""
Ids of environments as they are typed: ``ID``, or ``MODULE:ID``, which imports the module first, as in gymnasium.

For the command line alone. rl-zoo3's scripts and the names of folders know the plain id.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import gymnasium as gym

from sb3_ext.errors import UserError, did_you_mean, setting_up


def environment_id(typed: str, flag: str = "--env") -> str:
    """
    :param typed: ``ID`` or ``MODULE:ID``
    :param flag: by which it was named, for the message
    :return: the plain id; the module is imported
    :raises UserError: where there is no such module, or it registers no such environment
    """
    module, colon, env_id = typed.partition(":")
    if not colon:
        return typed
    if re.fullmatch(r"[A-Za-z_][\w.]*", module) is None or not env_id or ":" in env_id:
        raise UserError(f"{flag} {typed!r} is neither ID nor MODULE:ID")
    import_typed(module, f"{flag} {typed}")
    if env_id not in gym.registry:
        raise UserError(f"{flag} {typed}: {module} registers no {env_id!r}{did_you_mean(env_id, gym.registry)}")
    return env_id


def module_of(typed: str | None) -> list[str]:
    """
    :param typed: ``ID``, ``MODULE:ID`` or nothing
    :return: the module that registers it, if one was named
    """
    module, colon, _ = (typed or "").partition(":")
    return [module] if colon else []


def import_typed(module: str, flag: str) -> None:
    """
    :param module: that registers environments
    :param flag: by which it was named, for the message
    :raises UserError: where there is no such module, or it cannot be imported
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{flag}: {module!r} is no name of a module, as my_envs or my_envs.mazes are")
    with setting_up(f"{flag}: module {module}"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # a package that the module needs
            fix = "PYTHONPATH=. finds modules of this folder"
            raise UserError(f"{flag}: no module named {error.name!r}; {fix}") from error


def know_env(env_id: str, called: str = "environment") -> None:
    """
    Have it registered, by whoever brings it.

    :param env_id: plain
    :param called: in the message, the flag
    :raises UserError: where nobody does
    """
    if env_id.startswith("ALE/"):
        gym.register_envs(importlib.import_module("ale_py"))
    if env_id in gym.registry:
        return
    # Only now: rl-zoo3 patches gymnasium's TimeLimit when it is imported.
    if find_spec("rl_zoo3") is not None:
        importlib.import_module("rl_zoo3.import_envs")
    if env_id not in gym.registry:
        raise UserError(f"unknown {called} {env_id!r}{did_you_mean(env_id, gym.registry)}")


def made(env_id: str, env_kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """
    :param env_id: plain, registered
    :param env_kwargs: for it
    :return: the environment
    :raises CannotSetUp: where it does not take them
    """
    given = f" with {dict(env_kwargs)}" if env_kwargs else ""
    with setting_up(f"{env_id}{given}"):
        return gym.make(env_id, **env_kwargs)


def name_in_folders(typed: str) -> str:
    """
    :param typed: ``ID`` or ``MODULE:ID``
    :return: as the folders of its runs begin
    """
    return typed.rpartition(":")[2].replace("/", "-")
