"""A planner's policy as safe files and on the Hub: the same after reading, and files of anyone are looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from safetensors.torch import save
from stable_baselines3 import PPO
from support.hub_agents import REPO, files_of
from support.hub_server import TOKEN, Hub

from sb3_ext.errors import UserError
from sb3_ext.exchange.hub import Score, load_from_hub, load_policy_from_hub, push_to_hub
from sb3_ext.exchange.plain_json import encode
from sb3_ext.exchange.safe_files import UnsafeFile, load_safe, load_safe_policy, save_safe
from sb3_ext.planning import PlannerPolicy


@pytest.fixture(scope="module")
def expert() -> PlannerPolicy:
    return PlannerPolicy.from_env("Taxi-v4", epsilon=0.1)


def assert_same(found: PlannerPolicy, expected: PlannerPolicy) -> None:
    assert th.equal(found.probabilities, expected.probabilities) and not found.probabilities.requires_grad
    assert (found.observation_space, found.action_space) == (expected.observation_space, expected.action_space)
    states = np.arange(int(expected.observation_space.n))
    actions, same = (policy.predict(states, deterministic=True)[0] for policy in (found, expected))
    np.testing.assert_array_equal(actions, same)


def test_a_folder_holds_the_whole_policy(expert: PlannerPolicy, tmp_path: Path) -> None:
    folder = save_safe(expert, tmp_path / "expert")
    assert {path.name for path in folder.iterdir()} == {"config.json", "policy.safetensors"}
    assert_same(load_safe_policy(folder, "cpu"), expert)
    shifted = PlannerPolicy(spaces.Discrete(2, start=5), spaces.Discrete(3), np.eye(3)[[2, 1]])
    loaded = load_safe_policy(save_safe(shifted, tmp_path / "shifted"), "cpu")
    assert loaded.predict(np.array([5, 6]), deterministic=True)[0].tolist() == [2, 1]


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # as in test_hub
def test_a_repository_holds_the_whole_policy(expert: PlannerPolicy, hub: Hub, tmp_path: Path) -> None:
    where: dict[str, Any] = dict(token=TOKEN, endpoint=hub.endpoint)
    push_to_hub(expert, REPO, "Taxi-v4", score=Score(7.9, 2.3, 200), **where)
    read = dict(**where, device="cpu", cache_dir=tmp_path / "cache")
    assert_same(load_policy_from_hub(REPO, **read), expert)
    files = files_of(hub)
    assert set(files) >= {"config.json", "policy.safetensors", "results.json", "README.md"}
    assert not [name for name in files if name.endswith(".zip")]
    card = files["README.md"].decode()
    assert "# PlannerPolicy on Taxi-v4" in card and "probabilities of 6 actions in 500 states" in card
    assert f'model = load_policy_from_hub("{REPO}")' in card and "mean_reward" in card
    assert json.loads(files["config.json"])["env_id"] == "Taxi-v4"
    with pytest.raises(UnsafeFile, match="a policy without an algorithm: load_safe_policy or load_policy_from_hub"):
        load_from_hub(REPO, **read)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_an_agent_is_no_policy_alone(hub: Hub, tmp_path: Path) -> None:
    agent = PPO("MlpPolicy", "Taxi-v4", n_steps=64, device="cpu")
    with pytest.raises(UnsafeFile, match=r"config.json: an agent: load_safe reads it"):
        load_safe_policy(save_safe(agent, tmp_path / "agent"))
    where: dict[str, Any] = dict(token=TOKEN, endpoint=hub.endpoint)
    push_to_hub(agent, REPO, "Taxi-v4", **where)
    hub.repositories[REPO].commits[-1][1].pop("config.json")
    with pytest.raises(UserError, match="me/agent has no safe files"):
        load_policy_from_hub(REPO, **where, cache_dir=tmp_path / "cache")


TABLE = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_safe(PlannerPolicy(spaces.Discrete(3), spaces.Discrete(2), TABLE), tmp_path / "expert")


def large(n: int) -> dict[str, Any]:
    return {"$space": {"type": "Discrete", "n": n, "start": 0, "dtype": "int64"}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema 2 is newer than this sb3_ext knows"),
        ("schema", None, "schema None is none of sb3_ext's"),
        ("policy_alone", "os.system", "policy_alone 'os.system' is not known here"),
        ("policy_alone", ["x"], r"policy_alone \['x'\] is not known here"),
        ("observation_space", large(2**40), r"asks for probabilities \(1099511627776, 2\)"),
        ("action_space", large(3), r"asks for probabilities \(3, 3\)"),
        ("observation_space", None, "observation_space None must be Discrete"),
        ("observation_space", large(-1), "observation_space: not a space"),
        ("observation_space", {"$class": "os.system"}, "observation_space: class 'os.system' is not on the list"),
        ("action_space", encode(spaces.MultiBinary(2), ""), r"action_space MultiBinary\(2\) must be Discrete"),
    ],
)
def test_a_config_of_anyone(key: str, value: Any, message: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(UnsafeFile, match=message):
        load_safe_policy(folder)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (th.as_tensor(TABLE).float(), r"asks for probabilities \(3, 2\) of torch.float64"),
        (th.as_tensor(TABLE[:2]), r"policy.safetensors holds .*\(2, 2\)"),
        (th.as_tensor(TABLE * 1.1), r"policy.safetensors: probabilities of state 0 are .* sum to 1"),
        (th.as_tensor([[-1.0, 2.0]] * 3, dtype=th.float64), "policy.safetensors: probabilities of state 0"),
        (th.as_tensor(TABLE * np.nan), "holds NaN or infinite numbers"),
    ],
)
def test_weights_of_anyone(table: th.Tensor, message: str, folder: Path) -> None:
    (folder / "policy.safetensors").write_bytes(save({"probabilities": table}))
    with pytest.raises(UnsafeFile, match=message):
        load_safe_policy(folder)


def test_files_that_are_missing_or_too_many(folder: Path) -> None:
    with pytest.raises(UnsafeFile, match="a policy without an algorithm"):
        load_safe(folder)
    content = {"probabilities": th.as_tensor(TABLE), "more": th.zeros(1)}
    (folder / "policy.safetensors").write_bytes(save(content))
    with pytest.raises(UnsafeFile, match=r"holds .*more"):
        load_safe_policy(folder)
    (folder / "policy.safetensors").unlink()
    with pytest.raises(UnsafeFile, match=r"has no policy.safetensors"):
        load_safe_policy(folder)
