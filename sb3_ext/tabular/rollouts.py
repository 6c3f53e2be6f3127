"""
What SB3's on-policy loop needs of a table. Its rollouts are kept in double precision, so that the returns that it
computes of them are exact; its policy hands what it is asked to the algorithm, which alone knows how it explores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_ext.tabular.policy import QTablePolicy


class Acting(Protocol):
    """Whoever explores by a table."""

    def choose(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [E] numbers, where the environments are
        :return: [E] actions that are taken there
        """

    def chances(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """
        :param states: [E] numbers
        :param actions: [E] that were chosen there
        :return: [E] float64, how probable each of them was; NaN where nothing is learned from that
        """

    def worth(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n] numbers
        :return: [n] float64, what going on from there is worth
        """


class RolloutTablePolicy(QTablePolicy):
    """
    Adds what `OnPolicyAlgorithm.collect_rollouts` asks. Outside of a rollout it is greedy, as every table without its
    algorithm. Parameters as in `QTablePolicy`.
    """

    _acting: Acting | None = None

    @contextmanager
    def asking(self, acting: Acting) -> Iterator[None]:
        """:param acting: who answers in the meantime"""
        self._acting = acting
        try:
            yield
        finally:
            self._acting = None

    def forward(  # type: ignore[override]  # SB3's loop asks its policies for three things
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        :param obs: observations, [B], [B, 1] or [B, k]
        :param deterministic: greedy also in a rollout
        :return: [B] actions, [B] float64 their values, [B] float64 logarithms of their probabilities
        """
        states = self._numbers(obs)
        if self._acting is None or deterministic:
            actions = self.values(states).argmax(axis=1)
            chances = np.ones(len(states))
        else:
            actions = self._acting.choose(states)
            chances = self._acting.chances(states, actions)
        values = self.q.numpy()[states, actions]
        return th.as_tensor(actions), th.as_tensor(values), th.as_tensor(np.log(chances))

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: observations, [B], [B, 1] or [B, k]
        :return: [B] float64, what going on from there is worth to the algorithm; outside of a rollout the best value
        """
        states = self._numbers(obs)
        if self._acting is None:
            return th.as_tensor(self.values(states).max(axis=1))
        return th.as_tensor(self._acting.worth(states))

    def _numbers(self, obs: PyTorchObs) -> np.ndarray:
        assert isinstance(obs, th.Tensor)
        return self.states.numbers(obs.cpu().numpy())


class TableRollout(RolloutBuffer):
    """SB3's, with all of its numbers in double precision. Parameters as there."""

    def reset(self) -> None:
        """Adds: the precision."""
        super().reset()
        for name in ("rewards", "returns", "episode_starts", "values", "log_probs", "advantages"):
            setattr(self, name, getattr(self, name).astype(np.float64))
