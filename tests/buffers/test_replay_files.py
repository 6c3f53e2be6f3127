"""A saved replay goes into a model that it fits, and into no other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
from gymnasium import Env, spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ext import DDPG, TD3
from sb3_ext.buffers import PrioritizedReplayBuffer
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.imitation import DAC, DACSAC
from sb3_ext.learners.td3 import Update

ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
SMALL: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 200, "seed": 1, "device": "cpu"}


class Drawn(Env[Any, Any]):
    """Observations drawn from a space; episodes of 5 steps."""

    def __init__(self, space: spaces.Space[Any] | None = None, actions: spaces.Box = ACTIONS) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float64) if space is None else space
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), 1.0, self.t == 5, False, {}


def model_of(cls: type[Any], make: Callable[[], Env[Any, Any]] = Drawn, n_envs: int = 1, **keywords: Any) -> Any:
    return cls("MlpPolicy", DummyVecEnv([make] * n_envs), policy_kwargs={"net_arch": [8]}, **{**SMALL, **keywords})


def saved(path: Path, *args: Any, **keywords: Any) -> Path:
    model = model_of(*args, **keywords)
    model._setup_learn(30)
    model.collect_rollouts(
        model.env,
        callback=model._init_callback(None),
        train_freq=model.train_freq._replace(frequency=15),
        replay_buffer=model.replay_buffer,
        learning_starts=10**6,
    )
    model.save_replay_buffer(path / "replay.pkl")
    return path / "replay.pkl"


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "environments": ({"n_envs": 2}, "has n_envs 2, the model 1"),
    "observations": (
        {"make": lambda: Drawn(spaces.Box(-1.0, 1.0, (4,), np.float64))},
        r"has observations Box of shape \(4,\), floats, the model Box of shape \(3,\), floats",
    ),
    "numbers": (
        {"make": lambda: Drawn(spaces.Box(0, 255, (3,), np.uint8))},
        r"has observations Box of shape \(3,\), uint8, the model",
    ),
    "kinds": (
        {"make": lambda: Drawn(spaces.MultiBinary(3))},
        r"has observations MultiBinary\(3\), the model",
    ),
    "actions": (
        {"make": lambda: Drawn(actions=spaces.Box(-1.0, 1.0, (1,), np.float32))},
        r"has action_space Box\(-1.0, 1.0, \(1,\), float32\), the model",
    ),
    "bounds of actions": (
        {"make": lambda: Drawn(actions=spaces.Box(-2.0, 2.0, (2,), np.float32))},
        r"has action_space Box\(-2.0, 2.0, \(2,\), float32\), the model",
    ),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("cls", [TD3, DDPG, DAC, DACSAC])
def test_a_replay_of_another_task_is_refused(
    cls: type[Any], other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, sb3.TD3 if issubclass(cls, TD3) else sb3.SAC, **other)
    model = model_of(cls)
    if isinstance(model, TD3):  # as SB3's, but floats of 64 bits are stored with 32
        assert type(model.replay_buffer) is ReplayBuffer
    ours = model.replay_buffer
    with pytest.raises(ValueError, match=message):
        model.load_replay_buffer(path)
    assert model.replay_buffer is ours
    model.replay_buffer = None
    with pytest.raises(ValueError, match=message):
        model.load_replay_buffer(path)
    assert model.replay_buffer is None


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "n-step": {"n_steps": 3},
    "prioritized": {"sampler": "proportional"},
    "prioritized n-step": {"sampler": "proportional", "n_steps": 3},
    "stored once": {"optimize_memory_usage": True},
    "device": {"replay_buffer_class": DeviceReplayBuffer},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_of_another_kind_is_refused_and_of_its_own_taken(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, TD3, **KINDS[kind])
    for name, keywords in KINDS.items():
        model = model_of(TD3, **keywords)
        ours = model.replay_buffer
        if name == kind:
            model.load_replay_buffer(path)
            assert model.replay_buffer.size() >= 15
            assert model.learn(30, reset_num_timesteps=False)._n_updates > 0
        else:
            with pytest.raises(ValueError, match=r"the model has a|has n_steps?|has sampler"):
                model.load_replay_buffer(path)
            assert model.replay_buffer is ours


def test_what_is_no_replay_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    for cls in (TD3, DDPG, DAC, DACSAC):
        model = model_of(cls)
        ours = model.replay_buffer
        with pytest.raises(ValueError, match=r"list\.pkl holds a list, the model has a ReplayBuffer"):
            model.load_replay_buffer(tmp_path / "list.pkl")
        with pytest.raises(FileNotFoundError):
            model.load_replay_buffer(tmp_path / "none.pkl")
        assert model.replay_buffer is ours


@pytest.mark.parametrize(("theirs", "ours"), [(sb3.TD3, TD3), (TD3, sb3.TD3), (sb3.DDPG, DDPG), (sb3.SAC, DACSAC)])
def test_replays_of_stock_models_go_both_ways(theirs: type[Any], ours: type[Any], tmp_path: Path) -> None:
    path = saved(tmp_path, theirs)
    model = model_of(ours)
    model.load_replay_buffer(path)
    assert model.replay_buffer.size() == 15
    without = model_of(ours)
    without.replay_buffer = None
    without.load_replay_buffer(path)
    assert without.replay_buffer.size() == 15


# ---------------------------------------------------------------------- gamma


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ({"n_steps": 3}, NStepReplayBuffer),
        ({"n_steps": 3, "sampler": "proportional"}, PrioritizedReplayBuffer),
        ({"n_steps": 3, "optimize_memory_usage": True}, PrioritizedReplayBuffer),
    ],
    ids=str,
)
def test_n_step_returns_follow_the_gamma_of_the_model(
    kind: dict[str, Any], of: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(TD3, **kind)
    assert isinstance(model.replay_buffer, of)
    model.learn(60)
    model.gamma = 0.5
    seen: list[Any] = []

    def update(batch: Any, *_: bool) -> Update:
        seen.append(batch)
        return Update(None)

    monkeypatch.setattr(model.learner, "update", update)
    model.train(1, 64)
    (batch,) = seen
    sums = {1: 1.0, 2: 1.5, 3: 1.75}
    for reward, discount in zip(batch.rewards.flatten().tolist(), batch.discounts.flatten().tolist(), strict=True):
        k = round(-np.log2(discount))
        assert discount == 0.5**k and reward == pytest.approx(sums[k])


def test_a_gamma_of_the_replay_s_own_stays() -> None:
    own: dict[str, Any] = {
        "replay_buffer_class": DeviceReplayBuffer,
        "replay_buffer_kwargs": {"n_steps": 2, "gamma": 0.25},
    }
    model = model_of(TD3, **own).learn(60)
    model.gamma = 0.5
    model.train(1, 8)
    assert model.replay_buffer.gamma == 0.25
