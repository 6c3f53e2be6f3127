"""What a head is given to build its target from, beside what its own network said."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch as th

from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import ValueTransform

HeadOut: TypeAlias = Any
"""Any: `Nested[th.Tensor]` of a head's own making"""


class NextPolicy(ABC):
    """What is bootstrapped with."""

    @abstractmethod
    def of(self, values: th.Tensor, change: Callable[[th.Tensor], th.Tensor] | None = None) -> th.Tensor:
        """
        :param values: [..., A] or [..., A, N]
        :param change: of values of one action
        :return: [...] or [..., N], the changed values that this policy expects
        """


@dataclass(frozen=True)
class OneAction(NextPolicy):
    """
    :param action: [..., 1] int64
    """

    action: th.Tensor

    def of(self, values: th.Tensor, change: Callable[[th.Tensor], th.Tensor] | None = None) -> th.Tensor:
        taken = of_action(values, self.action)
        return taken if change is None else change(taken)


@dataclass(frozen=True)
class Mixture(NextPolicy):
    """
    :param probabilities: [..., A]
    """

    probabilities: th.Tensor

    def of(self, values: th.Tensor, change: Callable[[th.Tensor], th.Tensor] | None = None) -> th.Tensor:
        axis = self.probabilities.ndim - 1
        weights = self.probabilities.reshape(*self.probabilities.shape, *[1] * (values.ndim - 1 - axis))
        return (weights * (values if change is None else change(values))).sum(dim=axis)


class Backup(NamedTuple):
    """What a head builds its target from."""

    returns: NStepReturns
    """tensors [...]; the discount may differ from row to row"""
    target_out: HeadOut
    """of the target network at the steps that are bootstrapped from"""
    policy: NextPolicy
    """there"""
    transform: ValueTransform
    """between returns and what the network predicts"""
    target_now: HeadOut | None = None
    """of the target network at the trained steps, for heads with `needs_target_now`"""


def of_action(values: th.Tensor, action: th.Tensor) -> th.Tensor:
    """
    :param values: [..., A] or [..., A, N]
    :param action: [..., 1] int64
    :return: [...] or [..., N]
    """
    axis = action.ndim - 1
    index = action.view(*action.shape, *[1] * (values.ndim - action.ndim))
    return th.take_along_dim(values, index, dim=axis).squeeze(axis)
