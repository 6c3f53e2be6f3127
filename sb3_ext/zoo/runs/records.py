"""The manifest of a run that is under way: written when it begins, after each checkpoint, and when it ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sb3_ext.errors import UserError
from sb3_ext.exchange.redaction import redacted, redacted_arguments
from sb3_ext.versions import package_versions, version_of
from sb3_ext.zoo.actors import ActorSettings
from sb3_ext.zoo.runs.manifests import EARLIER, Ended, Manifest, commit_here, path_between, utc_now


class RunRecord:
    """
    It costs no step of training: what it does, it does where a model is saved.

    :param folder: of the run
    :param algorithm: the zoo's id
    :param env_id: as gymnasium knows it
    :param seed: of the run
    :param n_timesteps: planned
    :param num_timesteps: with which training begins, 0 = from the beginning
    :param model: that it begins with, if any
    :param command: that was typed
    :param tensorboard: folder of its curves
    :param actors: that collect for it
    """

    def __init__(
        self,
        folder: Path,
        *,
        algorithm: str,
        env_id: str,
        seed: int,
        n_timesteps: int,
        num_timesteps: int,
        model: Path | None,
        command: Sequence[str],
        tensorboard: str | None,
        actors: ActorSettings | None,
    ) -> None:
        parent = None if model is None or not _is_run(model.parent) else model.parent
        self.folder = folder
        self._cpu_before = _cpu_seconds()
        self.manifest = Manifest(
            id=uuid.uuid4().hex,
            algorithm=algorithm,
            env_id=env_id,
            seed=seed,
            n_timesteps=n_timesteps,
            num_timesteps=num_timesteps,
            parent=None if parent is None else _id_of(parent),
            parent_folder=None if parent is None else path_between(folder, parent),
            parent_steps=0 if parent is None else num_timesteps,
            ended="running",
            trouble=None,
            command=shlex.join(redacted_arguments(command)),
            versions=package_versions() | {"rl_zoo3": version_of("rl_zoo3") or "unknown"},
            commit=commit_here(),
            began=utc_now(),
            ended_at=None,
            cpu_seconds=0.0,
            tensorboard=tensorboard and (path_between(folder, Path(tensorboard)) or tensorboard),
            actors=actors,
        )
        self.manifest.write(folder)

    def saved(self, num_timesteps: int) -> None:
        """:param num_timesteps: of the checkpoint that was written"""
        self._write(replace(self.manifest, num_timesteps=num_timesteps))

    def ended(self, ended: Ended, num_timesteps: int, trouble: str | None = None) -> None:
        """
        :param ended: how
        :param num_timesteps: of what was saved
        :param trouble: that ended it
        """
        told = None if trouble is None else redacted(trouble)
        now = replace(self.manifest, ended=ended, num_timesteps=num_timesteps, trouble=told, ended_at=utc_now())
        self._write(now.without_machine() if ended == "finished" else now)

    def failed(self, error: BaseException) -> None:
        """
        What was saved before is what there is.

        :param error: that ended it
        """
        said = " ".join(str(error).split())[:300]
        trouble = said if isinstance(error, UserError) else f"{type(error).__name__}{': ' if said else ''}{said}"
        how: Ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(OSError):  # the disk may be full, and the error on its way says more
            self.ended(how, self.manifest.num_timesteps, None if how == "interrupted" else trouble)

    def _write(self, manifest: Manifest) -> None:
        self.manifest = replace(manifest, cpu_seconds=round(_cpu_seconds() - self._cpu_before, 2))
        self.manifest.write(self.folder)


def _is_run(folder: Path) -> bool:
    """:return: whether a model in it was trained there: it has a manifest, or settings"""
    return (folder / EARLIER).is_file() or _id_of(folder) is not None or any(folder.glob("*/args.yml"))


def _id_of(folder: Path) -> str | None:
    try:
        manifest = Manifest.read(folder)
    except UserError:  # any model may be gone on with
        return None
    return None if manifest is None else manifest.id


def _cpu_seconds() -> float:
    """:return: of this process, and of its children that have ended"""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
