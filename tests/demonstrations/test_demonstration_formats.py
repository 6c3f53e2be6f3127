"""Other people's formats: what each holds comes back bit for bit, and their files are read without running them."""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import PAIRS, assert_same_space, random_demos, with_unknowns, without_final

from sb3_ext.demonstrations import (
    Demonstrations,
    Episode,
    from_arrays,
    from_trajectories,
    read_d3rlpy,
    read_imitation,
    read_minari,
    read_sb2,
    to_trajectories,
    write_d3rlpy,
    write_imitation,
    write_minari,
    write_sb2,
)
from sb3_ext.demonstrations.formats.arrays import cast_exactly

ARRAYS_ONLY = [pair for pair in PAIRS if pair[0] != "dict"]
BIT = spaces.Discrete(2)
IN_EXTRA = "in the extra `demos`"
IMITATION = "pip install --no-deps imitation==1.0.1; .ci/run does"


def bare(demos: Demonstrations, seeds: bool = True) -> Demonstrations:
    """Without what a format has no place for."""
    episodes = demos.episodes if seeds else tuple(replace(e, seed=None) for e in demos.episodes)
    return replace(demos, episodes=episodes, env_id=None, versions={})


def whole(demos: Demonstrations) -> tuple[spaces.Space, spaces.Space]:
    return demos.observation_space, demos.action_space


# ------------------------------------------------------------------------------------------------------------ arrays


def listed(demos: Demonstrations) -> dict[str, Any]:
    return dict(
        observations=[e.observations for e in demos.episodes],
        actions=[e.actions for e in demos.episodes],
        rewards=[e.rewards for e in demos.episodes],
        terminated=[e.terminated for e in demos.episodes],
        truncated=[e.truncated for e in demos.episodes],
        seeds=[e.seed for e in demos.episodes],
        observation_space=demos.observation_space,
        action_space=demos.action_space,
    )


@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_arrays_come_back(observations: str, actions: str) -> None:
    demos = random_demos(observations, actions)
    assert from_arrays(**listed(demos)) == bare(demos)


def test_values_survive_a_change_of_dtype() -> None:
    demos = random_demos("image", "discrete")
    wide = listed(demos)
    wide["observations"] = [values.astype(np.int64) for values in wide["observations"]]
    wide["actions"] = [values.tolist() for values in wide["actions"]]
    assert from_arrays(**wide) == bare(demos)
    vector = random_demos("vector", "box")
    wide = listed(vector)
    wide["observations"] = [values.astype(np.float64) for values in wide["observations"]]
    assert from_arrays(**wide) == bare(vector)


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([0.5, 0.1]), np.float32, r"x: 0\.1 at \(1,\) is not exact as float32"),
        (np.array([1e300]), np.float32, "is not exact"),
        (np.array([1e-300]), np.float32, "is not exact"),
        (np.array([3, 256]), np.uint8, r"x: 256 at \(1,\)"),
        (np.array([-1]), np.uint8, "x: -1 at"),
        (np.array([-1]), np.uint64, "x: -1 at"),
        (np.array([2**63], dtype=np.uint64), np.int64, "is not exact"),
        (np.array([2**24 + 1]), np.float32, "is not exact"),
        (np.array([1.0]), np.int64, "x: float64 numbers in a space of int64"),
        (np.array(["1"]), np.int64, "x: dtype <U1"),
        (np.array([None]), np.int64, "x: dtype object"),
        ([[1], [2, 3]], np.int64, "x: no array"),
    ],
)
def test_a_cast_that_changes_a_value_is_refused(values: Any, dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cast_exactly(values, np.dtype(dtype), "x")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("other", [np.float32, np.float64, np.int16, np.uint8, np.int64])
def test_a_cast_is_accepted_exactly_where_python_numbers_stay_equal(dtype: Any, other: Any) -> None:
    values = np.array([0, 1, 2, 100, 127, 128, 255, 300, -1, -128, 65536, 2**24 + 1, 2**53 + 1])
    with np.errstate(all="ignore"):
        values = np.unique(values.astype(dtype))
        values = values[np.isfinite(values)]
    for value in values:
        kinds = np.dtype(dtype).kind == "f" and np.dtype(other).kind != "f"
        with np.errstate(all="ignore"):
            same = int(np.array(value).astype(other).item()) == int(value.item())
        if same and not kinds:
            assert cast_exactly(value[None], np.dtype(other), "x").item() == value
        else:
            with pytest.raises(ValueError, match="x: "):
                cast_exactly(value[None], np.dtype(other), "x")


def test_a_nan_is_named_as_such() -> None:
    demos = listed(random_demos())
    demos["observations"][1] = np.full((2, 3), np.nan)
    with pytest.raises(ValueError, match="episode 1: observations: nan at step 0 is not finite"):
        from_arrays(**demos)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("terminated", [True], "terminated: of 1 episodes, observations of 3"),
        ("rewards", [[1.0]], "rewards: of 1 episodes"),
        ("actions", [[3, 3, 3, 9], [3], [3] * 6], "episode 0: actions: 9 at step 3 lies outside"),
        ("actions", [[3, 3, 3, 3], [3, 3], [3] * 6], "episode 1: observations: 2 rows for 2 actions"),
    ],
)
def test_wrong_arrays_are_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(**listed(random_demos()) | {name: value})


