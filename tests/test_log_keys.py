"""The page of log keys has every key that the package writes: those its source spells out, and those of short runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

import sb3_ext
from sb3_ext.algorithms import MODULES
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.metrics import LearnerMetrics
from sb3_ext.planning import OptimalityGap

ROOT = Path(__file__).parents[1]
ROWS = [
    line.split(" | ") for line in (ROOT / "docs" / "log_keys.md").read_text().splitlines() if line.startswith("| `")
]
KEYS = [key for row in ROWS for key in re.findall(r"`(\S+?)`", row[0])]
ROOMS = sorted({key.split("/")[0] for key in KEYS})


def is_told(key: str) -> bool:
    """:return: whether the page has it; `*` stands for a number"""
    return any(fnmatch(key, known) for known in KEYS)


def spelled_out(source: str) -> Iterator[str]:
    """:return: texts and f-strings that look like keys, with `*` where a value is put in"""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if id(node) not in inside:
            text = "".join(str(x.value) if isinstance(x, ast.Constant) else "*" for x in parts)
            if re.fullmatch(rf"({'|'.join(ROOMS)})/[\w*]+", text):
                yield text


def test_every_row_has_a_unit() -> None:
    assert len(KEYS) == len(set(KEYS)) > 60
    assert all(len(row) == 4 and row[2].strip() for row in ROWS)


def test_keys_that_the_source_spells_out_are_on_the_page() -> None:
    found = {key for path in (ROOT / "sb3_ext").rglob("*.py") for key in spelled_out(path.read_text())}
    assert {"train/n_drawable", "rollout/return_eps_*", "discriminator/*", "dagger/beta"} <= found
    # `room/*` is a whole room by name: the runs below say what is in it
    assert [key for key in sorted(found) if not key.endswith("/*") and not is_told(key)] == []


def demonstrations(env: gym.Env[Any, Any]) -> Demonstrations:
    """:return: two episodes of three steps that terminate"""
    space = env.observation_space
    dtype = space.dtype
    assert space.shape is not None
    actions = np.array([env.action_space.sample() for _ in range(3)])
    episodes = [Episode(np.zeros((4, *space.shape), dtype), actions, np.ones(3, np.float32), True, False)]
    return Demonstrations((*episodes, *episodes), space, env.action_space)


SMALL = {"learning_starts": 8, "batch_size": 4, "buffer_size": 200}
SEVERAL: dict[str, tuple[str, dict[str, Any]]] = {
    "R2D2": ("MlpLstmPolicy", SMALL | {"train_freq": 8, "sequence_length": 4, "period": 2, "burn_in": 2}),
    "RainbowR": ("MlpLstmPolicy", SMALL | {"train_freq": 8, "sequence_length": 4, "period": 2, "burn_in": 2}),
    "Rainbow": ("MlpPolicy", SMALL),
    "TD3": ("MlpPolicy", SMALL | {"checkpoint_episodes": 1}),
    "DDPG": ("MlpPolicy", SMALL),
    "DAC": ("MlpPolicy", SMALL),
    "DACSAC": ("MlpPolicy", SMALL),
    "GAIL": ("MlpPolicy", {"n_steps": 32, "batch_size": 16, "n_epochs": 1, "clip_range_vf": 0.2}),
    "DAgger": ("TablePolicy", {"expert": "planner", "n_steps": 20}),
}
CONTINUOUS = ("TD3", "DDPG", "DAC", "DACSAC")


def trained(name: str) -> BaseAlgorithm:
    policy, keywords = SEVERAL.get(name, ("TablePolicy", {}))
    is_neural = name in SEVERAL and name != "DAgger"
    env_id = "Pendulum-v1" if name in CONTINUOUS else "CartPole-v1" if is_neural else "FrozenLake-v1"
    env = gym.make(env_id, max_episode_steps=30)
    if name in ("GAIL", "DAC", "DACSAC"):
        keywords = keywords | {"demonstrations": demonstrations(env), "held_out": 0.5}
    model: BaseAlgorithm = getattr(sb3_ext, name)(policy, env, seed=0, **keywords)
    callbacks: list[Any] = [LearnerMetrics(every=20)]
    if not is_neural:
        callbacks.append(OptimalityGap(every=20))
    return model.learn(80, log_interval=1, callback=callbacks)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_an_algorithm_logs_is_on_the_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    for method in ("record", "record_mean"):
        original = getattr(Logger, method)

        def noted(self: Logger, key: str, *args: Any, _original: Any = original, **kwargs: Any) -> None:
            seen.add(key)
            _original(self, key, *args, **kwargs)

        monkeypatch.setattr(Logger, method, noted)
    trained(name)
    assert any(key.startswith("speed/") for key in seen) and any(key.startswith("time/") for key in seen)
    assert [key for key in sorted(seen) if not is_told(key)] == []
