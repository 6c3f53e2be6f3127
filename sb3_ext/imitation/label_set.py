"""
States that were driven through, each with the expert's label: episodes that grow, and become `Demonstrations`.

Their actions are the labels, and beside them stands what the environment executed. An episode under way counts as one
that is cut so far, and is longer the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.demonstrations.data import Observations, kept_steps
from sb3_ext.imitation.expert import channels_first
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
    :param env_id: of the environments, None = unknown
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        given: Demonstrations | None = None,
        env_id: str | None = None,
    ) -> None:
        self.observation_space, self.action_space, self.env_id = observation_space, action_space, env_id
        self.episodes = [] if given is None else [_as_ours(episode, observation_space) for episode in given.episodes]
        self.has_given = given is not None
        self.lanes = [_Drive() for _ in range(n_envs)]

    def __len__(self) -> int:
        """Labels; of episodes that were subsampled those that are left."""
        kept = sum(int((kept_steps(episode) < len(episode)).sum()) for episode in self.episodes)
        return kept + sum(len(lane.labels) for lane in self.lanes)

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


def _as_ours(episode: Episode, space: spaces.Space[Any]) -> Episode:
    """:return: as the episodes that are driven here: images channels first, observations of the space's dtype"""
    observations = nested.map(
        lambda part, x: x.astype(part.dtype, copy=False), space, channels_first(episode.observations, space)
    )
    rewards = None if episode.rewards is None else episode.rewards.astype(np.float64)
    return replace(episode, observations=observations, rewards=rewards)
