"""
Folders of TensorBoard: each run has its own, and one that goes on shares that of the run before. SB3 counts them as
rl-zoo3 counts runs, and goes on in the latest one, whoever's it is.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.zoo.runs.folders import take_folder
from sb3_ext.zoo.runs.manifests import Manifest


def curves_of_before(run: Path, manifest: Manifest) -> str | None:
    """
    :param run: that goes on
    :param manifest: its
    :return: folder of its curves, None where it has none, or it is gone
    """
    if manifest.tensorboard is None:
        return None
    is_told_from_run = manifest.id != ""  # runs of earlier versions told it from the working directory
    folder = os.path.normpath(run / manifest.tensorboard) if is_told_from_run else manifest.tensorboard
    return folder if os.path.isdir(folder) else None


def take_curves(model: BaseAlgorithm, folder: str) -> str:
    """
    :param model: for its name
    :param folder: of the curves of all runs of this environment
    :return: a new one in it
    """
    name = inspect.signature(type(model).learn).parameters["tb_log_name"].default or type(model).__name__
    return str(take_folder(Path(folder) / f"{name}_1"))
