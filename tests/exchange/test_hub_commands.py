"""`sb3-ext push_to_hub` and `load_from_hub`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.agents import CARTPOLE
from support.foreign import Stubborn
from support.hub_agents import REPO, files_of, push
from support.hub_server import TOKEN, Hub
from support.q_models import make_model

from sb3_ext import R2D2, QLearning
from sb3_ext.cli import main as cli
from sb3_ext.errors import UserError
from sb3_ext.exchange import allowed
from sb3_ext.exchange import hub as sb3_hub
from sb3_ext.exchange.environments import checked_environment, environment_of
from sb3_ext.exchange.hub import push_to_hub

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def commands(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: the folder in which `sb3-ext` talks to the server"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    there: dict[str, Any] = {"endpoint": hub.endpoint, "token": TOKEN}
    monkeypatch.setattr(sb3_hub, "push_to_hub", functools.partial(push_to_hub, **there))
    monkeypatch.setattr(sb3_hub, "reach", functools.partial(sb3_hub.reach, **there))
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


def test_names_and_the_hub_are_asked_before_an_agent_is_loaded(
    commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no agent either, which would be named if it were looked for."""
    nowhere = functools.partial(sb3_hub.reach, endpoint="http://localhost:1", token=None)
    for flags, reach, message in (
        (
            ("--env", "Nope-v0", "--gym-packages", "nope"),
            sb3_hub.reach,
            "--gym-packages nope: no module named 'nope'",
        ),
        (("--env", CARTPOLE, "--repo-id", "a/b/c"), sb3_hub.reach, "'a/b/c' is no name of a repository"),
        (("--env", CARTPOLE, "--algo", "nope"), nowhere, "unknown --algo 'nope'"),
        (("--env", "Nope-v0"), nowhere, "unknown environment 'Nope-v0'"),
        (("--env", CARTPOLE), nowhere, f"{REPO}: no connection to the hub"),
        (("--env", CARTPOLE), sb3_hub.reach, "no ppo agent for CartPole-v1"),
    ):
        monkeypatch.setattr(sb3_hub, "reach", reach)
        assert cli.main(["push_to_hub", "--algo", "ppo", "--repo-id", REPO, *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sb3-ext push_to_hub: ") and message in line


def test_a_table_is_trained_shared_and_watched(commands: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    agent = ["--algo", "qlearning", "--env", "FrozenLake-v1"]
    assert cli.main(["train", *agent, "-n", "400", "--eval-freq", "-1", "--final-eval-episodes", "0"]) == 0
    assert cli.main(["enjoy", *agent, "--no-render", "-n", "20"]) == 0
    assert cli.main(["push_to_hub", *agent, "--repo-id", REPO, "-n", "2", "--no-replay"]) == 0
    assert f"to {hub.endpoint}/{REPO}/commit/" in capsys.readouterr().out
    assert cli.main(["load_from_hub", "--repo-id", REPO, "-f", "theirs"]) == 0
    pushed, loaded = (
        QLearning.load(commands / folder / "qlearning/FrozenLake-v1_1/FrozenLake-v1.zip")
        for folder in ("logs", "theirs")
    )
    for name, x in pushed.policy.state_dict().items():
        np.testing.assert_array_equal(loaded.policy.state_dict()[name], x)
    assert cli.main(["enjoy", *agent, "-f", "theirs", "--no-render", "-n", "20"]) == 0


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
