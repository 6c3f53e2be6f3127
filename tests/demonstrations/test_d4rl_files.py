"""Tables of steps behind each other, as D4RL and d3rlpy 1 write them: episodes end where the file says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import read_as

from sb3_ext.demonstrations import Demonstrations

h5py = pytest.importorskip("h5py", reason="in the extra `demos`")

LINE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
BIT = spaces.Discrete(2)
# (steps, terminated): the observation counts the steps of all episodes, 10 apart from one episode to the next.
EPISODES = [(4, True), (3, False), (1, False), (5, True), (2, False)]


def table(path: Path, drop: tuple[str, ...] = (), **more: Any) -> Path:
    rows, following, terminals, timeouts = [], [], [], []
    for i, (n, dead) in enumerate(EPISODES):
        states = 10 * i + np.arange(n + 1, dtype=np.float32)
        rows.append(states[:-1])
        following.append(states[1:])
        terminals.append([False] * (n - 1) + [dead])
        timeouts.append([False] * (n - 1) + [not dead])
    columns: dict[str, Any] = {
        "observations": np.stack([np.concatenate(rows)] * 2, axis=1),
        "next_observations": np.stack([np.concatenate(following)] * 2, axis=1),
        "actions": np.arange(sum(n for n, _ in EPISODES)) % 2,
        "rewards": np.ones(sum(n for n, _ in EPISODES), np.float32),
        "terminals": np.concatenate(terminals),
        "timeouts": np.concatenate(timeouts),
    }
    with h5py.File(path, "w") as file:
        for name, values in (columns | more).items():
            if name not in drop:
                file[name] = values
    return path


def ends(demos: Demonstrations) -> list[tuple[int, Any]]:
    return [(len(e), e.terminated) for e in demos.episodes]


def test_timeouts_end_episodes_and_next_observations_are_the_final_ones(tmp_path: Path) -> None:
    demos = read_as("d3rlpy", table(tmp_path / "a.hdf5"), LINE, BIT)
    assert ends(demos) == EPISODES
    for i, (episode, (n, dead)) in enumerate(zip(demos.episodes, EPISODES, strict=True)):
        assert isinstance(episode.observations, np.ndarray)
        assert episode.observations[:, 0].tolist() == [10 * i + t for t in range(n + 1)]
        assert (episode.truncated, episode.final_known) == (not dead, True)
    without = read_as("d3rlpy", table(tmp_path / "b.hdf5", drop=("next_observations",)), LINE, BIT)
    assert ends(without) == EPISODES
    for ours, theirs in zip(without.episodes, demos.episodes, strict=True):
        assert not ours.final_known
        np.testing.assert_array_equal(ours.observations, np.asarray(theirs.observations)[:-1])


def test_an_end_may_be_both(tmp_path: Path) -> None:
    marks = np.zeros(15, dtype=bool)
    marks[[3, 6, 7, 12, 14]] = True
    demos = read_as("d3rlpy", table(tmp_path / "a.hdf5", timeouts=marks), LINE, BIT)
    assert ends(demos) == EPISODES
    assert all(episode.truncated for episode in demos.episodes)


def test_cuts_that_nothing_marks_are_seen_in_the_next_observations(tmp_path: Path) -> None:
    path = table(tmp_path / "a.hdf5", drop=("timeouts",))
    with pytest.warns(UserWarning, match=r"a\.hdf5: next_observations: after 2 steps another observation follows"):
        demos = read_as("d3rlpy", path, LINE, BIT)
    assert ends(demos) == EPISODES


def test_where_cuts_would_be_hidden_the_reader_says_so(tmp_path: Path) -> None:
    path = table(tmp_path / "a.hdf5", drop=("timeouts", "next_observations"), path_ends=np.zeros((15, 1)))
    with pytest.warns(UserWarning, match=r"no timeouts or episode_terminals.*; fields that are not read: path_ends"):
        demos = read_as("d3rlpy", path, LINE, BIT)
    assert ends(demos) == [(4, True), (9, True), (2, False)]


def test_fields_with_a_number_per_step_are_named(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "truncations": np.zeros(15),
        "infos/qpos": np.zeros((15, 3)),
        "metadata/algorithm": "x",
        "wide": np.eye(15),
    }
    with pytest.warns(UserWarning, match=r"a\.hdf5: fields that are not read: truncations$"):
        read_as("d3rlpy", table(tmp_path / "a.hdf5", **more), LINE, BIT)
    path = table(tmp_path / "b.hdf5", drop=("terminals",), dones=np.zeros(15))
    with pytest.raises(ValueError, match=r"terminals: missing: where .*; there are dones, whose meaning is not known"):
        read_as("d3rlpy", path, LINE, BIT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timeouts": np.full(15, 2)}, "timeouts: marks must be 0 or 1"),
        ({"timeouts": np.zeros(14)}, "timeouts: lengths .14, 15. differ"),
        ({"next_observations": np.zeros((15, 2), np.float32)}, "next_observations: 10 of 15 are not the observation"),
        ({"terminals": np.zeros((0,))}, "differ"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.hdf5: .*{message}"):
        read_as("d3rlpy", table(tmp_path / "a.hdf5", **changes), LINE, BIT)
