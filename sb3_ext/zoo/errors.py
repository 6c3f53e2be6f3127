"""What the command line says to its user."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input; the message is the one line to print."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """
    :param name: an unknown one
    :param known: the valid ones
    :return: the end of a message: the closest valid name, else all of them where they are few
    """
    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=1)
    if matches:
        return f", did you mean {matches[0]!r}?"
    return f"; known: {', '.join(names)}" if len(names) < 30 else ""
