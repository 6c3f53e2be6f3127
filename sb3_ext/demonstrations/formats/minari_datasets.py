"""
Minari datasets in a local folder. The package writes them, and images never with loss.

We read them ourselves: Minari makes an environment from the file's own entry point where a dataset lacks its spaces,
which runs whatever the file names, follows links out of HDF5 files, and counts nothing before it makes it.
"""

from __future__ import annotations

import inspect
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.array_spaces import subspaces
from sb3_ext.demonstrations.budget import BYTES_PER_EPISODE, Budget, RefusedError, size_on_disk
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.formats.arrays import Parts, from_parts, optional, refuse_kept, refuse_unknown
from sb3_ext.demonstrations.formats.base import Format, Option, Path, Task, is_path, is_plain
from sb3_ext.demonstrations.formats.minari_episodes import (
    FLAGS,
    Columns,
    parse_json,
    read_arrow_episodes,
    read_hdf5_episodes,
    read_json,
)
from sb3_ext.demonstrations.spaces_json import BYTES_PER_BOUND, MAX_DEPTH, space_from_json
from sb3_ext.env_ids import id_of_file
from sb3_ext.saving import write_folder_whole

DataFormat = Literal["hdf5", "arrow", "parquet"]


@dataclass(frozen=True)
class Minari(Format):
    """
    Read from this machine, nothing is downloaded. Written below Minari's root, ``minari.load_dataset`` finds it::

        save(demos, "~/.minari/datasets/cartpole/expert-v0", Minari("cartpole/expert-v0"))

    :param dataset_id: Minari's name to write, ending in ``-v0`` or another version; None = the folder's
    :param data_format: Minari's storage to write: "hdf5" needs h5py, "arrow" and "parquet" need pyarrow
    """

    name = "minari"
    about = "[Minari](https://minari.farama.org) 0.5, local folder"
    needs = 'minari; h5py, or pyarrow for `data_format="arrow"` and `"parquet"`'
    lacks = "unknown rewards, ends and final observations"
    holds_spaces = True

    dataset_id: Annotated[str | None, Option("its name, as cartpole/expert-v0 (the folder's)", writing=True)] = None
    data_format: Annotated[
        DataFormat,
        Option("its storage (hdf5)", (("hdf5", "hdf5"), ("arrow", "arrow"), ("parquet", "parquet")), writing=True),
    ] = "hdf5"

    @classmethod
    def recognises(cls, source: object) -> bool:
        """A folder or a `minari.MinariDataset`; an id is known as one by ``format="minari"`` alone."""
        if not is_path(source):
            minari = sys.modules.get("minari")
            return minari is not None and isinstance(source, minari.MinariDataset)
        folder = pathlib.Path(source).expanduser()
        return any((folder / name).is_file() for name in ("metadata.json", "data/metadata.json", "data/main_data.hdf5"))

    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """:raises ValueError: if the folder exists, the id is none, or rewards are unknown"""
        storage_module = optional("minari.dataset.minari_storage")
        optional("h5py" if self.data_format == "hdf5" else "pyarrow")
        minari = optional("minari")
        # Absolute: Minari takes a relative one for relative to the file that it writes.
        folder = pathlib.Path(path).expanduser().absolute()
        dataset_id = folder.name if self.dataset_id is None else self.dataset_id
        try:
            optional("minari.dataset.minari_dataset").parse_dataset_id(dataset_id)
        except (ValueError, TypeError):  # TypeError: Minari's own, where the version is missing
            raise ValueError(f"dataset_id {dataset_id!r} must look like 'cartpole/expert-v0'") from None
        refuse_kept(demos, "Minari")
        refuse_unknown(demos, "Minari")
        unknown = [i for i, episode in enumerate(demos.episodes) if episode.rewards is None]
        if unknown:
            raise ValueError(f"rewards: unknown in episode {unknown[0]}; Minari needs them")
        if isinstance(demos.observation_space, spaces.Dict):
            for key in demos.observation_space:
                if "/" in key:
                    raise ValueError(f"observations.{key}: Minari takes the slash for a path; rename the key")
        lossless = _lossless(storage_module, demos)
        buffers = [
            minari.data_collector.EpisodeBuffer(
                seed=episode.seed,
                observations=episode.observations,
                actions=episode.actions,
                rewards=episode.rewards,
                terminations=_at_the_end(bool(episode.terminated), len(episode)),
                truncations=_at_the_end(bool(episode.truncated), len(episode)),
            )
            for episode in demos.episodes
        ]

        def write(target: pathlib.Path) -> None:
            storage = storage_module.MinariStorage.new(
                target / "data",
                observation_space=demos.observation_space,
                action_space=demos.action_space,
                env_spec=_env_spec(demos.env_id),
                data_format=self.data_format,
                **lossless,
            )
            storage.update_metadata(
                {
                    "dataset_id": dataset_id,
                    "minari_version": minari.__version__,
                    "sb3_ext_env_id": demos.env_id,
                    "sb3_ext_versions": dict(demos.versions),
                }
            )
            storage.update_episodes(buffers)

        return write_folder_whole(folder, write)

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: see `recognises`
        """:raises ValueError: with the episode and the field, where the data set does not hold whole episodes"""
        minari = optional("minari")
        indices: Sequence[int] | None = None
        if isinstance(source, minari.MinariDataset):
            folder, indices = pathlib.Path(source.storage.data_path), [int(i) for i in source.episode_indices]
        else:
            folder = pathlib.Path(source).expanduser()
            if not folder.is_dir():
                folder = optional("minari.storage.datasets_root_dir").get_dataset_path(str(source))
            folder = folder / "data" if (folder / "data").is_dir() else folder
        if not folder.is_dir():
            raise FileNotFoundError(f"{source}: no folder, and no local dataset of Minari: get it by `minari download`")
        budget = Budget(folder, size_on_disk(folder), max_bytes)
        metadata = _read_metadata(folder, budget)
        observation_space, action_space = (
            _space(metadata, name, folder, budget) for name in ("observation_space", "action_space")
        )
        n_episodes = metadata["total_episodes"]
        budget.take((n_episodes if indices is None else len(indices)) * BYTES_PER_EPISODE, "total_episodes")
        is_jpeg = optional("minari.dataset.minari_storage").is_image_space
        if metadata.get("jpeg_encoding", True) is False:
            is_jpeg = _never
        reader = read_hdf5_episodes if metadata["data_format"] == "hdf5" else read_arrow_episodes
        episodes = reader(folder, indices or range(n_episodes), observation_space, action_space, is_jpeg, budget)
        try:
            parts = [_parts(i, episode) for i, episode in enumerate(episodes)]
            return from_parts(parts, observation_space, action_space, metadata["env_id"], metadata["versions"])
        except RefusedError:
            raise
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None


