"""
Names of environments. ``module:Id`` makes gymnasium import the module, so only a user may say it: an id that a file
gives is a plain name, and files hold no other.
"""

from __future__ import annotations

import re
from typing import Any

PLAIN = re.compile(r"\w[\w./-]*")  # as gymnasium has them, but for the colon
MAX_LENGTH = 200


def id_of_file(env_id: Any, place: str = "env_id") -> str:  # Any: whatever the file holds
    """
    :param env_id: from a file, which may be anyone's
    :param place: of it, for the message
    :return: the same
    :raises ValueError: for what is no plain name: it would import a module, or be another path
    """
    if isinstance(env_id, str) and ":" in env_id:
        raise ValueError(
            f"{place}: {env_id[:MAX_LENGTH]!r} names a module to import, which only you may: an id from a file is a "
            "plain name"
        )
    if not isinstance(env_id, str) or len(env_id) > MAX_LENGTH or ".." in env_id or PLAIN.fullmatch(env_id) is None:
        raise ValueError(f"{place}: {str(env_id)[:MAX_LENGTH]!r} is no name of an environment that can be shared")
    return env_id


def without_module(env_id: str | None) -> str | None:
    """
    :param env_id: typed by a user, perhaps ``module:Id``
    :return: the id by which gymnasium knows the environment once the module is imported
    """
    return None if env_id is None else env_id.rpartition(":")[2]
