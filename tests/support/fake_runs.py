"""Folders as `sb3-ext train` leaves them, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from support.manifests import manifest


def fake_run(name: str, *scores: float, begin: int = 100, every: int = 100, command: str = "") -> Path:
    """
    :param name: of its folder in ``logs``, as ALGO/ENV_1
    :param scores: of its evaluations by two episodes each, whose mean they are
    :param begin: env steps of the first evaluation
    :param every: env steps from one to the next
    :param command: that made it, without its beginning
    """
    folder = Path("logs") / name
    (folder / "ENV").mkdir(parents=True)
    (folder / "ENV" / "args.yml").write_text("seed: 1\n")
    (folder / "ENV" / "command.txt").write_text(f"sb3-ext train {command}")
    steps = begin + every * np.arange(len(scores))
    if scores:
        np.savez(folder / "evaluations.npz", timesteps=steps, results=np.array(scores)[:, None] + [-1, 1])
    return folder


def fake_monitor(folder: Path, *returns: float, length: int = 10, name: str = "0.monitor.csv") -> None:
    """
    :param folder: of a run
    :param returns: of its training episodes
    :param length: of each
    :param name: of the file
    """
    rows = "".join(f"{x},{length},{i}\n" for i, x in enumerate(returns))
    (folder / name).write_text('#{"t_start": 1.0}\nr,l,t\n' + rows)


def fake_part(name: str, *scores: float, parent: str | None = None, steps: int = 0, **changes: Any) -> Path:
    """
    A folder of a run that is in several.

    :param name: of its folder, as in `fake_run`; its last part is the id
    :param scores: of its evaluations, after 100, 200, ... of its own env steps
    :param parent: id of the part that it goes on from, which lies beside it
    :param steps: with which it goes on
    :param changes: of its manifest, which has ended unless they say more
    """
    folder = fake_run(name, *scores, begin=steps + 100)
    link = None if parent is None else f"../{parent}"
    told = {"ended": "finished", "id": folder.name, "parent": parent, "parent_folder": link, "parent_steps": steps}
    manifest(**{**told, **changes}).write(folder)
    return folder
