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
    True       neither                                 terminated

The last two lines matter: `imitation.data.rollout` throws infos away unless told otherwise.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations, Episode
from sb3_ext.demonstrations.formats.arrays import from_arrays, optional, refuse_kept, refuse_unknown
from sb3_ext.saving import write_folder_whole

INSTALL_IMITATION = "pip install --no-deps imitation==1.0.1"


def from_trajectories(
    trajectories: Sequence[Any],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
) -> Demonstrations:
    """
    :param trajectories: `imitation.data.types.Trajectory` or `TrajectoryWithRew`, or anything with their attributes
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: to write down; its time limit tells cuts from terminations where infos do not
    :raises ValueError: with the episode and the field
    """
    rewards = [getattr(trajectory, "rews", None) for trajectory in trajectories]
    with_rewards = [values is not None for values in rewards]
    if any(with_rewards) and not all(with_rewards):
        raise ValueError(f"rews: in {sum(with_rewards)} of {len(rewards)} trajectories; all or none must have them")
    infos = [_last_info(trajectory.infos) for trajectory in trajectories]
    ends = [
        _ends(bool(trajectory.terminal), info, len(trajectory.acts), env_id)
        for trajectory, info in zip(trajectories, infos, strict=True)
    ]
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
) -> Demonstrations:
    """
    Read a folder of `imitation.data.serialize.save`. Neither `imitation` nor `datasets` nor jsonpickle is needed.

    :param path: of the folder
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: see `from_trajectories`
    :raises ValueError: with the folder, the episode and the field
    """
    pa = optional("pyarrow")
    folder = pathlib.Path(path)
    if not folder.is_dir():
        if folder.exists():
            raise ValueError(f"{folder}: imitation's older .npz and .pkl files run code; save them anew as a folder")
        raise FileNotFoundError(f"{folder}: no such folder")
    trajectories = []
    try:
        for file in _data_files(folder):
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    trajectories += [_ReadTrajectory(pa, batch, row) for row in range(batch.num_rows)]
        return from_trajectories(trajectories, observation_space, action_space, env_id)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{folder}: {error}") from None


class _ReadTrajectory:
    """One row of the table, with `Trajectory`'s attributes."""

    def __init__(self, pa: Any, batch: Any, row: int) -> None:
        for name in ("obs", "acts", "infos", "terminal"):
            if name not in batch.schema.names:
                raise ValueError(f"{name}: missing; the columns are {batch.schema.names}")
        self.obs = _nested(pa, batch, "obs", row)
        self.acts = _nested(pa, batch, "acts", row)
        self.rews = _nested(pa, batch, "rews", row) if "rews" in batch.schema.names else None
        self.terminal = batch.column("terminal")[row].as_py()
        infos = batch.column("infos")[row]
        self.infos = [infos.values[-1].as_py()] if infos.is_valid and len(infos.values) else None


def _nested(pa: Any, batch: Any, name: str, row: int) -> np.ndarray:
    """:return: lists of lists of numbers as one array; all of a depth have one length"""
    column = batch.column(name)
    # An extension type of `datasets`, if that is imported; else Arrow sees what lies below.
    values = (column.storage if isinstance(column.type, pa.BaseExtensionType) else column).slice(row, 1)
    shape = []
    while hasattr(values.type, "value_type"):
        if values.null_count:
            raise ValueError(f"{name}: a list is missing")
        inner = values.flatten()
        if len(values) == 0 or len(inner) % len(values):
            raise ValueError(f"{name}: lists of different lengths in row {row}")
        lengths = set(values.value_lengths().to_pylist()) if hasattr(values, "value_lengths") else set()
        if len(lengths) > 1:
            raise ValueError(f"{name}: lists of different lengths in row {row}")
        shape.append(len(inner) // len(values))
        values = inner
    if values.null_count:
        raise ValueError(f"{name}: a number is missing in row {row}")
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
        raise ValueError(f"{name}: {values.type} in row {row}; numbers are needed")
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _data_files(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        state = json.loads((folder / "state.json").read_text())
        names = [entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
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


def _ends(terminal: bool, info: Mapping[str, Any], n_steps: int, env_id: str | None) -> tuple[bool, bool]:
    """:return: terminated, truncated; the table is above"""
    flags = {name: info.get(name) for name in ("terminated", "truncated", "TimeLimit.truncated")}
    known = {name: bool(value) for name, value in flags.items() if isinstance(value, bool | np.bool_)}
    if not terminal:
        return False, True
    if {"terminated", "truncated"} <= known.keys():
        return known["terminated"], known["truncated"]
    if "TimeLimit.truncated" in known:
        return not known["TimeLimit.truncated"], known["TimeLimit.truncated"]
    spec = gym.registry.get(env_id) if env_id is not None else None
    cut = spec is not None and spec.max_episode_steps == n_steps
    return not cut, cut


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
    return value if type(value) is int else None