# ---------------------------------------------------------------------------------------------------------------- SB2


@pytest.mark.parametrize(("observations", "actions"), ARRAYS_ONLY)
def test_sb2_file_comes_back(tmp_path: pathlib.Path, observations: str, actions: str) -> None:
    demos = random_demos(observations, actions)
    assert read_sb2(write_sb2(demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)


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


SILENT: dict[str, Any] = {"terminated": "unknown"}  # what a caller says of ends where a test is about something else


@pytest.mark.parametrize(
    ("terminated", "ends"), [(True, (True, False)), (False, (False, True)), ("unknown", (None, None))]
)
def test_sb2_keeps_the_last_step_and_the_end_that_the_caller_knows(
    tmp_path: pathlib.Path, terminated: Any, ends: Any
) -> None:
    demos = read_sb2(sb2_file(tmp_path / "demos.npz"), *whole(random_demos()), terminated=terminated)
    assert [e.actions.tolist() for e in demos.episodes] == [[2, 3, 4], [5]]
    assert [e.observations[:, 0].tolist() for e in demos.episodes] == [[0, 1, 2], [3]]  # type: ignore[index]
    assert demos.returns.tolist() == [7, 8]
    assert [(e.terminated, e.truncated, e.final_known) for e in demos.episodes] == [(*ends, False)] * 2


def test_sb2_final_observations_are_dropped_or_repeated(tmp_path: pathlib.Path) -> None:
    path = sb2_file(tmp_path / "demos.npz")
    spaces_of = whole(random_demos())
    dropped = read_sb2(path, *spaces_of, final_observation="drop")
    assert [e.actions.tolist() for e in dropped.episodes] == [[2, 3]]  # of one step nothing is left
    assert [e.observations[:, 0].tolist() for e in dropped.episodes] == [[0, 1, 2]]  # type: ignore[index]
    assert [(e.terminated, e.truncated) for e in dropped.episodes] == [(False, True)]
    for terminated in (True, False):
        repeated = read_sb2(path, *spaces_of, final_observation="repeat", terminated=terminated)
        assert [e.actions.tolist() for e in repeated.episodes] == [[2, 3, 4], [5]]
        assert [e.observations[:, 0].tolist() for e in repeated.episodes] == [[0, 1, 2, 2], [3, 3]]  # type: ignore[index]
        assert repeated.returns.tolist() == [7, 8]
        assert [(e.terminated, e.truncated) for e in repeated.episodes] == [(terminated, not terminated)] * 2


def test_sb2_ends_by_the_time_limit_of_the_environment(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sb2_file(tmp_path / "demos.npz")
    for limit, ends in ((3, [(False, True), (True, False)]), (4, [(True, False)] * 2)):
        monkeypatch.setitem(gym.registry, LIMITED, gym.envs.registration.EnvSpec(LIMITED, max_episode_steps=limit))
        demos = read_sb2(path, *whole(random_demos()), env_id=LIMITED, terminated="time_limit")
        assert [(e.terminated, e.truncated) for e in demos.episodes] == ends
    monkeypatch.setitem(gym.registry, LIMITED, gym.envs.registration.EnvSpec(LIMITED, max_episode_steps=2))
    with pytest.raises(ValueError, match=r"episode 0: 3 steps are more than the time limit of .*, 2"):
        read_sb2(path, *whole(random_demos()), env_id=LIMITED, terminated="time_limit")


def test_sb2_unknowns_come_back(tmp_path: pathlib.Path) -> None:
    demos = with_unknowns(random_demos("image", lengths=(4, 1, 6, 2)))
    assert read_sb2(write_sb2(demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {}, "terminated: the file does not say how episodes ended; pass terminated=True or False"),
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
        read_sb2(path, *whole(random_demos()), **options)


# ------------------------------------------------------------------------------------------------------------- d3rlpy


@pytest.mark.parametrize(("observations", "actions"), ARRAYS_ONLY)
def test_d3rlpy_file_comes_back(tmp_path: pathlib.Path, observations: str, actions: str) -> None:
    pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos(observations, actions)
    assert read_d3rlpy(write_d3rlpy(demos, tmp_path / "demos"), *whole(demos)) == bare(demos, seeds=False)
    assert [p.name for p in tmp_path.iterdir()] == ["demos.h5"]


def test_d3rlpy_unknown_final_observations_come_back(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos("image")
    some = replace(demos, episodes=(without_final(demos.episodes[0]), *demos.episodes[1:]))
    assert read_d3rlpy(write_d3rlpy(some, tmp_path / "demos"), *whole(some)) == bare(some, seeds=False)


def test_d3rlpy_finds_what_it_looks_for(tmp_path: pathlib.Path) -> None:
    """The names and shapes that `d3rlpy.dataset.io.load` of 2.8.1 goes through."""
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos()
    with h5py.File(write_d3rlpy(demos, tmp_path / "demos.h5"), "r") as file:
        assert file["version"][()] == b"2.1" and file["num_episodes"][()] == 3
        for i, episode in enumerate(demos.episodes):
            found = {key.decode(): file[f"{key.decode()}_{i}"][()] for key in file["columns"][()]}
            assert list(found) == ["observations", "actions", "rewards", "terminated"]
            n = len(episode)
            shapes = [(n, 3), (n, 1), (n, 1)]
            assert [found[key].shape for key in ("observations", "actions", "rewards")] == shapes
            assert bool(found["terminated"]) == episode.terminated


@pytest.mark.parametrize("how", ["unknown", "drop", "repeat"])
def test_d3rlpy_files_without_final_observations(tmp_path: pathlib.Path, how: Any) -> None:
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    demos = random_demos("image")
    new, old = write_d3rlpy(demos, tmp_path / "new.h5"), tmp_path / "old.h5"
    with h5py.File(new, "a") as file:
        for i in range(3):
            del file[f"final_observation_{i}"], file[f"truncated_{i}"]
    ends = np.zeros(demos.n_steps)
    ends[np.cumsum(demos.lengths) - 1] = 1
    with h5py.File(old, "w") as file:  # MDPDataset.dump of d3rlpy 1
        file["observations"] = np.concatenate([e.observations[:-1] for e in demos.episodes])  # type: ignore[index]
        file["actions"] = np.concatenate([e.actions for e in demos.episodes])
        file["rewards"] = np.concatenate([e.rewards for e in demos.episodes if e.rewards is not None])
        file["terminals"] = ends * np.repeat([e.terminated for e in demos.episodes], demos.lengths)
        file["episode_terminals"] = ends
        file["discrete_action"] = True
        file["version"] = "1.0"
    expected = []
    for e in demos.episodes:
        assert isinstance(e.observations, np.ndarray) and e.rewards is not None
        if how == "unknown":
            expected.append(without_final(e, truncated=not e.terminated, seed=None))
        elif how == "repeat":
            last = np.concatenate([e.observations[:-1], e.observations[-2:-1]])
            expected.append(Episode(last, e.actions, e.rewards, e.terminated, not e.terminated))
        elif len(e) > 1:
            expected.append(Episode(e.observations[:-1], e.actions[:-1], e.rewards[:-1], False, True))
    for path in (new, old):
        assert list(read_d3rlpy(path, *whole(demos), final_observation=how).episodes) == expected
    if how == "unknown":
        assert read_d3rlpy(new, *whole(demos)).episodes == tuple(expected), "which is the default"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("version", "2.0", "version: '2.0'"),
        ("actions_1", np.zeros((1, 1)), "actions: float64 numbers"),
        ("observations_2", np.zeros((6, 2), np.float32), r"observations_2: shape \(6, 2\)"),
        ("observations_0_0", np.zeros(3), "observations_0_0: a tuple"),
        ("rewards_0", "text", "rewards_0: dtype object"),
        ("num_episodes", 4, "observations_3|actions_3"),
    ],
)
def test_d3rlpy_wrong_files_are_refused(tmp_path: pathlib.Path, name: str, value: Any, message: str) -> None:
    h5py = pytest.importorskip("h5py", reason=IN_EXTRA)
    path = write_d3rlpy(random_demos(), tmp_path / "demos.h5")
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = value
    with pytest.raises(ValueError, match=rf"demos\.h5: .*({message})"):
        read_d3rlpy(path, *whole(random_demos()))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"demos\.h5: not a dataset of d3rlpy"):
        read_d3rlpy(path, *whole(random_demos()))


# ------------------------------------------------------------------------------------------------------------- Minari


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_minari_dataset_comes_back(tmp_path: pathlib.Path, observations: str, actions: str, data_format: str) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py" if data_format == "hdf5" else "pyarrow", reason=IN_EXTRA)
    demos = random_demos(observations, actions)
    path = write_minari(demos, tmp_path / "random-v0", data_format=data_format)
    again = read_minari(path)
    assert again == demos
    assert again.env_id == demos.env_id and again.versions == demos.versions
    assert_same_space(again.observation_space, demos.observation_space)
    assert_same_space(again.action_space, demos.action_space)
    assert read_minari(minari.MinariDataset(path / "data")) == demos
    assert [p.name for p in tmp_path.iterdir()] == ["random-v0"]


def test_minari_finds_it_by_id_and_knows_the_environment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    demos = replace(random_demos(), env_id="CartPole-v1")
    write_minari(demos, tmp_path / "cartpole" / "expert-v0", "cartpole/expert-v0")
    dataset = minari.load_dataset("cartpole/expert-v0")
    assert dataset.total_episodes == 3 and dataset.total_steps == 11
    assert dataset.env_spec.id == "CartPole-v1"
    assert read_minari("cartpole/expert-v0") == demos


def test_minari_that_knows_only_jpeg_gets_no_images(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    MinariStorage = importlib.import_module("minari.dataset.minari_storage").MinariStorage
    image = spaces.Box(0, 255, (40, 36, 3), np.uint8)  # smaller ones are none to Minari
    rows = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), dtype=np.uint8)
    demos = from_arrays([rows], [[0, 1]], [[0.0, 1.0]], terminated=[True], observation_space=image, action_space=BIT)
    assert read_minari(write_minari(demos, tmp_path / "images-v0")) == demos  # what JPEG would change
    new = MinariStorage.new

    def old(data_path: Any, observation_space: Any, action_space: Any, env_spec: Any, data_format: Any) -> Any:
        return new(data_path, observation_space, action_space, env_spec, data_format)

    monkeypatch.setattr(MinariStorage, "new", old)
    with pytest.raises(ValueError, match="observations: this Minari stores images with loss"):
        write_minari(demos, tmp_path / "more-v0")
    vectors = random_demos()
    assert read_minari(write_minari(vectors, tmp_path / "vectors-v0")) == vectors


