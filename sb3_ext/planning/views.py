"""
What is seen of the states of a process: their numbers, what a function makes of them, or what is drawn where only a
part is seen. All arrays are fresh: nobody writes into them later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.planning.drawing import RowDraws
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.vec_envs import Observations

Process: TypeAlias = TabularMDP | TabularPOMDP
Observe: TypeAlias = Callable[[np.ndarray], Observations]
"""[n] state numbers -> observations [n, ...]"""


class View(Protocol):
    """How states look."""

    @property
    def space(self) -> spaces.Space[Any]:
        """:return: of one observation"""
        ...

    def first(self, states: np.ndarray, rng: np.random.Generator) -> Observations:
        """
        :param states: [n] in which episodes begin
        :return: [n, ...]
        """
        ...

    def after(self, actions: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> Observations:
        """
        :param actions: [n] that were taken
        :param states: [n] to which they have led
        :return: [n, ...]
        """
        ...


class Numbers:
    """The number of the state, counted from the start of the space."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.space = space

    def first(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return states + self.space.start

    def after(self, actions: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.first(states, rng)


class Shown:
    """What a function makes of the number of the state."""

    def __init__(self, observe: Observe, space: spaces.Space[Any]) -> None:
        self.observe, self.space = observe, space

    def first(self, states: np.ndarray, rng: np.random.Generator) -> Observations:
        fresh: Observations = nested.map(lambda part, x: np.array(x, part.dtype), self.space, self.observe(states))
        return fresh

    def after(self, actions: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> Observations:
        return self.first(states, rng)


class Drawn:
    """What is drawn of a state, and of the action that led there."""

    def __init__(self, pomdp: TabularPOMDP, space: spaces.Space[Any] | None) -> None:
        n_observations = pomdp.n_observations
        self.shown = np.arange(n_observations) if pomdp.shown is None else pomdp.shown
        self.space = space_of(self.shown) if space is None else space
        for shown in self.shown:
            if not self.space.contains(shown):
                raise ValueError(f"observation_space {space} does not hold {shown}, which is shown")
        if pomdp.first_observation is None:
            raise ValueError("first_observation is None: an environment shows something after reset(), give it")
        self._n_states = pomdp.mdp.n_states
        self._first = _draws(pomdp.first_observation)
        self._after = _draws(pomdp.observation.reshape(-1, n_observations))  # [A * S, O]
        self._n_observations = n_observations

    def first(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self._drawn(self._first, states, rng)

    def after(self, actions: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self._drawn(self._after, actions * self._n_states + states, rng)

    def _drawn(self, draws: RowDraws, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        number = draws.draw(rows, rng.random(len(rows))) % self._n_observations
        seen: np.ndarray = self.shown[number]
        return seen


def _draws(probability: np.ndarray) -> RowDraws:
    """
    :param probability: [rows, O]
    :return: draws of entry ``row * O + o``
    """
    n_rows, width = probability.shape
    return RowDraws(np.repeat(np.arange(n_rows), width), probability.reshape(-1), n_rows)


def space_of(shown: np.ndarray) -> spaces.Space[Any]:
    """
    :param shown: [O, ...] all that can be seen
    :return: the smallest space that holds it; numbers count from 0, pictures are of 0 to 255
    """
    if shown.ndim == 1 and shown.dtype.kind in "iu":
        return spaces.Discrete(int(shown.max()) + 1)
    if shown.ndim == 4 and shown.dtype == np.uint8:
        return spaces.Box(0, 255, shown.shape[1:], np.uint8)
    return spaces.Box(shown.min(axis=0), shown.max(axis=0), dtype=shown.dtype.type)


def _check_shown(observe: Observe, space: spaces.Space[Any]) -> None:
    """:raises ValueError: where it gives no elements of the space"""
    states = np.zeros(2, np.int64)
    given = observe(states)
    if isinstance(given, dict) != isinstance(space, spaces.Dict):
        raise ValueError(f"observe gives a {type(given).__name__}, which observation_space {space} does not hold")
    sample = nested.take(Shown(observe, space).first(states, np.random.default_rng(0)), 0)
    if nested.rows(given) != 2 or not space.contains(sample):
        raise ValueError(f"observe: {sample} of state 0 is no element of observation_space {space}")


def view_of(process: Process, observe: Observe | None, space: spaces.Space[Any] | None) -> View:
    """
    :param process: what is looked at
    :param observe: None = the number of the state, or what a `TabularPOMDP` itself says
    :param space: of observations; None = the smallest
    :raises ValueError: where they do not fit
    """
    if isinstance(process, TabularPOMDP):
        if observe is not None:
            raise ValueError("observe: what is seen of a TabularPOMDP is what it says itself (shown)")
        return Drawn(process, space)
    if observe is not None:
        if space is None:
            raise ValueError("observe needs observation_space: what it gives is an element of which space?")
        _check_shown(observe, space)
        return Shown(observe, space)
    space = spaces.Discrete(process.n_states) if space is None else space
    if not isinstance(space, spaces.Discrete) or space.n != process.n_states:
        raise ValueError(f"observation_space {space} is not that of {process.n_states} state numbers: see observe")
    return Numbers(space)
