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
    executed        [sum T, *shape] what was executed, where actions are labels of an episode or more; else absent
    labelled        [N] bool, which these are; absent as well. Of the others executed are the actions
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_ext.demonstrations.array_spaces import subspaces
from sb3_ext.demonstrations.budget import BYTES_PER_CHARACTER, BYTES_PER_EPISODE
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations
from sb3_ext.demonstrations.formats.base import Format, Path, Task, is_path, is_plain
from sb3_ext.demonstrations.formats.npz_files import NpzReader, array_names, npz_path, write_npz
from sb3_ext.demonstrations.spaces_json import BYTES_PER_BOUND, space_from_json, space_to_json
from sb3_ext.env_ids import id_of_file

FORMAT = "sb3_ext demonstrations"
SCHEMA = 1
KNOWN = ("end_known", "final_known")  # absent where true of all


@dataclass(frozen=True)
class Npz(Format):
    """Our own, see above."""

    name = "npz"
    about = "our own `.npz`"
    holds_spaces = True
    suffixes = (".npz",)

    @classmethod
    def recognises(cls, source: object) -> bool:
        """Any ``.npz`` but one of SB2's: what is wrong with it is better said by its reader."""
        if not is_path(source):
            return False
        path = pathlib.Path(source)
        named = path.suffix == ".npz" or (not path.exists() and npz_path(path).is_file())
        names = array_names(path) if named else set()
        return named and ("header" in names or "episode_starts" not in names)

    def write(self, demos: Demonstrations, path: Path) -> pathlib.Path:
        """
        Write a file that `read` gives back bit for bit.

        :raises ValueError: for an ``env_id`` that `read` would refuse
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
        for name in KNOWN:
            known = np.array([getattr(episode, name) for episode in episodes])
            if not known.all():
                arrays[name] = known
        labelled = np.array([episode.executed is not None for episode in episodes])
        if labelled.any():
            arrays["labelled"] = labelled
            arrays["executed"] = np.concatenate([e.actions if e.executed is None else e.executed for e in episodes])
        write_npz(arrays, path)
        return path

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:  # Any: a path
        path = npz_path(source)
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
                file.read(name, kind="b", ndim=1, length=n_episodes)
                for name in ("has_rewards", "terminated", "truncated")
            )
            end_known, final_known = (
                file.read(name, kind="b", ndim=1, length=n_episodes)
                if name in file.names
                else np.ones(n_episodes, bool)
                for name in KNOWN
            )
            n_kept = file.read("n_kept", kind="i", ndim=1, length=n_episodes)
            kept = file.read("kept", kind="i", ndim=1, length=int(np.maximum(n_kept, 0).sum()))
            actions = file.read("actions", length=int(lengths.sum()))
            labelled, executed = np.zeros(n_episodes, bool), actions
            if "labelled" in file.names:
                labelled = file.read("labelled", kind="b", ndim=1, length=n_episodes)
                executed = file.read("executed", length=int(lengths.sum()))
            n_rewards = int(lengths[has_rewards].sum())
            rewards = file.read("rewards", ndim=1, length=n_rewards) if n_rewards else None
            observations = {
                name: file.read(name, length=int(lengths.sum() + final_known.sum()))
                for name in subspaces(observation_space, "observations")
            }
            seeds = header["seeds"]
            if len(seeds) != n_episodes:
                file.refuse("seeds", f"{len(seeds)} for {n_episodes} episodes")

        def make(i: int) -> Episode:
            parts = {name: next(pieces) for name, pieces in observations_of.items()}
            done = next(executed_of)
            return Episode(
                observations=_joined(parts),
                actions=next(actions_of),
                rewards=next(rewards_of) if has_rewards[i] else None,
                terminated=bool(terminated[i]) if end_known[i] else None,
                truncated=bool(truncated[i]) if end_known[i] else None,
                seed=seeds[i],
                kept=next(kept_of) if n_kept[i] >= 0 else None,
                final_known=bool(final_known[i]),
                executed=done if labelled[i] else None,
            )

        actions_of, executed_of = _pieces(actions, lengths), _pieces(executed, lengths)
        rewards_of = _pieces(rewards, lengths[has_rewards]) if rewards is not None else iter(())
        kept_of = _pieces(kept, n_kept[n_kept >= 0])
        observations_of = {name: _pieces(values, lengths + final_known) for name, values in observations.items()}
        episodes: list[Episode] = []
        try:
            for i in range(n_episodes):
                episodes.append(make(i))
            whole = tuple(episodes)
            return Demonstrations(whole, observation_space, action_space, header["env_id"], header["versions"])
        except ValueError as error:
            inside = len(episodes) < n_episodes and not str(error).startswith("episode")
            place = f"episode {len(episodes)}: " if inside else ""
            raise ValueError(f"{path}: {place}{error}") from None


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


def _joined(parts: dict[str, np.ndarray]) -> Observations:
    """:return: the inverse of `fields`"""
    if "observations" in parts:
        return parts["observations"]
    return {name.removeprefix("observations."): values for name, values in parts.items()}


def _pieces(values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
    """:return: consecutive pieces of these lengths"""
    return iter(np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else [])
