"""What is imitated state by state: how often the expert chose each action there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule

from sb3_ext.planning import PlannerPolicy


class LabelTablePolicy(PlannerPolicy):
    """
    The shares of the expert's actions in each state; where it was never asked all actions are equally likely. That is
    the greatest likelihood there is, found by counting: no network, no learning rate, no passes.

    :param observation_space: Discrete, the numbers of S states
    :param action_space: Discrete
    :param lr_schedule: SB3's; unused
    :param use_sde: SB3's; False
    :raises ValueError: for other spaces
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)

    def count(self, observations: np.ndarray, actions: np.ndarray) -> float:
        """
        The table becomes that of these labels, whatever it was.

        :param observations: [N] or [N, 1] numbers of states
        :param actions: [N] or [N, 1] labels
        :return: mean negative log-probability of the labels
        """
        rows = observations.reshape(-1).astype(np.int64) - int(self.observation_space.start)
        taken = actions.reshape(-1).astype(np.int64)
        counts = np.zeros(tuple(self.probabilities.shape))
        np.add.at(counts, (rows, taken), 1.0)
        n_labels = counts.sum(axis=1, keepdims=True)
        shares = np.where(n_labels > 0.0, counts / np.maximum(n_labels, 1.0), 1.0 / counts.shape[1])
        self.probabilities.data.copy_(th.as_tensor(shares))
        return float(-np.log(shares[rows, taken]).mean())
