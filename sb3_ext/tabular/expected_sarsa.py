"""Expected SARSA in a table: the next step is worth what the exploring agent would get, on average over its actions."""

from __future__ import annotations

from sb3_ext.ops.tabular import bootstrapped
from sb3_ext.tabular.q_learning import Steps, TableAlgorithm


class ExpectedSARSA(TableAlgorithm):
    """
    Expected SARSA. Paper: van Seijen et al., "A theoretical and empirical analysis of Expected Sarsa", ADPRL 2009. Its
    table goes to the values of the best policy that explores as this one does (`epsilon_soft_value_iteration`), and not
    to the best values there are: with a rate that falls, to those of the rate by now.

    Parameters as in `QLearning`.

    :raises ValueError: for an exploration that does not tell its probabilities, such as those that count
    """

    def _check_settings(self) -> None:
        super()._check_settings()
        self._check_probabilities(self._told_exploration())

    def _learn(self, steps: Steps) -> None:
        next_value = (self.probabilities(steps.next_state) * self.policy.values(steps.next_state)).sum(axis=1)
        self._move_by(steps, bootstrapped(steps.reward, steps.terminated, next_value, self.gamma))
