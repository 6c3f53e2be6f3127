"""Which of the policies of a training is the best: checkpoints of TD7 (Fujimoto et al., 2023, section 4.2)."""

from __future__ import annotations

import numpy as np


class Assessment:
    """
    Returns of the next N episodes to begin, while the policy does not change.

    Whichever of them ends first: short ones are not preferred. What was under way before does not count.

    :param n_episodes: N
    :param n_envs: E
    """

    def __init__(self, n_episodes: int, n_envs: int) -> None:
        self.n_episodes = n_episodes
        self.sums = np.zeros(n_envs)
        self.at_start = np.ones(n_envs, dtype=bool)
        self.begin()

    def begin(self) -> None:
        """The next policy."""
        self.returns: list[float] = []
        self.n_begun = 0
        self.counts = np.zeros(len(self.sums), dtype=bool)

    def environments_were_reset(self) -> None:
        """The next step is every environment's first."""
        self.at_start[:] = True

    def add(self, reward: np.ndarray, dones: np.ndarray, acts: bool) -> float | None:
        """
        One step.

        :param reward: [E]
        :param dones: [E]
        :param acts: whether the policy acted, rather than chance
        :return: the worst return, when the last of the N episodes has ended in this step
        """
        for env in np.flatnonzero(self.at_start):
            self.counts[env] = acts and self.n_begun < self.n_episodes
            self.n_begun += int(self.counts[env])
        self.sums = np.where(self.at_start, 0.0, self.sums) + reward
        self.at_start = np.array(dones, dtype=bool)
        ended = self.at_start & self.counts
        self.counts &= ~ended
        self.returns += self.sums[ended].tolist()
        return min(self.returns) if ended.any() and len(self.returns) == self.n_episodes else None

    def is_over(self, bar: float) -> bool:
        """
        :param bar: the worst return of the best policy so far
        :return: whether the policy has N returns, or one below the bar
        """
        return len(self.returns) >= self.n_episodes or (len(self.returns) > 0 and min(self.returns) < bar)
