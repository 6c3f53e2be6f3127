"""
The learner's monitor.csv: what SB3's `Monitor` would write beside the environments, where these are elsewhere, perhaps
on other machines. Plots and reports read it as they read SB3's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor, ResultsWriter


class MonitorFile(BaseCallback):
    """
    A line for each episode of `ActorEnvs`, or any other VecEnv, when the learner gets to know that it has ended: its
    return, its steps, and seconds since training began.

    :param folder: where monitor.csv is written, in place of one that is there; a further training goes on in it
    :param env_id: noted in its first line
    :param keywords: further columns, of Monitor's ``info_keywords`` and ``reset_keywords``
    """

    def __init__(self, folder: str | os.PathLike[str], env_id: str = "", keywords: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = Path(folder) / Monitor.EXT
        self.env_id = env_id
        self.keywords = tuple(keywords)
        self._began: float | None = None
        self._writer: ResultsWriter | None = None

    def _on_training_start(self) -> None:
        goes_on = self._began is not None
        if self._began is None:
            self._began = time.time()
        header: dict[str, float | str] = {"t_start": self._began, "env_id": self.env_id}
        self._writer = ResultsWriter(str(self.path), header, self.keywords, override_existing=not goes_on)

    def _on_step(self) -> bool:
        assert self._writer is not None and self._began is not None
        for info in self.locals["infos"]:
            episode = info.get("episode")
            if episode is not None:
                seconds = round(time.time() - self._began, 6)
                columns = {key: episode[key] for key in ("r", "l", *self.keywords) if key in episode}
                self._writer.write_row({**columns, "t": seconds})
        return True

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """The file is whole after every line; a second call changes nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
