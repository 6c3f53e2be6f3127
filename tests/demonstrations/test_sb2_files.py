"""Stable-Baselines 2's files: what they hold comes back bit for bit, and what they do not say is asked for."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from support.demo_worlds import (
    ARRAYS_ONLY,
    bare,
    random_demos,
    read_as,
    whole,
    with_unknowns,
    write_as,
)

SILENT: dict[str, Any] = {"terminated": "unknown"}  # what a caller says of ends where a test is about something else
LIMITED = "sb3_ext-test/Limited-v0"


@pytest.mark.parametrize(("observations", "actions"), ARRAYS_ONLY)
def test_sb2_file_comes_back(tmp_path: pathlib.Path, observations: str, actions: str) -> None:
    demos = random_demos(observations, actions)
    assert read_as("sb2", write_as("sb2", demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)


def sb2_file(path: pathlib.Path, **changes: Any) -> pathlib.Path:
    """As SB2 itself writes it: two episodes, of 3 steps and of 1 step; observation = its own number."""
    fields = dict(
        obs=np.arange(4, dtype=np.float32)[:, None] * np.ones(3, np.float32),
        actions=np.array([[2], [3], [4], [5]]),
        rewards=np.array([1.0, 2.0, 4.0, 8.0]),
        episode_returns=np.array([7.0, 8.0]),
        episode_starts=np.array([True, False, False, True]),
    )
    np.savez(path, **(fields | changes))
    return path


@pytest.mark.parametrize(
    ("terminated", "ends"), [(True, (True, False)), (False, (False, True)), ("unknown", (None, None))]
)
def test_sb2_keeps_the_last_step_and_the_end_that_the_caller_knows(
    tmp_path: pathlib.Path, terminated: Any, ends: Any
) -> None:
    demos = read_as("sb2", sb2_file(tmp_path / "demos.npz"), *whole(random_demos()), terminated=terminated)
    assert [e.actions.tolist() for e in demos.episodes] == [[2, 3, 4], [5]]
    assert [e.observations[:, 0].tolist() for e in demos.episodes] == [[0, 1, 2], [3]]  # type: ignore[index]
    assert demos.returns.tolist() == [7, 8]
    assert [(e.terminated, e.truncated, e.final_known) for e in demos.episodes] == [(*ends, False)] * 2


def test_sb2_final_observations_are_dropped_or_repeated(tmp_path: pathlib.Path) -> None:
    path = sb2_file(tmp_path / "demos.npz")
    spaces_of = whole(random_demos())
    dropped = read_as("sb2", path, *spaces_of, final_observation="drop")
    assert [e.actions.tolist() for e in dropped.episodes] == [[2, 3]]  # of one step nothing is left
    assert [e.observations[:, 0].tolist() for e in dropped.episodes] == [[0, 1, 2]]  # type: ignore[index]
    assert [(e.terminated, e.truncated) for e in dropped.episodes] == [(False, True)]
    for terminated in (True, False):
        repeated = read_as("sb2", path, *spaces_of, final_observation="repeat", terminated=terminated)
        assert [e.actions.tolist() for e in repeated.episodes] == [[2, 3, 4], [5]]
        assert [e.observations[:, 0].tolist() for e in repeated.episodes] == [[0, 1, 2, 2], [3, 3]]  # type: ignore[index]
        assert repeated.returns.tolist() == [7, 8]
        assert [(e.terminated, e.truncated) for e in repeated.episodes] == [(terminated, not terminated)] * 2


def test_sb2_ends_by_the_time_limit_of_the_environment(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sb2_file(tmp_path / "demos.npz")
    for limit, ends in ((3, [(False, True), (True, False)]), (4, [(True, False)] * 2)):
        monkeypatch.setitem(gym.registry, LIMITED, gym.envs.registration.EnvSpec(LIMITED, max_episode_steps=limit))
        demos = read_as("sb2", path, *whole(random_demos()), env_id=LIMITED, terminated="time_limit")
        assert [(e.terminated, e.truncated) for e in demos.episodes] == ends
    monkeypatch.setitem(gym.registry, LIMITED, gym.envs.registration.EnvSpec(LIMITED, max_episode_steps=2))
    with pytest.raises(ValueError, match=r"episode 0: 3 steps are more than the time limit of .*, 2"):
        read_as("sb2", path, *whole(random_demos()), env_id=LIMITED, terminated="time_limit")


def test_sb2_unknowns_come_back(tmp_path: pathlib.Path) -> None:
    demos = with_unknowns(random_demos("image", lengths=(4, 1, 6, 2)))
    assert read_as("sb2", write_as("sb2", demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {}, "terminated: the file does not say how episodes ended; tell the format, as SB2"),
        ({}, {"final_observation": "repeat"}, "terminated: the file does not say"),
        ({}, {"final_observation": "keep"}, "final_observation 'keep'"),
        ({}, {"terminated": "perhaps"}, "terminated 'perhaps' must be True, False or one of time_limit, unknown"),
        ({}, {"terminated": "time_limit", "env_id": "No-v0"}, "knows no time limit of env_id 'No-v0'"),
        ({"obs": np.array(["a.jpg"] * 4)}, {}, "obs: dtype <U5"),
        ({"obs": np.array([{}] * 4)}, {}, "obs: .*pickle"),
        ({"obs": np.zeros((4, 2), np.float32)}, {}, "obs: shape"),
        ({"actions": np.zeros((3, 1), np.int64)}, {}, "actions: shape"),
        ({"episode_starts": np.zeros(4, bool)}, {}, "episode_starts: the first"),
        ({"episode_starts": np.zeros(0, bool)}, {}, "episode_starts: the first"),
        ({"actions": np.zeros((4, 1), np.int64)}, SILENT, "actions: 0 at step 0 lies outside"),
    ],
)
def test_sb2_wrong_files_are_refused(
    tmp_path: pathlib.Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = sb2_file(tmp_path / "demos.npz", **changes)
    with pytest.raises(ValueError, match=message):
        read_as("sb2", path, *whole(random_demos()), **options)
