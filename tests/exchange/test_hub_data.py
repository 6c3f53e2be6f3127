"""Demonstrations to the Hub and back, through huggingface_hub itself, against a server on 127.0.0.1."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from support.hub_server import TOKEN, Hub, reachable
from support.worlds import TaggedEnv

from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import Demonstrations, record, save
from sb3_ext.demonstrations import load as load_file
from sb3_ext.errors import UserError
from sb3_ext.exchange import hub_data
from sb3_ext.exchange.hub_data import DATA, load_demonstrations, push_demonstrations, reach
from sb3_ext.exchange.safe_files import UnsafeFile

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "me/demos"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with reachable(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def demos() -> Demonstrations:
    env = TaggedEnv()
    return record(PPO("MlpPolicy", env, device="cpu"), env, 3, env_id="Tagged-v0")


def push(demos: Demonstrations, hub: Hub, **keywords: Any) -> str:
    return push_demonstrations(demos, REPO, endpoint=hub.endpoint, **{"token": TOKEN, **keywords})


def load(hub: Hub, **keywords: Any) -> Demonstrations:
    return load_demonstrations(REPO, **{"token": TOKEN, "endpoint": hub.endpoint, "cache_dir": "cache", **keywords})


def test_pushed_episodes_come_back_bit_by_bit(hub: Hub, demos: Demonstrations) -> None:
    assert f"{hub.endpoint}/datasets/{REPO}/commit/" in push(demos, hub)
    assert list(hub.repositories) == [f"datasets/{REPO}"], "a data set, not a model"
    files = hub.repositories[f"datasets/{REPO}"].commits[-1][1]
    assert set(files) == {DATA, "README.md"}
    assert "Tagged-v0" in files["README.md"].decode() and "load_demonstrations" in files["README.md"].decode()
    again = load(hub)
    assert again.episodes == demos.episodes and again.env_id == "Tagged-v0" and again.versions == demos.versions


@pytest.mark.parametrize("endpoint", ["create", "preupload", "batch", "put", "commit"])
def test_a_push_that_fails_changes_nothing_and_can_be_repeated(
    endpoint: str, hub: Hub, demos: Demonstrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits before it tries again
    hub.failures[endpoint] = 500
    with pytest.raises(UserError, match=REPO):
        push(demos, hub)
    assert all(len(repository.commits) == 1 for repository in hub.repositories.values())
    hub.failures.clear()
    push(demos, hub)
    assert len(load(hub)) == 3


def test_what_is_not_there_is_named(hub: Hub, demos: Demonstrations) -> None:
    with pytest.raises(UserError, match=f"there is no {REPO} on the hub"):
        load(hub)
    push(demos, hub)
    with pytest.raises(UserError, match="has no revision 'other'"):
        load(hub, revision="other")
    with pytest.raises(UserError, match="refuses the token"):
        push(demos, hub, token="hf_wrong")
    del hub.repositories[f"datasets/{REPO}"].commits[-1][1][DATA]
    with pytest.raises(UserError, match=f"has no {DATA}: it was not pushed by sb3_ext"):
        load(hub, cache_dir="another")


def test_a_data_set_that_is_too_large_is_not_even_asked_for(hub: Hub, demos: Demonstrations) -> None:
    push(demos, hub)
    hub.failures["sizes"] = {DATA: 10**12}
    hub.requests.clear()
    with pytest.raises(UnsafeFile, match="has 1000000000000 bytes"):
        load(hub)
    assert not [x for x in hub.requests if "/resolve/" in x]


def test_a_stranger_s_pickle_does_not_run(hub: Hub, demos: Demonstrations) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (Path("ran").touch, ())

    push(demos, hub)
    files = hub.repositories[f"datasets/{REPO}"].commits[-1][1]
    crafted, member = io.BytesIO(), io.BytesIO()
    np.save(member, np.array([Runs()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(io.BytesIO(files[DATA])) as old, zipfile.ZipFile(crafted, "w") as new:
        for name in old.namelist():
            new.writestr(name, member.getvalue() if name == "rewards.npy" else old.read(name))
    files[DATA] = crafted.getvalue()
    with pytest.raises(ValueError, match="rewards"):
        load(hub)
    assert not Path("ran").exists()


def test_from_the_command_line(
    hub: Hub, demos: Demonstrations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there: dict[str, Any] = {"endpoint": hub.endpoint, "token": TOKEN}
    monkeypatch.setattr(hub_data, "push_demonstrations", functools.partial(push_demonstrations, **there))
    loader = functools.partial(load_demonstrations, **there, cache_dir="cache")
    monkeypatch.setattr(hub_data, "load_demonstrations", loader)
    monkeypatch.setattr(hub_data, "reach", functools.partial(reach, **there))
    save(demos, "own.npz")
    assert cli.main(["demos", "push", "own.npz", "--repo-id", REPO]) == 0
    assert f"Pushed 3 episodes to {hub.endpoint}/datasets/{REPO}" in capsys.readouterr().out
    assert cli.main(["demos", "pull", "--repo-id", REPO]) == 0
    assert "Saved demos/Tagged-v0.npz" in capsys.readouterr().out
    assert load_file("demos/Tagged-v0.npz").episodes == demos.episodes
    assert cli.main(["demos", "pull", "--repo-id", REPO]) == 2
    assert "demos/Tagged-v0.npz exists" in capsys.readouterr().err
    assert cli.main(["demos", "pull", "--repo-id", REPO, "-o", "other"]) == 0
    assert Path("other.npz").is_file()
    assert cli.main(["demos", "pull", "--repo-id", "me/none"]) == 2
    assert "there is no me/none on the hub" in capsys.readouterr().err
