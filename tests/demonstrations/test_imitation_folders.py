"""`imitation`'s objects and folders: how episodes ended is read from the last info, and no pickle is."""

from __future__ import annotations

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
from support.demo_worlds import (
    ARRAYS_ONLY,
    PAIRS,
    bare,
    random_demos,
    read_as,
    whole,
    write_as,
)

from sb3_ext.demonstrations import from_trajectories, to_trajectories

IN_EXTRA = "in the extra `demos`"
IMITATION = "pip install --no-deps imitation==1.0.1; .ci/run does"
SILENT: dict[str, Any] = {"terminated": "unknown"}  # what a caller says of ends where a test is about something else


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
    asks = rf"terminated: the infos of 2 of 3 trajectories do not say .* env_id {env_id!r}; tell the format, as SB2"
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

        __iter__ = __len__ = __getitem__

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
    path = write_as("imitation", demos, tmp_path / "folder")
    assert read_as("imitation", path, *whole(demos)) == bare(demos)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(ValueError, match="exists already"):
        write_as("imitation", demos, path)


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
    assert read_as("imitation", tmp_path / "theirs", *whole(demos)) == bare(demos)
    loaded = serialize.load(write_as("imitation", demos, tmp_path / "ours"))
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
    path = write_as("imitation", demos, tmp_path / "folder")
    file = path / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as reader:
        table = reader.read_all()
    marker = tmp_path / "marker"
    code = json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(marker)]}]})
    infos = pa.array([[code] * n for n in demos.lengths], pa.list_(pa.string()))
    table = table.set_column(table.schema.names.index("infos"), "infos", infos)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_as("imitation", path, *whole(demos), **SILENT).n_steps == demos.n_steps
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
    path = write_as("imitation", demos, tmp_path / "folder")
    change(path)
    with pytest.raises(ValueError, match=message):
        read_as("imitation", path, *whole(demos))


def test_imitations_older_pickles_are_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow", reason=IN_EXTRA)
    path = tmp_path / "old.npz"
    np.savez(path, infos=np.array([{}]))
    with pytest.raises(ValueError, match=r"old\.npz: .* run code"):
        read_as("imitation", path, *whole(random_demos()))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_as("imitation", tmp_path / "nothing", *whole(random_demos()))


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
        read_as("imitation", tmp_path, *whole(random_demos()), **SILENT)


def test_duck_types_are_enough() -> None:
    demos = random_demos()
    ducks = [
        SimpleNamespace(obs=e.observations, acts=e.actions, infos=None, terminal=e.terminated) for e in demos.episodes
    ]
    again = from_trajectories(ducks, *whole(demos), terminated=True)
    assert [e.terminated for e in again.episodes] == [True, False, True]
