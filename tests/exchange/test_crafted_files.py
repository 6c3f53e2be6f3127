"""Files of strangers cost no more than their size: each is refused before what it asks for is made."""

from __future__ import annotations

import collections
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from support.agents import CARTPOLE, OFF, makers, small

from sb3_ext.errors import MAX_MESSAGE, UnsafeFile
from sb3_ext.exchange import strict_json, tensor_files, torch_zip
from sb3_ext.exchange.counted import at_most
from sb3_ext.exchange.safe_files import load_safe, save_safe
from sb3_ext.exchange.sb3_zip import load_zip_weights
from sb3_ext.exchange.strict_json import parse
from sb3_ext.exchange.tensor_files import read_header
from sb3_ext.exchange.torch_zip import open_zip, read_member, read_tensors


def saved(state: Any) -> bytes:
    """:return: what `torch.save` makes of it"""
    stream = io.BytesIO()
    th.save(state, stream)
    return stream.getvalue()


# ---------------------------------------------------------------------- torch.save


def test_what_torch_saves_is_read_as_torch_reads_it() -> None:
    lstm = th.arange(12, dtype=th.float32)
    weight = th.randn(3, 4)
    state = collections.OrderedDict(
        a=weight,
        same=weight,
        scalar=th.tensor(7),
        empty=th.zeros(0, 3),
        half=th.ones(2, dtype=th.float16),
        first=lstm[:4],
        second=lstm[4:].view(2, 4),
        channels_last=th.randn(2, 3, 4, 5).to(memory_format=th.channels_last),
        transposed=th.randn(3, 4).T,
        parameter=th.nn.Parameter(th.randn(2)),
        yes=th.tensor([True, False]),
    )
    again = read_tensors(saved(state), "x")
    assert again.keys() == state.keys()
    for key, x in state.items():
        assert again[key].dtype == x.dtype and th.equal(again[key], x), key
    module = th.nn.Sequential(th.nn.Linear(2, 3), th.nn.BatchNorm1d(3))
    assert read_tensors(saved(module.state_dict()), "x").keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: th.zeros(1).expand(10**9), "x: w: .*1000000000.* is more than its storage of 1"),
        (lambda: th.zeros(4).as_strided((2, 2), (1, 1)), "x: w: strides .* overlap or leave gaps"),
        (lambda: th.zeros(8)[::2], "x: w: strides .* overlap or leave gaps"),
        (lambda: th.zeros(10**3, device="meta"), "holds more than tensors"),
        (lambda: th.tensor([1.0, float("nan")]), "x: w holds NaN or infinite numbers"),
        (lambda: th.tensor([float("inf")]), "x: w holds NaN or infinite numbers"),
        (
            lambda: th.sparse_coo_tensor(th.tensor([[0]]), th.ones(1), (10**9,), check_invariants=True),
            "holds more than tensors",
        ),
        (lambda: th.zeros(2, dtype=th.complex64), "holds more than tensors"),
        (lambda: {"deeper": th.zeros(1)}, "holds more than tensors"),
        (lambda: 3, "holds more than tensors"),
        (lambda: bytearray(10), "holds more than tensors"),
        (lambda: np.zeros(2), "holds more than tensors"),
    ],
)
def test_of_torch_s_files_tensors_alone_are_read(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UnsafeFile, match=message):
        read_tensors(saved({"v": th.zeros(2), "w": make()}), "x")


def test_tensors_share_all_of_their_numbers_or_none() -> None:
    x = th.zeros(6)
    with pytest.raises(UnsafeFile, match="x: tensors overlap in storage 0"):
        read_tensors(saved({"a": x[:4], "b": x[2:]}), "x")
    with pytest.raises(UnsafeFile, match="x: b shares its numbers with another tensor in another shape"):
        read_tensors(saved({"a": x.view(2, 3), "b": x.view(3, 2)}), "x")


def with_members(content: bytes, change: Callable[[str, bytes], bytes | None], compression: int = 0) -> bytes:
    """:return: a zip whose members were changed, or left out"""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w", compression) as new:
        for name in old.namelist():
            member = change(name, old.read(name))
            if member is not None:
                new.writestr(name, member)
    return result.getvalue()


