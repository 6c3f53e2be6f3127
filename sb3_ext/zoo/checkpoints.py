"""
What a run that did not end left to go on with: a model, its replay and its statistics, all three of one moment.

```
rl_model_200_steps.zip  rl_model_replay_buffer_200_steps.pkl  rl_model_vecnormalize_200_steps.pkl     checkpoint
ENV.zip                 replay_buffer.pkl                     ENV/vecnormalize.pkl                    end
interrupted.json        until the end: the steps that it was to make, and its actors; after Ctrl-C also those steps that
                        the end has
```
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from stable_baselines3.common.callbacks import CheckpointCallback

from sb3_ext.errors import UserError
from sb3_ext.saving import write_whole
from sb3_ext.zoo.actors import ActorSettings

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


@dataclass(frozen=True)
class Interrupted:
    """A run that has not ended: it was stopped or killed, or goes on."""

    folder: Path
    n_timesteps: int
    """that it was to make"""
    num_timesteps: int | None = None
    """that the model of its end has made; None where it could not save one"""
    tensorboard: str | None = None
    """folder of its curves"""
    actors: ActorSettings | None = None
    """that collected for it"""

    NAME: ClassVar[str] = "interrupted.json"

    def write(self) -> None:
        """Whole or not at all."""
        content = json.dumps({key: x for key, x in asdict(self).items() if key != "folder"}).encode()

        def write(file: io.BufferedIOBase) -> None:
            file.write(content)

        write_whole(self.folder / self.NAME, "json", write)

    def remove(self) -> None:
        """The run has ended."""
        (self.folder / self.NAME).unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> Interrupted:
        """
        :param folder: of the run
        :raises UserError: where no run was interrupted
        """
        path = folder / cls.NAME
        if not path.is_file():
            raise UserError(f"{folder} holds no interrupted run: there is no {path.name}; -i goes on from any model")
        try:
            data = json.loads(path.read_text())
            made = data["num_timesteps"]
            curves = data["tensorboard"]
            actors = data.get("actors")  # runs of earlier versions had none
            return cls(
                folder,
                int(data["n_timesteps"]),
                None if made is None else int(made),
                None if curves is None else str(curves),
                None if actors is None else ActorSettings(**actors),
            )
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is broken; -i goes on from any model") from None

    def newest_whole(self, env_name: str, needs_replay: bool, needs_statistics: bool) -> SavedSet:
        """
        :param env_name: as in the names of files
        :param needs_replay: the algorithm learns from one
        :param needs_statistics: its observations or rewards are normalised
        :return: what to go on with
        :raises UserError: where there is nothing whole, or the run was of another environment
        """
        if not (self.folder / env_name).is_dir():
            raise UserError(f"{self.folder} has no {env_name}: it was a run of another environment")
        for found in self._newest_first(env_name):
            if found.is_whole(needs_replay, needs_statistics):
                return found
        parts = ["a model", *["its replay"] * needs_replay, *["its statistics"] * needs_statistics]
        flags = f"--save-freq{' and --save-replay-buffer' if needs_replay else ''}"
        models = sorted(self.folder.glob("rl_model_*_steps.zip"), key=lambda path: path.stat().st_mtime)
        fix = f"; without them `-i {models[-1]}` goes on" if models else ""
        raise UserError(f"{self.folder} has no whole set of {', '.join(parts)}: {flags} write them on the way{fix}")

    def _newest_first(self, env_name: str) -> Iterator[SavedSet]:
        if self.num_timesteps is not None:
            yield saved_with(self.folder / f"{env_name}.zip", env_name)._replace(num_timesteps=self.num_timesteps)
        sets = [saved_with(path, env_name) for path in self.folder.glob("*_steps.zip")]
        yield from sorted(
            (found for found in sets if found.num_timesteps is not None),
            key=lambda x: x.num_timesteps or 0,
            reverse=True,
        )


class WholeCheckpointCallback(CheckpointCallback):
    """Adds: of the replays, which are as large as in memory, only the newest is kept, and only once it is whole."""

    def _on_step(self) -> bool:
        going_on = super()._on_step()
        newest = Path(self._checkpoint_path("replay_buffer_", "pkl"))
        if self.n_calls % self.save_freq == 0 and newest.is_file():
            for path in newest.parent.glob(f"{self.name_prefix}_replay_buffer_*_steps.pkl"):
                if path != newest:
                    path.unlink()
        return going_on


def _is_whole_pickle(path: Path | None) -> bool:
    """:return: whether it ends as every pickle does"""
    if path is None or not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"."
