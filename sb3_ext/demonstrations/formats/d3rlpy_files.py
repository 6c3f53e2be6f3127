"""
d3rlpy's HDF5 files: `ReplayBuffer.dump` (2.x), the `MDPDataset` of 1.x, and D4RL's, which are tables like those.

Both of d3rlpy have T observations for T actions. Our writer adds two arrays per episode that d3rlpy does not look at
(``final_observation_i``, ``truncated_i``), with which nothing of an episode is lost but its seed.
"""

from __future__ import annotations

import io
import pathlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.budget import BYTES_PER_EPISODE, Budget, size_on_disk
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.formats.arrays import (
    FinalOption,
    Parts,
    check_final_observation,
    from_parts,
    optional,
    refuse_kept,
    refuse_unknown,
    same_but_for_ones,
    without_final,
)
from sb3_ext.demonstrations.formats.base import Format, Path, Task, is_path
from sb3_ext.demonstrations.formats.hdf5 import Hdf5Reader
from sb3_ext.saving import write_whole

VERSION = "2.1"  # d3rlpy.dataset.io.DATASET_VERSION, 2.0.3 to 2.8.1


@dataclass(frozen=True)
class D3rlpy(Format):
    """
    See above. Ends are the file's own. One of a single table without ``timeouts`` and ``episode_terminals`` may hide
    cuts, which a warning says; ``next_observations`` show them, and give the final ones.

    :param final_observation: what to do about the last observation where the file lacks it, see `FinalObservation`
    """

    name = "d3rlpy"
    about = "[d3rlpy](https://d3rlpy.readthedocs.io) 2 `.h5` (1.x and D4RL's `.hdf5`: read)"
    needs = "h5py"
    lacks = "spaces, versions, seeds, Dict observations, unknown rewards and ends"
    suffixes = (".h5", ".hdf5")

    final_observation: FinalOption = "unknown"

    def __post_init__(self) -> None:
        check_final_observation(self.final_observation)

    @classmethod
    def recognises(cls, source: object) -> bool:
        return is_path(source) and pathlib.Path(source).suffix in cls.suffixes

    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """:raises ValueError: for Dict observations and unknown rewards, which have no place in the format"""
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

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: a path
        observation_space, action_space, env_id = self.task_of(source, task)
        optional("h5py")
        path = pathlib.Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        with Hdf5Reader(path, "a dataset of d3rlpy", Budget(path, size_on_disk(path), max_bytes)) as file:
            read = _read_v2 if "columns" in file else _read_table
            found = read(file, observation_space, action_space)
        how = self.final_observation
        episodes = [episode if episode.final_known else without_final(episode, how) for episode in found]
        # Of an episode of one step, "drop" leaves none.
        episodes = [episode for episode in episodes if len(episode.actions)]
        try:
            return from_parts(episodes, observation_space, action_space, env_id)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _read_v2(file: Hdf5Reader, obs_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> list[Parts]:
    version = file.read_text("version")
    if version != VERSION:
        file.refuse("version", f"{version!r}; only {VERSION} is known")
    episodes: list[Parts] = []
    for i in range(int(file.read("num_episodes", kind="iu", ndim=0))):
        file.budget.take(BYTES_PER_EPISODE, f"observations_{i}")
        if f"observations_{i}_0" in file:
            file.refuse(f"observations_{i}_0", "a tuple of observations; one array per episode is needed")
        actions = _rows(file, f"actions_{i}", action_space)
        observations = _rows(file, f"observations_{i}", obs_space)
        rewards = file.read(f"rewards_{i}").reshape(-1)
        terminated = _flag(file, f"terminated_{i}")
        final_known = f"final_observation_{i}" in file
        if final_known:
            observations = np.concatenate([observations, _rows(file, f"final_observation_{i}", obs_space)])
        # d3rlpy ends an episode in two ways, and writes down whether it was the one.
        truncated = _flag(file, f"truncated_{i}") if f"truncated_{i}" in file else not terminated
        episodes.append(Parts(observations, actions, rewards, terminated, truncated, final_known=final_known))
    return episodes


# Of a table of N steps behind each other: d3rlpy 1 has "episode_terminals", D4RL "timeouts" and "next_observations".
_MARKS = ("episode_terminals", "timeouts")
_COLUMNS = {"observations", "actions", "rewards", "terminals", "next_observations", *_MARKS}


def _read_table(file: Hdf5Reader, obs_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> list[Parts]:
    """
    ::

        step               0  1  2 | 3  4 | 5  6        episodes
        terminals          .  .  1 | .  . | .  .        the first terminated
        timeouts           .  .  . | .  1 | .  .        the second was cut
                                                        the third was still running: cut
    """
    if "observations" not in file:
        file.refuse("observations", "missing; not a dataset of d3rlpy or D4RL")
    observations = _rows(file, "observations", obs_space)
    n_steps = len(observations)
    more = [name for name in file.children() if name not in _COLUMNS and _is_column(file, name, n_steps)]
    if "terminals" not in file:
        hint = f"; there are {', '.join(more)}, whose meaning is not known here" if more else ""
        file.refuse("terminals", f"missing: where episodes terminated{hint}")
    actions = _rows(file, "actions", action_space)
    rewards = file.read("rewards").reshape(-1)
    terminals = _marks(file, "terminals")
    marks = {name: _marks(file, name) for name in _MARKS if name in file}
    following = _rows(file, "next_observations", obs_space) if "next_observations" in file else None
    columns = [observations, actions, rewards, terminals, *marks.values()]
    columns += [] if following is None else [following]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        names = ", ".join(["observations, actions, rewards, terminals", *marks])
        file.refuse(names, f"lengths {sorted(lengths)} differ")
    cut = np.zeros(n_steps, dtype=bool)
    for mark in marks.values():
        cut |= mark
    # An episode that terminates at its time limit has both marks in D4RL; d3rlpy 1 marks every end.
    truncated = cut & ~terminals | marks.get("timeouts", np.zeros(n_steps, dtype=bool))
    ends = cut | terminals
    unmarked = np.zeros(n_steps, dtype=bool)
    if following is not None and n_steps > 1:
        other = (following[:-1] != observations[1:]).reshape(n_steps - 1, -1).any(axis=1)
        unmarked[:-1] = other & ~ends[:-1]
        if unmarked.sum() > n_steps / 2:
            file.refuse("next_observations", f"{int(unmarked.sum())} of {n_steps} are not the observation that follows")
    _warn_about_ends(file, int(unmarked.sum()), bool(marks), following is not None, more)
    # Steps behind the last mark belong to an episode that was still running; terminals say that it had not terminated.
    cuts = np.flatnonzero((ends | unmarked)[:-1]) + 1
    file.budget.take((len(cuts) + 1) * BYTES_PER_EPISODE, "terminals")
    bounds = zip([0, *cuts], [*cuts, n_steps], strict=True)
    episodes = []
    for begin, end in bounds:
        rows, dead = observations[begin:end], bool(terminals[end - 1])
        if following is not None:
            rows = np.concatenate([rows, following[end - 1 : end]])
        parts = Parts(rows, actions[begin:end], rewards[begin:end], dead, bool(truncated[end - 1]) or not dead)
        episodes.append(parts._replace(final_known=following is not None))
    return episodes


def _warn_about_ends(file: Hdf5Reader, n_unmarked: int, marked: bool, has_next: bool, more: list[str]) -> None:
    fields = f"; fields that are not read: {', '.join(more)}" if more else ""
    if n_unmarked:
        text = f"next_observations: after {n_unmarked} steps another observation follows than the next one, and "
        text += "nothing marks an end there: each is taken for a cut"
    elif not marked and not has_next:
        text = "terminals: the only marks of ends. There are no timeouts or episode_terminals, so where a time limit "
        text += "cut an episode the next one would be taken for its continuation"
    elif more:
        text, fields = f"fields that are not read: {', '.join(more)}", ""
    else:
        return
    warnings.warn(f"{file.path}: {text}{fields}", stacklevel=4)


def _is_column(file: Hdf5Reader, name: str, n_steps: int) -> bool:
    """:return: whether it has one number per step, as marks of ends have"""
    return file.shape(name) in ((n_steps,), (n_steps, 1))


def _marks(file: Hdf5Reader, name: str) -> np.ndarray:
    values = file.read(name).reshape(-1)
    if not np.isin(values, (0, 1)).all():
        file.refuse(name, "marks must be 0 or 1")
    return values.astype(bool)


def _flag(file: Hdf5Reader, name: str) -> bool:
    values = file.read(name)
    if values.size != 1 or values.item() not in (0, 1):
        file.refuse(name, f"must be a single 0 or 1, has shape {values.shape}")
    return bool(values.item())


def _column(values: np.ndarray) -> np.ndarray:
    """d3rlpy has [T, 1] where a value is a single number."""
    return values[:, None] if values.ndim == 1 else values


def _rows(file: Hdf5Reader, name: str, space: spaces.Space[Any]) -> np.ndarray:
    assert space.dtype is not None  # it is a space of arrays
    values = file.read(name, itemsize=space.dtype.itemsize)
    shape = (len(values), *(space.shape or ())) if values.ndim else ()
    if not shape or not same_but_for_ones(values.shape, shape):
        file.refuse(name, f"shape {values.shape}, {space} needs {shape}")
    return values.reshape(shape)