def pickled(*operations: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, content: b"\x80\x02" + b"".join(operations) if name.endswith("data.pkl") else content


def tensor_call(storage_size: bytes, shape: bytes, device: bytes = b"cpu") -> list[bytes]:
    """:return: a pickle of {"w": tensor} with any numbers in it"""

    def text(x: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(x)) + x

    persistent = [b"((", text(b"storage"), b"ctorch\nFloatStorage\n", text(b"0"), text(device), storage_size, b"tQ"]
    call = [b"ctorch._utils\n_rebuild_tensor_v2\n", *persistent, b"K\x00", shape, b"K\x01\x85\x89}tR"]
    return [b"}", text(b"w"), *call, b"s."]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (tensor_call(b"K\x02", b"K\x02\x85"), None),
        (tensor_call(b"K\x02", b"K\x03\x85"), r"\(3,\) from 0 on is more than its storage of 2"),
        (tensor_call(b"\x8a\x05\x00\x00\x00\x00\x01", b"K\x02\x85"), "would take 17179869184 bytes"),
        (tensor_call(b"K\x01", b"K\x01\x85"), "has 8 bytes, not 1 of torch.float32"),
        (tensor_call(b"J\xff\xff\xff\xff", b"K\x00\x85"), "a storage of -1 numbers"),
        (tensor_call(b"K\x02", b"J\xff\xff\xff\xff\x85"), "no whole numbers"),
        (tensor_call(b"K\x02", b"K\x02\x85", b"meta"), "is no storage in memory"),
        (tensor_call(b"K\x02", b"X\x01\x00\x00\x00a\x85"), "no whole numbers"),
        ([b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R."], "GLOBAL os system"),
        ([b"cbuiltins\nbytearray\n\x8a\x04\x00\x00\x00\x7f\x85R."], "GLOBAL builtins bytearray"),
        ([b"}\x8c\x02osX\x01\x00\x00\x00x\x93."], "SHORT_BINUNICODE"),
        ([b"}(q\xff0."], "POP"),
        ([b"}))s."], "cannot be a new name"),
        ([b"}X\x01\x00\x00\x00aNX\x01\x00\x00\x00aN", b"ss."], "cannot be a new name|nothing|is no tensor"),
        ([b"}h\x07s."], "7"),
        ([b"t."], "index out of range"),
        ([b"R."], "nothing is left"),
        ([b"b."], "BUILD|index out of range"),
        ([b"ccollections\nOrderedDict\nK\x01\x85R."], "is called"),
        ([b"}"], "exhausted"),
        ([b"N."], "it is no dictionary"),
    ],
    ids=lambda x: str(x)[-40:],
)  # fmt: skip
def test_no_operation_but_those_of_a_state_dict_is_followed(operations: list[bytes], message: str | None) -> None:
    content = with_members(saved({"w": th.tensor([1.0, 2.0])}), pickled(*operations))
    if message is None:
        assert read_tensors(content, "x")["w"].tolist() == [1.0, 2.0]
        return
    with pytest.raises(UnsafeFile, match=message):
        read_tensors(content, "x")


def test_zips_are_read_frugally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved({"w": th.zeros(10)})
    with pytest.raises(UnsafeFile, match=r"x: .* is compressed"):
        read_tensors(with_members(content, lambda _, x: x, zipfile.ZIP_DEFLATED), "x")
    with pytest.raises(UnsafeFile, match="x is no whole zip"):
        read_tensors(content[:-10], "x")
    with pytest.raises(UnsafeFile, match="x holds 0 pickles"):
        read_tensors(with_members(content, lambda name, x: None if "pkl" in name else x), "x")
    with pytest.raises(UnsafeFile, match="another order of bytes"):
        read_tensors(with_members(content, lambda name, x: b"big" if "byteorder" in name else x), "x")
    with pytest.raises(UnsafeFile, match=r"x has no .*data/0"):
        read_tensors(with_members(content, lambda name, x: None if name.endswith("data/0") else x), "x")
    twice = io.BytesIO(content)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], b"")
    with pytest.raises(UnsafeFile, match="x: a member comes twice"):
        read_tensors(twice.getvalue(), "x")
    monkeypatch.setattr(torch_zip, "MAX_PICKLE_BYTES", 20)
    with pytest.raises(UnsafeFile, match=r"x: .*data.pkl has \d+ bytes, more than 20"):
        read_tensors(content, "x")
    monkeypatch.undo()
    monkeypatch.setattr(torch_zip, "MAX_TENSORS", 0)
    with pytest.raises(UnsafeFile, match="x has 1 tensors, more than 0"):
        read_tensors(content, "x")
    monkeypatch.setattr(torch_zip, "MAX_DIRECTORY_BYTES", 2**17)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}", b"")
    with (
        pytest.raises(UnsafeFile, match=r"its directory has \d+ bytes, more than 131072"),
        open_zip(many.getvalue(), "x"),
    ):
        pass


