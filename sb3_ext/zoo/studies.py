"""Studies of Optuna that were named: whether they are there, and hold what is asked for."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER

from sb3_ext.errors import UserError, did_you_mean

SQLITE = "sqlite:///"


def check_trial(algo: str, storage: str | None, study_name: str | None, trial_id: int) -> None:
    """
    :param algo: whose settings it shall be
    :param storage: as typed; it may hold a password, and is not shown unless it is a file
    :param study_name: in it
    :param trial_id: number in it
    :raises UserError: where there is no such trial
    """
    if not storage or not study_name:
        raise UserError(f"--trial-id {trial_id} needs --storage and --study-name, of the search that tried it")
    file = storage.removeprefix(SQLITE)
    if (file != storage or storage.endswith(".log")) and not Path(file).is_file():
        raise UserError(f"--storage {storage}: there is no {file}")
    opened = opened_storage(storage)
    names = optuna.get_all_study_names(opened)
    if study_name not in names:
        raise UserError(f"--study-name {study_name}: unknown in this storage{did_you_mean(study_name, names)}")
    trials = optuna.load_study(storage=opened, study_name=study_name).trials
    if not 0 <= trial_id < len(trials):
        raise UserError(f"--trial-id {trial_id}: the study {study_name} has {len(trials)} trials, the first is 0")
    drawn = trials[trial_id].params
    try:
        HYPERPARAMS_CONVERTER[algo](dict(drawn))
    except KeyError as error:
        raise UserError(
            f"--trial-id {trial_id}: no settings of {algo}: {error} is missing among {', '.join(drawn) or 'none'}"
        ) from error


def opened_storage(storage: str) -> str | BaseStorage:
    """
    :param storage: as typed
    :return: for Optuna, as rl-zoo3 takes it
    :raises UserError: where it cannot be opened
    """
    if storage.endswith(".log"):
        return JournalStorage(JournalFileBackend(storage))
    try:
        return optuna.storages.get_storage(storage)
    except Exception as error:  # any that a database's driver may raise
        kind = storage.partition(":")[0]
        raise UserError(f"--storage {kind}:... cannot be opened: {type(error).__name__}: {error}") from error
