"""
What a run that did not end left to go on with: a model, its replay and its statistics, all three of one moment.

```
rl_model_200_steps.zip  rl_model_replay_buffer_200_steps.pkl  rl_model_vecnormalize_200_steps.pkl     checkpoint
ENV.zip                 replay_buffer.pkl                     ENV/vecnormalize.pkl                    end
run.json                of the moment of the newest of them, which it tells
```
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import CheckpointCallback

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.folders import steps_of
from sb3_ext.zoo.runs.manifests import Manifest

_CHECKPOINT = re.compile(r"(.+)_(\d+)_steps\.zip", re.DOTALL)  # as SB3's `CheckpointCallback` names them


class SavedSet(NamedTuple):
    """Of one moment."""

    model: Path
    num_timesteps: int | None
    """of a checkpoint, with which it goes on counting; None = counting begins anew"""
    replay: Path | None
    statistics: Path | None
    has_own_statistics: bool = True
    """not those of its run's end"""

    def is_whole(self, needs_replay: bool, needs_statistics: bool) -> bool:
        """:return: whether all that is needed is there, and not cut off"""
        return (
            zipfile.is_zipfile(self.model)
            and (_is_whole_pickle(self.replay) or not needs_replay)
            and ((self.has_own_statistics and _is_whole_pickle(self.statistics)) or not needs_statistics)
        )


def saved_with(model: Path, env_name: str) -> SavedSet:
    """
    :param model: of a checkpoint or any other
    :param env_name: as in the names of files
    :return: with what lies beside it
    """
    replay, statistics = model.parent / "replay_buffer.pkl", model.parent / env_name / "vecnormalize.pkl"
    found = _CHECKPOINT.fullmatch(model.name)
    has_own = True
    if found is not None:
        replay = model.with_name(f"{found[1]}_replay_buffer_{found[2]}_steps.pkl")
        own = model.with_name(f"{found[1]}_vecnormalize_{found[2]}_steps.pkl")
        has_own = own.is_file()
        statistics = own if has_own else statistics
    return SavedSet(
        model,
        None if found is None else int(found[2]),
        replay if replay.is_file() else None,
        statistics if statistics.is_file() else None,
        has_own,
    )


def newest_whole(
    folder: Path, manifest: Manifest, env_name: str, needs_replay: bool, needs_statistics: bool
) -> SavedSet:
    """
    :param folder: of a run that has not finished
    :param manifest: its
    :param env_name: as in the names of files
    :param needs_replay: the algorithm learns from one
    :param needs_statistics: its observations or rewards are normalised
    :return: what to go on with
    :raises UserError: where there is nothing whole, or the run was of another environment
    """
    if not (folder / env_name).is_dir():
        raise UserError(f"{folder} has no {env_name}: it was a run of another environment")
    for found in _newest_first(folder, manifest, env_name):
        if found.is_whole(needs_replay, needs_statistics):
            return found
    parts = ["a model", *["its replay"] * needs_replay, *["its statistics"] * needs_statistics]
    flags = f"--save-freq{' and --save-replay-buffer' if needs_replay else ''}"
    models = sorted(folder.glob("rl_model_*_steps.zip"), key=lambda path: path.stat().st_mtime)
    fix = f"; without them `-i {models[-1]}` goes on" if models else ""
    raise UserError(f"{folder} has no whole set of {', '.join(parts)}: {flags} write them on the way{fix}")


def _newest_first(folder: Path, manifest: Manifest, env_name: str) -> list[SavedSet]:
    found = [saved_with(path, env_name) for path in folder.glob("*_steps.zip")]
    sets = [x for x in found if x.num_timesteps is not None]
    end = saved_with(folder / f"{env_name}.zip", env_name)
    # A manifest that tells of its steps was written after all that lies beside it.
    if manifest.ended in ("interrupted", "failed") and steps_of(end.model) == manifest.num_timesteps:
        sets.append(end._replace(num_timesteps=manifest.num_timesteps))
    return sorted(sets, key=lambda x: x.num_timesteps or 0, reverse=True)


class WholeCheckpointCallback(CheckpointCallback):
    """
    Adds: of the replays, which are as large as in memory, only the newest is kept, and only once it is whole.

    :param wrote: is called after each checkpoint, with its steps
    :param kwargs: of SB3's
    """

    def __init__(self, *, wrote: Callable[[int], None], **kwargs: Any) -> None:  # Any: SB3's, unread
        super().__init__(**kwargs)
        self._wrote = wrote

    def _on_step(self) -> bool:
        going_on = super()._on_step()
        if self.n_calls % self.save_freq == 0:
            newest = Path(self._checkpoint_path("replay_buffer_", "pkl"))
            if newest.is_file():
                for path in newest.parent.glob(f"{self.name_prefix}_replay_buffer_*_steps.pkl"):
                    if path != newest:
                        path.unlink()
            self._wrote(self.num_timesteps)
        return going_on


def _is_whole_pickle(path: Path | None) -> bool:
    """:return: whether it ends as every pickle does"""
    if path is None or not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"."
