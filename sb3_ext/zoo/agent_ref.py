"""What names a trained agent, whoever asks for it: a command, a yml, code. Nothing of it is read here."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.folders import latest_run
from sb3_ext.zoo.typed_ids import name_in_folders

Which = Literal["best or last", "best", "last", "last checkpoint"] | int


@dataclass(frozen=True)
class AgentRef:
    """
    :param algo: the zoo's id
    :param env_id: as gymnasium knows it
    :param folder: log folder of the training
    :param exp_id: run in it; 0 = the latest that has the model, -1 = there is no folder for each run
    :param which: model of the run; a number is that of a checkpoint's steps
    :param path: of a zip, with the settings beside it, or of a folder of safe files; None = the log folder's
    :param env_kwargs: for the environment, over those of the training
    :param seed: of the environment
    :param device: of the networks
    """

    algo: str
    env_id: str
    folder: Path = Path("logs")
    exp_id: int = 0
    which: Which = "best or last"
    path: Path | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"

    @property
    def name(self) -> str:
        """of the environment, as in the names of files"""
        return name_in_folders(self.env_id)

    @property
    def is_safe(self) -> bool:
        """whether it is a folder of safe files, of which none can run code"""
        return self.path is not None and self.path.is_dir()

    @property
    def runs(self) -> Path:
        """folder of the runs of its algorithm"""
        return self.folder / self.algo

    @property
    def wanted(self) -> list[str]:
        """patterns of the files that are such a model, the best one first"""
        last, best = f"{glob.escape(self.name)}.zip", "best_model.zip"
        if isinstance(self.which, int):
            return [f"rl_model_{self.which}_steps.zip"]
        named = {"best or last": [best, last], "best": [best], "last": [last]}
        return named.get(self.which, ["rl_model_*_steps.zip"])

    def latest(self) -> int:
        """:return: number of the latest run that has the model, 0 = there is none"""
        return latest_run(self.runs, self.name, self.wanted)

    def zip(self) -> tuple[Path, Path]:
        """
        :return: the model, and the folder of its settings
        :raises UserError: where there is none
        """
        if self.path is not None:
            if self.path.is_file():
                return self.path, self.path.parent / self.name
            raise UserError(f"no {self.algo} agent for {self.env_id}: no {self.path}")
        run = self.runs / f"{self.name}_{self.exp_id or self.latest()}"
        folder = self.runs if self.exp_id < 0 else run
        for pattern in self.wanted:
            found = sorted(folder.glob(pattern), key=_steps_of)
            if found:
                return found[-1], folder / self.name
        missing = " and no ".join(str(folder / pattern) for pattern in self.wanted)
        raise UserError(
            f"no {self.algo} agent for {self.env_id}: no {missing}: train one with `sb3-ext train --algo {self.algo} "
            f"--env {self.env_id}`, or pass -f"
        )


def _steps_of(path: Path) -> int:
    """:return: number in the name of a checkpoint"""
    number = path.stem.removesuffix("_steps").rpartition("_")[2]
    return int(number) if number.isdigit() else 0
