"""
What is published says no password and no path of a machine: text goes through here before it is shown to others.

Rather too much is blanked than too little. A second pass changes nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

BLANK = "REDACTED"  # needs no quotes in a shell, in YAML or in a URL
PATH = "..."  # in place of the folders of an absolute path, whose last name stays

# A name with one of these in it, or with one of the second list as its last word, has a secret as its value.
SECRET_PARTS = ("token", "password", "passwd", "passphrase", "secret", "credential", "apikey", "authorization")
SECRET_ENDS = ("key", "pass", "pwd", "pw", "auth", "pat")
COMMITS = ("commit", "revision", "sha")  # fields whose 40 hexadecimal digits are no key

_TOKENS = re.compile(
    r"""
    \b(?:
        hf_[A-Za-z0-9]{8,} | api_org_[A-Za-z0-9]{8,}            # Hugging Face
      | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
      | wandb_v\d_\w{16,} | [0-9a-f]{40}                        # Weights & Biases: a new key, an old one
      | sk-[\w-]{16,} | xox[abeprs]-[\w-]{8,} | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{30,}
      | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                         # a JSON web token
    )(?![A-Za-z0-9])
    """,
    re.VERBOSE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.+/~-]{8,}=*", re.IGNORECASE)
# Up to the last @: a password that was typed may have one too, and a slash.
_USER_OF_URL = re.compile(r"(?<=://)(?=[^\s/'\"]*[@:])[^\s'\"]*@")
_VALUE = r"""(?:"[^"]*"|'[^']*'|(?:\\.|[^\s'",;&)}\]])+)"""
_NAMED = re.compile(
    rf"""(?P<name>(?<![\w.-])-{{0,2}}[A-Za-z][\w.-]*)(?P<between>["']?\ *=\ *|["']?:\ *)(?P<value>{_VALUE})""",
    re.VERBOSE,
)
_OPTION = re.compile(rf"(?P<name>(?<!\S)--?[A-Za-z][\w-]*)(?P<between>\s+)(?P<value>(?!--)(?!\s){_VALUE})")
_FILE_URL = re.compile(r"(?<=:)///+([^\s'\",;?]+)")  # file:///x and sqlite:////x
_IN_QUOTES = re.compile(r"""(?<=(["']))(?:/|~[\w.-]*/|[A-Za-z]:[\\/](?!/))[^"'\n]*(?=\1)""")
_ABSOLUTE = re.compile(
    r"""(?<![\w.~/\\:-])(?:/(?!/)|~[\w.-]*/|[A-Za-z]:[\\/](?!/))(?:\\\ |[^\s'":;,|<>()\[\]{}])+"""
    r"""|(?<=[\w]:)(?:/(?!/)|~[\w.-]*/)(?:\\\ |[^\s'":;,|<>()\[\]{}])+"""
)
_HOMES = ("home", "users", "user")


def redacted(text: str) -> str:
    """
    :param text: a log, a message, a command in one line
    :return: without passwords, tokens, users of URLs, values of options with such names, and absolute paths
    """
    text = _USER_OF_URL.sub(f"{BLANK}@", text)
    text = _BEARER.sub(rf"\1 {BLANK}", text)
    text = _OPTION.sub(_blank_value, text)
    text = _NAMED.sub(_blank_value, text)
    text = _TOKENS.sub(BLANK, text)
    text = _FILE_URL.sub(lambda found: f"///{_without_folders(found[1])}", text)
    text = _IN_QUOTES.sub(lambda found: _without_folders(found[0]), text)
    return _ABSOLUTE.sub(lambda found: _without_folders(found[0]), text)


def redacted_arguments(arguments: Sequence[str]) -> list[str]:
    """
    :param arguments: of a command, as a program gets them
    :return: the same, without what `redacted` leaves out; values of options with secret names too
    """
    result: list[str] = []
    hides = False
    for argument in arguments:
        is_option = re.fullmatch(r"--?[A-Za-z][\w-]*(?:[=:].*)?", argument, re.DOTALL) is not None
        if hides and not is_option:
            result.append(BLANK)
            continue
        hides = is_option and re.search("[=:]", argument) is None and is_secret(argument)
        result.append(_redacted_argument(argument))
    return result


def redacted_command(command: str) -> str:
    """
    :param command: as it was typed into a shell, in one line or several
    :return: the same, without what `redacted` leaves out
    """
    lines = []
    for line in command.replace("\\\n", " ").splitlines():
        try:
            lines.append(shlex.join(redacted_arguments(shlex.split(line))))
        except ValueError:  # quotes that do not close: no shell would have run it
            lines.append(redacted(line))
    return "\n".join(lines)


def redacted_data(data: Any) -> Any:  # Any: JSON
    """
    :param data: of a manifest
    :return: the same; a list of texts is taken for arguments of a command
    """
    if isinstance(data, Mapping):
        return {
            key: BLANK
            if is_secret(str(key)) and isinstance(x, str)
            else x
            if key in COMMITS and isinstance(x, str) and re.fullmatch("[0-9a-f]{7,40}", x)
            else redacted_data(x)
            for key, x in data.items()
        }
    if isinstance(data, list | tuple):
        if all(isinstance(x, str) for x in data):
            return redacted_arguments(data)
        return [redacted_data(x) for x in data]
    return redacted(data) if isinstance(data, str) else data


def is_secret(name: str) -> bool:
    """
    :param name: of an option, a variable or a field
    :return: whether its value is nobody's business
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("-_.'\" ")
    plain = re.sub(r"[^a-z0-9]", "", words)
    return any(part in plain for part in SECRET_PARTS) or re.split(r"[^a-z0-9]+", words)[-1] in SECRET_ENDS


def _redacted_argument(argument: str) -> str:
    """One argument has no quotes around it, and may have spaces in a path or in a secret."""
    name, between, value = _split(argument)
    if between and is_secret(name):
        return f"{name}{between}{BLANK}"
    if between and _is_absolute(value):
        return f"{name}{between}{_without_folders(value)}"
    return _without_folders(argument) if _is_absolute(argument) else redacted(argument)


def _split(argument: str) -> tuple[str, str, str]:
    """:return: NAME, "=" or ":", VALUE; empty ones where it is no such thing"""
    found = re.fullmatch(r"(-{0,2}[A-Za-z][\w.-]*)([=:])(.*)", argument, re.DOTALL)
    # A drive and a URL have a colon too.
    if found is None or (found[2] == ":" and (found[3].startswith(("//", "\\")) or len(found[1]) == 1)):
        return "", "", ""
    return found[1], found[2], found[3]


def _blank_value(found: re.Match[str]) -> str:
    name, between, value = found["name"], found["between"], found["value"]
    is_prose = between.endswith(": ") and re.fullmatch(r"\W*\w+\W*", name) and name.lower() in SECRET_ENDS
    if is_prose or not is_secret(name):
        # What follows may have a name of its own: a=token=x.
        return name + between + _NAMED.sub(_blank_value, value) if value[:1] not in "\"'" else found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{between}{quote}{BLANK}{quote}"


def _is_absolute(text: str) -> bool:
    return re.match(r"/(?!/)|~[\w.-]*(?:/|$)|[A-Za-z]:[\\/](?!/)", text) is not None


def _without_folders(path: str) -> str:
    """:return: the last name alone, and not even that of somebody's home"""
    parts = [part for part in re.split(r"[\\/]", path.replace("\\ ", " ")) if part]
    if parts and parts[0] == PATH:
        return path
    if len(parts) < 2 and not path.startswith(("/", "~", "\\")):
        return path
    above = parts[-2].lower() if len(parts) > 1 else ""
    if not parts or above in _HOMES or parts[-1].startswith("~") or parts == ["root"]:
        return PATH
    return f"{PATH}/{parts[-1]}"