def _parts(i: int, episode: Columns) -> Parts:
    ends = []
    for flag in FLAGS:
        values = getattr(episode, flag)
        if values.shape != (len(episode.actions),) or not np.isin(values, (0, 1)).all():
            raise ValueError(f"episode {i}: {flag}: must be 0 or 1 for each of {len(episode.actions)} actions")
        if values[:-1].any():
            raise ValueError(f"episode {i}: {flag}: set before the last step")
        ends.append(bool(len(values) and values[-1]))
    # Collected steps may just stop, which `terminations` says is no terminal state: a cut.
    terminated, truncated = ends[0], ends[1] or not ends[0]
    return Parts(episode.observations, episode.actions, episode.rewards, terminated, truncated, episode.seed)


def _never(_: spaces.Space[Any]) -> bool:
    return False


def _read_metadata(folder: pathlib.Path, budget: Budget) -> dict[str, Any]:
    """:return: the checked metadata, ``env_id`` and ``versions`` among it; spaces are still text"""
    path = folder / "metadata.json"

    def refuse(name: str, why: str) -> NoReturn:
        raise RefusedError(f"{path}: {name}: {why}")

    if not path.is_file():
        raise RefusedError(f"{path}: missing; not a dataset of Minari")
    metadata = read_json(path, budget)
    if not isinstance(metadata, dict):
        raise RefusedError(f"{path}: not a dataset of Minari")
    for name in ("observation_space", "action_space", "data_format", "dataset_id", "minari_version"):
        if not isinstance(metadata.get(name), str):
            refuse(name, "missing; write it with Minari 0.4 or later")
    if metadata["data_format"] not in get_args(DataFormat):
        refuse("data_format", f"{metadata['data_format'][:100]!r} is not hdf5, arrow or parquet")
    n_episodes = metadata.get("total_episodes")
    if type(n_episodes) is not int or n_episodes < 0:
        refuse("total_episodes", f"{n_episodes!r} is no number of episodes")
    if not isinstance(metadata.get("jpeg_encoding", True), bool):
        refuse("jpeg_encoding", f"{metadata['jpeg_encoding']!r} must be true or false")
    env_id, place = metadata.get("sb3_ext_env_id"), "sb3_ext_env_id"
    if env_id is None and metadata.get("env_spec") is not None:
        env_id, place = _id_of_spec(metadata["env_spec"], path, budget), "env_spec"
    metadata["env_id"] = None if env_id is None else id_of_file(env_id, f"{path}: {place}")
    versions = metadata.get("sb3_ext_versions", {"minari": metadata["minari_version"]})
    if not isinstance(versions, dict) or not all(is_plain(x) for item in versions.items() for x in item):
        refuse("sb3_ext_versions", "must map package names to versions")
    metadata["versions"] = versions
    return metadata


