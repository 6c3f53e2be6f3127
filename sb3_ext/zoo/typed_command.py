"""The command line of a run, as it is noted and printed again."""

from __future__ import annotations

from sb3_ext.exchange.redaction import BLANK, redacted_arguments


def without_resume(arguments: list[str]) -> list[str]:
    """
    :param arguments: of the command line
    :return: without ``--resume FOLDER``
    """
    if "--resume" not in arguments:
        return arguments
    at = arguments.index("--resume")
    return arguments[:at] + arguments[at + 2 :]


def without_secrets(arguments: list[str]) -> list[str]:
    """
    :param arguments: of the command line
    :return: for the terminal, where paths are needed and passwords would reach a log
    """
    pairs = zip(arguments, redacted_arguments(arguments), strict=True)
    return [blanked if BLANK in blanked else given for given, blanked in pairs]
