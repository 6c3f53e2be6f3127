"""The dumb twin of a replay's lanes: whole episodes in lists. What can be drawn of them is said by its subclasses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.places import Place, discrete_action, from_vec_env, reward_at


@dataclass
class Trajectory:
    number: int
    first_cell: int
    """position of its first observation, or of that one's oldest frame, on the lane's tape"""
    n_steps: int = 0
    closed: bool = False
    terminated: bool = False


@dataclass
class Lane:
    n_cells: int = 0
    """cells written so far: the ring holds the last of them"""
    trajectories: list[Trajectory] = field(default_factory=list)


class Lanes:
    """
    Random episodes on several lanes.

    :param kind: of observations, see `support.places`
    :param lane_cells: length of a lane's ring
    :param n_frames: cells that an episode's first observation takes, 1 = observations are stored whole
    :param lengths: mean length of the episodes, drawn anew for each stretch of time
    """

    action: Callable[[Place], np.ndarray] = staticmethod(discrete_action)

    def __init__(
        self,
        kind: str,
        n_envs: int,
        lane_cells: int,
        seed: int = 0,
        n_frames: int = 1,
        lengths: tuple[float, ...] = (1.3, 6.0, 40.0),
    ) -> None:
        self.kind, self.n_envs, self.lane_cells, self.n_frames = kind, n_envs, lane_cells, n_frames
        self.rng = np.random.default_rng(seed)
        self.lengths, self.mean_length = lengths, lengths[-1]
        self.lanes = [Lane() for _ in range(n_envs)]

    def current(self, lane: int) -> Trajectory:
        """The lane's open trajectory; a new one where there is none."""
        trajectories = self.lanes[lane].trajectories
        if not trajectories or trajectories[-1].closed:
            trajectories.append(Trajectory(len(trajectories), self.lanes[lane].n_cells))
            self.lanes[lane].n_cells += self.n_frames
        return trajectories[-1]

    def transition(self, ends: dict[int, str] | None = None) -> dict[str, Any]:
        """
        One step of every lane.

        :param ends: lane -> "terminated" or "truncated"; None = at random
        :return: arguments of ``add``
        """
        if ends is None:
            if self.rng.random() < 0.03:
                self.mean_length = float(self.rng.choice(self.lengths))
            lanes = [lane for lane in range(self.n_envs) if self.rng.random() < 1 / self.mean_length]
            ends = {lane: str(self.rng.choice(["terminated", "truncated"])) for lane in lanes}
        before, after, infos = [], [], []
        for lane in range(self.n_envs):
            trajectory = self.current(lane)
            before.append(Place(lane, trajectory.number, trajectory.n_steps))
            after.append(Place(lane, trajectory.number, trajectory.n_steps + 1))
            trajectory.n_steps += 1
            self.lanes[lane].n_cells += 1
            trajectory.closed = lane in ends
            trajectory.terminated = ends.get(lane) == "terminated"
            infos.append({"TimeLimit.truncated": ends[lane] == "truncated"} if lane in ends else {})
        return {
            "obs": from_vec_env(self.kind, before),
            "next_obs": from_vec_env(self.kind, after),
            "action": np.stack([self.action(place) for place in before]),
            "reward": np.array([reward_at(place) for place in before]),
            "done": np.array([lane in ends for lane in range(self.n_envs)]),
            "infos": infos,
            **self.more(before),
        }

    def more(self, before: list[Place]) -> dict[str, Any]:
        """
        :param before: the place of each lane
        :return: further arguments of ``add``
        """
        return {}

    def can_be_broken(self) -> bool:
        return all(lane.trajectories and lane.trajectories[-1].n_steps > 1 for lane in self.lanes)

    def cut(self) -> None:
        for lane in self.lanes:
            if lane.trajectories:
                lane.trajectories[-1].closed = True
