"""What the transition replay takes, and what it refuses by name."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from support.checks import EverySampler
from support.places import (
    SPACES,
    VECTOR,
)
from support.transitions import (
    World,
    assert_holds,
    make_buffer,
)

from sb3_ext.buffers import (
    PrioritizedReplayBuffer,
)


def test_what_was_added_and_what_was_drawn_are_copies() -> None:
    """A VecEnv may write into its arrays, a caller into a batch: the cells do not change."""
    world = World("vector", 1, 2, 50)
    buffer = make_buffer(world)
    for _ in range(6):
        given = world.transition({})
        buffer.add(**given)
        for x in (given["obs"], given["next_obs"], given["reward"], given["action"]):
            x += 1000
    assert_holds(buffer, world)
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert samples.discounts is not None
    for tensor in (samples.observations, samples.rewards, samples.actions, samples.dones, samples.discounts):
        tensor += 1000
    samples.handle.generations[:] = -7
    assert_holds(buffer, world)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "word"), [("obs", "observation"), ("next_obs", "observation"), ("reward", "reward")])
def test_nan_names_env_and_step_and_nothing_is_stored(name: str, word: str, value: float) -> None:
    world = World("vector", 3, 2, 30)
    buffer = make_buffer(world)
    for _ in range(5):
        buffer.add(**world.transition({1: "terminated"} if world.current(1).n_steps == 1 else {}))
    before, good = pickle.dumps(buffer), world.transition({})
    broken = {**good, name: good[name].copy()}
    broken[name][1] = value
    with pytest.raises(ValueError, match=rf"^{word} of env 1 at step 1 of its episode is not finite \({value}\)"):
        buffer.add(**broken)
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


def test_numbers_too_large_to_be_squared_are_finite() -> None:
    buffer = PrioritizedReplayBuffer(9, VECTOR, spaces.Discrete(2), "cpu", sampler=EverySampler())
    x = np.full((1, 3), 3e38, dtype=np.float32)
    buffer.add(x, -x, np.zeros(1), np.array([3e38]), np.array([False]), [{}])
    buffer.add(-x, x, np.zeros(1), np.array([3e38]), np.array([False]), [{}])
    assert buffer.n_drawable == 2


def test_minus_zero_continues_zero() -> None:
    buffer = PrioritizedReplayBuffer(9, VECTOR, spaces.Discrete(2), "cpu", n_steps=2, gamma=1.0, sampler=EverySampler())
    x = np.zeros((1, 3), dtype=np.float32)
    for obs, after in ((x, x), (-x, x), (x, -x)):
        buffer.add(obs, after, np.zeros(1), np.ones(1), np.array([False]), [{}])
    assert buffer.sample(1).rewards.tolist() == [[2.0], [2.0]]


def test_lanes_that_break_at_every_step_are_reported() -> None:
    """As when a VecEnv writes into arrays that it has returned: every n-step return would be one step long."""
    buffer = PrioritizedReplayBuffer(90, VECTOR, spaces.Discrete(2), "cpu", 2, n_steps=2, gamma=1.0)

    def add(value: float) -> None:
        x = np.array([[0.0] * 3, [value] * 3], dtype=np.float32)
        buffer.add(x, np.zeros((2, 3)), np.zeros(2), np.ones(2), np.zeros(2, dtype=bool), [{}, {}])

    add(1.0)
    add(2.0)  # a second learn() may do this
    with pytest.warns(UserWarning, match="env 1 broke off two trajectories after one step each"):
        add(3.0)


@pytest.mark.parametrize("name", ["action", "reward", "obs", "next_obs", "done"])
def test_arrays_of_another_number_of_environments_are_refused(name: str) -> None:
    world = World("vector", 2, 2, 30)
    buffer = make_buffer(world)
    for _ in range(3):
        buffer.add(**world.transition({}))
    before, good = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="shape"):
        buffer.add(**{**good, name: np.repeat(good[name], 2, axis=0)})
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(("kind", "n_frames", "least"), [("vector", 1, 4), ("stack", 4, 7)])
def test_a_lane_must_hold_one_item(n_envs: int, kind: str, n_frames: int, least: int) -> None:
    world = World(kind, n_envs, 3, least - 1, n_frames=n_frames)
    buffer = make_buffer(world)
    message = f"gives {least - 1} cells to each of {n_envs} .* needs {least} .* set buffer_size >= {least * n_envs}"
    with pytest.raises(ValueError, match=message):
        buffer.check_size()
    with pytest.raises(ValueError, match=message):
        buffer.add(**world.transition({}))
    make_buffer(World(kind, n_envs, 3, least, n_frames=n_frames)).check_size()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
        ({"n_steps": -1}, "n_steps -1 must be an integer >= 1"),
        ({"n_steps": float("nan")}, "n_steps nan must be an integer >= 1"),
        ({"n_steps": 2, "gamma": None}, "gamma must be given with n_steps 2"),
        ({"gamma": 1.1}, "gamma 1.1 must lie in [0, 1]"),
        ({"gamma": -0.1}, "gamma -0.1 must lie in [0, 1]"),
        ({"gamma": float("nan")}, "gamma nan must lie in [0, 1]"),
        ({"frame_channels": 0}, "frame_channels 0 must be an integer >= 1"),
        ({"frame_channels": 3, "optimize_memory_usage": True}, "frame_channels 3 must divide the 4 channels"),
        (
            {"optimize_memory_usage": True, "space": spaces.Box(0, 255, (84, 84, 4), np.uint8)},
            "optimize_memory_usage=True stores frames of channel-first stacks once, but the observation has shape "
            "(84, 84, 4): wrap the environment in VecTransposeImage",
        ),
    ],
)
def test_constructor_errors_name_the_number(changes: dict[str, Any], message: str) -> None:
    keywords: dict[str, Any] = {"gamma": 0.9, **changes}
    space = keywords.pop("space", SPACES["stack"])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        PrioritizedReplayBuffer(100, space, spaces.Discrete(2), "cpu", **keywords)
    assert "\n" not in str(error.value)