def test_minari_dataset_without_spaces_runs_nothing(tmp_path: pathlib.Path) -> None:
    minari = pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    path = write_minari(replace(random_demos(), env_id="CartPole-v1"), tmp_path / "random-v0")
    marker = tmp_path / "marker"
    metadata_path = path / "data" / "metadata.json"
    metadata = json.loads(metadata_path.read_text())
    spec = json.loads(metadata["env_spec"])
    spec |= {"id": "Any-v0", "entry_point": "os:mkdir", "kwargs": {"path": str(marker)}}
    del metadata["observation_space"]
    metadata_path.write_text(json.dumps(metadata | {"env_spec": json.dumps(spec)}))
    with pytest.raises(ValueError, match=r"metadata\.json: observation_space: missing"):
        read_minari(path)
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever follows from what ran
        minari.MinariDataset(path / "data")
    assert marker.exists()


def test_minari_dataset_that_is_none_is_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("minari", reason=IN_EXTRA)
    pytest.importorskip("h5py", reason=IN_EXTRA)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_minari(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"metadata\.json: missing"):
        read_minari(tmp_path)
    path = write_minari(random_demos(), tmp_path / "random-v0")
    with pytest.raises(ValueError, match="exists already"):
        write_minari(random_demos(), path)
    with pytest.raises(ValueError, match="dataset_id 'random' must look like"):
        write_minari(random_demos(), tmp_path / "random")
    h5py = importlib.import_module("h5py")
    file = path / "data" / "main_data.hdf5"
    with h5py.File(file, "a") as content:
        content["episode_0/terminations"][1] = True
    with pytest.raises(ValueError, match=r"random-v0.data: episode 0: terminations: set before the last step"):
        read_minari(path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a dataset of Minari, or cut short"):
        read_minari(path)


# ---------------------------------------------------------------------------------------------------------- imitation


@dataclass
class Trajectory:
    """The attributes of imitation's type, whose package is not needed to read it."""

    obs: Any
    acts: Any
    infos: Any
    terminal: bool
    rews: Any = None


def trajectory(infos: Any, terminal: bool = True, n: int = 4) -> Trajectory:
    return Trajectory(np.zeros((n + 1, 3), np.float32), np.full(n, 2), infos, terminal, np.zeros(n))


LIMITED = "sb3_ext-test/Limited-v0"


@pytest.mark.parametrize(
    ("infos", "terminal", "n", "ends"),
    [
        (None, True, 4, (True, False)),
        (None, False, 4, (False, True)),
        (None, True, 5, (False, True)),  # the time limit of LIMITED
        (None, False, 7, (False, True)),
        ([{}] * 4, True, 5, (False, True)),
        ([{}, {"TimeLimit.truncated": True}], True, 4, (False, True)),
        ([{"TimeLimit.truncated": True}, {"TimeLimit.truncated": np.bool_(False)}], True, 5, (True, False)),
        (np.array([{}, {"TimeLimit.truncated": True}]), True, 4, (False, True)),
        ([{"terminated": True, "truncated": True}], True, 4, (True, True)),
        (['{"TimeLimit.truncated": true}'], True, 4, (False, True)),
        (['{"py/object": "os.system"}'], True, 4, (True, False)),  # shorter than the time limit
        (["{"], True, 4, (True, False)),
    ],
)
def test_terminal_is_taken_apart(
    infos: Any, terminal: bool, n: int, ends: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gym.envs.registration.EnvSpec(LIMITED, "nowhere:Nothing", max_episode_steps=5)
    monkeypatch.setitem(gym.registry, LIMITED, spec)
    demos = from_trajectories([trajectory(infos, terminal, n)], *whole(random_demos()), env_id=LIMITED)
    assert (demos.episodes[0].terminated, demos.episodes[0].truncated) == ends


@pytest.mark.parametrize("env_id", [None, "No-v0", "CliffWalking-v1"])  # the last one has no time limit
def test_an_end_that_nobody_wrote_down_is_asked_for(env_id: str | None) -> None:
    # As `imitation.data.rollout` gives CartPole: all as long as the time limit, or shorter.
    trajectories = [trajectory(None, n=5), trajectory(None, n=5), trajectory(None, terminal=False)]
    asks = rf"terminated: the infos of 2 of 3 trajectories do not say .* env_id {env_id!r}; pass terminated="
    with pytest.raises(ValueError, match=asks):
        from_trajectories(trajectories, *whole(random_demos()), env_id=env_id)
    for given, ends in ((True, (True, False)), (False, (False, True)), ("unknown", (None, None))):
        demos = from_trajectories(trajectories, *whole(random_demos()), env_id=env_id, terminated=given)  # type: ignore[arg-type]
        assert [(e.terminated, e.truncated) for e in demos.episodes] == [ends, ends, (False, True)]


def test_an_episode_longer_than_the_time_limit_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gym.registry, LIMITED, gym.envs.registration.EnvSpec(LIMITED, max_episode_steps=5))
    with pytest.raises(ValueError, match=r"episode 0: 6 steps are more than the time limit of .*, 5"):
        from_trajectories([trajectory(None, n=6)], *whole(random_demos()), env_id=LIMITED)


def test_infos_are_not_looked_at_where_looking_decodes_them() -> None:
    class Lazy:
        """As `imitation.data.huggingface_utils._LazyDecodedList`."""

        _encoded_list = ("{}", '{"TimeLimit.truncated": true}')

        def __getitem__(self, _: Any) -> Any:
            raise AssertionError("this would run the file's code")

        __iter__ = __len__ = __getitem__  # type: ignore[assignment]

    (episode,) = from_trajectories([trajectory(Lazy())], *whole(random_demos())).episodes
    assert episode.truncated and not episode.terminated


def test_rewards_of_some_trajectories_are_refused() -> None:
    without = replace(trajectory(None), rews=None)
    with pytest.raises(ValueError, match="rews: in 1 of 2 trajectories"):
        from_trajectories([trajectory(None), without], *whole(random_demos()))


@pytest.mark.parametrize("rewards", [True, False])
@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_imitation_objects_come_back(observations: str, actions: str, rewards: bool) -> None:
    types = pytest.importorskip("imitation.data.types", reason=IMITATION)
    demos = random_demos(observations, actions, rewards=rewards)
    trajectories = to_trajectories(demos)
    assert all(type(t) is (types.TrajectoryWithRew if rewards else types.Trajectory) for t in trajectories)
    assert all(t.terminal for t in trajectories)
    assert from_trajectories(trajectories, *whole(demos)) == bare(demos)


def test_without_imitation_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imitation", None)
    monkeypatch.setitem(sys.modules, "imitation.data.types", None)
    with pytest.raises(ImportError, match=r"pip install --no-deps imitation==1\.0\.1"):
        to_trajectories(random_demos())


@pytest.mark.parametrize("rewards", [True, False])
@pytest.mark.parametrize(("observations", "actions"), ARRAYS_ONLY)
def test_imitation_folder_comes_back(tmp_path: pathlib.Path, observations: str, actions: str, rewards: bool) -> None:
    pytest.importorskip("pyarrow", reason=IN_EXTRA)
    demos = random_demos(observations, actions, rewards=rewards)
    path = write_imitation(demos, tmp_path / "folder")
    assert read_imitation(path, *whole(demos)) == bare(demos)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(ValueError, match="exists already"):
        write_imitation(demos, path)


@pytest.fixture
def serialize() -> Any:
    """imitation's own reader and writer, with the packages that it needs for them."""
    for package in ("datasets", "jsonpickle"):
        pytest.importorskip(package, reason="in the extra `dev`")
    return pytest.importorskip("imitation.data.serialize", reason=IMITATION)


# jsonpickle 4.1 announces changes of 5 when imitation calls it.
from_their_side = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@from_their_side
@pytest.mark.parametrize(("observations", "actions"), [("vector", "box"), ("image", "discrete"), ("number", "multi")])
def test_imitation_itself_writes_and_reads_the_folder(
    tmp_path: pathlib.Path, serialize: Any, observations: str, actions: str
) -> None:
    demos = random_demos(observations, actions)
    theirs = to_trajectories(demos)
    serialize.save(tmp_path / "theirs", theirs)
    assert read_imitation(tmp_path / "theirs", *whole(demos)) == bare(demos)
    loaded = serialize.load(write_imitation(demos, tmp_path / "ours"))
    assert len(loaded) == 3
    for i in range(3):
        # It loses dtypes (uint8 becomes int64), so values are what can be compared.
        assert loaded[i] == theirs[i]
        assert loaded[i].infos[-1] == theirs[i].infos[-1]
    assert from_trajectories(loaded, *whole(demos)) == bare(demos)


@from_their_side
def test_a_pickle_in_the_infos_does_not_run(tmp_path: pathlib.Path, serialize: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason=IN_EXTRA)
    demos = random_demos()
    path = write_imitation(demos, tmp_path / "folder")
    file = path / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as reader:
        table = reader.read_all()
    marker = tmp_path / "marker"
    code = json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(marker)]}]})
    infos = pa.array([[code] * n for n in demos.lengths], pa.list_(pa.string()))
    table = table.set_column(table.schema.names.index("infos"), "infos", infos)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_imitation(path, *whole(demos), **SILENT).n_steps == demos.n_steps
    assert from_trajectories(serialize.load(path), *whole(demos), **SILENT).n_steps == demos.n_steps
    assert not marker.exists()
    _ = serialize.load(path)[0].infos[-1]  # the file is a live one
    assert marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "state.json").unlink(), "state.json: cannot be read"),
        (lambda f: (f / "state.json").write_text("[]"), "state.json: cannot be read"),
        (
            lambda f: (f / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}'),
            "'../x.arrow' is not a file of this folder",
        ),
        (lambda f: (f / "data-00000-of-00001.arrow").write_bytes(b"no arrow"), "arrow: cannot be read"),
        (lambda f: (f / "data-00000-of-00001.arrow").unlink(), "arrow: cannot be read"),
    ],
)
def test_imitation_wrong_folders_are_refused(
    tmp_path: pathlib.Path, change: Callable[[pathlib.Path], Any], message: str
) -> None:
    pytest.importorskip("pyarrow", reason=IN_EXTRA)
    demos = random_demos()
    path = write_imitation(demos, tmp_path / "folder")
    change(path)
    with pytest.raises(ValueError, match=message):
        read_imitation(path, *whole(demos))


