"""Random demonstrations over every kind of space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations import Demonstrations, Episode, load, save

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 5, 4), np.uint8)
BOUNDED = spaces.Box(np.array([-1, -0.1, 0], np.float32), np.array([1, 0.1, 1 / 3], np.float32))

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "double": spaces.Box(-1 / 3, np.inf, (2, 2), np.float64),
    "image": IMAGE,
    "number": spaces.Discrete(5, start=-2),
    "numbers": spaces.MultiDiscrete([3, 4], start=[1, -1]),
    "bits": spaces.MultiBinary(4),
    # Not sorted: the order of keys must survive.
    "dict": spaces.Dict([("z", VECTOR), ("image", IMAGE), ("a", spaces.Discrete(3))]),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "box": BOUNDED,
    "discrete": spaces.Discrete(4, start=2),
    "multi": spaces.MultiDiscrete([2, 7]),
    "binary": spaces.MultiBinary([2, 2]),
}
PAIRS = [(o, "discrete") for o in OBSERVATIONS] + [("vector", a) for a in ACTIONS]
ARRAYS_ONLY = [pair for pair in PAIRS if pair[0] != "dict"]


def random_rows(space: spaces.Space[Any], n: int, rng: np.random.Generator) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: random_rows(part, n, rng) for key, part in space.items()}
    space.seed(int(rng.integers(2**31)))
    return np.stack([np.asarray(space.sample()) for _ in range(n)]).astype(space.dtype)


def random_demos(
    observations: str = "vector",
    actions: str = "discrete",
    lengths: tuple[int, ...] = (4, 1, 6),
    seed: int = 0,
    rewards: bool = True,
    kept: bool = False,
) -> Demonstrations:
    """Episodes end by termination, truncation and both in turn; the second has no seed."""
    rng = np.random.default_rng(seed)
    episodes = []
    for i, n in enumerate(lengths):
        episodes.append(
            Episode(
                observations=random_rows(OBSERVATIONS[observations], n + 1, rng),
                actions=random_rows(ACTIONS[actions], n, rng),
                rewards=rng.normal(size=n) if rewards else None,
                terminated=i % 3 != 1,
                truncated=i % 3 != 0,
                seed=None if i == 1 else 2**40 + i,
                kept=np.arange(i % 2, n, 2) if kept and i != 1 else None,
            )
        )
    space, action_space = OBSERVATIONS[observations], ACTIONS[actions]
    return Demonstrations(tuple(episodes), space, action_space, "Some/Env-v3", {"numpy": "1.2.3", "x": "0"})


def without_final(episode: Episode, **changes: Any) -> Episode:
    """:return: the same, its final observation unknown"""
    observations: Any = episode.observations
    if isinstance(observations, dict):
        observations = {key: values[:-1] for key, values in observations.items()}
    else:
        observations = observations[:-1]
    return replace(episode, observations=observations, final_known=False, **changes)


def with_unknowns(demos: Demonstrations) -> Demonstrations:
    """:return: the first episode without its final observation, the second without its end, the others with neither"""
    unknown: dict[str, Any] = {"terminated": None, "truncated": None}
    first, second, *others = demos.episodes
    episodes = [without_final(first), replace(second, **unknown), *(without_final(e, **unknown) for e in others)]
    return replace(demos, episodes=tuple(episodes))


def assert_same_space(a: spaces.Space[Any], b: spaces.Space[Any]) -> None:
    """To the last bit; gymnasium compares bounds with a tolerance."""
    assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
    if isinstance(a, spaces.Dict) and isinstance(b, spaces.Dict):
        assert list(a) == list(b)
        for key in a:
            assert_same_space(a[key], b[key])
    elif isinstance(a, spaces.Box) and isinstance(b, spaces.Box):
        assert a.low.tobytes() == b.low.tobytes() and a.high.tobytes() == b.high.tobytes()
    else:
        assert a == b


def sampled(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], n_episodes: int = 3, n_steps: int = 9
) -> Demonstrations:
    """:return: samples of the spaces: of no task, but whole; all episodes terminate"""
    rng = np.random.default_rng(0)
    observation_space.seed(0)
    action_space.seed(0)

    def observations() -> Any:  # an array or a dictionary of arrays
        drawn = [observation_space.sample() for _ in range(n_steps + 1)]
        if isinstance(observation_space, spaces.Dict):
            return {key: np.array([d[key] for d in drawn], dtype=part.dtype) for key, part in observation_space.items()}
        return np.array(drawn, dtype=observation_space.dtype)

    episodes = []
    for _ in range(n_episodes):
        actions = np.array([action_space.sample() for _ in range(n_steps)], dtype=action_space.dtype)
        episodes.append(Episode(observations(), actions, rng.normal(size=n_steps), terminated=True, truncated=False))
    return Demonstrations(tuple(episodes), observation_space, action_space)


def bare(demos: Demonstrations, seeds: bool = True) -> Demonstrations:
    """Without what many formats have no place for."""
    episodes = demos.episodes if seeds else tuple(replace(e, seed=None) for e in demos.episodes)
    return replace(demos, episodes=episodes, env_id=None, versions={})


def whole(demos: Demonstrations) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    return demos.observation_space, demos.action_space


def read_as(
    name: str,
    source: Any,  # Any: whatever the format reads
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
    env_id: str | None = None,
    max_bytes: int | None = None,
    **told: Any,  # Any: fields of the format
) -> Demonstrations:
    """By the format's short name."""
    known = {"observation_space": observation_space, "action_space": action_space, "env_id": env_id}
    return load(source, {name: told}, **known, max_bytes=max_bytes)  # type: ignore[arg-type]  # by their names


def write_as(name: str, demos: Demonstrations, path: Any, **told: Any) -> Path:  # Any: a path; fields of the format
    return save(demos, path, {name: told})