def _id_of_spec(text: Any, path: pathlib.Path, budget: Budget) -> Any:  # Any: JSON
    try:
        return parse_json(text, budget, "env_spec")["id"]
    except RefusedError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise RefusedError(f"{path}: env_spec: has no id ({type(error).__name__}: {error})") from None


def _space(metadata: dict[str, Any], name: str, folder: pathlib.Path, budget: Budget) -> spaces.Space[Any]:
    place = f"{folder / 'metadata.json'}: {name}"
    try:
        data = _as_ours(parse_json(metadata[name], budget, name))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedError(f"{place}: not a space ({type(error).__name__}: {error})") from None
    return space_from_json(data, place, budget.left // BYTES_PER_BOUND)


def _as_ours(data: Any, depth: int = 0) -> Any:  # Any: JSON
    """
    :return: Minari's description of a space as `space_from_json` reads it, which checks it. The keys of a Dict stay in
        the order in which they were written, which is that of a network's features; Minari itself sorts them
    """
    if not isinstance(data, dict) or depth > MAX_DEPTH:
        return data
    if data.get("type") == "Dict":
        return {"type": "Dict", "spaces": [[key, _as_ours(x, depth + 1)] for key, x in data["subspaces"].items()]}
    if data.get("type") == "MultiBinary" and isinstance(data["n"], list):
        return {"type": "MultiBinary", "shape": data["n"], "n": None}
    return {"shape": [], **data}


def _env_spec(env_id: str | None) -> Any:
    """:return: of gymnasium's registry, None where it is not there or cannot be written as JSON"""
    spec = gym.registry.get(env_id) if env_id is not None else None
    return spec if spec is not None and isinstance(spec.entry_point, str) else None


def _lossless(storage_module: Any, demos: Demonstrations) -> dict[str, bool]:
    """:return: the keyword for lossless images. Before 0.5.4, the last for Python 3.10, images are always JPEG"""
    if "jpeg_encoding" in inspect.signature(storage_module.MinariStorage.new).parameters:
        return {"jpeg_encoding": False}
    for name, space in [*subspaces(demos.observation_space, "observations").items(), ("actions", demos.action_space)]:
        if storage_module.is_image_space(space):
            raise ValueError(f"{name}: this Minari stores images with loss; update it to 0.5.4 (Python 3.11)")
    return {}


def _at_the_end(value: bool, n_steps: int) -> np.ndarray:
    flags = np.zeros(n_steps, dtype=bool)
    flags[-1] = value
    return flags
