"""
States that were driven through, each with the expert's label: episodes that grow, and become `Demonstrations`.

Their actions are the labels, and beside them stands what the environment executed. An episode under way counts as one
that is cut so far, and is longer the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.demonstrations.data import Observations
from sb3_ext.versions import package_versions


class _Drive:
    """An episode under way, of T steps."""

    def __init__(self) -> None:
        self.observations: list[Observations] = []
        """T+1, or none"""
        self.labels: list[np.ndarray] = []
        self.executed: list[np.ndarray] = []
        self.rewards: list[float] = []

    def episode(self, terminated: bool) -> Episode:
        return Episode(
            nested.stack(self.observations),
            np.stack(self.labels),
            np.array(self.rewards, dtype=np.float64),
            terminated,
            not terminated,
            executed=np.stack(self.executed),
        )


class LabelSet:
    """
    :param observation_space: of what is stored: raw, images channels first
    :param action_space: of labels and executed actions
    :param n_envs: lanes, E
    :param given: episodes of the expert to begin with
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        given: Demonstrations | None = None,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.episodes: list[Episode] = [] if given is None else list(given.episodes)
        self.env_id = None if given is None else given.env_id
        self.lanes = [_Drive() for _ in range(n_envs)]

    def __len__(self) -> int:
        """Labels."""
        return sum(map(len, self.episodes)) + sum(len(lane.labels) for lane in self.lanes)

    def add(
        self,
        observations: Observations,
        labels: np.ndarray,
        executed: np.ndarray,
        rewards: np.ndarray,
        next_observations: Observations,
        ended: np.ndarray,
        terminated: np.ndarray,
    ) -> None:
        """
        One step of every lane.

        :param observations: [E, *shape] that were seen
        :param labels: [E, *shape] of the expert in them
        :param executed: [E, *shape] actions
        :param rewards: [E]
        :param next_observations: [E, *shape], the final one where an episode ended
        :param ended: [E] bool
        :param terminated: [E] bool, whether by a termination
        """
        for i, lane in enumerate(self.lanes):
            if not lane.observations:
                lane.observations.append(self._row(observations, i))
            lane.observations.append(self._row(next_observations, i))
            lane.labels.append(labels[i].copy())
            lane.executed.append(executed[i].copy())
            lane.rewards.append(float(rewards[i]))
            if ended[i]:
                self.episodes.append(lane.episode(bool(terminated[i])))
                self.lanes[i] = _Drive()

    def cut(self, n_envs: int) -> None:
        """
        The environments are reset: what was under way ends here.

        :param n_envs: lanes from now on
        """
        self.episodes += self._under_way()
        self.lanes = [_Drive() for _ in range(n_envs)]

    def demonstrations(self) -> Demonstrations | None:
        """:return: all of it, None where nothing is"""
        episodes: Sequence[Episode] = [*self.episodes, *self._under_way()]
        if not episodes:
            return None
        return Demonstrations(
            tuple(episodes), self.observation_space, self.action_space, self.env_id, package_versions()
        )

    def _under_way(self) -> list[Episode]:
        return [lane.episode(terminated=False) for lane in self.lanes if lane.labels]

    def _row(self, observations: Observations, i: int) -> Observations:
        # A copy of the space's dtype: a VecEnv may give the same array at every step.
        row: Observations = nested.map(
            lambda part, x: np.array(x[i], dtype=part.dtype), self.observation_space, observations
        )
        return row
