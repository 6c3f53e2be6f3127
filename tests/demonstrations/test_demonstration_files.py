"""Our own .npz: every bit comes back; whatever else a file may be, it is refused in one line and runs nothing."""

from __future__ import annotations

import json
import os
import pathlib
import re
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import ACTIONS, OBSERVATIONS, PAIRS, assert_same_space, random_demos, with_unknowns

from sb3_ext.demonstrations import Demonstrations, load, save
from sb3_ext.demonstrations.spaces_json import space_from_json, space_to_json

Arrays = dict[str, Any]


def parts_of(path: pathlib.Path) -> Arrays:
    """Read with NumPy alone, which shows that no reader of ours is needed."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def write_parts(path: pathlib.Path, parts: Arrays) -> pathlib.Path:
    np.savez(path, **parts)  # np.savez pickles objects by default
    return path


def with_header(parts: Arrays, **changes: Any) -> Arrays:
    header = json.loads(str(parts["header"])) | changes
    header = {name: value for name, value in header.items() if value is not ...}
    return parts | {"header": np.array(json.dumps(header))}


def with_header_part(parts: Arrays, name: str, **changes: Any) -> Arrays:
    return with_header(parts, **{name: json.loads(str(parts["header"]))[name] | changes})


@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_every_bit_comes_back(tmp_path: pathlib.Path, observations: str, actions: str) -> None:
    demos = random_demos(observations, actions, kept=True)
    again = load(save(demos, tmp_path / "demos"))
    assert again == demos
    assert_same_space(again.observation_space, demos.observation_space)
    assert_same_space(again.action_space, demos.action_space)
    assert again.versions == demos.versions and again.env_id == demos.env_id
    assert [e.seed for e in again.episodes] == [2**40, None, 2**40 + 2]


def test_unknown_rewards_stay_unknown(tmp_path: pathlib.Path) -> None:
    none = random_demos(rewards=False)
    assert load(save(none, tmp_path / "none")) == none
    some = random_demos()
    mixed = Demonstrations((some.episodes[0], none.episodes[1], some.episodes[2]), *_rest(some))
    assert load(save(mixed, tmp_path / "mixed")) == mixed


@pytest.mark.parametrize("observations", ["vector", "dict"])
def test_what_is_unknown_stays_unknown(tmp_path: pathlib.Path, observations: str) -> None:
    demos = with_unknowns(random_demos(observations, lengths=(4, 1, 6, 2)))
    again = load(save(demos, tmp_path / "demos"))
    assert again == demos
    assert [(e.terminated, e.truncated, e.final_known) for e in again.episodes] == [
        (True, False, False),
        (None, None, True),
        (None, None, False),
        (None, None, False),
    ]
    assert {"end_known", "final_known"}.isdisjoint(parts_of(save(random_demos(), tmp_path / "known")))


def _rest(demos: Demonstrations) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    return demos.observation_space, demos.action_space


def test_kept_steps_include_the_absorbing_one(tmp_path: pathlib.Path) -> None:
    demos = random_demos(lengths=(3, 3, 3)).subsample(2, seed=1)
    assert any(e.kept is not None and len(e) in e.kept for e in demos.episodes)
    assert load(save(demos, tmp_path / "demos")) == demos


def test_equal_demonstrations_give_equal_files(tmp_path: pathlib.Path) -> None:
    a, b = (save(random_demos(), tmp_path / name).read_bytes() for name in "ab")
    assert a == b
    assert a != save(random_demos(seed=1), tmp_path / "c").read_bytes()


def test_the_suffix_is_added_as_numpy_adds_it(tmp_path: pathlib.Path) -> None:
    path = save(random_demos(), tmp_path / "new" / "Hopper-v5.10")
    assert path == tmp_path / "new" / "Hopper-v5.10.npz" and path.is_file()
    assert load(tmp_path / "new" / "Hopper-v5.10") == load(path)


def test_images_are_stored_as_bytes_and_once(tmp_path: pathlib.Path) -> None:
    parts = parts_of(save(random_demos("image"), tmp_path / "demos"))
    assert parts["observations"].dtype == np.uint8
    assert len(parts["observations"]) == 4 + 1 + 6 + 3


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(random_demos(), tmp_path / "demos")
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="disk full"):
        save(random_demos(seed=1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["demos.npz"]


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pathlib.Path.touch, (self.marker,)


@pytest.mark.parametrize("field", ["header", "lengths", "observations", "actions", "rewards", "kept", "terminated"])
def test_a_pickle_in_the_file_does_not_run(tmp_path: pathlib.Path, field: str) -> None:
    marker = tmp_path / "marker"
    parts = parts_of(save(random_demos(kept=True), tmp_path / "demos"))
    crafted = np.empty(np.shape(parts[field]), dtype=object)
    crafted[...] = Touch(marker)
    path = write_parts(tmp_path / "crafted.npz", parts | {field: crafted})
    with pytest.raises(ValueError, match=rf"crafted\.npz: {field}: .*pickle"):
        load(path)
    assert not marker.exists()
    # The file is a live one: NumPy with pickles runs it.
    with np.load(path, allow_pickle=True) as file:
        _ = file[field]
    assert marker.exists()


def test_a_bare_pickle_is_no_npz(tmp_path: pathlib.Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "crafted.npz"
    np.array([Touch(marker)], dtype=object).dump(path)
    with pytest.raises(ValueError, match=r"crafted\.npz: not an \.npz"):
        load(path)
    assert not marker.exists()


BROKEN: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "no lengths": (lambda p: {k: v for k, v in p.items() if k != "lengths"}, "lengths: missing"),
    "no actions": (lambda p: {k: v for k, v in p.items() if k != "actions"}, "actions: missing"),
    "no observations": (lambda p: {k: v for k, v in p.items() if k != "observations"}, "observations: missing"),
    "no header": (lambda p: {k: v for k, v in p.items() if k != "header"}, "header: missing"),
    "other npz": (lambda p: {"x": np.zeros(3)}, "header: missing"),
    "no JSON": (lambda p: p | {"header": np.array("{")}, "header: not JSON"),
    "other JSON": (lambda p: p | {"header": np.array("[1]")}, "header: no file of"),
    "newer schema": (lambda p: with_header(p, schema=2), "schema: 2; .*update"),
    "no schema": (lambda p: with_header(p, schema=...), "schema: None"),
    "no space": (lambda p: with_header(p, action_space=...), "action_space: missing"),
    "wrong env": (lambda p: with_header(p, env_id=["x"]), "env_id: .*no text"),
    "wrong versions": (lambda p: with_header(p, versions={"x": 1}), "versions: "),
    "few seeds": (lambda p: with_header(p, seeds=[1]), "seeds: 1 for 3 episodes"),
    "wrong seeds": (lambda p: with_header(p, seeds=[1.5, None, None]), "seeds: "),
    "sum of lengths": (lambda p: p | {"lengths": p["lengths"] + 1}, r"actions: shape \(11,\): 14 rows"),
    "other split": (lambda p: p | {"lengths": np.array([4, 2, 6])}, r"actions: shape \(11,\): 12 rows"),
    "no episode": (lambda p: p | {"lengths": p["lengths"][:0]}, "lengths: must be"),
    "zero length": (lambda p: p | {"lengths": np.array([5, 0, 6])}, "lengths: must be"),
    "float lengths": (lambda p: p | {"lengths": p["lengths"] * 1.0}, "lengths: dtype float64"),
    "negative": (lambda p: p | {"lengths": np.array([-4, 9, 6])}, "lengths: must be"),
    "few flags": (lambda p: p | {"truncated": p["truncated"][:2]}, r"truncated: shape \(2,\): 3 rows"),
    "few rewards": (lambda p: p | {"rewards": p["rewards"][:2]}, r"rewards: shape \(2,\): 11 rows"),
    "text": (lambda p: p | {"actions": np.array(["a"] * 11)}, "actions: dtype <U1"),
    "too much kept": (lambda p: p | {"kept": np.arange(3)}, r"kept: shape \(3,\): 0 rows"),
    "NaN": (lambda p: p | {"rewards": np.r_[p["rewards"][:7], np.nan, p["rewards"][8:]]}, "episode 2: rewards: nan"),
    "few ends": (lambda p: p | {"end_known": np.ones(2, bool)}, r"end_known: shape \(2,\): 3 rows"),
    "one row more": (
        lambda p: p | {"final_known": np.array([True, True, False])},
        r"observations: shape \(14, 3\): 13 rows",
    ),
    "no end": (lambda p: p | {"truncated": np.zeros(3, bool)}, "episode 1: terminated, truncated"),
    "wrong dtype": (
        lambda p: p | {"observations": p["observations"].astype(float)},
        "episode 0: observations: dtype float64",
    ),
    "wrong shape": (lambda p: p | {"observations": p["observations"][:, :2]}, "episode 0: observations: shape"),
    "outside": (lambda p: p | {"actions": p["actions"] + 9}, "episode 0: actions: .* lies outside"),
    "unknown space": (
        lambda p: with_header_part(p, "action_space", type="os.system"),
        "action_space: not a space .*'os.system'",
    ),
    "space of objects": (
        lambda p: with_header_part(p, "observation_space", dtype="object"),
        "observation_space: not a space .*object",
    ),
    "huge space": (
        lambda p: with_header_part(p, "observation_space", shape=[10**6, 10**6]),
        "observation_space: not a space .*shape",
    ),
    "space of text": (lambda p: with_header(p, observation_space="Box(1)"), "observation_space: not a space"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_with_file_and_field(tmp_path: pathlib.Path, case: str) -> None:
    change, message = BROKEN[case]
    parts = parts_of(save(random_demos(), tmp_path / "demos"))
    path = write_parts(tmp_path / "broken.npz", change(parts))
    with pytest.raises(ValueError, match=rf"broken\.npz: {message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: pathlib.Path) -> None:
    content = save(random_demos(), tmp_path / "demos").read_bytes()
    path = tmp_path / "cut.npz"
    for n in range(0, len(content), 97):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"cut\.npz: "):
            load(path)


def test_a_flipped_byte_never_gives_other_demonstrations(tmp_path: pathlib.Path) -> None:
    demos = random_demos()
    content = save(demos, tmp_path / "demos").read_bytes()
    path = tmp_path / "flipped.npz"
    refused = 0
    for n in range(0, len(content), 23):
        path.write_bytes(content[:n] + bytes([content[n] ^ 0xFF]) + content[n + 1 :])
        try:
            again = load(path)
        except ValueError:
            refused += 1
        else:
            assert again == demos  # a date or another unused byte
    assert refused > 20


def test_sizes_that_cannot_be_true_ask_for_no_memory(tmp_path: pathlib.Path) -> None:
    parts = parts_of(save(random_demos("image"), tmp_path / "demos"))
    del parts["actions"]
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in parts.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)
        # A header that promises 8 TB, and no data.
        text = repr({"descr": "<i8", "fortran_order": False, "shape": (11, 10**11)}).ljust(117) + "\n"
        archive.writestr("actions.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    with pytest.raises(ValueError, match=r"huge\.npz: actions: .*bytes"):
        load(path)


def test_a_missing_file_says_so(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "space",
    [
        *OBSERVATIONS.values(),
        *ACTIONS.values(),
        spaces.Box(-0.0, 0.0, (2,), np.float32),
        spaces.Box(np.array([-0.0, 0.0], np.float32), np.ones(2, np.float32)),
        spaces.Box(np.float32(0.1), np.inf, (), np.float32),
        spaces.Box(0, 2**63, (2,), np.uint64),
        spaces.Box(0, 1, (2,), np.bool_),  # type: ignore[arg-type]
        spaces.Box(-1, 1, (0,), np.float16),
        spaces.Discrete(3, dtype=np.int32),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
        spaces.Dict({"outer": spaces.Dict({"inner": spaces.Discrete(2)})}),
    ],
    ids=str,
)
def test_spaces_survive_json(space: spaces.Space[Any]) -> None:
    again = space_from_json(json.loads(json.dumps(space_to_json(space))), "space")
    assert_same_space(again, space)


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Tuple([spaces.Discrete(2)])], ids=str)
def test_other_spaces_are_refused_by_name(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(space))):
        space_to_json(space)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"type": "Box", "dtype": "float32", "shape": [2], "low": 1, "high": 0},
        {"type": "Box", "dtype": "float32", "shape": [2], "low": [0, 1, 2], "high": 5},
        {"type": "Box", "dtype": "float32", "shape": [-2], "low": 0, "high": 1},
        {"type": "Box", "dtype": "O", "shape": [2], "low": 0, "high": 1},
        {"type": "Box", "dtype": "float32", "shape": [2], "low": "0", "high": 1},
        {"type": "Discrete", "dtype": "int64", "n": 0, "start": 0},
        {"type": "Discrete", "dtype": "int64", "n": 2.5, "start": 0},
        {"type": "MultiDiscrete", "dtype": "int64", "nvec": ["a"], "start": [0]},
        {"type": "Dict", "spaces": [["a", {"type": "Discrete", "dtype": "int64", "n": 2, "start": 0}]] * 2},
    ],
)
def test_what_is_no_space_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="part: not a space"):
        space_from_json(data, "part")


def test_deep_nesting_is_refused() -> None:
    data: Any = {"type": "Discrete", "dtype": "int64", "n": 2, "start": 0}
    for _ in range(500):
        data = {"type": "Dict", "spaces": [["a", data]]}
    with pytest.raises(ValueError, match="nested deeper"):
        space_from_json(data, "part")
