"""An environment that the learner's script has registered can be made in an actor."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from support.q_models import make_rainbow
from support.worlds import TaggedEnv

from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.registered import register_missing, registered

NAME = "sb3_ext_tests/Tagged-v0"


def tagged(**kwargs: Any) -> gym.Env[Any, Any]:
    return TaggedEnv(**kwargs)


@pytest.fixture
def known() -> Iterator[None]:
    gym.register(NAME, entry_point=tagged, kwargs=dict(lengths=(5,)))
    yield
    gym.registry.pop(NAME, None)


def by_id(n: int) -> VecEnv:
    return make_vec_env(NAME, n_envs=n)


def test_an_actor_in_another_process_knows_what_the_script_registered(known: None) -> None:
    env = ActorEnvs(by_id, 1, 2, backend="process")
    try:
        model = make_rainbow(env=env, train_freq=4)
        model.learn(40)
    finally:
        env.close()
    assert model.num_timesteps == 40


def test_what_is_known_already_stays_and_what_cannot_be_pickled_is_left_out(known: None) -> None:
    lock = threading.Lock()
    gym.register("sb3_ext_tests/Locked-v0", entry_point=tagged, kwargs=dict(lock=lock))
    try:
        told = registered()
    finally:
        del gym.registry["sb3_ext_tests/Locked-v0"]
    before = gym.registry["CartPole-v1"]
    spec = gym.registry.pop(NAME)
    register_missing(told)
    assert gym.registry["CartPole-v1"] is before
    assert gym.registry[NAME].kwargs == spec.kwargs and gym.make(NAME).unwrapped.lengths == (5,)  # type: ignore[attr-defined]
    assert "sb3_ext_tests/Locked-v0" not in gym.registry


def test_a_package_that_registers_when_it_is_imported_does_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """gymnasium warns where an id is registered again, and warnings are errors here."""
    names = ("sb3_ext_tests/Packaged-v0", "sb3_ext_tests/Elsewhere-v0")
    gym.register(names[0], entry_point="tagged_package.envs:Tagged")
    gym.register(names[1], entry_point="there_is_no_such_package:Tagged")
    told = registered()
    for name in names:
        del gym.registry[name]
    call = f"register({names[0]!r}, entry_point='tagged_package.envs:Tagged', max_episode_steps=9)"
    (tmp_path / "tagged_package.py").write_text(f"import gymnasium\ngymnasium.{call}")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        register_missing(told)
        assert gym.registry[names[0]].max_episode_steps == 9 and names[1] in gym.registry
    finally:
        sys.modules.pop("tagged_package", None)
        for name in names:
            gym.registry.pop(name, None)
