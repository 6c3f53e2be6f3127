"""What the sequence replay takes, and what it refuses by name."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from support.checks import EverySampler
from support.windows import (
    SMALL,
    World,
    assert_holds,
    make_buffer,
)

from sb3_ext.buffers import (
    SequenceReplayBuffer,
)


def bad(transition: dict[str, Any], name: str, lane: int, value: float) -> dict[str, Any]:
    changed = {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in transition.items()}
    changed[name][lane] = value
    return changed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "word"), [("obs", "observation"), ("next_obs", "observation"), ("reward", "reward")])
def test_nan_names_env_and_step_and_nothing_is_stored(name: str, word: str, value: float) -> None:
    world, buffer = World("vector", 3, SMALL, 30, 0), make_buffer("vector", 3, SMALL, 30)
    for _ in range(5):
        buffer.add(**world.transition({1: "terminated"} if world.current(1).n_steps == 1 else {}))
    before = pickle.dumps(buffer)
    good = world.transition({})
    with pytest.raises(
        ValueError, match=rf"^{word} of env 1 at step 1 of its episode is not finite \({value}\)"
    ) as error:
        buffer.add(**bad(good, name, 1, value))
    assert "\n" not in str(error.value)
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    for _ in range(50):
        buffer.add(**world.transition())
    assert_holds(buffer, world)


def test_nan_in_the_first_observation_and_in_a_dict() -> None:
    world, buffer = World("dict", 2, SMALL, 30, 0), make_buffer("dict", 2, SMALL, 30)
    good = world.transition({})
    broken = {**good, "obs": bad(good["obs"], "vector", 0, float("nan"))}
    with pytest.raises(ValueError, match="observation 'vector' of env 0 at step 0"):
        buffer.add(**broken)
    assert buffer.size() == 0


def test_an_observation_that_does_not_continue_is_refused_until_cut() -> None:
    world, buffer = World("vector", 2, SMALL, 30, 0), make_buffer("vector", 2, SMALL, 30)
    for _ in range(3):
        buffer.add(**world.transition({}))
    world.cut()  # the twin starts anew, the buffer was not told
    restart = world.transition({})
    before = pickle.dumps(buffer)
    with pytest.raises(
        ValueError, match=r"observation of env 0 is not the next_obs that was added before.*Call cut\(\)"
    ):
        buffer.add(**restart)
    assert pickle.dumps(buffer) == before
    buffer.cut()
    buffer.add(**restart)
    for _ in range(50):
        buffer.add(**world.transition())
    assert_holds(buffer, world)


def test_an_observation_of_another_shape_is_refused() -> None:
    """Channels last where the space has channels first: as many numbers, in another order."""
    space = spaces.Box(0, 255, (3, 4, 5), np.uint8)
    buffer = SequenceReplayBuffer(50, space, spaces.Discrete(2), "cpu", sampler=EverySampler(), **SMALL._asdict())
    images = np.zeros((1, 4, 5, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"\(1, 4, 5, 3\).*\(1, 3, 4, 5\)"):
        buffer.add(images, images, np.zeros(1), np.zeros(1), np.array([False]), [{}])
    assert buffer.size() == 0


@pytest.mark.parametrize("name", ["action", "reward", "obs", "next_obs"])
def test_arrays_of_another_number_of_environments_are_refused(name: str) -> None:
    world, buffer = World("vector", 2, SMALL, 30, 0), make_buffer("vector", 2, SMALL, 30)
    for _ in range(3):
        buffer.add(**world.transition({}))
    before, good = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="shape"):
        buffer.add(**{**good, name: np.repeat(good[name], 2, axis=0)})
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


def test_states_of_another_shape_are_refused() -> None:
    buffer, world = make_buffer("vector", 2, SMALL, 80), World("vector", 2, SMALL, 80, 0)

    def refused(transition: dict[str, Any], states: Any, stored: str) -> None:
        with pytest.raises(ValueError, match=rf"recurrent states have shapes .* where {re.escape(stored)} are stored"):
            buffer.add(**{**transition, "states": states})

    one, other = world.transition({}), world.transition({})
    refused(one, th.zeros(3, 2, 3), "(2, 2, 3)")
    refused(one, th.zeros(()), "(2,)")
    refused(one, {"a": th.zeros(2, 4), "b": th.zeros(1)}, "{'a': (2, 4), 'b': (2,)}")
    buffer.add(**one)
    for states in (other["states"][:1], tuple(s[:, :1] for s in other["states"]), dict(enumerate(other["states"]))):
        refused(other, states, "((2, 2, 3), (2, 2, 3))")
    buffer.add(**other)


@pytest.mark.parametrize("first", [True, False])
def test_states_are_given_always_or_never(first: bool) -> None:
    world, buffer = World("vector", 1, SMALL, 30, 0), make_buffer("vector", 1, SMALL, 30)
    transition = world.transition({})
    buffer.add(**transition if first else {**transition, "states": None})
    before, transition = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="states must be given at every add or never"):
        buffer.add(**{**transition, "states": None} if first else transition)
    assert pickle.dumps(buffer) == before


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_lane_must_hold_one_window(n_envs: int) -> None:
    cells = SMALL.cells
    world, buffer = World("vector", n_envs, SMALL, cells - 1, 0), make_buffer("vector", n_envs, SMALL, cells - 1)
    message = f"gives {cells - 1} cells to each of {n_envs} .* needs {cells} .* set buffer_size >= {cells * n_envs}"
    with pytest.raises(ValueError, match=message):
        buffer.check_size()
    with pytest.raises(ValueError, match=message):
        buffer.add(**world.transition({}))
    make_buffer("vector", n_envs, SMALL, cells).check_size()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 3}, "period 3 must divide sequence_length 4"),
        ({"period": 8}, "period 8 must divide sequence_length 4"),
        ({"period": 0}, "period 0 must be an integer >= 1"),
        ({"burn_in": -1}, "burn_in -1 must be an integer >= 0"),
        ({"sequence_length": 0}, "sequence_length 0 must be an integer >= 1"),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 1.5}, "n_steps 1.5 must be an integer >= 1"),
        ({"burn_in": 2.0}, "burn_in 2.0 must be an integer >= 0"),
        ({"period": float("nan")}, "period nan must be an integer >= 1"),
    ],
)
def test_geometry_errors_name_the_number(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make_buffer("vector", 1, SMALL._replace(**changes), 100)
