"""
Files of demonstrations by the flags of `sb3-ext demos`: `--from`, `--to`, and one for each option of a format. What
flags say of our formats is written down here: importing them takes torch, which is longer than `--help` may.
tests/cli/test_help.py compares it with the formats.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sb3_ext.cli.flags import env_kwargs_of, import_packages
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.typed_ids import know_env, made

if TYPE_CHECKING:
    from sb3_ext.demonstrations import Demonstrations
    from sb3_ext.demonstrations.formats import Format, Option


class FormatHelp(NamedTuple):
    """What is said of a format while flags are read."""

    suffixes: tuple[str, ...]
    options: Mapping[str, OptionHelp]
    """by their names in the format"""


class OptionHelp(NamedTuple):
    """What is said of an option."""

    help: str
    words: tuple[str, ...] = ()
    """to choose from; none = any text"""
    writing: bool = False
    """whether it is for writing, else for reading"""


_TERMINATED = OptionHelp(
    "how episodes end where the file does not say; time-limit: those as long as the environment's were cut, shorter "
    "ones terminated",
    ("yes", "no", "time-limit", "unknown"),
)
_FINAL_OBSERVATION = OptionHelp(
    "where the last observation is missing, say so, repeat the one before, or drop the last step and with it the end "
    "(unknown)",
    ("unknown", "repeat", "drop"),
)
OURS = {
    "npz": FormatHelp((".npz",), {}),
    "minari": FormatHelp(
        (),
        {
            "dataset_id": OptionHelp("its name, as cartpole/expert-v0 (the folder's)", writing=True),
            "data_format": OptionHelp("its storage (hdf5)", ("hdf5", "arrow", "parquet"), writing=True),
        },
    ),
    "imitation": FormatHelp((), {"terminated": _TERMINATED}),
    "sb2": FormatHelp((), {"terminated": _TERMINATED, "final_observation": _FINAL_OBSERVATION}),
    "d3rlpy": FormatHelp((".h5", ".hdf5"), {"final_observation": _FINAL_OBSERVATION}),
}


def read(given: argparse.Namespace) -> Demonstrations:
    """
    :param given: by the flags
    :return: what is in ``given.path``
    :raises UserError: where a flag is missing, or is for another format
    """
    from sb3_ext.demonstrations import load
    from sb3_ext.demonstrations.files import find

    import_packages(given)  # which may bring formats
    path = given.path
    form = _told(_named(given.source) if given.source else find(path), given, writing=False)
    if form.holds_spaces:
        return load(path, form, max_bytes=given.max_bytes)
    if not Path(path).exists():
        raise UserError(f"there is no {path}")
    if given.env is None:
        raise UserError(f"the {form.name} format does not hold the spaces: name the environment by --env")
    know_env(given.env)
    env = made(given.env, env_kwargs_of(given))
    env.close()
    return load(
        path,
        form,
        observation_space=env.observation_space,
        action_space=env.action_space,
        env_id=given.env,
        max_bytes=given.max_bytes,
    )


def to_write(given: argparse.Namespace) -> Format:
    """
    :param given: by the flags
    :return: the format of ``given.output``
    :raises UserError: where nothing tells it
    """
    import_packages(given)
    if given.to:
        return _told(_named(given.to), given, writing=True)
    for kind in formats().values():
        if given.output.suffix in kind.suffixes:
            return _told(kind, given, writing=True)
    raise UserError(f"{given.output}: the name does not tell the format; pass --to, one of {', '.join(formats())}")


def formats() -> dict[str, type[Format]]:
    """:return: by their short names"""
    from sb3_ext.demonstrations.formats import FORMATS

    return FORMATS


def help_of(kind: type[Format]) -> FormatHelp:
    """:return: what is said of it while flags are read"""
    options = {
        name: OptionHelp(option.help, tuple(word for word, _ in option.choices), option.writing)
        for name, option in kind.options().items()
    }
    return FormatHelp(tuple(kind.suffixes), options)


def known_formats() -> Mapping[str, FormatHelp]:
    """:return: by their names: those of this process, a user's too, where they are there already, or else ours"""
    there = sys.modules.get("sb3_ext.demonstrations.formats")
    return OURS if there is None else {name: help_of(kind) for name, kind in there.FORMATS.items()}


def add_options(parser: argparse.ArgumentParser, writing: bool) -> None:
    """
    What the formats ask. Those that share a flag mean the same by it.

    :param parser: gets the flags
    :param writing: whether those for writing, else those for reading
    """
    takers: dict[str, list[str]] = {}
    options: dict[str, OptionHelp] = {}
    for name, form in known_formats().items():
        for flag, option in form.options.items():
            if option.writing == writing:
                takers.setdefault(flag, []).append(name)
                options.setdefault(flag, option)
    for flag, option in options.items():
        said = f"{', '.join(takers[flag])}: {option.help}"
        parser.add_argument(_typed(flag), choices=option.words or None, help=said)


def _named(name: str) -> type[Format]:
    if name not in formats():
        raise UserError(f"unknown format {name!r}{did_you_mean(name, formats())}")
    return formats()[name]


def _told(kind: type[Format], given: argparse.Namespace, writing: bool) -> Format:
    """
    :param kind: of the file
    :param given: by the flags
    :param writing: which of them count
    :return: the format, told what was typed
    :raises UserError: for a flag of another
    """
    told = {}
    for flag, takers in _options(writing).items():
        typed = getattr(given, flag)
        if typed is not None and kind.name not in takers:
            raise UserError(f"{_typed(flag)} is for {', '.join(takers)}, and this is {kind.name}: leave it out")
        if typed is not None:
            told[flag] = dict(takers[kind.name].choices).get(typed, typed)
    return kind(**told)


def _options(writing: bool) -> dict[str, dict[str, Option]]:
    """:return: by the name of the flag, by the name of the format"""
    found: dict[str, dict[str, Option]] = {}
    for name, kind in formats().items():
        for flag, option in kind.options().items():
            if option.writing == writing:
                found.setdefault(flag, {})[name] = option
    return found


def _typed(flag: str) -> str:
    return f"--{flag.replace('_', '-')}"
