"""The commands that come next: they look at the agent of a run, or go on with it. All can be pasted as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.exchange.redaction import BLANK, PATH
from sb3_ext.zoo.typed_command import without_resume
from sb3_ext.zoo.typed_ids import name_in_folders

BEST_MODEL = "best_model.zip"


def next_steps(algo: str, env_id: str, run: Path, *, gym_packages: Sequence[str] = ()) -> list[str]:
    """
    :param algo: the zoo's id
    :param env_id: as it was typed, ``ID`` or ``MODULE:ID``
    :param run: its folder, ``logs/ALGO/ENV_3``
    :param gym_packages: that register the environment
    :return: commands that show the agent; none where the run has no model
    """
    name = name_in_folders(env_id)
    has_best = (run / BEST_MODEL).is_file()
    if not has_best and not (run / f"{name}.zip").is_file():
        return []
    agent = ["--algo", algo, "--env", env_id]
    rest = ["--gym-packages", *gym_packages] if gym_packages else []
    number = re.fullmatch(rf"{re.escape(name)}_(\d+)", run.name)
    if number is None:  # with a uuid behind it, which enjoy does not know
        model = ["--model", str(run / (BEST_MODEL if has_best else f"{name}.zip"))]
        return [shlex.join(["sb3-ext", command, *agent, *model, *rest]) for command in ("report", "video")]
    folder = run.parent.parent
    where = ["-f", str(folder)] if folder != Path("logs") else []
    which = ["--exp-id", number[1]]
    # Stock agents are looked for where rl-zoo3 keeps its own.
    enjoy = where if algo in ALGORITHMS else ["-f", str(folder)]
    best = ["--load-best"] if has_best else []
    return [
        shlex.join(["sb3-ext", "enjoy", *agent, *enjoy, *which, *best, *rest]),
        *(shlex.join(["sb3-ext", command, *agent, *where, *which, *rest]) for command in ("report", "video")),
    ]


def going_on(command: str, run: Path) -> str:
    """
    :param command: of a manifest
    :param run: folder of that run, which has not finished
    :return: the command that goes on with it; what was blanked in it is to be put in again
    """
    line = shlex.join([*without_resume(shlex.split(command)), "--resume", str(run)])
    is_blanked = BLANK in line or f"{PATH}/" in line
    return f"{line}  # with what is left out put in" if is_blanked else line
