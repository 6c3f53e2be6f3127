"""Environments that actors make for themselves are those that rl-zoo3 makes in one process, step for step."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize, VecTransposeImage, is_vecenv_wrapped

from sb3_ext import nested
from sb3_ext.zoo import register
from sb3_ext.zoo.env_factory import EnvFactory
from sb3_ext.zoo.experiment import Experiment

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts
register()
ATARI = {"env_wrapper": "stable_baselines3.common.atari_wrappers.AtariWrapper", "frame_stack": 4}
SMALL = {"rl_zoo3.wrappers.YAMLCompatResizeObservation": {"shape": [36, 36]}}
STACK = {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": 2}}
WORLDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("CartPoleNoVel-v1", {}, {}),
    ("CartPole-v1", {"normalize": True}, {}),
    ("Pendulum-v1", {"env_wrapper": [{"sb3_ext.envs.DiscreteTorque": {"n_torques": 5}}]}, {"g": 5.0}),
    ("sb3_ext/MemoryChain-v0", {"env_wrapper": ["sb3_ext.envs.PreviousActionReward"]}, {"length": 4}),
    ("CartPole-v1", {"vec_env_wrapper": STACK, "monitor_kwargs": "dict(info_keywords=())"}, {}),
    ("sb3_ext/PendulumPixels-v0", {"env_wrapper": [SMALL], "frame_stack": 2}, {}),
    ("sb3_ext/PendulumPixels-v0", {"env_wrapper": [SMALL], "normalize": True, "frame_stack": 2}, {}),
    ("sb3_ext/GridWorld-v0", {}, {"grid": [[0, 0, 1], [0, 9, 0]]}),
    ("sb3_ext/MaskedFrozenLake-v0", {}, {"show": "nothing"}),
    ("ALE/Pong-v5", ATARI, {"frameskip": 1}),
]


def both(env_id: str, settings: dict[str, Any], env_kwargs: dict[str, Any], n: int) -> tuple[VecEnv, VecEnv]:
    """:return: rl-zoo3's environments below VecNormalize, and those of a factory that went through a pickle"""
    run = Experiment.of("r2d2", env_id, n_timesteps=64, verbose=0, env_kwargs=env_kwargs, hyperparams={**settings})
    unread, _ = run.read_hyperparameters()
    wrappers: dict[str, Any] = {key: unread.get(key) for key in ("env_wrapper", "vec_env_wrapper")}
    _, run.env_wrapper, _, run.vec_env_wrapper = run._preprocess_hyperparams(unread)
    theirs = run.create_envs(n, no_log=True)
    while isinstance(theirs, VecNormalize):
        theirs = theirs.venv
    factory = EnvFactory(
        env_id,
        env_kwargs=run.env_kwargs,
        monitor_kwargs=run.monitor_kwargs,
        frame_stack=run.frame_stack,
        **wrappers,
    )
    ours = pickle.loads(pickle.dumps(factory))(n)
    ours.seed(run.seed)
    return theirs, ours


@pytest.mark.parametrize(("env_id", "settings", "env_kwargs"), WORLDS)
def test_they_are_those_of_one_process(env_id: str, settings: dict[str, Any], env_kwargs: dict[str, Any]) -> None:
    theirs, ours = both(env_id, settings, env_kwargs, 2)
    try:
        assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
        for kind in (VecFrameStack, VecTransposeImage):
            assert is_vecenv_wrapped(ours, kind) == is_vecenv_wrapped(theirs, kind)
        assert all(ours.env_is_wrapped(Monitor))
        drawn = [[x.action_space.sample() for x in env.get_attr("unwrapped")] for env in (theirs, ours)]
        assert np.array_equal(drawn[0], drawn[1])
        assert _equal(theirs.reset(), ours.reset())
        rng, space = np.random.default_rng(0), theirs.action_space
        assert isinstance(space, Discrete)
        n_ended = 0
        for _ in range(250 if "Pong" not in env_id else 40):
            actions = rng.integers(space.n, size=2)
            steps = [env.step(actions) for env in (theirs, ours)]
            assert all(_equal(*parts) for parts in zip(*(step[:3] for step in steps), strict=True))
            for their_info, our_info in zip(*(step[3] for step in steps), strict=True):
                n_ended += "episode" in their_info
                their_episode, our_episode = (x.pop("episode", {}) for x in (their_info, our_info))
                assert {**their_episode, "t": 0} == {**our_episode, "t": 0}
                assert their_info.get("TimeLimit.truncated") == our_info.get("TimeLimit.truncated")
        assert n_ended >= (0 if "Pong" in env_id else 2)
    finally:
        theirs.close()
        ours.close()


def _equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(nested.leaves(a), nested.leaves(b), strict=True))


MODULE = """
import gymnasium as gym
gym.register("Elsewhere-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=7)
"""
SCRIPT = """
import pickle, sys
factory = pickle.load(open("factory.pkl", "rb"))
assert not {"rl_zoo3", "elsewhere"} & set(sys.modules)
env = factory(2)
env.reset()
ends = [bool(env.step([0, 0])[2].any()) for _ in range(7)]
import gymnasium
print(ends, gymnasium.wrappers.TimeLimit.__name__)
"""


def test_another_process_imports_what_registers_them(headless_folder: Path) -> None:
    (headless_folder / "elsewhere.py").write_text(MODULE)
    factory = EnvFactory("Elsewhere-v0", imports=("elsewhere",))
    (headless_folder / "factory.pkl").write_bytes(pickle.dumps(factory))
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{[False] * 6 + [True]} PatchedTimeLimit\n", "rl-zoo3's, as in the learner"


def test_an_unknown_environment_is_named_with_the_flags_that_make_it_known() -> None:
    assert "Nowhere-v0" not in gym.registry
    with pytest.raises(ValueError, match=r"actors know no environment 'Nowhere-v0'.*--env MODULE:ID or --gym-packages"):
        EnvFactory("Nowhere-v0")(1)
