"""
Stable-Baselines 2's ``.npz`` of expert data: steps behind each other and `episode_starts`.

It has neither the last observation of an episode nor a word on how the episode ended. Our writer adds three fields that
SB2 does not look at (``final_obs``, ``terminated``, ``truncated``), with which nothing of an episode is lost but its
seed.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.files import NpzReader, npz_path, write_npz
from sb3_ext.demonstrations.formats.arrays import (
    FinalObservation,
    from_arrays,
    refuse_kept,
    refuse_unknown,
    without_final,
)


def write_sb2(demos: Demonstrations, path: str | os.PathLike[str]) -> pathlib.Path:
    """
    :param demos: what to write; Dict observations and unknown rewards have no place in the format
    :param path: where; ``.npz`` is added unless it is there
    :return: the path with its suffix
    """
    refuse_kept(demos, "SB2's format")
    refuse_unknown(demos, "SB2's format")
    if isinstance(demos.observation_space, spaces.Dict):
        raise ValueError("observations: SB2's format has no place for a Dict")
    rewards = [episode.rewards for episode in demos.episodes if episode.rewards is not None]
    if len(rewards) < len(demos):
        raise ValueError(f"rewards: unknown in {len(demos) - len(rewards)} episodes; SB2's format needs them")
    observations: list[Any] = [episode.observations for episode in demos.episodes]  # arrays: no Dict
    starts = np.zeros(demos.n_steps, dtype=bool)
    starts[np.cumsum([0, *demos.lengths[:-1]])] = True
    path = npz_path(path)
    arrays = {
        "actions": _column(np.concatenate([episode.actions for episode in demos.episodes])),
        "obs": _column(np.concatenate([values[:-1] for values in observations])),
        "rewards": np.concatenate(rewards),
        "episode_returns": demos.returns,
        "episode_starts": starts,
        "final_obs": _column(np.stack([values[-1] for values in observations])),
        "terminated": np.array([episode.terminated for episode in demos.episodes]),
        "truncated": np.array([episode.truncated for episode in demos.episodes]),
    }
    write_npz(arrays, path)
    return path


def read_sb2(
    path: str | os.PathLike[str],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    final_observation: FinalObservation = "drop",
    terminated: bool | None = None,
) -> Demonstrations:
    """
    Read SB2's file; with our three fields they decide, without them the parameters do.

    :param path: of the file. Pickles in it are refused; SB2 itself would run them
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: to write down
    :param final_observation: what to do about the missing last observation, see `FinalObservation`
    :param terminated: with ``"repeat"``, whether the episodes ended by termination (True) or by a time limit (False)
    :raises ValueError: with the file and the field
    """
    with NpzReader(npz_path(path)) as file:
        starts = file.read("episode_starts").reshape(-1).astype(bool)
        n_steps = len(starts)
        if n_steps == 0 or not starts[0]:
            file.refuse("episode_starts", "the first step must start an episode")
        if "final_obs" not in file.names and final_observation == "repeat" and terminated is None:
            file.refuse("terminated", "the file does not say how episodes ended; pass terminated=True or False")
        observations = _per_step(file, "obs", n_steps, observation_space)
        actions = _per_step(file, "actions", n_steps, action_space)
        rewards = file.read("rewards", length=n_steps).reshape(n_steps)
        n_episodes = int(starts.sum())
        final, ends = None, None
        if "final_obs" in file.names:
            final = _per_step(file, "final_obs", n_episodes, observation_space)
            ends = [file.read(name, kind="b", ndim=1, length=n_episodes) for name in ("terminated", "truncated")]

    cuts = np.flatnonzero(starts)[1:]
    pieces = zip(*(np.split(values, cuts) for values in (observations, actions, rewards)), strict=True)
    episodes = []
    for i, (obs, acts, rews) in enumerate(pieces):
        if final is not None:
            episodes.append((np.concatenate([obs, final[i : i + 1]]), acts, rews))
        else:
            episodes.append(without_final(obs, acts, rews, final_observation))
    if ends is None:
        end = bool(terminated) and final_observation == "repeat"
        ends = [np.full(n_episodes, end), np.full(n_episodes, not end)]
    # Of an episode of one step, "drop" leaves none.
    whole = [i for i, episode in enumerate(episodes) if len(episode[1])]
    try:
        return from_arrays(
            [episodes[i][0] for i in whole],
            [episodes[i][1] for i in whole],
            [episodes[i][2] for i in whole],
            terminated=ends[0][whole].tolist(),
            truncated=ends[1][whole].tolist(),
            observation_space=observation_space,
            action_space=action_space,
            env_id=env_id,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _column(values: np.ndarray) -> np.ndarray:
    """SB2 has [N, 1] where a value is a single number."""
    return values[:, None] if values.ndim == 1 else values


def _per_step(file: NpzReader, name: str, length: int, space: spaces.Space[Any]) -> np.ndarray:
    shape = (length, *(space.shape or ()))
    values = file.read(name, length=length)
    if values.size != np.prod(shape):
        file.refuse(name, f"shape {values.shape}, {space} needs {shape}")
    return values.reshape(shape)