def test_a_size_that_a_zip_states_is_not_believed() -> None:
    """Of 3 MB that say to be 200 MB and unpack to 3 GB nothing is unpacked, and no more is read than is there."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", bytes(10**5))
    raw = bytearray(stream.getvalue())
    at = raw.rfind(b"PK\x01\x02")
    for size in (10**5, 2**31):  # compressed size, as large as the other one says
        raw[at + 20 : at + 24] = raw[at + 24 : at + 28] = struct.pack("<I", size)
        with open_zip(bytes(raw), "x") as archive, pytest.raises(UnsafeFile, match=r"x: policy.pth is compressed"):
            read_member(archive, "policy.pth", 2**40, "x")
    raw[at + 10 : at + 12] = struct.pack("<H", zipfile.ZIP_STORED)
    with pytest.raises(UnsafeFile, match=r"no whole zip|has .* bytes and says"), open_zip(bytes(raw), "x") as archive:
        read_member(archive, "policy.pth", 2**40, "x")


# ---------------------------------------------------------------------- SB3's zips


def zip_of(model: Any, path: Path, **members: bytes) -> Path:
    stream = io.BytesIO()
    model.save(stream)
    path.write_bytes(with_members(stream.getvalue(), lambda name, x: members.get(name.split(".")[0], x)))
    return path


def test_a_zip_makes_no_more_weights_than_it_has(tmp_path: Path) -> None:
    env = gym.make(CARTPOLE)
    dqn = sb3.DQN("MlpPolicy", CARTPOLE, **OFF, **small())
    wide = json.dumps({"policy_kwargs": {"net_arch": [30_000, 30_000]}}).encode()
    expanded = saved({**dqn.policy.state_dict(), "more": th.zeros(1).expand(10**10)})
    path = zip_of(dqn, tmp_path / "dqn.zip", data=wide, policy=expanded)
    with pytest.raises(UnsafeFile, match=r"policy.pth: more: .* is more than its storage"):
        load_zip_weights(path, sb3.DQN, env, "cpu", buffer_size=10)
    path = zip_of(dqn, tmp_path / "dqn.zip", data=wide)
    with pytest.raises(UnsafeFile, match=r"its networks have more weights than policy.pth"):
        load_zip_weights(path, sb3.DQN, env, "cpu", buffer_size=10)
    int8 = {key: x.to(th.int8) for key, x in dqn.policy.state_dict().items()}
    path = zip_of(dqn, tmp_path / "dqn.zip", policy=saved(int8))
    with pytest.raises(UnsafeFile, match=r"is of torch.int8, that of the network of torch.float32"):
        load_zip_weights(path, sb3.DQN, env, "cpu", buffer_size=10)
    path = zip_of(dqn, tmp_path / "dqn.zip", data=b'{"policy_kwargs": {"net_arch": [0]}}')
    with pytest.raises(UnsafeFile, match=r"dqn.zip: data: policy_kwargs: net_arch 0 must lie in"):
        load_zip_weights(path, sb3.DQN, env, "cpu", buffer_size=10)
    path = zip_of(dqn, tmp_path / "dqn.zip", data=b"[]")
    with pytest.raises(UnsafeFile, match=r"dqn.zip: data holds a list"):
        load_zip_weights(path, sb3.DQN, env, "cpu", buffer_size=10)


def test_a_tensor_is_measured_before_it_is_made() -> None:
    for make in (
        lambda: th.linspace(0, 1, 10**15),
        lambda: th.zeros(10**15),
        lambda: th.empty((10**8, 10**8)),
        lambda: th.arange(10**15),
        lambda: th.full((10**15,), 1.0),
        lambda: th.zeros(1).new_zeros(10**15),
        lambda: th.nn.Linear(10**8, 10**8),
        lambda: th.nn.LSTM(1, 10**8),
    ):
        with pytest.raises(UnsafeFile, match="too many"), at_most(10, 10, "too many"):
            make()
    with pytest.raises(UnsafeFile, match="too many"), at_most(10, 10, "too many"):
        th.nn.Sequential(*(th.nn.Linear(1, 1) for _ in range(200)))  # few weights, but many tensors
    with pytest.raises(UnsafeFile, match="too many"), at_most(10, 10, "too many"):
        th.nn.Sequential(*(th.nn.Linear(300, 300) for _ in range(3)))  # few tensors, but many weights
    with at_most(10, 10, "too many"):
        assert th.rand(3, generator=th.Generator().manual_seed(0)).shape == (3,)
        assert th.nn.Linear(10, 10).weight.shape == (10, 10)
    assert th.zeros(10**6).shape == (10**6,), "as before"


# ---------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": [[], [], [], []]}', "x has 10 brackets, commas and colons, more than 8"),
        (b'{"a": 1, "b": {"c": 2, "c": 3}}', "key 'c' comes twice"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"a": 1e400}', "1e400 is too large for a float"),
        (b'{"a": ' + b"9" * 5000 + b"}", "x is not JSON"),
        (b"\xff", "x is not JSON"),
        (b'["a"]', "x holds a list"),
        (b'{"a"', "x is not JSON"),
        (b" " * 20_000, "x has 20000 bytes, more than 10000"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_json_is_counted_and_strict(content: bytes, message: str) -> None:
    with pytest.raises(UnsafeFile, match=message):
        parse(content, "x", 10_000, 8)
    assert parse(b'{"a": [1e300, "NaN,"]}', "x", 100, 5) == {"a": [1e300, "NaN,"]}
    assert parse(b'{"a": Infinity}', "x", 100, 5, infinite=True) == {"a": float("inf")}


def test_a_deep_or_long_text_is_one_short_line() -> None:
    with pytest.raises(UnsafeFile, match="x is not JSON"):
        parse(b"[" * 100_000, "x", 10**6)
    message = str(UnsafeFile("a\nb\x1b[2Jc" + "d" * 10**6))
    assert message.startswith("a b [2Jcddd") and len(message) == MAX_MESSAGE + 4


# ---------------------------------------------------------------------- safetensors


def header_file(path: Path, entries: Any, n_bytes: int = 0) -> Path:
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(n_bytes))
    return path


def entry(shape: Any = (2,), place: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": entry()}, None),
        ({"__metadata__": {"x": "y"}, "a": entry((0,), (0, 0)), "b": entry()}, None),
        ({"a": entry(dtype="F8")}, "x: a: dtype 'F8' is none of"),
        ({"a": entry(dtype=None)}, "x: a: dtype None is none of"),
        ({"a": entry(shape=[-2])}, r"x: a: shape \[-2\] is no list of whole numbers"),
        ({"a": entry(shape=[2.0])}, "x: a: shape .* is no list of whole numbers"),
        ({"a": entry(shape=[True, 2])}, "x: a: shape .* is no list of whole numbers"),
        ({"a": entry(shape=None)}, "x: a: shape None is no list"),
        ({"a": entry(shape=[2**40, 2**40])}, "does not fill data_offsets"),
        ({"a": entry(shape=[1] * 9, place=(0, 4))}, "does not fill data_offsets"),
        ({"a": entry(place=[0, 8, 9])}, "does not fill data_offsets"),
        ({"a": entry(place=["0", 8])}, "is no list of whole numbers"),
        ({"a": entry(), "b": entry()}, "x: its tensors overlap, or leave a gap, at byte 8"),
        ({"a": entry((1,), (0, 4)), "b": entry((0,), (8, 8))}, "its tensors overlap, or leave a gap, at byte 4"),
        ({"a": entry((1,), (0, 4))}, "its tensors end at byte 4, and there are 8"),
        ({"a": {"dtype": "F32"}}, "x: a must have dtype, shape and data_offsets"),
        ({"a": [1]}, "x: a must have dtype"),
        (["a"], "x: its header holds a list"),
    ],
    ids=lambda x: str(x)[:60],
)  # fmt: skip
def test_a_header_is_read_before_a_tensor_is(entries: Any, message: str | None, tmp_path: Path) -> None:
    path = header_file(tmp_path / "x", entries, 8)
    if message is None:
        assert read_header(path).load()["a"].dtype == read_header(path).dtypes["a"] == th.float32
        return
    with pytest.raises(UnsafeFile, match=message):
        read_header(path)


def test_a_header_s_tensors_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = header_file(tmp_path / "x", {f"t{i}": entry((0,), (0, 0)) for i in range(20)})
    assert len(read_header(path).shapes) == 20
    for name, value, message in (
        ("MAX_TENSORS", 19, "x has 20 tensors, more than 19"),
        ("MAX_HEADER_VALUES", 100, r"x: its header has \d+ brackets"),
        ("MAX_HEADER_BYTES", 100, r"x: its header has \d+ bytes, more than 100"),
        ("MAX_WEIGHT_BYTES", 100, r"x has \d+ bytes, more than 100"),
    ):
        monkeypatch.setattr(tensor_files, name, value)
        with pytest.raises(UnsafeFile, match=message):
            read_header(path)
        monkeypatch.undo()


def test_nothing_is_written_that_no_reader_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = makers()["a2c"]()
    with th.no_grad():
        next(iter(model.policy.parameters()))[0] = float("nan")
    with pytest.raises(UnsafeFile, match=r"policy/.* holds NaN or infinite numbers"):
        save_safe(model, tmp_path / "agent")
    model = makers()["a2c"]()
    assert isinstance(model, sb3.A2C)
    model.gamma = 2.0
    with pytest.raises(ValueError, match=r"gamma 2.0 must lie in \[0, 1\]"):
        save_safe(model, tmp_path / "agent")
    monkeypatch.setattr(strict_json, "MAX_JSON_BYTES", 100)
    with pytest.raises(UnsafeFile, match=r"config.json has \d+ bytes, more than 100"):
        save_safe(makers()["a2c"](), tmp_path / "agent")
    assert not list(tmp_path.iterdir())


def test_what_training_stores_is_counted_too(tmp_path: Path) -> None:
    for name, keywords, message in (
        ("dqn", {"buffer_size": 10**9}, None),
        ("recurrentppo", {"n_steps": 10**6}, "n_steps 1000000 would take"),
        ("a2c", {"n_steps": 10**7}, "would take"),
    ):
        folder = save_safe(makers()[name](), tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        config["keywords"].update(keywords)
        if name != "dqn":
            config["n_envs"] = 100
        (folder / "config.json").write_text(json.dumps(config))
        if message is None:
            load_safe(folder, device="cpu")  # which acts
            config["observation_space"]["$space"].update(shape=[100], low=0, high=1)
            (folder / "config.json").write_text(json.dumps(config))
            with pytest.raises(UnsafeFile, match=r"buffer_size 1000000000 would take 400000000000 bytes"):
                load_safe(folder, env=gym.make(CARTPOLE), device="cpu")
            continue
        with pytest.raises(UnsafeFile, match=message):
            load_safe(folder, device="cpu")
