"""Agents as JSON and safetensors: nothing is lost that acting needs, and nothing in a file can run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from rl_zoo3.utils import SimpleLinearSchedule
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import VecNormalize
from support.agents import CARTPOLE, OFF, ON, PENDULUM, actions_of, makers, scaled_noise, small
from support.experts import demonstrations_of

import sb3_ext
from sb3_ext.buffers import Proportional
from sb3_ext.exchange.plain_json import NotPlain, decode, encode
from sb3_ext.exchange.safe_files import UnsafeFile, load_safe, load_vec_normalize, save_safe
from sb3_ext.networks.heads import C51
from sb3_ext.td3 import SimbaPolicy


@pytest.mark.parametrize("name", makers())
def test_a_loaded_agent_acts_as_the_saved_one(name: str, tmp_path: Path) -> None:
    model = makers()[name]().learn(64)
    folder = save_safe(model, tmp_path / "agent", optimizer=True)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    loaded = load_safe(folder, device="cpu")
    assert type(loaded) is type(model) and loaded.num_timesteps == 64
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    for key, x in model.policy.state_dict().items():
        assert th.equal(loaded.policy.state_dict()[key], x), key
    optimizers = [name for name in model._get_torch_save_params()[0] if name.endswith("optimizer")]
    params = model.get_parameters(), loaded.get_parameters()
    for key in optimizers:
        ours, theirs = (p[key]["state"] for p in params)
        assert ours.keys() == theirs.keys()
        for number, slots in ours.items():
            for slot, x in slots.items():
                assert th.equal(th.as_tensor(theirs[number][slot]), th.as_tensor(x)), (key, number, slot)


def test_settings_come_back(tmp_path: Path) -> None:
    save_safe(makers()["td3"]().learn(64), tmp_path / "td3")
    td3 = load_safe(tmp_path / "td3", device="cpu")
    assert isinstance(td3, sb3_ext.TD3) and isinstance(td3.policy, SimbaPolicy)
    assert td3.sampler == Proportional(0.6, beta=0.0)
    assert repr(td3.action_noise) == repr(scaled_noise())
    assert (td3.learning_starts, td3.batch_size, td3.buffer_size) == (20, 8, 1)
    going_on = load_safe(tmp_path / "td3", env=gym.make(PENDULUM), device="cpu", learning_starts=0)
    assert going_on.learn(40, reset_num_timesteps=False).num_timesteps == 104
    save_safe(makers()["gail"]().learn(64), tmp_path / "gail")
    gail = load_safe(tmp_path / "gail", device="cpu")
    assert isinstance(gail, sb3_ext.GAIL)
    assert (gail.reward_settings.reward, gail.reward_settings.weight_decay) == ("airl", 0.1)
    save_safe(makers()["r2d2"]().learn(30), tmp_path / "r2d2")
    config = json.loads((tmp_path / "r2d2" / "config.json").read_text())
    assert config["approximated"] == {"learning_rate": "its value at the start"}
    assert config["keywords"]["learning_rate"] == 1e-3


def test_what_constructors_put_elsewhere_comes_back_too(tmp_path: Path) -> None:
    a2c = sb3.A2C("MlpPolicy", CARTPOLE, use_rms_prop=False, stats_window_size=7, **ON).learn(32)
    loaded = load_safe(save_safe(a2c, tmp_path / "a2c", optimizer=True), env=gym.make(CARTPOLE), device="cpu")
    assert loaded._stats_window_size == 7 and type(loaded.policy.optimizer) is type(a2c.policy.optimizer)
    loaded.learn(32)
    dqn = sb3.DQN("MlpPolicy", CARTPOLE, exploration_fraction=1.0, **OFF, **small()).learn(40)
    assert 0.05 < dqn.exploration_rate < 1
    again = load_safe(save_safe(dqn, tmp_path / "dqn"), device="cpu")
    assert isinstance(again, sb3.DQN) and again.exploration_rate == dqn.exploration_rate
    td3 = makers()["td3"]().learn(500)
    assert isinstance(td3, sb3_ext.TD3) and np.isfinite(td3._worst_of_best)
    resumed = load_safe(save_safe(td3, tmp_path / "td3"), device="cpu")
    assert isinstance(resumed, sb3_ext.TD3) and resumed._worst_of_best == td3._worst_of_best
    linear = sb3.PPO("MlpPolicy", CARTPOLE, batch_size=8, learning_rate=SimpleLinearSchedule(0.1), **ON)
    falling = load_safe(save_safe(linear, tmp_path / "ppo"), device="cpu")
    assert [falling.lr_schedule(left) for left in (1.0, 0.5, 0.0)] == [0.1, 0.05, 0.0]


@pytest.mark.parametrize("name", ["dac", "dacsac", "ars", "tqc", "crossq", "atari rainbow", "wide atoms"])
def test_others_come_back_too(name: str, tmp_path: Path) -> None:
    image = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1)
    demos = demonstrations_of(gym.make(PENDULUM)) if name.startswith("dac") else None
    wide = C51(noise=0.5, v_min=-5000.0, v_max=5000.0)
    made: dict[str, Callable[[], BaseAlgorithm]] = {
        "dac": lambda: sb3_ext.DAC("MlpPolicy", PENDULUM, demos, **OFF),
        "dacsac": lambda: sb3_ext.DACSAC("MlpPolicy", PENDULUM, demos, **OFF),
        "ars": lambda: sb3_contrib.ARS("LinearPolicy", PENDULUM, delta_std=0.5, device="cpu"),
        "tqc": lambda: sb3_contrib.TQC("MlpPolicy", PENDULUM, **OFF, **small()),
        "crossq": lambda: sb3_contrib.CrossQ("MlpPolicy", PENDULUM, **OFF, **small()),
        "atari rainbow": lambda: sb3_ext.Rainbow("CnnPolicy", image, optimize_memory_usage=True, **OFF),
        "wide atoms": lambda: sb3_ext.Rainbow("MlpPolicy", CARTPOLE, head=wide, **OFF),
    }
    model = made[name]()
    loaded = load_safe(save_safe(model, tmp_path / "agent"), device="cpu")
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))


def test_statistics_of_vec_normalize_come_back(tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env(PENDULUM, 2, seed=0), clip_obs=3.0, gamma=0.9)
    model = sb3.PPO("MlpPolicy", env, batch_size=8, **ON).learn(64)
    folder = save_safe(model, tmp_path / "agent")
    loaded = load_vec_normalize(folder, make_vec_env(PENDULUM, 1))
    assert not loaded.training and (loaded.clip_obs, loaded.gamma) == (3.0, 0.9)
    x = np.array([[0.3, -0.4, 5.0]])
    np.testing.assert_array_equal(loaded.normalize_obs(x), env.normalize_obs(x))
    assert loaded.ret_rms.var == env.ret_rms.var and loaded.ret_rms.count == env.ret_rms.count
    with pytest.raises(UnsafeFile, match=r"observations/mean has shape \(3,\), the environment \(4,\)"):
        load_vec_normalize(folder, make_vec_env(CARTPOLE, 1))


def test_nothing_is_written_where_something_cannot_be(tmp_path: Path) -> None:
    class Own(sb3.PPO):
        pass

    with pytest.raises(NotPlain, match=r"Own is a class of your own"):
        save_safe(Own("MlpPolicy", CARTPOLE, batch_size=8, **ON), tmp_path / "agent")
    mine = sb3.PPO("MlpPolicy", CARTPOLE, batch_size=8, policy_kwargs={"activation_fn": Activation}, **ON)
    with pytest.raises(NotPlain, match=r"policy_kwargs.activation_fn: Activation cannot be written without a pickle"):
        save_safe(mine, tmp_path / "agent")
    assert list(tmp_path.iterdir()) == []
    folder = save_safe(makers()["a2c"](), tmp_path / "agent")
    with pytest.raises(ValueError, match="exists already"):
        save_safe(makers()["a2c"](), folder)


class Activation(th.nn.ReLU):
    """A class of the user's own."""


