"""
The `imitation` package: its `Trajectory` objects, and the folders that its `serialize.save` writes.

`imitation` keeps `infos` as jsonpickle text, which runs code when it is decoded. It never is here: the last info of an
episode is read as plain JSON, and only for how the episode ended.

`terminal=True` says that the episode is whole, by termination or by time limit::

    terminal   last info                               here
    False                                              truncated
    True       "terminated", "truncated" (ours)        as they say
    True       "TimeLimit.truncated"                   truncated if true, else terminated
    True       neither, length = time limit of env_id  truncated
    True       neither, shorter than it                terminated
    True       neither, and no time limit is known     as ``terminated=`` says; without it the reader asks

The last three lines matter: `imitation.data.rollout` throws infos away unless told otherwise.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
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
from sb3_ext.demonstrations.formats.arrays import from_arrays, optional, refuse_kept, refuse_unknown
from sb3_ext.demonstrations.formats.arrow import arrow_errors, numbers, read_batches
from sb3_ext.demonstrations.formats.ends import CUT, End, Terminated, ends_of, time_limit
from sb3_ext.saving import write_folder_whole

INSTALL_IMITATION = "pip install --no-deps imitation==1.0.1"


def from_trajectories(
    trajectories: Sequence[Any],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    terminated: Terminated | None = None,
) -> Demonstrations:
    """
    :param trajectories: `imitation.data.types.Trajectory` or `TrajectoryWithRew`, or anything with their attributes
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: to write down; its time limit tells cuts from terminations where infos do not
    :param terminated: how those ended whose infos do not say, see `sb3_ext.demonstrations.formats.ends`; default: by
        the time limit of ``env_id``, if gymnasium knows it
    :raises ValueError: with the episode and the field; also where nobody says how the episodes ended
    """
    rewards = [getattr(trajectory, "rews", None) for trajectory in trajectories]
    with_rewards = [values is not None for values in rewards]
    if any(with_rewards) and not all(with_rewards):
        raise ValueError(f"rews: in {sum(with_rewards)} of {len(rewards)} trajectories; all or none must have them")
    infos = [_last_info(trajectory.infos) for trajectory in trajectories]
    ends = _ends(trajectories, infos, env_id, terminated)
    return from_arrays(
        # DictObs is no dictionary, but has its items.
        [dict(t.obs.items()) if hasattr(t.obs, "items") else t.obs for t in trajectories],
        [trajectory.acts for trajectory in trajectories],
        rewards if all(with_rewards) else None,
        terminated=[terminated for terminated, _ in ends],
        truncated=[truncated for _, truncated in ends],
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        seeds=[_integer(info.get("seed")) for info in infos],
    )


def to_trajectories(demos: Demonstrations) -> list[Any]:
    """
    :param demos: whole episodes
    :return: `TrajectoryWithRew` where rewards are known, else `Trajectory`; the last info says how the episode ended
    :raises ImportError: without the `imitation` package
    """
    refuse_kept(demos, "imitation's format")
    refuse_unknown(demos, "imitation's format")
    try:
        types = optional("imitation.data.types")
    except ImportError as error:
        raise ImportError(f"imitation is needed here ({error}): {INSTALL_IMITATION}") from error
    trajectories = []
    for episode in demos.episodes:
        common = dict(
            obs=types.maybe_wrap_in_dictobs(episode.observations),
            acts=episode.actions,
            infos=np.array([{}] * (len(episode) - 1) + [_info(episode)], dtype=object),
            terminal=True,
        )
        if episode.rewards is None:
            trajectories.append(types.Trajectory(**common))
        else:
            trajectories.append(types.TrajectoryWithRew(**common, rews=_floats(episode.rewards)))
    return trajectories


def write_imitation(demos: Demonstrations, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    Write the folder that `imitation.data.serialize.load` reads. Neither `imitation` nor `datasets` is needed.

    :param demos: what to write; the format has no place for Dict observations
    :param path: of the new folder
    :return: the folder
    :raises ValueError: if the folder exists, or the format has no place for something
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


def read_imitation(
    path: str | os.PathLike[str],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    terminated: Terminated | None = None,
    max_bytes: int | None = None,
) -> Demonstrations:
    """
    Read a folder of `imitation.data.serialize.save`. Neither `imitation` nor `datasets` nor jsonpickle is needed.

    :param path: of the folder
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: see `from_trajectories`
    :param terminated: see `from_trajectories`
    :param max_bytes: that reading may make, None = by the folder's size
    :raises ValueError: with the folder, the episode and the field
    """
    optional("pyarrow")
    folder = pathlib.Path(path)
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
        return from_trajectories(trajectories, observation_space, action_space, env_id, terminated)
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


def _last_info(infos: Any) -> Mapping[str, Any]:
    """:return: the last step's info, empty where it is unknown"""
    # What `serialize.load` returns decodes an item with jsonpickle as soon as it is looked at; below lies the text.
    infos = getattr(infos, "_encoded_list", infos)
    if not isinstance(infos, list | tuple | np.ndarray) or len(infos) == 0:
        return {}
    last = infos[-1]
    if isinstance(last, str):
        try:
            last = json.loads(last)
        except (ValueError, RecursionError):
            return {}
    return last if isinstance(last, Mapping) else {}


def _ends(
    trajectories: Sequence[Any], infos: Sequence[Mapping[str, Any]], env_id: str | None, terminated: Terminated | None
) -> list[End]:
    """:return: of each; the table is above"""
    ends = [_written_end(bool(t.terminal), info) for t, info in zip(trajectories, infos, strict=True)]
    lengths = [len(t.acts) for t, end in zip(trajectories, ends, strict=True) if end is None]
    if lengths and terminated is None and time_limit(env_id) is not None:
        terminated = "time_limit"
    where = (
        f"the infos of {len(lengths)} of {len(ends)} trajectories do not say how they ended, and gymnasium knows no "
    )
    where += f"time limit of env_id {env_id!r}"
    said = iter(ends_of(terminated, lengths, env_id, where) if lengths else [])
    return [next(said) if end is None else end for end in ends]


def _written_end(terminal: bool, info: Mapping[str, Any]) -> End | None:
    """:return: None where nothing is written"""
    flags = {name: info.get(name) for name in ("terminated", "truncated", "TimeLimit.truncated")}
    known = {name: bool(value) for name, value in flags.items() if isinstance(value, bool | np.bool_)}
    if not terminal:
        return CUT
    if {"terminated", "truncated"} <= known.keys():
        return known["terminated"], known["truncated"]
    if "TimeLimit.truncated" in known:
        return not known["TimeLimit.truncated"], known["TimeLimit.truncated"]
    return None


def _info(episode: Episode) -> dict[str, Any]:
    return {
        "TimeLimit.truncated": episode.truncated and not episode.terminated,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        **({} if episode.seed is None else {"seed": int(episode.seed)}),
    }


def _row(episode: Episode) -> dict[str, Any]:
    infos = ["{}"] * (len(episode) - 1) + [json.dumps(_info(episode))]
    row = {"obs": episode.observations, "acts": episode.actions, "infos": infos, "terminal": True}
    return row if episode.rewards is None else {**row, "rews": _floats(episode.rewards)}


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


def _floats(rewards: np.ndarray) -> np.ndarray:
    """imitation refuses integers."""
    return rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)


def _integer(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
