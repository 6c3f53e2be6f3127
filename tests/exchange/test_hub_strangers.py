"""What strangers upload to the Hub: nothing of it runs, costs more than its size, or is shown as it is."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from support.agents import CARTPOLE, OFF, actions_of, makers, small
from support.hub_agents import REPO, files_of, load, push
from support.hub_server import TOKEN, Hub

from sb3_ext.errors import UserError
from sb3_ext.exchange.hub import Score, push_to_hub
from sb3_ext.exchange.hub_card import card
from sb3_ext.exchange.safe_files import UnsafeFile

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def crafted(tmp_path: Path, where: str) -> tuple[bytes, Path]:
    """:return: SB3's zip of a DQN that runs code from ``where``, and the file that the code makes"""
    proof = tmp_path / f"executed-{where}"
    buffer = io.BytesIO()
    sb3.DQN("MlpPolicy", CARTPOLE, **OFF, **small()).save(buffer)
    parts: dict[str, bytes] = {}
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if where == "data":
        data = json.loads(parts["data"])
        serialized = base64.b64encode(pickle.dumps(Payload(proof))).decode()
        data["action_noise"] = {":type:": "<class 'x'>", ":serialized:": serialized}
        parts["data"] = json.dumps(data).encode()
    else:
        stream = io.BytesIO()
        th.save({"x": Payload(proof)}, stream)
        parts["policy.pth"] = stream.getvalue()
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return result.getvalue(), proof


def test_a_crafted_zip_runs_in_plain_sb3_and_not_here(hub: Hub, tmp_path: Path) -> None:
    content, proof = crafted(tmp_path, "data")
    (tmp_path / "dqn.zip").write_bytes(content)
    sb3.DQN.load(tmp_path / "dqn.zip", device="cpu")
    assert proof.exists(), "this is the difference"
    proof.unlink()
    push(makers()["ppo"](), hub)
    files_of(hub).clear()
    files_of(hub)["dqn-CartPole-v1.zip"] = content
    model = load(hub, tmp_path / "cache", env=gym.make(CARTPOLE), **OFF)
    assert isinstance(model, sb3.DQN) and not proof.exists()

    content, proof = crafted(tmp_path, "weights")
    files_of(hub)["dqn-CartPole-v1.zip"] = content
    with pytest.raises(UnsafeFile, match=r"policy.pth holds more than tensors, and nothing of it was run"):
        load(hub, tmp_path / "other", env=gym.make(CARTPOLE), **OFF)
    assert not proof.exists()


