"""
Demonstrations in one ``.npz``: nothing is lost, nothing in the file can run code, and a broken file is refused.

The steps of all episodes lie behind each other, one array per field::

    header          JSON: format, schema, env_id, versions, seeds, both spaces
    lengths         [N] T of each episode
    observations    [sum T+1, *shape], for a Dict one array ``observations.KEY`` per key; of an episode whose final
                    observation is unknown only T rows
    actions         [sum T, *shape]
    rewards         [sum T over episodes with rewards]; absent where none has any
    has_rewards     [N] bool
    terminated      [N] bool
    truncated       [N] bool
    n_kept          [N] length of `Episode.kept`, -1 = None
    kept            [sum of lengths]
    end_known       [N] bool; absent where all are. Where it is False, terminated and truncated say nothing
    final_known     [N] bool; absent where all are
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from sb3_ext.demonstrations.budget import BYTES_PER_CHARACTER, BYTES_PER_EPISODE, Budget
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations, subspaces
from sb3_ext.demonstrations.spaces_json import BYTES_PER_BOUND, space_from_json, space_to_json
from sb3_ext.env_ids import id_of_file
from sb3_ext.saving import write_whole

FORMAT = "sb3_ext demonstrations"
SCHEMA = 1

DEFLATE_BOUND = 1032  # most bytes that deflate can make of one (zlib's "Technical Details")

Path = str | os.PathLike[str]


def save(demos: Demonstrations, path: Path) -> pathlib.Path:
    """
    Write a file that `load` gives back bit for bit. It appears whole or not at all.

    :param demos: what to write
    :param path: where; ``.npz`` is added unless it is there
    :return: the path with its suffix
    :raises ValueError: for an ``env_id`` that `load` would refuse
    """
    path = npz_path(path)
    if demos.env_id is not None:
        id_of_file(demos.env_id)
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "env_id": demos.env_id,
        "versions": dict(demos.versions),
        "seeds": [None if episode.seed is None else int(episode.seed) for episode in demos.episodes],
        "observation_space": space_to_json(demos.observation_space),
        "action_space": space_to_json(demos.action_space),
    }
    episodes = demos.episodes
    rewards = [episode.rewards for episode in episodes if episode.rewards is not None]
    kept = [episode.kept for episode in episodes if episode.kept is not None]
    arrays = {
        "header": np.array(json.dumps(header)),
        "lengths": demos.lengths,
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "has_rewards": np.array([episode.rewards is not None for episode in episodes]),
        "terminated": np.array([bool(episode.terminated) for episode in episodes]),
        "truncated": np.array([bool(episode.truncated) for episode in episodes]),
        "n_kept": np.array([-1 if episode.kept is None else len(episode.kept) for episode in episodes]),
        "kept": np.concatenate([np.zeros(0, dtype=np.int64), *kept]),
    }
    for name in subspaces(demos.observation_space, "observations"):
        arrays[name] = np.concatenate([episode.named_observations()[name] for episode in episodes])
    if rewards:
        arrays["rewards"] = np.concatenate(rewards)
    for name in ("end_known", "final_known"):
        known = np.array([getattr(episode, name) for episode in episodes])
        if not known.all():
            arrays[name] = known
    write_npz(arrays, path)
    return path


def load(path: Path, max_bytes: int | None = None) -> Demonstrations:
    """
    Read a file that `save` wrote. No part of it is unpickled.

    :param path: of the file; ``.npz`` is added unless it is there
    :param max_bytes: that reading may make, None = 256 MiB, or 100 times the file's size where that is more
    :raises ValueError: with the file and the field, where the file is not what `save` writes
    :raises FileNotFoundError: if there is none
    """
    path = npz_path(path)
    with NpzReader(path, max_bytes) as file:
        header = _header(file)
        observation_space, action_space = (
            space_from_json(header[name], f"{path}: {name}", file.budget.left // BYTES_PER_BOUND)
            for name in ("observation_space", "action_space")
        )
        lengths = file.read("lengths", kind="i", ndim=1).astype(np.int64)
        n_episodes = len(lengths)
        file.budget.take(n_episodes * BYTES_PER_EPISODE, "lengths")
        if n_episodes == 0 or lengths.min() < 1 or lengths.max() > 2**40:
            file.refuse("lengths", "must be one positive length per episode")
        has_rewards, terminated, truncated = (
            file.read(name, kind="b", ndim=1, length=n_episodes) for name in ("has_rewards", "terminated", "truncated")
        )
        end_known, final_known = (
            file.read(name, kind="b", ndim=1, length=n_episodes) if name in file.names else np.ones(n_episodes, bool)
            for name in ("end_known", "final_known")
        )
        n_kept = file.read("n_kept", kind="i", ndim=1, length=n_episodes)
        kept = file.read("kept", kind="i", ndim=1, length=int(np.maximum(n_kept, 0).sum()))
        actions = file.read("actions", length=int(lengths.sum()))
        n_rewards = int(lengths[has_rewards].sum())
        rewards = file.read("rewards", ndim=1, length=n_rewards) if n_rewards else None
        observations = {
            name: file.read(name, length=int(lengths.sum() + final_known.sum()))
            for name in subspaces(observation_space, "observations")
        }
        seeds = header["seeds"]
        if len(seeds) != n_episodes:
            file.refuse("seeds", f"{len(seeds)} for {n_episodes} episodes")

    actions_of = _pieces(actions, lengths)
    rewards_of = _pieces(rewards, lengths[has_rewards]) if rewards is not None else iter(())
    kept_of = _pieces(kept, n_kept[n_kept >= 0])
    observations_of = {name: _pieces(values, lengths + final_known) for name, values in observations.items()}
    episodes = []
    try:
        for i in range(n_episodes):
            parts = {name: next(pieces) for name, pieces in observations_of.items()}
            episodes.append(
                Episode(
                    observations=_joined(parts),
                    actions=next(actions_of),
                    rewards=next(rewards_of) if has_rewards[i] else None,
                    terminated=bool(terminated[i]) if end_known[i] else None,
                    truncated=bool(truncated[i]) if end_known[i] else None,
                    seed=seeds[i],
                    kept=next(kept_of) if n_kept[i] >= 0 else None,
                    final_known=bool(final_known[i]),
                )
            )
        return Demonstrations(tuple(episodes), observation_space, action_space, header["env_id"], header["versions"])
    except ValueError as error:
        place = "" if str(error).startswith("episode") or len(episodes) == n_episodes else f"episode {len(episodes)}: "
        raise ValueError(f"{path}: {place}{error}") from None


def npz_path(path: Path) -> pathlib.Path:
    """:return: the path with ``.npz``, as NumPy adds it: a dot in the name (``Hopper-v5.10``) is no suffix"""
    path = pathlib.Path(path)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def write_npz(arrays: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """
    :param arrays: of numbers or text, by name
    :param path: of the file, which appears whole or not at all
    """

    def write(target: io.BufferedIOBase) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in arrays.items():
                # ZipInfo's fixed date: equal demonstrations give equal files.
                info = zipfile.ZipInfo(f"{name}.npy")
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(values, order="C"), allow_pickle=False)

    write_whole(path, "npz", write)


class NpzReader:
    """
    Arrays of an ``.npz`` of unknown origin, one after the other. Pickles are never loaded.

    :param path: of the file
    :param max_bytes: that reading may make, see `Budget`
    :raises ValueError: here and in `read`, with the file and the field, where something is wrong
    """

    def __init__(self, path: pathlib.Path, max_bytes: int | None = None) -> None:
        self.path = path
        self.budget = Budget(path, path.stat().st_size, max_bytes)
        try:
            # NotImplementedError is zipfile's word for a file that asks for a newer version of the format.
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, struct.error, EOFError, ValueError, NotImplementedError) as error:
            raise ValueError(f"{path}: not an .npz file, or cut short ({error})") from None
        self.names = {name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")}

    def __enter__(self) -> NpzReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def refuse(self, name: str, why: str) -> NoReturn:
        """:raises ValueError: with file, field and reason"""
        raise ValueError(f"{self.path}: {name}: {why}")

    def read(self, name: str, kind: str = "biuf", ndim: int | None = None, length: int | None = None) -> np.ndarray:
        """
        :param name: of the array
        :param kind: what its dtype may be, as `numpy.dtype.kind`
        :param ndim: number of axes that it must have
        :param length: of its first axis, which it then must have
        """
        if name not in self.names:
            self.refuse(name, "missing")
        info = self._archive.getinfo(f"{name}.npy")
        # Sizes that cannot be true are refused before memory is asked for.
        if info.file_size > DEFLATE_BOUND * info.compress_size + 1024 or info.compress_size > self.budget.n_bytes:
            self.refuse(name, f"claims {info.file_size} bytes in a file of {self.budget.n_bytes}")
        try:
            with self._archive.open(info) as member:
                shape, dtype = _npy_header(member)
                start = member.tell()
            if dtype.hasobject:
                self.refuse(name, "holds pickled objects, which can run code; arrays of numbers only")
            if dtype.kind not in kind:
                self.refuse(name, f"dtype {dtype} is not of kind {' or '.join(kind)}")
            if ndim is not None and len(shape) != ndim:
                self.refuse(name, f"shape {shape} must have {ndim} axes")
            if length is not None and shape[:1] != (length,):
                self.refuse(name, f"shape {shape}: {length} rows are needed")
            n_bytes = dtype.itemsize
            for size in shape:
                n_bytes *= size
            if n_bytes != info.file_size - start:
                self.refuse(name, f"{info.file_size - start} bytes for shape {shape} of {dtype}")
            self.budget.take(n_bytes, name)
            with self._archive.open(info) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            OSError,
            MemoryError,
            NotImplementedError,  # a compression that zipfile does not know
            RuntimeError,  # an encrypted member
            UnicodeError,
            SyntaxError,
            TypeError,
            _BadHeaderError,
        ) as error:
            self.refuse(name, f"cannot be read ({type(error).__name__}: {error})")


class _BadHeaderError(Exception):
    """NumPy says ValueError, which `NpzReader.read` raises itself."""


def _npy_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:  # Any: zipfile's own type is a subset of IO
    try:
        version = np.lib.format.read_magic(member)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = reader(member)
    except (ValueError, KeyError) as error:
        raise _BadHeaderError(str(error)) from None
    if any(size < 0 for size in shape):
        raise _BadHeaderError(f"shape {shape}")
    return shape, dtype


def _header(file: NpzReader) -> dict[str, Any]:
    """:return: the checked header; spaces are checked by their own reader"""
    text = str(file.read("header", kind="U", ndim=0))
    file.budget.take(len(text) * BYTES_PER_CHARACTER, "header")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        file.refuse("header", f"not JSON ({error})")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        file.refuse("header", f"no file of {FORMAT!r}")
    schema = header.get("schema")
    if schema != SCHEMA:
        file.refuse("schema", f"{schema!r}; this release of sb3_ext reads {SCHEMA}: update it to read newer files")
    for name in ("env_id", "versions", "seeds", "observation_space", "action_space"):
        if name not in header:
            file.refuse(name, "missing")
    if not isinstance(header["env_id"], str | None):
        file.refuse("env_id", f"{str(header['env_id'])[:200]!r} is no text")
    if header["env_id"] is not None:
        id_of_file(header["env_id"], f"{file.path}: env_id")
    versions = header["versions"]
    if not isinstance(versions, dict) or not all(is_plain(x) for item in versions.items() for x in item):
        file.refuse("versions", "must map package names to versions")
    seeds = header["seeds"]
    if not isinstance(seeds, list) or not all(s is None or (type(s) is int and s >= 0) for s in seeds):
        file.refuse("seeds", "must be a list of integers, none below 0, and nulls")
    return header


def is_plain(text: Any) -> bool:  # Any: JSON
    """:return: whether it is text, and none that moves a terminal's cursor"""
    return isinstance(text, str) and text.isprintable()


def _joined(parts: dict[str, np.ndarray]) -> Observations:
    """:return: the inverse of `fields`"""
    if "observations" in parts:
        return parts["observations"]
    return {name.removeprefix("observations."): values for name, values in parts.items()}


def _pieces(values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
    """:return: consecutive pieces of these lengths"""
    return iter(np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else [])
