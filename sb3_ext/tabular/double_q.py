"""Double Q-learning: two tables, each of which says how good the action is that the other one thinks is best."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from stable_baselines3.common.policies import BasePolicy

from sb3_ext.ops.counted_exploration import Counts
from sb3_ext.ops.tabular import bootstrapped
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.q_learning import Steps, TableAlgorithm


class DoubleQTablePolicy(QTablePolicy):
    """
    Acts by the mean of two tables: ``q``, ``visits`` and ``second_moment`` are [2, S, A]. Parameters as in
    `QTablePolicy`.
    """

    n_tables: ClassVar[int] = 2

    def values(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n] numbers
        :return: [n, A] float64, the mean of both
        """
        mean: np.ndarray = self.of_both(states).mean(axis=0)
        return mean

    def of_both(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n] numbers
        :return: [2, n, A] float64
        """
        values: np.ndarray = self.q.numpy()[:, states]
        return values

    def counts(self, states: np.ndarray) -> Counts:
        """:return: of both together"""
        visits, squares = self.visits.numpy()[:, states], self.second_moment.numpy()[:, states]
        return Counts(visits.sum(axis=0), self.values(states), squares.mean(axis=0))


class DoubleQ(TableAlgorithm):
    """
    Double Q-learning. Paper: van Hasselt, "Double Q-learning", NeurIPS 2010. What is noise in one table is not taken
    for value: the maximum of noisy values is too large on average, and here another table says what it is worth. Which
    of the two learns from a transition is tossed for each environment.

    Parameters as in `QLearning`, the policy being a `DoubleQTablePolicy`.
    """

    policy: DoubleQTablePolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"TablePolicy": DoubleQTablePolicy}
    policy_base: ClassVar[type[QTablePolicy]] = DoubleQTablePolicy

    def _learn(self, steps: Steps) -> None:
        lanes = np.arange(len(steps.state))
        learns = np.random.randint(2, size=len(lanes))
        both = self.policy.of_both(steps.next_state)
        chosen = both[learns, lanes].argmax(axis=1)
        targets = bootstrapped(steps.reward, steps.terminated, both[1 - learns, lanes, chosen], self.gamma)
        n_actions = int(self.action_space.n)
        cells = (learns * self.policy.states.n_states + steps.state) * n_actions + steps.action
        self._move(cells, targets)
