"""The Hub, through huggingface_hub itself, against a server on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from support.agents import CARTPOLE, actions_of, makers
from support.hub_agents import REPO, files_of, load, push
from support.hub_server import TOKEN, Hub, running

from sb3_ext import DAgger
from sb3_ext.errors import UserError
from sb3_ext.exchange.hub import Score
from sb3_ext.exchange.safe_files import UnsafeFile

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.mark.parametrize("name", ["ppo", "r2d2", "gail", "td3"])
def test_a_pushed_agent_acts_the_same_after_loading(name: str, hub: Hub, tmp_path: Path) -> None:
    model = makers()[name]().learn(64)
    begin = time.perf_counter()
    url = push(model, hub, score=Score(12.5, 2.0, 16), command="sb3-ext train ...")
    pushed = time.perf_counter()
    loaded = load(hub, tmp_path / "cache")
    n_bytes = sum(map(len, files_of(hub).values()))
    print(f"{name}: {n_bytes} bytes, push {pushed - begin:.2f} s, load {time.perf_counter() - pushed:.2f} s")
    assert url.startswith(f"{hub.endpoint}/{REPO}/commit/")
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    files = files_of(hub)
    assert {"config.json", "policy.safetensors", "results.json", "README.md"} < set(files)
    card = files["README.md"].decode()
    assert card.startswith("---\n") and "mean_reward" in card and "(95 % interval 11.52 to 13.48" in card
    assert "sb3-ext train ..." in card and f'load_from_hub("{REPO}")' in card
    assert json.loads(files["results.json"]) == {"env_id": "Some-v0", "mean": 12.5, "std": 2.0, "n_episodes": 16}


def test_what_an_expert_was_asked_is_not_published(hub: Hub, tmp_path: Path) -> None:
    def expert(observations: np.ndarray) -> np.ndarray:
        return (observations[:, 2] > 0).astype(np.int64)

    model = DAgger("MlpPolicy", gym.make(CARTPOLE), expert, n_steps=8, n_epochs=1, device="cpu").learn(16)
    push(model, hub)
    np.testing.assert_array_equal(actions_of(load(hub, tmp_path / "cache")), actions_of(model))
    (tmp_path / "dagger.zip").write_bytes(files_of(hub)["dagger-Some-v0.zip"])
    loaded = DAgger.load(tmp_path / "dagger.zip", device="cpu")
    assert loaded.demonstrations is None and model.demonstrations is not None
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))


def test_an_agent_loads_in_a_fresh_process(hub: Hub, tmp_path: Path) -> None:
    model = makers()["r2d2"]().learn(64)
    push(model, hub)
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.agents import actions_of
from sb3_ext.exchange.hub import load_from_hub
print(actions_of(load_from_hub({REPO!r}, device="cpu")).ravel().tolist())
"""
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    environment["HF_HUB_DISABLE_XET"] = "1"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(result.stdout.splitlines()[-1]) == actions_of(model).ravel().tolist()


def test_plain_sb3_loads_the_zip(hub: Hub, tmp_path: Path) -> None:
    model = makers()["ppo"]().learn(64)
    push(model, hub)
    (tmp_path / "ppo.zip").write_bytes(files_of(hub)["ppo-Some-v0.zip"])
    loaded = sb3.PPO.load(tmp_path / "ppo.zip", device="cpu")
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    push(model, hub, legacy_zip=False, message="again")
    assert "ppo-Some-v0.zip" in files_of(hub), "a later push takes nothing away"


def test_a_zip_alone_gives_its_weights(hub: Hub, tmp_path: Path) -> None:
    arch = {"net_arch": {"pi": [7], "vf": [9]}, "activation_fn": th.nn.ELU}
    model = sb3.PPO("MlpPolicy", CARTPOLE, n_steps=16, batch_size=8, policy_kwargs=arch, device="cpu").learn(32)
    push(model, hub)
    for name in ("config.json", "policy.safetensors"):
        del files_of(hub)[name]
    with pytest.raises(UserError, match=r"has no safe files, only ppo-Some-v0.zip: give env="):
        load(hub, tmp_path / "cache")
    loaded = load(hub, tmp_path / "cache", env=gym.make(CARTPOLE))
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    with pytest.raises(UnsafeFile, match="its weights fit no policy of PPO on this environment"):
        load(hub, tmp_path / "cache", env=gym.make("Acrobot-v1"))
    trusted = load(hub, tmp_path / "cache", trust_remote_code=True)
    np.testing.assert_array_equal(actions_of(trusted), actions_of(model))
    files_of(hub)["dqn-Other-v0.zip"] = b""
    with pytest.raises(UserError, match=r"has ppo-Some-v0.zip, dqn-Other-v0.zip: give filename="):
        load(hub, tmp_path / "cache", env=gym.make(CARTPOLE))


# ---------------------------------------------------------------------- what goes wrong


def test_a_push_that_fails_changes_nothing_and_can_be_repeated(hub: Hub, tmp_path: Path) -> None:
    model = makers()["ppo"]()
    for endpoint, status in (("create", 500), ("preupload", 400), ("put", 400), ("commit", 500)):
        hub.failures = {endpoint: status}
        with pytest.raises(UserError, match=r"othing was changed, try again"):
            push(model, hub)
        assert REPO not in hub.repositories or files_of(hub) == {}
    hub.failures = {}
    push(model, hub)
    np.testing.assert_array_equal(actions_of(load(hub, tmp_path)), actions_of(model))


def test_what_cannot_be_pushed_is_not_even_begun(hub: Hub) -> None:
    class Own(sb3.PPO):
        pass

    with pytest.raises(ValueError, match="is a class of your own"):
        push(Own("MlpPolicy", CARTPOLE, n_steps=16, batch_size=8, device="cpu"), hub)
    with pytest.raises(UserError, match=r"there is no .*none\.mp4"):
        push(makers()["ppo"](), hub, replay="none.mp4")
    assert hub.requests == []


def test_a_download_that_breaks_off_leaves_no_half_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between huggingface_hub's attempts
    model = makers()["ppo"]()
    push(model, hub)
    hub.failures = {"truncate": "policy.safetensors"}
    with pytest.raises(UserError, match=r"no connection to the hub \(peer closed connection"):
        load(hub, tmp_path)
    assert not list(tmp_path.rglob("snapshots/**/policy.safetensors"))
    hub.failures = {}
    np.testing.assert_array_equal(actions_of(load(hub, tmp_path)), actions_of(model))


def test_wrong_names_tokens_and_revisions_are_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no {REPO} on the hub, or you may not see it"):
        load(hub, tmp_path)
    with pytest.raises(UserError, match="log in with `hf auth login`"):
        push(makers()["ppo"](), hub, token="hf_wrong")
    push(makers()["ppo"](), hub, private=True)
    assert hub.repositories[REPO].private
    with pytest.raises(UserError, match="or you may not see it"):
        load(hub, tmp_path, token="hf_wrong")
    with pytest.raises(UserError, match=f"{REPO} has no revision 'other'"):
        load(hub, tmp_path, revision="other")
    with pytest.raises(UserError, match="is no name of a repository"):
        load(hub, tmp_path, repo_id="a/b/c")
    hub.repositories[REPO].commits.append(("1" * 40, {}))
    with pytest.raises(UserError, match="has no agent: neither safe files nor a zip"):
        load(hub, tmp_path / "new")


def test_no_connection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between huggingface_hub's attempts
    with running() as gone:
        pass
    with pytest.raises(UserError, match="no connection to the hub"):
        load(gone, tmp_path)
