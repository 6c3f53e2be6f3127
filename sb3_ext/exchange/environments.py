"""What of an agent's environment travels with it: its name, and wrappers with numbers."""

from __future__ import annotations

import json
from typing import Any

from sb3_ext.env_ids import id_of_file
from sb3_ext.errors import UserError

# Wrappers of these packages may be named by a repository, with numbers as arguments: none of them then runs code or
# writes files.
WRAPPER_PACKAGES = ("gymnasium.wrappers.", "rl_zoo3.wrappers.", "sb3_contrib.", "sb3_ext.envs.", "stable_baselines3.")
MAX_ARGUMENT = 10_000
ENVIRONMENT = ("env_wrapper", "vec_env_wrapper", "frame_stack", "env_kwargs")
"""keys of rl-zoo3's yml that an agent needs to see what it saw in training"""


def check_env_id(env_id: Any) -> str:  # Any: JSON of anyone
    """
    :return: the same
    :raises UserError: for what is no name of an environment, or would be another path
    """
    try:
        return id_of_file(env_id)
    except ValueError as error:
        raise UserError(str(error)) from None


def environment_of(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """
    :param hyperparams: as they were in the yml
    :return: those that an agent needs to see what it saw in training
    """
    kept = {key: hyperparams[key] for key in ENVIRONMENT if hyperparams.get(key) is not None}
    plain: dict[str, Any] = json.loads(json.dumps(kept))  # tuples are lists from here on
    return plain


def checked_environment(data: Any) -> dict[str, Any]:  # Any: JSON of anyone
    """
    :param data: of `environment_of`, or of anyone
    :return: the same
    :raises UserError: for anything but wrappers of known packages, their numbers, and those of the environment
    """
    if data is None:
        return {}
    if not isinstance(data, dict) or not data.keys() <= set(ENVIRONMENT):
        raise UserError(f"environment {data!r} is none of {', '.join(ENVIRONMENT)}")
    if not isinstance(data.get("env_kwargs", {}), dict) or not _is_numbers(data.get("env_kwargs")):
        raise UserError(f"env_kwargs {data['env_kwargs']!r} must be numbers")
    frames = data.get("frame_stack")
    if frames is not None and (type(frames) is not int or not 1 <= frames <= 64):
        raise UserError(f"frame_stack {frames!r} must be a number from 1 to 64")
    given = [data.get(key) or [] for key in ("env_wrapper", "vec_env_wrapper")]
    for wrapper in (x for wrappers in given for x in (wrappers if isinstance(wrappers, list) else [wrappers])):
        (name, kwargs), *more = wrapper.items() if isinstance(wrapper, dict) and wrapper else [(wrapper, {})]
        known = isinstance(name, str) and name.startswith(WRAPPER_PACKAGES)
        known = known and all(part.isidentifier() for part in name.split("."))
        if more or not known or not isinstance(kwargs, dict) or not _is_numbers(kwargs):
            raise UserError(
                f"env_wrapper {wrapper!r}: only wrappers of {', '.join(WRAPPER_PACKAGES)} with numbers are taken over"
            )
    return dict(data)


def _is_numbers(data: Any) -> bool:  # Any: JSON
    if isinstance(data, dict | list):
        return all(_is_numbers(x) for x in (data.values() if isinstance(data, dict) else data))
    return data is None or (isinstance(data, bool | int | float) and abs(data) <= MAX_ARGUMENT)
