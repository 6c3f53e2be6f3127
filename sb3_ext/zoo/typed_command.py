"""The command line of a run, as it is noted and printed again."""

from __future__ import annotations

from sb3_ext.exchange.redaction import BLANK, redacted_arguments


def without_resume(arguments: list[str]) -> list[str]:
    """
    :param arguments: of the command line
    :return: without ``--resume FOLDER``
    """
    return without_flag(arguments, "--resume")


def without_flag(arguments: list[str], flag: str) -> list[str]:
    """
    :param arguments: of the command line
    :param flag: that takes a value
    :return: without both, also where they are one word, ``--flag=value``
    """
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == flag:
            next(words, None)
        elif not word.startswith(f"{flag}="):
            rest.append(word)
    return rest


def without_secrets(arguments: list[str]) -> list[str]:
    """
    :param arguments: of the command line
    :return: for the terminal, where paths are needed and passwords would reach a log
    """
    pairs = zip(arguments, redacted_arguments(arguments), strict=True)
    return [blanked if BLANK in blanked else given for given, blanked in pairs]
