"""
Stable-Baselines 2's ``.npz`` of expert data: steps behind each other and `episode_starts`.

It has neither the last observation of an episode nor a word on how the episode ended. Our writer adds fields that SB2
does not look at (``final_obs``, ``terminated``, ``truncated``, and ``final_known`` and ``end_known`` where something
is unknown), with which nothing of an episode is lost but its seed.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.budget import BYTES_PER_EPISODE
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.formats.arrays import (
    FinalOption,
    Parts,
    check_final_observation,
    from_parts,
    refuse_kept,
    same_but_for_ones,
    without_final,
)
from sb3_ext.demonstrations.formats.base import Format, Path, Task, is_path
from sb3_ext.demonstrations.formats.ends import UNKNOWN, TerminatedOption, check_terminated, ends_of
from sb3_ext.demonstrations.formats.npz_files import NpzReader, array_names, npz_path, write_npz

NUMBER = spaces.Box(-np.inf, np.inf, (), np.float64)


@dataclass(frozen=True)
class SB2(Format):
    """
    See above. Its own fields decide where they are there, else these do.

    :param final_observation: what to do about the missing last observation, see `FinalObservation`
    :param terminated: how the episodes ended, which SB2 does not write down: True, False, "time_limit" or "unknown",
        see `sb3_ext.demonstrations.formats.ends`. Not asked with ``final_observation="drop"``, which leaves no end
    """

    name = "sb2"
    about = "Stable-Baselines 2's `.npz`"
    lacks = "spaces, versions, seeds, Dict observations, unknown rewards"

    final_observation: FinalOption = "unknown"
    terminated: TerminatedOption = None

    def __post_init__(self) -> None:
        check_final_observation(self.final_observation)
        check_terminated(self.terminated)

    @classmethod
    def recognises(cls, source: object) -> bool:
        names = array_names(pathlib.Path(source)) if is_path(source) else set()
        return "episode_starts" in names and "header" not in names

    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """:raises ValueError: for Dict observations and unknown rewards, which have no place in the format"""
        refuse_kept(demos, "SB2's format")
        if isinstance(demos.observation_space, spaces.Dict):
            raise ValueError("observations: SB2's format has no place for a Dict")
        rewards = [episode.rewards for episode in demos.episodes if episode.rewards is not None]
        if len(rewards) < len(demos):
            raise ValueError(f"rewards: unknown in {len(demos) - len(rewards)} episodes; SB2's format needs them")
        pairs: list[Any] = [(episode.observations, len(episode)) for episode in demos.episodes]  # arrays: no Dict
        starts = np.zeros(demos.n_steps, dtype=bool)
        starts[np.cumsum([0, *demos.lengths[:-1]])] = True
        path = npz_path(path)
        arrays = {
            "actions": _column(np.concatenate([episode.actions for episode in demos.episodes])),
            "obs": _column(np.concatenate([values[:n] for values, n in pairs])),
            "rewards": np.concatenate(rewards),
            "episode_returns": demos.returns,
            "episode_starts": starts,
            "final_obs": _column(np.concatenate([values[n:] for values, n in pairs])),
            "terminated": np.array([bool(episode.terminated) for episode in demos.episodes]),
            "truncated": np.array([bool(episode.truncated) for episode in demos.episodes]),
        }
        for name in ("final_known", "end_known"):
            known = np.array([getattr(episode, name) for episode in demos.episodes])
            if not known.all():
                arrays[name] = known
        write_npz(arrays, path)
        return path

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: a path
        observation_space, action_space, env_id = self.task_of(source, task)
        path = npz_path(source)
        with NpzReader(path, max_bytes) as file:
            starts = file.read("episode_starts").reshape(-1).astype(bool)
            n_steps = len(starts)
            if n_steps == 0 or not starts[0]:
                file.refuse("episode_starts", "the first step must start an episode")
            n_episodes = int(starts.sum())
            file.budget.take(n_episodes * BYTES_PER_EPISODE, "episode_starts")
            observations = _per_step(file, "obs", n_steps, observation_space)
            actions = _per_step(file, "actions", n_steps, action_space)
            rewards = _per_step(file, "rewards", n_steps, NUMBER)
            final_known, end_known = (
                _flags(file, name, n_episodes) if name in file.names else np.full(n_episodes, present in file.names)
                for name, present in (("final_known", "final_obs"), ("end_known", "terminated"))
            )
            finals: Iterator[np.ndarray] = iter(())
            ends = (np.zeros(n_episodes, bool), np.zeros(n_episodes, bool))
            if final_known.any():
                rows = _per_step(file, "final_obs", int(final_known.sum()), observation_space)
                finals = iter(np.split(rows, len(rows)))
            if "terminated" in file.names:
                ends = (_flags(file, "terminated", n_episodes), _flags(file, "truncated", n_episodes))

        cuts = np.flatnonzero(starts)[1:]
        lengths = np.diff([0, *cuts, n_steps]).tolist()
        try:
            if "terminated" not in file.names and self.final_observation != "drop":
                said = iter(ends_of(self.terminated, lengths, env_id, "the file does not say how episodes ended"))
            else:
                said = iter([UNKNOWN] * n_episodes)
            pieces = zip(*(np.split(values, cuts) for values in (observations, actions, rewards)), strict=True)
            episodes = []
            for i, (obs, acts, rews) in enumerate(pieces):
                end = next(said)
                if end_known[i]:
                    end = (bool(ends[0][i]), bool(ends[1][i]))
                parts = Parts(obs, acts, rews, *end)
                if final_known[i]:
                    episodes.append(parts._replace(observations=np.concatenate([obs, next(finals)])))
                else:
                    episodes.append(without_final(parts, self.final_observation))
            # Of an episode of one step, "drop" leaves none.
            whole = [episode for episode in episodes if len(episode.actions)]
            return from_parts(whole, observation_space, action_space, env_id)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _column(values: np.ndarray) -> np.ndarray:
    """SB2 has [N, 1] where a value is a single number."""
    return values[:, None] if values.ndim == 1 else values


def _flags(file: NpzReader, name: str, length: int) -> np.ndarray:
    return file.read(name, kind="b", ndim=1, length=length)


def _per_step(file: NpzReader, name: str, length: int, space: spaces.Space[Any]) -> np.ndarray:
    shape = (length, *(space.shape or ()))
    values = file.read(name, length=length)
    if not same_but_for_ones(values.shape, shape):
        file.refuse(name, f"shape {values.shape}, {space} needs {shape}")
    assert space.dtype is not None  # it is a space of arrays
    file.budget.take(values.size * space.dtype.itemsize, name)  # what it is cast to
    return values.reshape(shape)