def test_values_are_what_they_were() -> None:
    for value in (
        None, True, 3, 2.5, "text", [1, [2.0]], (1, (2, "x")), {"a": {"b": (None,)}}, float("inf"), -np.inf,
        spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(-np.inf, 1.0, (2,), np.float64)}),
    ):  # fmt: skip
        again = decode(json.loads(json.dumps(encode(value, "x"), allow_nan=False)), "x")
        assert again == value and type(again) is type(value)
    array = np.array([[1.5, np.inf], [-0.0, 2.0]], dtype=np.float32)
    again = decode(json.loads(json.dumps(encode(array, "x"))), "x")
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


# ---------------------------------------------------------------------- files of strangers


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_safe(makers()["rainbow"]().learn(40), tmp_path_factory.mktemp("good") / "agent")


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "bad"))


MILLION = {"type": "Box", "shape": [2**20], "low": 0, "high": 1, "dtype": "float64"}


def changed(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    keywords = values.pop("keywords", {})
    config.update(values)
    config["keywords"].update(keywords)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": 2}, "schema 2 is newer than this sb3_ext knows"),
        ({"schema": "one"}, "schema 'one' is none of"),
        ({"algorithm": "os.system"}, "algorithm 'os.system' is not known here"),
        ({"algorithm": "sb3_ext.__getattr__"}, "is not known here"),
        ({"policy": "posix.system"}, "has no policy 'posix.system'"),
        ({"n_envs": 10**9}, "n_envs 1000000000 must be"),
        ({"observation_space": {"$space": {"type": "Box", "shape": [2**26], "low": 0, "high": 1, "dtype": "float32"}}},
         "observation_space: not a space .* has more than 2097152 numbers"),
        ({"observation_space": {"$space": {"type": "Dict", "spaces": [[str(i), MILLION] for i in range(5)]}}},
         "has more than 0 numbers"),
        ({"keywords": {"policy_kwargs": {"net_arch": [1024] * 5000}}}, "its networks have more weights than"),
        ({"keywords": {"head": {"$object": "sb3_ext.C51", "n_atoms": 8 * 10**6}}}, "have more weights than"),
        ({"keywords": {"head": {"c51": {"n_atoms": 8 * 10**6}}}}, "have more weights than"),
        ({"keywords": {"head": {"$object": "sb3_ext.C51", "n_atoms": 10**9}}}, "n_atoms 1000000000 is larger than"),
        ({"keywords": {"head": {"c51": {"n_atoms": 10**9}}}}, "n_atoms 1000000000 is larger than"),
        ({"keywords": {"head": {"iqn": {"n_acting": 10**6}}}}, r"n_acting 1000000 must lie in \[1, 10000\]"),
        ({"keywords": {"head": {"$object": "sb3_ext.IQN", "n_target": 10**6}}}, r"n_target 1000000 must lie in"),
        ({"keywords": {"head": {"c51": {"v_max": 1e308}}}}, "both must be finite in single precision"),
        ({"keywords": {"learning_rate": 10**400}}, "learning_rate .* is larger than"),
        ({"keywords": {"train_freq": {"$tuple": []}}}, r"train_freq \(\) is no int"),
        ({"policy": ["a"]}, "has no policy"),
        ({"observation_space": 3}, "observation_space is no space"),
        ({"keywords": {"shell": "rm"}}, r"takes no keyword \['shell'\]"),
        ({"keywords": {"tensorboard_log": "../../x"}}, r"takes no keyword \['tensorboard_log'\]"),
        ({"keywords": {"policy_kwargs": {"net_arch": [10**6]}}}, "its networks have more weights than"),
        ({"keywords": {"policy_kwargs": {"activation_fn": {"$class": "os.system"}}}}, "'os.system' is not on the list"),
        ({"keywords": {"exploration": {"$object": "builtins.eval", "source": "1"}}}, "'builtins.eval' is not on"),
        ({"keywords": {"exploration": {"$object": "sb3_ext.Boltzmann", "x": 1}}}, "Boltzmann has no x"),
        ({"keywords": {"gamma": {"$pickle": "gASV"}}}, r"unknown tag \$pickle"),
        ({"keywords": {"gamma": 7}}, r"gamma 7 must lie in \[0, 1\]"),
        ({"keywords": {"policy_kwargs": {"net_arch": [9, 9]}}}, r"is \(.*\), the network of config.json has"),
    ],
    ids=lambda x: str(x)[:60],
)  # fmt: skip
def test_a_config_can_choose_and_not_run(bad: Path, values: dict[str, Any], message: str) -> None:
    changed(bad, **values)
    with pytest.raises(ValueError, match=message):
        load_safe(bad, device="cpu")


