"""What ends a training that is nothing in the code: a full disk, a dead worker, actors that fail. Each has its line."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.distributed.faults import ActorsFailed
from sb3_ext.zoo.workers import deaths

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def trouble_of(error: OSError | EOFError | ActorsFailed, envs: Iterable[VecEnv | None], folder: str) -> str:
    """
    :param error: that ended training
    :param envs: of training and evaluation
    :param folder: of the run
    :return: in a line, why training ended, where that is nothing in the code
    :raises OSError: or `EOFError`, the same, for any other reason
    """
    if isinstance(error, ActorsFailed):
        return str(error)
    dead = [line for env in envs for line in deaths(env)]
    if dead:
        return "; ".join(dead)
    if is_about_the_disk(error, folder):
        assert isinstance(error, OSError)
        return f"{error.strerror}{f', writing {error.filename}' if error.filename else ''}"
    raise error


def is_about_the_disk(error: Exception, folder: str) -> bool:
    """
    :param error: any
    :param folder: of the run
    :return: whether the disk is full, or does not let a file of this run be written
    """
    if not isinstance(error, OSError):
        return False
    is_ours = isinstance(error.filename, str) and Path(folder) in Path(error.filename).parents
    return is_ours or error.errno in DISK_FULL
