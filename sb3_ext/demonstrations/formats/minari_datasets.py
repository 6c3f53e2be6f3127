"""
Minari datasets in a local folder, read and written by the package itself. Images are never compressed with loss.

Minari makes an environment from the file's own entry point where a dataset lacks its spaces, and that runs whatever the
file names. Such a dataset is refused before Minari sees it.
"""

from __future__ import annotations

import inspect
import json
import os
import pathlib
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations, subspaces
from sb3_ext.demonstrations.formats.arrays import from_arrays, optional, refuse_kept, refuse_unknown
from sb3_ext.saving import write_folder_whole


def write_minari(
    demos: Demonstrations,
    path: str | os.PathLike[str],
    dataset_id: str | None = None,
    data_format: str = "hdf5",
) -> pathlib.Path:
    """
    Write the folder of a Minari dataset. Below Minari's root ``minari.load_dataset`` finds it by its id::

        write_minari(demos, "~/.minari/datasets/cartpole/expert-v0", "cartpole/expert-v0")

    :param demos: what to write; rewards must be known
    :param path: of the new folder
    :param dataset_id: Minari's name, ending in ``-v0`` or another version; default: the folder's name
    :param data_format: Minari's storage: "hdf5" needs h5py, "arrow" and "parquet" need pyarrow
    :return: the folder
    :raises ValueError: if the folder exists, the id is none, or the format has no place for something
    """
    storage_module = optional("minari.dataset.minari_storage")
    optional("h5py" if data_format == "hdf5" else "pyarrow")
    minari = optional("minari")
    # Absolute: Minari takes a relative one for relative to the file that it writes.
    folder = pathlib.Path(path).expanduser().absolute()
    dataset_id = folder.name if dataset_id is None else dataset_id
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
            data_format=data_format,
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


def read_minari(source: Any) -> Demonstrations:
    """
    Read a dataset that is on this machine; nothing is downloaded.

    :param source: a `minari.MinariDataset`, its folder, or the id of one below Minari's root
    :raises ValueError: with the episode and the field, where the dataset does not hold whole episodes
    """
    minari = optional("minari")
    if isinstance(source, minari.MinariDataset):
        return _demonstrations(source)
    folder = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        folder = optional("minari.storage.datasets_root_dir").get_dataset_path(str(source))
    folder = folder / "data" if (folder / "data").is_dir() else folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{source}: no folder and no local dataset of Minari; get it with `minari download`")
    _check_metadata(folder)
    try:
        return _demonstrations(minari.MinariDataset(folder))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    except (OSError, KeyError, IndexError, AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(f"{folder}: not a dataset of Minari, or cut short ({type(error).__name__}: {error})") from None


def _demonstrations(dataset: Any) -> Demonstrations:
    metadata = dataset.storage.metadata
    episodes = list(dataset.iterate_episodes())
    seeds = [_seed(more) for more in dataset.storage.get_episode_metadata(dataset.episode_indices)]
    terminated, truncated = [], []
    for i, episode in enumerate(episodes):
        for flag in ("terminations", "truncations"):
            if np.any(getattr(episode, flag)[:-1]):
                raise ValueError(f"episode {i}: {flag}: set before the last step")
        terminated.append(bool(len(episode) and episode.terminations[-1]))
        # Collected steps may just stop: that is a cut.
        truncated.append(bool(len(episode) and episode.truncations[-1]) or not terminated[-1])
    env_id = metadata.get("sb3_ext_env_id") or (dataset.env_spec.id if dataset.env_spec is not None else None)
    versions = metadata.get("sb3_ext_versions")
    return from_arrays(
        [episode.observations for episode in episodes],
        [episode.actions for episode in episodes],
        [episode.rewards for episode in episodes],
        terminated=terminated,
        truncated=truncated,
        observation_space=_in_written_order(dataset),
        action_space=dataset.action_space,
        env_id=env_id,
        seeds=seeds,
        versions={"minari": str(dataset.minari_version)} if versions is None else versions,
    )


def _in_written_order(dataset: Any) -> spaces.Space[Any]:
    """Minari sorts the keys of a Dict when it reads; a network's features lie in the order of the environment."""
    space = dataset.observation_space
    if not isinstance(space, spaces.Dict):
        return space
    written = json.loads(dataset.storage.read_raw_metadata(dataset.storage.data_path)["observation_space"])
    return spaces.Dict([(key, space[key]) for key in written["subspaces"]])


def _check_metadata(folder: pathlib.Path) -> None:
    path = folder / "metadata.json"
    try:
        metadata = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: missing; not a dataset of Minari") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    for name in ("observation_space", "action_space", "data_format", "dataset_id", "minari_version"):
        if not isinstance(metadata, dict) or not isinstance(metadata.get(name), str):
            raise ValueError(f"{path}: {name}: missing; write it with Minari 0.4 or later")


def _seed(metadata: Any) -> int | None:
    seed = metadata.get("seed")
    return None if seed is None else int(seed)


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
