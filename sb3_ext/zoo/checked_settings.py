"""
What a yml and the command line set, looked at before anything is made of it: a number is one, a name can be imported.

Texts that YAML takes for no numbers, as 1e-3 without a point, are numbers here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sb3_ext.errors import UserError, did_you_mean

NUMBER = r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
POWER_OF_TEN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
# Of stock algorithms, which take any number; those of ours say more themselves.
AT_LEAST_ONE = ("n_envs", "n_timesteps", "n_steps", "n_epochs", "batch_size", "buffer_size", "frame_stack")
FRACTIONS = ("gamma", "gae_lambda", "tau", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "delta_std", "discriminator_learning_rate", "beta")
IMPORTED = ("env_wrapper", "vec_env_wrapper", "callback")
KEYWORDS = ("env_kwargs", "monitor_kwargs", "policy_kwargs", "replay_buffer_kwargs")


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    :param settings: of a yml, with those of the command line
    :return: the same, numbers as numbers
    :raises UserError: for a value that cannot be meant
    """
    found = {key: _numbers(value) for key, value in settings.items()}
    for key in AT_LEAST_ONE:
        if found.get(key) is not None:
            found[key] = _whole(key, found[key])
    for key in FRACTIONS:
        if found.get(key) is not None and not (_is_number(found[key]) and 0 <= found[key] <= 1):
            raise UserError(f"{key} {found[key]!r} must be a number in [0, 1]")
    for key in SCHEDULES:
        if key in found:
            check_schedule(key, found[key])
    for key in KEYWORDS:
        if not isinstance(found.get(key), Mapping | str | None):
            raise UserError(f"{key} {found[key]!r} must be values by name, as in {key}: {{name: value}}")
    for key in IMPORTED:
        for name in _names(found.get(key)):
            check_import(key, name)
    _check_policy(found.get("policy", ""))
    return found


def _check_policy(name: object) -> None:
    if not isinstance(name, str):
        raise UserError(f"policy {name!r} must be a name, as in policy: MlpPolicy")
    if "." in name:
        check_import("policy", name)


def check_schedule(key: str, value: object) -> None:
    """
    :param key: of a setting that may fall during training
    :param value: a number, or ``lin_NUMBER``
    :raises UserError: for another text, which rl-zoo3 takes for linear or does not read, or a negative number
    """
    if isinstance(value, str) and re.fullmatch(f"lin_{NUMBER}", value) is None:
        raise UserError(f"{key} {value!r} must be a number, or lin_NUMBER, which falls from there to 0")
    if _is_number(value) and value < 0 and key != "clip_range_vf":  # type: ignore[operator]  # it is a number
        raise UserError(f"{key} {value} must not be negative")


def check_import(key: str, name: str) -> None:
    """
    :param key: of the setting
    :param name: MODULE.NAME
    :raises UserError: where there is none
    """
    module, point, attribute = name.rpartition(".")
    if not point or not module:
        raise UserError(f"{key} {name!r} must be MODULE.NAME, as in gymnasium.wrappers.FlattenObservation")
    try:
        there = vars(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a package that the module needs
        fix = "PYTHONPATH=. finds modules of this folder"
        raise UserError(f"{key} {name!r}: no module named {error.name!r}; {fix}") from error
    if attribute not in there and not hasattr(importlib.import_module(module), attribute):
        raise UserError(f"{key} {name!r}: {module} has no {attribute!r}{did_you_mean(attribute, there)}")


def check_blocks(blocks: object, path: object) -> None:
    """
    :param blocks: what was read of a yml
    :param path: of it
    :raises UserError: for anything but settings by environment
    """
    if not isinstance(blocks, Mapping):
        held = "is empty" if blocks is None else f"holds {type(blocks).__name__} {str(blocks)[:40]!r}"
        raise UserError(
            f"{path} {held}: it must hold settings by environment, as in CartPole-v1: {{policy: MlpPolicy}}"
        )
    for name, block in blocks.items():
        if not isinstance(block, Mapping):
            raise UserError(f"{path}: the block {name} must hold settings by name, it holds {block!r}")


def _numbers(value: Any) -> Any:  # Any: values of YAML
    if isinstance(value, str) and POWER_OF_TEN.fullmatch(value):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return value


def _whole(key: str, value: Any) -> int:  # Any: a value of YAML
    if not _is_number(value) or value != int(value) or value < 1:
        raise UserError(f"{key} {value!r} must be an integer >= 1")
    return int(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(value: Any) -> Iterator[str]:  # Any: a value of YAML
    """:return: of wrappers or callbacks: one, several, or with keywords"""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (name for name in value if isinstance(name, str))
    elif isinstance(value, list):
        for part in value:
            yield from _names(part)
