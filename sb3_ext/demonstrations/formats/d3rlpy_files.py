"""
d3rlpy's HDF5 files: `ReplayBuffer.dump` (2.x) and the `MDPDataset` of 1.x.

Both have T observations for T actions. Our writer adds two arrays per episode that d3rlpy does not look at
(``final_observation_i``, ``truncated_i``), with which nothing of an episode is lost but its seed.
"""

from __future__ import annotations

import io
import os
import pathlib
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.formats.arrays import (
    FinalObservation,
    as_numbers,
    from_arrays,
    optional,
    refuse_kept,
    refuse_unknown,
    without_final,
)
from sb3_ext.saving import write_whole

VERSION = "2.1"  # d3rlpy.dataset.io.DATASET_VERSION, 2.0.3 to 2.8.1


def write_d3rlpy(demos: Demonstrations, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    :param demos: what to write; Dict observations and unknown rewards have no place in the format
    :param path: where; ``.h5`` is added where there is no suffix
    :return: the path with its suffix
    """
    h5py = optional("h5py")
    refuse_kept(demos, "d3rlpy's format")
    refuse_unknown(demos, "d3rlpy's format", final=False)
    if isinstance(demos.observation_space, spaces.Dict):
        raise ValueError("observations: d3rlpy's format has no place for a Dict")
    unknown = [i for i, episode in enumerate(demos.episodes) if episode.rewards is None]
    if unknown:
        raise ValueError(f"rewards: unknown in episode {unknown[0]}; d3rlpy's format needs them")
    path = pathlib.Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.h5")

    def write(target: io.BufferedIOBase) -> None:
        memory = io.BytesIO()  # HDF5 reads what it wrote, and the target can only be written
        with h5py.File(memory, "w") as file:
            file["columns"] = ["observations", "actions", "rewards", "terminated"]
            file["num_episodes"] = len(demos)
            file["version"] = VERSION
            for i, episode in enumerate(demos.episodes):
                assert isinstance(episode.observations, np.ndarray) and episode.rewards is not None
                file[f"observations_{i}"] = _column(episode.observations[: len(episode)])
                file[f"actions_{i}"] = _column(episode.actions)
                file[f"rewards_{i}"] = _column(episode.rewards)
                file[f"terminated_{i}"] = episode.terminated
                if episode.final_known:
                    file[f"final_observation_{i}"] = _column(episode.observations[-1:])
                file[f"truncated_{i}"] = episode.truncated
        target.write(memory.getbuffer())

    write_whole(path, "h5", write)
    return path


def read_d3rlpy(
    path: str | os.PathLike[str],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    final_observation: FinalObservation = "drop",
) -> Demonstrations:
    """
    Read a file of d3rlpy 1 or 2.

    :param path: of the file
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: to write down
    :param final_observation: what to do about the last observation where the file lacks it, see `FinalObservation`
    :raises ValueError: with the file and the field
    """
    h5py = optional("h5py")
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            read = _read_v2 if "columns" in file else _read_v1
            episodes = read(file, observation_space, action_space, final_observation)
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not a dataset of d3rlpy, or cut short ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # Of an episode of one step, "drop" leaves none.
    episodes = [episode for episode in episodes if len(episode[1])]
    try:
        return from_arrays(
            [episode[0] for episode in episodes],
            [episode[1] for episode in episodes],
            [episode[2] for episode in episodes],
            terminated=[episode[3] for episode in episodes],
            truncated=[episode[4] for episode in episodes],
            observation_space=observation_space,
            action_space=action_space,
            env_id=env_id,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


Parts = tuple[np.ndarray, np.ndarray, Any, bool, bool]  # observations, actions, rewards, terminated, truncated


def _read_v2(file: Any, obs_space: Any, action_space: Any, final_observation: FinalObservation) -> list[Parts]:
    version = file["version"][()]
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version != VERSION:
        raise ValueError(f"version: {version!r}; only {VERSION} is known")
    episodes: list[Parts] = []
    for i in range(int(file["num_episodes"][()])):
        if f"observations_{i}_0" in file:
            raise ValueError(f"observations_{i}_0: a tuple of observations; one array per episode is needed")
        actions = _array(file, f"actions_{i}", action_space)
        observations = _array(file, f"observations_{i}", obs_space)
        rewards = as_numbers(file[f"rewards_{i}"][()], f"rewards_{i}").reshape(-1)
        terminated = bool(file[f"terminated_{i}"][()])
        if f"final_observation_{i}" in file:
            final = _array(file, f"final_observation_{i}", obs_space)
            truncated = bool(file[f"truncated_{i}"][()])
            episodes.append((np.concatenate([observations, final]), actions, rewards, terminated, truncated))
        else:
            episodes.append(_without_final(observations, actions, rewards, terminated, final_observation))
    return episodes


def _read_v1(file: Any, obs_space: Any, action_space: Any, final_observation: FinalObservation) -> list[Parts]:
    observations = _array(file, "observations", obs_space)
    actions = _array(file, "actions", action_space)
    rewards = as_numbers(file["rewards"][()], "rewards").reshape(-1)
    terminals = as_numbers(file["terminals"][()], "terminals").reshape(-1).astype(bool)
    ends = terminals
    if "episode_terminals" in file:
        ends = ends | as_numbers(file["episode_terminals"][()], "episode_terminals").reshape(-1).astype(bool)
    lengths = {len(observations), len(actions), len(rewards), len(ends)}
    if len(lengths) != 1:
        raise ValueError(f"observations, actions, rewards, terminals: lengths {sorted(lengths)} differ")
    # Steps behind the last mark belong to an episode that was still running.
    cuts = np.flatnonzero(ends[:-1]) + 1
    pieces = zip(*(np.split(values, cuts) for values in (observations, actions, rewards, terminals)), strict=True)
    return [_without_final(obs, acts, rews, bool(ended[-1]), final_observation) for obs, acts, rews, ended in pieces]


def _without_final(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool, how: FinalObservation
) -> Parts:
    terminated = terminated and how == "repeat"
    return (*without_final(observations, actions, rewards, how), terminated, not terminated)


def _column(values: np.ndarray) -> np.ndarray:
    """d3rlpy has [T, 1] where a value is a single number."""
    return values[:, None] if values.ndim == 1 else values


def _array(file: Any, name: str, space: spaces.Space[Any]) -> np.ndarray:
    values = as_numbers(file[name][()], name)
    shape = (len(values), *(space.shape or ())) if values.ndim else ()
    if not shape or values.size != np.prod(shape):
        raise ValueError(f"{name}: shape {values.shape}, {space} needs {shape}")
    return values.reshape(shape)
