"""
The folders that `serialize.save` of the package `imitation` writes, which are Hugging Face's `datasets`. How an episode
ended is read from its last info alone, see `sb3_ext.demonstrations.formats.trajectories`.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.budget import (
    BYTES_PER_CHARACTER,
    BYTES_PER_EPISODE,
    Budget,
    RefusedError,
    size_on_disk,
)
from sb3_ext.demonstrations.data import Demonstrations, Episode
from sb3_ext.demonstrations.formats.arrays import optional, refuse_kept, refuse_unknown
from sb3_ext.demonstrations.formats.arrow import arrow_errors, numbers, read_batches
from sb3_ext.demonstrations.formats.base import Format, Path, Task, is_path
from sb3_ext.demonstrations.formats.ends import TerminatedOption, check_terminated
from sb3_ext.demonstrations.formats.trajectories import as_floats, from_trajectories, last_info_of
from sb3_ext.saving import write_folder_whole

OF_DATASETS = ("dataset_info.json", "dataset_dict.json", "state.json")  # files in a folder of that package


@dataclass(frozen=True)
class Imitation(Format):
    """
    See above. Neither `imitation` nor `datasets` nor jsonpickle is needed. Lists of `Trajectory` are read too.

    :param terminated: how those ended whose infos do not say, see `sb3_ext.demonstrations.formats.ends`; None = by the
        time limit of the task's ``env_id``, if gymnasium knows it
    """

    name = "imitation"
    about = "[imitation](https://imitation.readthedocs.io) 1.0 folder, or its `Trajectory` objects in a list (read)"
    needs = "pyarrow (not imitation, not datasets)"
    lacks = "spaces, versions, Dict observations, unknown ends and final observations"

    terminated: TerminatedOption = None

    def __post_init__(self) -> None:
        check_terminated(self.terminated)

    @classmethod
    def recognises(cls, source: object) -> bool:
        """Parquet and splits of data sets too, whose error says how to get at what is in them."""
        if not is_path(source):
            first = source[0] if isinstance(source, Sequence) and len(source) else None
            return hasattr(first, "obs") and hasattr(first, "acts")
        place = pathlib.Path(source)
        return place.suffix in (".parquet", ".pkl") or any((place / name).is_file() for name in OF_DATASETS)

    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """
        Write the folder that `imitation.data.serialize.load` reads.

        :raises ValueError: if the folder exists, or the format has no place for something, as for a Dict
        """
        pa = optional("pyarrow")
        refuse_kept(demos, "imitation's format")
        refuse_unknown(demos, "imitation's format")
        if isinstance(demos.observation_space, spaces.Dict):
            raise ValueError("observations: imitation's folders have no place for a Dict")
        with_rewards = [episode.rewards is not None for episode in demos.episodes]
        if any(with_rewards) and not all(with_rewards):
            raise ValueError("rewards: known in some episodes only; imitation's folders have them in all or in none")

        rows = [_row(episode) for episode in demos.episodes]
        features = {name: _feature(value) for name, value in rows[0].items()}
        columns = {name: _arrow_type(pa, value) for name, value in rows[0].items()}
        # Hugging Face's `datasets` reads its own description of the columns from here.
        schema = pa.schema(list(columns.items()), {"huggingface": json.dumps({"info": {"features": features}})})
        name = "data-00000-of-00001.arrow"

        def write(folder: pathlib.Path) -> None:
            with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
                for row in rows:  # a batch each: offsets have 32 bits
                    arrays = [_arrow_array(pa, row[column], kind) for column, kind in columns.items()]
                    writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
            state: dict[str, Any] = {
                "_data_files": [{"filename": name}],
                "_fingerprint": "0" * 16,
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": None,
            }
            (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
            (folder / "state.json").write_text(json.dumps(state, indent=2))

        return write_folder_whole(path, write)

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: see `recognises`
        """:raises ValueError: with the folder, the episode and the field"""
        observation_space, action_space, env_id = self.task_of(source, task)
        if not is_path(source):
            return from_trajectories(source, observation_space, action_space, env_id, self.terminated)
        optional("pyarrow")
        folder = pathlib.Path(source)
        _check_layout(folder)
        budget = Budget(folder, size_on_disk(folder), max_bytes)
        sizes = {
            name: space.dtype.itemsize
            for name, space in (("obs", observation_space), ("acts", action_space))
            if space.dtype is not None
        }
        trajectories = []
        try:
            for file in _data_files(folder, budget):
                for batch in read_batches(file):
                    budget.take(batch.num_rows * BYTES_PER_EPISODE, file.name)
                    with arrow_errors(file):
                        trajectories += [_ReadTrajectory(batch, row, sizes, budget) for row in range(batch.num_rows)]
            return from_trajectories(trajectories, observation_space, action_space, env_id, self.terminated)
        except RefusedError:
            raise
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None


def _check_layout(folder: pathlib.Path) -> None:
    """What people give in its place is refused with what to do."""
    as_one = 'd.save_to_disk("folder")'
    if folder.suffix == ".parquet" or (folder.is_dir() and not (folder / "state.json").exists() and _parquets(folder)):
        where = "" if folder.is_file() else f" ({_parquets(folder)[0].name}, ...)"
        raise ValueError(
            f"{folder}: parquet{where} is not what imitation saves; with the package datasets: "
            f'd = datasets.load_dataset("parquet", data_files=...)["train"]; {as_one}, and read that folder'
        )
    if folder.is_file():
        raise ValueError(f"{folder}: imitation's older .npz and .pkl files run code; save them anew as a folder")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(part.parent.name for part in folder.glob("*/state.json"))
        raise ValueError(
            f"{folder}: a DatasetDict with the splits {', '.join(splits) or '(none)'}; read one of them, as "
            f"{folder / (splits[0] if splits else 'train')}"
        )


def _parquets(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.rglob("*.parquet"))


class _ReadTrajectory:
    """One row of the table, with `Trajectory`'s attributes."""

    def __init__(self, batch: Any, row: int, sizes: dict[str, int], budget: Budget) -> None:  # Any: of pyarrow
        for name in ("obs", "acts", "infos", "terminal"):
            if name not in batch.schema.names:
                raise RefusedError(f"{budget.path}: {name}: missing; the columns are {batch.schema.names}")
        columns = {name: batch.column(name) for name in ("obs", "acts", "rews") if name in batch.schema.names}
        try:
            read = {name: numbers(column, name, row) for name, column in columns.items()}
        except ValueError as error:
            raise RefusedError(f"{budget.path}: {error}") from None
        for name, array in read.items():
            budget.take(array.size * sizes.get(name, 0), name)  # what it is cast to
        self.obs, self.acts, self.rews = read["obs"], read["acts"], read.get("rews")
        self.terminal = batch.column("terminal")[row].as_py()
        if not isinstance(self.terminal, bool):
            raise RefusedError(f"{budget.path}: terminal: {self.terminal!r} in row {row}; true or false is needed")
        infos = batch.column("infos")[row]
        values = getattr(infos, "values", None)
        self.infos = [values[-1].as_py()] if values is not None and len(values) else None


