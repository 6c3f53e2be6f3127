"""The Hub, through huggingface_hub itself, against a server on 127.0.0.1."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from support.agents import CARTPOLE, OFF, actions_of, makers, small
from support.foreign import Stubborn
from support.hub_server import TOKEN, Hub, reachable, running
from support.q_models import make_model

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.errors import UserError
from sb3_ext.exchange import allowed
from sb3_ext.exchange import hub as sb3_hub
from sb3_ext.exchange.environments import checked_environment, environment_of
from sb3_ext.exchange.hub import Score, load_from_hub, push_to_hub
from sb3_ext.exchange.hub_card import card
from sb3_ext.exchange.safe_files import UnsafeFile

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "me/agent"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with reachable(monkeypatch) as server:
        yield server


def push(model: BaseAlgorithm, hub: Hub, **keywords: Any) -> str:
    return push_to_hub(model, REPO, "Some-v0", endpoint=hub.endpoint, **{"token": TOKEN, **keywords})


def load(hub: Hub, cache: Path, **keywords: Any) -> BaseAlgorithm:
    given = {"token": TOKEN, "device": "cpu", "endpoint": hub.endpoint, "cache_dir": cache, **keywords}
    return load_from_hub(keywords.pop("repo_id", REPO), **{k: v for k, v in given.items() if k != "repo_id"})


def files_of(hub: Hub) -> dict[str, bytes]:
    return hub.repositories[REPO].commits[-1][1]


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


# ---------------------------------------------------------------------- what strangers upload


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


# ---------------------------------------------------------------------- the command line


@pytest.fixture
def commands(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: the folder in which `sb3-ext` talks to the server"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    there: dict[str, Any] = {"endpoint": hub.endpoint, "token": TOKEN}
    monkeypatch.setattr(sb3_hub, "push_to_hub", functools.partial(push_to_hub, **there))
    monkeypatch.setattr(sb3_hub, "download", functools.partial(sb3_hub.download, cache_dir=tmp_path / "cache", **there))
    return tmp_path


def test_an_agent_of_own_classes_is_loaded_where_they_are_allowed(
    commands: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowed, "_classes", {})
    allowed.allow(Stubborn)
    push(make_model(exploration=Stubborn(0.5)).learn(30), hub)
    monkeypatch.setattr(allowed, "_classes", {})
    loading = ["load_from_hub", "--repo-id", REPO]
    assert cli.main(loading) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Stubborn" in line]
    assert line.endswith("call sb3_ext.exchange.allow(Stubborn)")
    (commands / "brought_along.py").write_text(
        "from sb3_ext.exchange import allow\nfrom support.foreign import Stubborn\nallow(Stubborn)\n"
    )
    monkeypatch.syspath_prepend(commands)
    assert cli.main([*loading, "--gym-packages", "brought_along"]) == 0
    loaded = R2D2.load(commands / "logs/r2d2/Some-v0_1/Some-v0.zip", device="cpu")
    assert loaded.exploration == Stubborn(0.5)


@pytest.mark.parametrize(("algo", "env"), [("ppo", CARTPOLE), ("r2d2", "CartPoleNoVel-v1")])
def test_an_agent_goes_to_the_hub_and_back_and_is_watched(
    algo: str,
    env: str,
    commands: Path,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = ("--eval-freq", "16", "--eval-episodes", "1", "--final-eval-episodes", "0", "--device", "cpu")
    settings = "n_steps:16" if algo == "ppo" else "learning_starts:30"
    stacked = ("n_envs:2", "batch_size:8", "frame_stack:3") if algo == "ppo" else ()
    params = ("-params", settings, "normalize:True", *stacked)
    assert cli.main(["train", "--algo", algo, "--env", env, "-n", "64", *quiet, *params]) == 0
    assert cli.main(["push_to_hub", "--algo", algo, "--env", env, "--repo-id", REPO, "-n", "2", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "over 2 episodes" in out and f"to {hub.endpoint}/{REPO}/commit/" in out
    card = files_of(hub)["README.md"].decode()
    assert f"\nsb3-ext train --algo {algo} --env {env} -n 64 " in card, "the command as it was typed, without paths"
    assert b"ftypisom" in files_of(hub)["replay.mp4"][:32] and "[replay](replay.mp4)" in card
    assert files_of(hub)["curve.png"].startswith(b"\x89PNG") and "![curve](curve.png)" in card
    config = json.loads(files_of(hub)["config.json"])
    rate = config["keywords"]["learning_rate"]
    assert config["env_id"] == env and rate != 0 and "vec_normalize.json" in files_of(hub)
    again = ("push_to_hub", "--algo", algo, "--env", env, "--repo-id", REPO, "-n", "0", "--device", "cpu")
    monkeypatch.setattr("sb3_ext.viz.video.DARKEST", 255.0)
    assert cli.main(list(again)) == 0, "an agent that cannot be filmed is shared all the same"
    assert "No replay: " in (out := capsys.readouterr().out) and "frames are black" in out
    assert cli.main([*again, "--no-replay"]) == 0 and "No replay" not in capsys.readouterr().out
    assert cli.main(["load_from_hub", "--repo-id", REPO, "-f", "theirs"]) == 0
    run = commands / "theirs" / algo / f"{env}_1"
    assert (run / f"{env}.zip").is_file() and (run / env / "vecnormalize.pkl").is_file()
    assert f"`sb3-ext enjoy --algo {algo} --env {env} -f theirs`" in capsys.readouterr().out
    assert cli.main(["enjoy", "--algo", algo, "--env", env, "-f", "theirs", "-n", "20"]) == 0
    assert cli.main(["load_from_hub", "--repo-id", "me/other"]) == 2
    assert "sb3-ext load_from_hub: there is no me/other on the hub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"env_wrapper": "os.system"}, "only wrappers of"),
        ({"env_wrapper": ["gymnasium.wrappers.TimeLimit", {"subprocess.Popen": {"args": 1}}]}, "only wrappers of"),
        ({"env_wrapper": {"gymnasium.wrappers.RecordVideo": {"video_folder": "/etc"}}}, "only wrappers of"),
        ({"env_wrapper": {"gymnasium.wrappers.A": {}, "os.system": {}}}, "only wrappers of"),
        ({"frame_stack": 10**9}, "frame_stack 1000000000 must be"),
        ({"env_kwargs": {"xml_file": "/etc/passwd"}}, "env_kwargs .* must be numbers"),
        ({"normalize": "__import__('os')"}, "is none of env_wrapper, vec_env_wrapper, frame_stack, env_kwargs"),
        ("text", "is none of env_wrapper, vec_env_wrapper, frame_stack, env_kwargs"),
    ],
    ids=str,
)
def test_the_environment_of_a_stranger_is_checked(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_environment(data)


def test_wrappers_of_ours_are_taken_over() -> None:
    data = environment_of(
        {
            "env_wrapper": [{"sb3_ext.envs.DiscreteTorque": {"n_torques": 5}}],
            "frame_stack": 4,
            "env_kwargs": {"is_slippery": False},
            "gamma": 0.9,
        }
    )
    assert checked_environment(data) == {
        "env_wrapper": [{"sb3_ext.envs.DiscreteTorque": {"n_torques": 5}}],
        "frame_stack": 4,
        "env_kwargs": {"is_slippery": False},
    }
    assert checked_environment(None) == {}
