"""
Steps as a discriminator judges them, policy's and expert's alike: tensors of one device, B steps.

The absorbing state behind a termination is no state of its own. It is the final observation, marked by a flag, so that
one end is not another; where nobody wrote down the expert's final observations it is the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from sb3_ext import nested

Tensors = th.Tensor | dict[str, th.Tensor]


class Steps(NamedTuple):
    """What a discriminator judges, B steps."""

    observations: Tensors
    """[B, *shape]"""
    actions: th.Tensor
    """[B, *shape]"""
    next_observations: Tensors
    """[B, *shape]"""
    absorbing: th.Tensor
    """[B] float, 1 where the step starts in the absorbing state: its observations are the final one"""
    next_absorbing: th.Tensor
    """[B] float, 1 where it ends there: at a termination, whether absorbing states count or not"""
    log_prob: th.Tensor
    """[B] of the action under the policy; zeros unless the discriminator `reads_log_prob`"""

    @classmethod
    def of(
        cls,
        observations: np.ndarray | dict[str, np.ndarray],
        actions: np.ndarray,
        next_observations: np.ndarray | dict[str, np.ndarray],
        absorbing: np.ndarray,
        next_absorbing: np.ndarray,
        device: th.device,
    ) -> Steps:
        """
        :param observations: [B, *shape] raw
        :param actions: [B, *shape] executed
        :param next_observations: [B, *shape] raw, the final one where an episode ended
        :param absorbing: [B] bool
        :param next_absorbing: [B] bool, whether it was a termination
        :param device: where they go, copied
        :return: the same as tensors, the log-probabilities zeros
        """

        def there(values: np.ndarray) -> th.Tensor:
            return th.tensor(values, device=device)

        return cls(
            nested.map(there, observations),
            there(actions),
            nested.map(there, next_observations),
            there(absorbing).float(),
            there(next_absorbing).float(),
            log_prob=th.zeros(len(absorbing), device=device),
        )

    @property
    def n_steps(self) -> int:
        """B; `len` counts the fields."""
        return len(self.absorbing)

    def take(self, rows: th.Tensor) -> Steps:
        """:param rows: [B'] numbers, or [B] bool"""
        return nested.take(self, rows)

    def chunks(self, size: int) -> Iterator[Steps]:
        """:return: all of them in order, ``size`` at a time"""
        for rows in th.arange(self.n_steps, device=self.absorbing.device).split(size):
            yield self.take(rows)

    def join(self, other: Steps) -> Steps:
        """:return: these and the others behind them"""
        return nested.cat([self, other])

    def entered(self) -> th.Tensor:
        """:return: [B] bool, whether the step came into the absorbing state, and was not there before"""
        return (self.next_absorbing > 0) & (self.absorbing == 0)

    def behind(self, from_final: th.Tensor) -> Tensors:
        """
        :param from_final: one number, 1 where an absorbing state is a final observation, 0 where it is the one before
        :return: [B, *shape] next observations; at terminations what the absorbing state is
        """
        before = (self.next_absorbing > 0) & (from_final == 0)
        return nested.where(before, self.observations, self.next_observations)

    def for_ever(self, from_final: th.Tensor, action_space: gym.Space[Any]) -> Steps:
        """
        :param from_final: as for `behind`
        :param action_space: of the actions
        :return: from the absorbing state behind each step to itself, by the space's first action or by zeros
        """
        behind = self.behind(from_final)
        actions = th.zeros_like(self.actions)
        if isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete):
            actions = actions + th.as_tensor(action_space.start, device=actions.device).to(actions.dtype)
        return self._replace(
            observations=behind,
            actions=actions,
            next_observations=behind,
            absorbing=th.ones_like(self.absorbing),
            log_prob=th.zeros_like(self.log_prob),
        )