def _data_files(folder: pathlib.Path, budget: Budget) -> list[pathlib.Path]:
    path = folder / "state.json"
    try:
        budget.take(path.stat().st_size * BYTES_PER_CHARACTER, "state.json")
        state = json.loads(path.read_text())
        names = [entry["filename"] for entry in state["_data_files"]]
    except RefusedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"state.json: cannot be read ({error}); not a folder of imitation") from None
    for name in names:
        if not isinstance(name, str) or pathlib.PurePath(name).name != name:
            raise ValueError(f"state.json: _data_files: {name!r} is not a file of this folder")
    return [folder / name for name in names]


def _row(episode: Episode) -> dict[str, Any]:
    infos = ["{}"] * (len(episode) - 1) + [json.dumps(last_info_of(episode))]
    row = {"obs": episode.observations, "acts": episode.actions, "infos": infos, "terminal": True}
    return row if episode.rewards is None else {**row, "rews": as_floats(episode.rewards)}


def _feature(value: Any) -> Any:
    """:return: the column as `datasets` describes it; "Sequence" is known to its old and new releases"""
    if isinstance(value, bool):
        return {"dtype": "bool", "_type": "Value"}
    dtype, depth = (str(value.dtype), value.ndim) if isinstance(value, np.ndarray) else ("string", 1)
    feature: Any = {"dtype": dtype, "_type": "Value"}
    for _ in range(depth):
        feature = {"feature": feature, "_type": "Sequence"}
    return feature


def _arrow_type(pa: Any, value: Any) -> Any:
    if isinstance(value, bool):
        return pa.bool_()
    kind, depth = (pa.from_numpy_dtype(value.dtype), value.ndim) if isinstance(value, np.ndarray) else (pa.string(), 1)
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def _arrow_array(pa: Any, value: Any, kind: Any) -> Any:
    """:return: a column of one row"""
    if not isinstance(value, np.ndarray):
        return pa.array([value], kind)
    inner = pa.array(value.reshape(-1))
    for axis in reversed(range(value.ndim)):
        size = value.shape[axis]
        n_lists = int(np.prod(value.shape[:axis]))
        inner = pa.ListArray.from_arrays(np.arange(n_lists + 1, dtype=np.int32) * size, inner)
    return inner.cast(kind)
