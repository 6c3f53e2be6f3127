"""Every switch of Rainbow and RainbowR alone, with every kind of observation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from support.checks import assert_same_weights
from support.q_models import PLAIN, buffer_of, make_rainbow, make_rainbowr
from support.worlds import SPACES, SpaceEnv, TaggedPictures

from sb3_ext.buffers.samplers import Uniform
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.networks.heads import C51, Quantile, Scalar

SWITCHES: list[dict[str, Any]] = [
    {},
    {"double_q": False},
    {"head": C51(noise=0.5, dueling="max")},
    {"head": C51(noise=0.5, dueling="naive")},
    {"head": C51(noise=0.5, dueling=None)},
    {"sampler": Uniform()},
    {"n_steps": 1},
    {"head": Quantile(noise=0.5)},
    {"head": Scalar(noise=0.5)},
    {"head": C51()},
    {"value_rescaling": False},
    {"tau": 0.1, "target_update_interval": 1},
    PLAIN,
]


def named(switch: dict[str, Any]) -> str:
    return "plain" if switch is PLAIN else ",".join(f"{k}={v}" for k, v in switch.items()) or "default"


def assert_trains_and_loads_alike(model: DeepQLearning, tmp_path: Path, n_steps: int) -> None:
    before = [p.clone() for p in model.q_net.parameters()]
    model.learn(n_steps)
    assert model._n_updates > 2
    assert not all(map(th.equal, before, model.q_net.parameters()))
    assert all(bool(th.isfinite(p).all()) for p in model.policy.parameters())
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", device="cpu")
    assert_same_weights(model, loaded)
    env = model.get_env()
    assert env is not None
    obs = env.reset()
    assert isinstance(obs, np.ndarray | dict)
    actions = model.predict(obs, deterministic=True)[0]
    assert actions.shape == (env.num_envs,)
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], actions)
    for name in ("n_steps", "head", "sampler", "exploration", "double_q", "value_rescaling"):
        assert getattr(loaded, name) == getattr(model, name)


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("switch", SWITCHES, ids=named)
def test_every_switch_with_vectors(switch: dict[str, Any], n_envs: int, tmp_path: Path) -> None:
    assert_trains_and_loads_alike(make_rainbow(n_envs, **switch), tmp_path, 80)


@pytest.mark.parametrize("switch", SWITCHES, ids=named)
def test_every_switch_with_frames_stored_once(switch: dict[str, Any], tmp_path: Path) -> None:
    env = VecFrameStack(DummyVecEnv([lambda: Monitor(TaggedPictures())] * 2), 4)
    model = make_rainbow(
        env=env, policy="CnnPolicy", optimize_memory_usage=True, buffer_size=200, train_freq=4, batch_size=4,
        policy_kwargs=dict(net_arch=[8], features_extractor_kwargs=dict(features_dim=8)), **switch,
    )  # fmt: skip
    assert_trains_and_loads_alike(model, tmp_path, 60)
    assert buffer_of(model)._cells.observations[""].shape == (200, 1, 36, 36)


@pytest.mark.parametrize("switch", SWITCHES, ids=named)
def test_every_switch_with_dicts(switch: dict[str, Any], tmp_path: Path) -> None:
    space = spaces.Dict(vector=spaces.Box(-1.0, 1.0, (3,), np.float32), number=spaces.Discrete(5))
    env = DummyVecEnv([lambda: Monitor(SpaceEnv(space))] * 2)
    assert_trains_and_loads_alike(make_rainbow(env=env, policy="MultiInputPolicy", **switch), tmp_path, 60)


@pytest.mark.parametrize("switch", SWITCHES, ids=named)
def test_every_switch_with_sequences(switch: dict[str, Any], tmp_path: Path) -> None:
    assert_trains_and_loads_alike(make_rainbowr(**switch), tmp_path, 80)


@pytest.mark.parametrize("name", list(SPACES))
def test_every_observation_space(name: str, tmp_path: Path) -> None:
    def make() -> gym.Env:
        return Monitor(SpaceEnv(SPACES[name]))

    policy = {"image": "CnnPolicy", "dict": "MultiInputPolicy"}.get(name, "MlpPolicy")
    model = make_rainbow(env=DummyVecEnv([make] * 2), policy=policy, train_freq=4, buffer_size=200)
    assert_trains_and_loads_alike(model, tmp_path, 60)
    single = model.observation_space.sample()
    assert model.predict(single, deterministic=True)[0].shape == ()


@pytest.mark.parametrize("head", [C51(priority="td"), C51(n_atoms=2), C51(v_min=-1.0, v_max=50.0)], ids=repr)
def test_the_head_is_what_trains(head: C51) -> None:
    for make in (make_rainbow, make_rainbowr):
        model = make(head=head)
        model.learn(60)
        assert model.head is model.policy.head is model.q_net.head is model.q_net_target.head is head
        assert len(list(model.q_net.head_net.parameters())[-1]) == head.n_atoms
