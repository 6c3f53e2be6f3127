"""What the command line says to its user."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MAX_MESSAGE = 600  # characters of a line that may quote a file


class UserError(Exception):
    """Wrong input; the message is the one line to print."""


class CannotSetUp(UserError):
    """What was asked for cannot be made; the cause may have a better line than this message."""


@contextmanager
def setting_up(what: str) -> Iterator[None]:
    """
    What goes wrong within the block has a line, whoever raised it: it is made of what the user gave.

    :param what: is made
    :raises CannotSetUp: for any error
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise CannotSetUp(
            f"{what} cannot be set up: {type(error).__name__}{': ' if said else ''}{said}; --traceback shows where"
        ) from error


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


class UnsafeFile(ValueError):
    """
    A file that is not what it should be; nothing of it was run.

    :param message: names file and field. It may quote the file: what no terminal should get is taken out, and a long
        one is cut
    """

    def __init__(self, message: str) -> None:
        # A terminal obeys control characters, and a file may hold megabytes of text.
        line = " ".join("".join(x if x.isprintable() else " " for x in message[: 2 * MAX_MESSAGE]).split())
        super().__init__(line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} ...")
