"""Trainings with actors and without, and whether they are the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed import ActorEnvs

CLOCKS = ("time/", "actors/")  # what is logged of seconds


class Kept(KVWriter):
    """What was logged, dump by dump."""

    def __init__(self) -> None:
        self.dumps: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        told = {key: value for key, value in key_values.items() if not key.startswith(CLOCKS)}
        self.dumps.append({**told, "step": step})

    def close(self) -> None:
        pass


def logged(model: DeepQLearning) -> list[dict[str, Any]]:
    """:return: the list to which all that the model logs from now on is added"""
    kept = Kept()
    model.set_logger(Logger(None, [kept]))
    return kept.dumps


def inline(make_env: Callable[[int], VecEnv], n_actors: int = 1, envs_per_actor: int = 4, **kwargs: Any) -> ActorEnvs:
    return ActorEnvs(make_env, n_actors, envs_per_actor, **{"backend": "inline", "lockstep": True, **kwargs})


def train(models: Iterable[DeepQLearning], n_steps: int, **kwargs: Any) -> None:
    """Each begins with the same generators."""
    for model in models:
        set_random_seed(3)
        model.learn(n_steps, **kwargs)


def assert_same(a: Any, b: Any, name: str = "") -> None:
    """Down to the last number: arrays, containers, and objects of ours by what they hold."""
    assert type(a) is type(b), f"{name}: {type(a)} is not {type(b)}"
    if isinstance(a, np.ndarray | th.Tensor):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
        assert a.dtype == b.dtype, name
    elif isinstance(a, Mapping):
        assert a.keys() == b.keys(), name
        for key in a:
            assert_same(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, list | tuple | deque):
        assert len(a) == len(b), name
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{name}[{i}]")
    elif type(a).__module__.startswith(("sb3_ext", "stable_baselines3")) and hasattr(a, "__dict__"):
        assert_same(vars(a), vars(b), name)
    else:
        assert a == b or (a != a and b != b), f"{name}: {a} is not {b}"  # NaN is NaN


def assert_same_training(plain: DeepQLearning, other: DeepQLearning) -> None:
    """Networks, replay, what is drawn from it, counters, episodes and statistics, bit for bit."""
    for name in ("num_timesteps", "_n_updates", "_episode_num", "return_scale", "_current_progress_remaining"):
        assert getattr(plain, name) == getattr(other, name), name
    assert_same(dict(plain.policy.state_dict()), dict(other.policy.state_dict()), "policy")
    assert_same(plain.policy.optimizer.state_dict(), other.policy.optimizer.state_dict(), "optimizer")
    assert plain.replay_buffer is not None and other.replay_buffer is not None
    assert plain.replay_buffer.n_drawable > 8
    assert_same(_contents(plain.replay_buffer), _contents(other.replay_buffer), "replay")
    assert_same(plain._largest_return, other._largest_return, "largest return")
    assert_same(_episodes(plain), _episodes(other), "episodes")
    assert len(_episodes(plain)) > 4
    assert_same(statistics(plain), statistics(other), "statistics")
    batches = []
    for model in (plain, other):
        assert model.replay_buffer is not None
        set_random_seed(5)
        batches.append(model.replay_buffer.sample(8, model.get_vec_normalize_env(), 0.5))
    assert_same(batches[0], batches[1], "batch")


def statistics(model: DeepQLearning) -> Any:
    """Of the model's VecNormalize."""
    normalizer = model.get_vec_normalize_env()
    return None if normalizer is None else [vars(normalizer)["ret_rms"], vars(normalizer).get("obs_rms")]


def _contents(replay: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(replay).items() if name not in ("journal", "device")}


def _episodes(model: DeepQLearning) -> list[Any]:
    assert model.ep_info_buffer is not None
    return [(episode["r"], episode["l"]) for episode in model.ep_info_buffer]