def test_broken_files_are_named(bad: Path) -> None:
    weights = (bad / "policy.safetensors").read_bytes()
    for content, message in (
        (weights[:1000], "is not a safetensors file, or cut off"),
        (b"\xff" * 8 + weights[8:], "is not a safetensors file, or cut off"),
        (pickle.dumps({"a": 1}), "is not a safetensors file, or cut off"),
        (b"", "is not a safetensors file, or cut off"),
    ):
        (bad / "policy.safetensors").write_bytes(content)
        with pytest.raises(UnsafeFile, match=message):
            load_safe(bad, device="cpu")
    (bad / "policy.safetensors").unlink()
    with pytest.raises(UnsafeFile, match=r"bad has no policy\.safetensors"):
        load_safe(bad, device="cpu")
    for text, message in (("[" * 100_000, "is not JSON"), ("[1]", "holds a list"), ("{", "is not JSON")):
        (bad / "config.json").write_text(text)
        with pytest.raises(UnsafeFile, match=message):
            load_safe(bad, device="cpu")
    with pytest.raises(UnsafeFile, match="it is not a folder of save_safe"):
        load_safe(bad.parent, device="cpu")


def test_weights_of_other_names_or_shapes_are_refused(bad: Path) -> None:
    tensors = load_file(bad / "policy.safetensors")
    save_file({**tensors, "policy/more": th.zeros(1)}, bad / "policy.safetensors")
    with pytest.raises(UnsafeFile, match=r"policy/more is \(1,\), the network of config.json has none"):
        load_safe(bad, device="cpu")


def test_a_misspelt_keyword_is_the_caller_s(good: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown keyword of sb3_ext.Rainbow: 'gama', did you mean 'gamma'"):
        load_safe(good, device="cpu", gama=1)


def test_another_environment_is_refused(good: Path) -> None:
    with pytest.raises(ValueError, match="spaces do not match"):
        load_safe(good, env=gym.make("Acrobot-v1"), device="cpu")