def test_imitations_older_pickles_are_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow", reason=IN_EXTRA)
    path = tmp_path / "old.npz"
    np.savez(path, infos=np.array([{}]))
    with pytest.raises(ValueError, match=r"old\.npz: .* run code"):
        read_imitation(path, *whole(random_demos()))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_imitation(tmp_path / "nothing", *whole(random_demos()))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("obs", [[[1.0, 2.0, 3.0], [1.0, 2.0]]], "obs: lists of different lengths"),
        ("obs", [[[1.0, None, 3.0], [1.0, 2.0, 3.0]]], "obs: a number is missing"),
        ("obs", [[["a"], ["b"]]], "obs: string in row 0"),
        ("obs", [[[1.0, 2.0], [3.0, 4.0]]], "observations: shape"),
        ("acts", [[2.5]], "actions: double|actions: float64"),
        ("acts", [[9]], "actions: 9 at step 0 lies outside"),
        ("terminal", None, "terminal: missing"),
    ],
)
def test_imitation_wrong_columns_are_refused(tmp_path: pathlib.Path, column: str, value: Any, message: str) -> None:
    pa = pytest.importorskip("pyarrow", reason=IN_EXTRA)
    fields: dict[str, Any] = dict(obs=[[[1.0, 2.0, 3.0]] * 2], acts=[[2]], infos=[["{}"]], terminal=[True])
    fields = {name: field for name, field in (fields | {column: value}).items() if field is not None}
    table = pa.table(fields)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=message):
        read_imitation(tmp_path, *whole(random_demos()), **SILENT)


