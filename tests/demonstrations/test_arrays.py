"""Arrays as demonstrations: no number changes on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.demo_worlds import (
    PAIRS,
    bare,
    random_demos,
)

from sb3_ext.demonstrations import Demonstrations, from_arrays
from sb3_ext.demonstrations.formats.arrays import cast_exactly


def listed(demos: Demonstrations) -> dict[str, Any]:
    return dict(
        observations=[e.observations for e in demos.episodes],
        actions=[e.actions for e in demos.episodes],
        rewards=[e.rewards for e in demos.episodes],
        terminated=[e.terminated for e in demos.episodes],
        truncated=[e.truncated for e in demos.episodes],
        seeds=[e.seed for e in demos.episodes],
        observation_space=demos.observation_space,
        action_space=demos.action_space,
    )


@pytest.mark.parametrize(("observations", "actions"), PAIRS)
def test_arrays_come_back(observations: str, actions: str) -> None:
    demos = random_demos(observations, actions)
    assert from_arrays(**listed(demos)) == bare(demos)


def test_values_survive_a_change_of_dtype() -> None:
    demos = random_demos("image", "discrete")
    wide = listed(demos)
    wide["observations"] = [values.astype(np.int64) for values in wide["observations"]]
    wide["actions"] = [values.tolist() for values in wide["actions"]]
    assert from_arrays(**wide) == bare(demos)
    vector = random_demos("vector", "box")
    wide = listed(vector)
    wide["observations"] = [values.astype(np.float64) for values in wide["observations"]]
    assert from_arrays(**wide) == bare(vector)


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([0.5, 0.1]), np.float32, r"x: 0\.1 at \(1,\) is not exact as float32"),
        (np.array([1e300]), np.float32, "is not exact"),
        (np.array([1e-300]), np.float32, "is not exact"),
        (np.array([3, 256]), np.uint8, r"x: 256 at \(1,\)"),
        (np.array([-1]), np.uint8, "x: -1 at"),
        (np.array([-1]), np.uint64, "x: -1 at"),
        (np.array([2**63], dtype=np.uint64), np.int64, "is not exact"),
        (np.array([2**24 + 1]), np.float32, "is not exact"),
        (np.array([1.0]), np.int64, "x: float64 numbers in a space of int64"),
        (np.array(["1"]), np.int64, "x: dtype <U1"),
        (np.array([None]), np.int64, "x: dtype object"),
        ([[1], [2, 3]], np.int64, "x: no array"),
    ],
)
def test_a_cast_that_changes_a_value_is_refused(values: Any, dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cast_exactly(values, np.dtype(dtype), "x")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("other", [np.float32, np.float64, np.int16, np.uint8, np.int64])
def test_a_cast_is_accepted_exactly_where_python_numbers_stay_equal(dtype: Any, other: Any) -> None:
    values = np.array([0, 1, 2, 100, 127, 128, 255, 300, -1, -128, 65536, 2**24 + 1, 2**53 + 1])
    with np.errstate(all="ignore"):
        values = np.unique(values.astype(dtype))
        values = values[np.isfinite(values)]
    for value in values:
        kinds = np.dtype(dtype).kind == "f" and np.dtype(other).kind != "f"
        with np.errstate(all="ignore"):
            same = int(np.array(value).astype(other).item()) == int(value.item())
        if same and not kinds:
            assert cast_exactly(value[None], np.dtype(other), "x").item() == value
        else:
            with pytest.raises(ValueError, match="x: "):
                cast_exactly(value[None], np.dtype(other), "x")


def test_a_nan_is_named_as_such() -> None:
    demos = listed(random_demos())
    demos["observations"][1] = np.full((2, 3), np.nan)
    with pytest.raises(ValueError, match="episode 1: observations: nan at step 0 is not finite"):
        from_arrays(**demos)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("terminated", [True], "terminated: of 1 episodes, observations of 3"),
        ("rewards", [[1.0]], "rewards: of 1 episodes"),
        ("actions", [[3, 3, 3, 9], [3], [3] * 6], "episode 0: actions: 9 at step 3 lies outside"),
        ("actions", [[3, 3, 3, 3], [3, 3], [3] * 6], "episode 1: observations: 2 rows for 2 actions"),
    ],
)
def test_wrong_arrays_are_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(**listed(random_demos()) | {name: value})