def test_bombs_are_not_unpacked(hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    files_of(hub).clear()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", b" " * (40 * 2**20))
        archive.writestr("policy.pth", b"")
    assert len(buffer.getvalue()) < 100_000
    files_of(hub)["dqn-CartPole-v1.zip"] = buffer.getvalue()
    with pytest.raises(UnsafeFile, match=r"dqn-CartPole-v1.zip: data is compressed, which SB3's"):
        load(hub, tmp_path / "cache", env=gym.make(CARTPOLE))


def test_only_files_of_fixed_names_are_asked_for(hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    config = json.loads(files_of(hub)["config.json"])
    config["weights"] = "../../escaped.safetensors"
    files_of(hub).update({"config.json": json.dumps(config).encode(), "../../escaped.safetensors": b"x"})
    hub.requests.clear()
    load(hub, tmp_path / "cache")
    asked = {line.rsplit("/", 1)[1] for line in hub.requests if "/resolve/" in line}
    optional = {f"{name}.{suffix}" for name in ("optimizer", "vec_normalize") for suffix in ("json", "safetensors")}
    assert asked <= {"config.json", "policy.safetensors"} | optional
    assert not any("escaped" in line for line in hub.requests) and not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("moment", ["info", "config.json", "policy.safetensors"])
def test_files_of_two_commits_are_not_mixed(moment: str, hub: Hub, tmp_path: Path) -> None:
    """Somebody pushes another agent, of the same shapes, while this one is downloaded."""
    first, second = (
        sb3.PPO("MlpPolicy", CARTPOLE, n_steps=16, batch_size=8, gamma=g, device="cpu") for g in (0.5, 0.9)
    )
    push(second, hub)
    later = ("2" * 40, dict(files_of(hub)))
    hub.repositories[REPO].commits.clear()
    hub.repositories[REPO].commits.append(("0" * 40, {}))
    push(first, hub, optimizer=True)
    hub.moves = {moment: later}
    loaded = load(hub, tmp_path / "cache")
    assert not hub.moves, "it moved"
    expected = second if moment == "info" else first
    assert isinstance(loaded, sb3.PPO) and loaded.gamma == expected.gamma
    np.testing.assert_array_equal(actions_of(loaded), actions_of(expected))
    for key, x in expected.policy.state_dict().items():
        assert th.equal(loaded.policy.state_dict()[key], x), key
    snapshots = [path.name for path in (tmp_path / "cache").glob("*/snapshots/*")]
    assert snapshots == [later[0] if moment == "info" else hub.repositories[REPO].commits[-2][0]]


def test_sizes_are_those_of_the_commit_that_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    hub.moves = {"info": ("2" * 40, dict(files_of(hub)))}
    hub.failures_then = {"sizes": {"policy.safetensors": 10**12}}
    with pytest.raises(UnsafeFile, match=r"policy.safetensors has 1000000000000 bytes"):
        load(hub, tmp_path)


def test_what_is_in_the_cache_does_without_a_hub(hub: Hub, tmp_path: Path) -> None:
    model = makers()["ppo"]()
    push(model, hub)
    load(hub, tmp_path)
    hub.failures["info"] = 503
    hub.requests.clear()
    np.testing.assert_array_equal(actions_of(load(hub, tmp_path)), actions_of(model))
    assert not [x for x in hub.requests if "/resolve/" in x], "sizes are not known, and nothing is downloaded"
    with pytest.raises(UserError, match="nothing of it in the cache"):
        load(hub, tmp_path / "other")


def test_a_card_says_no_password_and_no_path(hub: Hub) -> None:
    model = sb3.PPO("MlpPolicy", CARTPOLE, n_steps=16, batch_size=8, tensorboard_log="/home/ann/runs", device="cpu")
    command = "sb3-ext train --storage postgresql://ann:geheim@db/x -f /home/ann/logs --hub-token hf_abcdefghijkl"
    push(model, hub, command=command)
    card = files_of(hub)["README.md"].decode()
    assert "\nsb3-ext train --storage postgresql://REDACTED@db/x -f .../logs --hub-token REDACTED\n" in card
    for name, content in files_of(hub).items():
        for secret in (b"geheim", b"hf_abc", b"/home/ann"):
            assert secret not in content, name


def test_text_in_a_card_is_text(hub: Hub, tmp_path: Path) -> None:
    model = makers()["ppo"]()
    with pytest.raises(UserError, match="is no name of an environment"):
        push_to_hub(model, REPO, "X\n---\n# <script>", token=TOKEN, endpoint=hub.endpoint)
    with pytest.raises(UserError, match="only wrappers of"):
        push(model, hub, environment={"env_wrapper": "os.system"})
    bad = tmp_path / "curve.png](javascript:x)"
    bad.write_bytes(b"")
    with pytest.raises(UserError, match="its name must end as that of a picture"):
        push(model, hub, curve=bad)
    with pytest.raises(UserError, match=r"score .* must be finite"):
        push(model, hub, score=Score(float("nan"), 0.0, 1))
    assert hub.requests == []
    content = card(model, 'a/b")\nimport os', "X*<b>_[a](b)", None, "train\n```\n# <b>\x1b[2J", None).decode()
    assert "# PPO on X\\*\\<b\\>\\_\\[a\\]\\(b\\)\n" in content
    assert "\n````\ntrain\n" in content and "\n````\n\n" in content and "\x1b" not in content
    assert 'load_from_hub("a/b\\")\\nimport os")' in content


def test_the_environment_of_a_config_is_checked_when_it_is_read(hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    config = json.loads(files_of(hub)["config.json"])
    for change, message in (
        ({"env_id": "evil:Foo-v0"}, r"config.json: env_id: 'evil:Foo-v0' names a module"),
        ({"env_id": None}, r"config.json: env_id: 'None' is no name"),
        ({"environment": {"frame_stack": 10**9}}, r"config.json: frame_stack 1000000000 must be"),
        ({"environment": {"frame_stack": True}}, r"config.json: frame_stack True must be"),
        ({"environment": {"env_kwargs": {"n": 10**9}}}, r"config.json: env_kwargs .* must be numbers"),
    ):
        files_of(hub)["config.json"] = json.dumps({**config, **change}).encode()
        with pytest.raises(UnsafeFile, match=message):
            load(hub, tmp_path / str(len(message)) / str(change)[:20].replace("/", ""))


def test_an_unknown_algorithm_and_a_newer_schema_are_named(hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    config = json.loads(files_of(hub)["config.json"])
    for change, message in (
        ({"algorithm": "sb3_ext.Muesli"}, "algorithm 'sb3_ext.Muesli' is not known here"),
        ({"schema": 9}, "schema 9 is newer than this sb3_ext knows"),
    ):
        files_of(hub)["config.json"] = json.dumps({**config, **change}).encode()
        with pytest.raises(UnsafeFile, match=message):
            load(hub, tmp_path / str(len(message)))


@pytest.mark.parametrize("name", ["config.json", "policy.safetensors", "ppo-Some-v0.zip"])
def test_files_that_are_too_large_are_not_even_asked_for(name: str, hub: Hub, tmp_path: Path) -> None:
    push(makers()["ppo"](), hub)
    if name.endswith(".zip"):
        for other in [x for x in files_of(hub) if not x.endswith(".zip")]:
            del files_of(hub)[other]
    hub.failures["sizes"] = {name: 10**12}
    hub.requests.clear()
    with pytest.raises(UnsafeFile, match=rf"{name} has 1000000000000 bytes, more than \d+; nothing was loaded"):
        load(hub, tmp_path, env=gym.make(CARTPOLE))
    assert not [x for x in hub.requests if x.startswith("GET") and "/resolve/" in x and name in x]