# ---------------------------------------------------------------------------------------------------------------- all


WRITERS: dict[str, tuple[Callable[..., Any], str]] = {
    "SB2": (write_sb2, "zipfile"),
    "d3rlpy": (write_d3rlpy, "h5py"),
    "Minari": (write_minari, "h5py"),
    "imitation": (write_imitation, "pyarrow"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_lost_silently(tmp_path: pathlib.Path, name: str) -> None:
    write, package = WRITERS[name]
    pytest.importorskip(package, reason=IN_EXTRA)
    with pytest.raises(ValueError, match=f"kept: {name}.* holds whole episodes"):
        write(random_demos().subsample(2), tmp_path / "demos-v0")
    if name != "Minari":
        with pytest.raises(ValueError, match=r"observations: .* no place for"):
            write(random_demos("dict"), tmp_path / "demos-v0")
    if name != "imitation":
        with pytest.raises(ValueError, match="rewards: unknown in"):
            write(random_demos(rewards=False), tmp_path / "demos-v0")
    unknown = with_unknowns(random_demos())
    for episode, what in ((0, "its final observation is unknown"), (1, "nobody knows how it ended")):
        one = replace(unknown, episodes=unknown.episodes[episode : episode + 1])
        if (name, episode) == ("d3rlpy", 0) or name == "SB2":
            continue  # has no final observations anyway; says nothing of ends anyway
        with pytest.raises(ValueError, match=f"episode 0: {what}, and {name}.*"):
            write(one, tmp_path / "demos-v0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("h5py", lambda path: read_d3rlpy(path, *whole(random_demos()))),
        ("h5py", lambda path: write_d3rlpy(random_demos(), path)),
        ("pyarrow", lambda path: read_imitation(path, *whole(random_demos()))),
        ("minari", read_minari),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: pathlib.Path, package: str, call: Callable[[pathlib.Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is needed here .*pip install 'sb3-ext\[demos\]'"):
        call(tmp_path / "demos-v0")


def test_duck_types_are_enough() -> None:
    demos = random_demos()
    ducks = [
        SimpleNamespace(obs=e.observations, acts=e.actions, infos=None, terminal=e.terminated) for e in demos.episodes
    ]
    again = from_trajectories(ducks, *whole(demos), terminated=True)
    assert [e.terminated for e in again.episodes] == [True, False, True]
