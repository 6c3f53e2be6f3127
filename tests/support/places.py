"""Observations, actions and rewards that tell their place: no item of a replay can mix two of them unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

N_ACTIONS = 7
Parts = dict[str, np.ndarray]


class Place(NamedTuple):
    lane: int
    trajectory: int
    step: int


def as_vector(place: Place) -> np.ndarray:
    return np.array(place, dtype=np.float32)


def as_number(place: Place) -> np.ndarray:
    return np.array([place.lane + 8 * (place.step + 4096 * place.trajectory)])


def as_frame(place: Place, channels: int) -> np.ndarray:
    lane, trajectory, step = place
    digits = [lane, trajectory // 256, trajectory % 256, (step + 9) // 256, (step + 9) % 256, 9]
    return (
        np.array([digits] * channels, dtype=np.uint8).reshape(channels, 2, 3)
        + np.arange(channels, dtype=np.uint8)[:, None, None]
    )


def as_stack(place: Place, n_frames: int, channels: int) -> np.ndarray:
    """Newest last. The frames before an episode's first are its own: what a wrapper fills in does not matter."""
    steps = range(place.step - n_frames + 1, place.step + 1)
    return np.concatenate([as_frame(place._replace(step=step), channels) for step in steps])


VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
NUMBER = spaces.Discrete(2**40)
WRITERS: dict[str, Callable[[Place], np.ndarray]] = {
    "vector": as_vector,
    "number": as_number,
    "image": lambda place: as_stack(place, 1, 1),
    "stack": lambda place: as_stack(place, 4, 1),
    "colour": lambda place: as_stack(place, 2, 3),
}
IMAGE = spaces.Box(0, 255, (1, 2, 3), np.uint8)
SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "number": NUMBER,
    "image": IMAGE,
    "stack": spaces.Box(0, 255, (4, 2, 3), np.uint8),
    "colour": spaces.Box(0, 255, (6, 2, 3), np.uint8),
}
DICT_KEYS = ("vector", "number", "stack", "image")
SPACES["dict"] = spaces.Dict({key: SPACES[key] for key in DICT_KEYS})
N_FRAMES = {"stack": 4, "colour": 2, "dict": 4}
CHANNELS = {"colour": 3}


def parts_of(kind: str, place: Place) -> Parts:
    """:return: one stored observation, per key ("" where the space is no Dict)"""
    if kind == "dict":
        return {key: WRITERS[key](place) for key in DICT_KEYS}
    return {"": WRITERS[kind](place)}


def from_vec_env(kind: str, places: list[Place]) -> Any:
    """:return: observations as a VecEnv returns them: [E, ...], a dict of such, [E] for Discrete"""
    stacked = {key: np.stack([parts_of(kind, place)[key] for place in places]) for key in parts_of(kind, places[0])}
    for key in stacked:
        if (key or kind) == "number":
            stacked[key] = stacked[key].reshape(len(places))
    return stacked if kind == "dict" else stacked[""]


def numpy_parts(observations: Any) -> Parts:
    """:return: what was drawn, per key"""
    parts = observations if isinstance(observations, dict) else {"": observations}
    return {key: x.numpy() for key, x in parts.items()}


def discrete_action(place: Place) -> np.ndarray:
    return np.array([(place.lane + 3 * place.trajectory + 5 * place.step) % N_ACTIONS])


def box_action(place: Place) -> np.ndarray:
    return np.array([place.step, place.trajectory], dtype=np.float32) / 1000


def reward_at(place: Place) -> float:
    return 1.0 + place.lane + 0.25 * place.step + 100.0 * place.trajectory
