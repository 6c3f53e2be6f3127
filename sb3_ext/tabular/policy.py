"""
A table of Q-values as a policy of Stable-Baselines3. All that was learned is in its state dict: values, how often each
cell was updated, and the mean square of what it was updated with. It stays in the memory of the host.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_ext.ops.counted_exploration import Counts
from sb3_ext.tabular.observations import StateNumbers

BYTES_OF_A_CELL = 24
"""value, count and mean square"""
MOST_VISITS = 2**53
"""that double precision counts one by one"""


class Cells(NamedTuple):
    """A table's numbers, flat. They are the policy's own: what is written into them is learned."""

    q: np.ndarray
    """[C] float64"""
    visits: np.ndarray
    """[C] int64"""
    second_moment: np.ndarray
    """[C] float64"""


class QTablePolicy(BasePolicy):
    """
    The greedy policy of one table.

    :param observation_space: Discrete, MultiDiscrete, or a Tuple of Discrete ones: S states
    :param action_space: Discrete: A actions
    :param lr_schedule: SB3's; the algorithm makes the steps
    :param initial_value: of each cell; larger than any return it makes greedy agents try everything
    :param use_sde: SB3's; a table has none
    :raises ValueError: for other spaces, and for a table that is larger than the memory
    """

    action_space: spaces.Discrete
    visits: th.Tensor
    """[S, A] int64, how often each was updated"""
    second_moment: th.Tensor
    """[S, A] float64, mean of the squares of its targets, with the steps of the values themselves"""
    n_tables: ClassVar[int] = 1
    never_negative: ClassVar[tuple[str, ...]] = ("visits", "second_moment")

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        initial_value: float = 0.0,
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        name = type(self).__name__
        if not isinstance(action_space, spaces.Discrete) or int(action_space.start) != 0:
            raise ValueError(f"{name} needs Discrete actions that begin at 0, got {action_space}")
        if not math.isfinite(initial_value):
            raise ValueError(f"initial_value {initial_value} must be a finite number")
        if use_sde:
            raise ValueError(f"{name} has no noise that depends on the state: use_sde=False")
        self.states = StateNumbers(observation_space, name)
        self.initial_value = initial_value
        shape = (self.states.n_states, int(action_space.n))
        check_memory(*shape, self.n_tables)
        if self.n_tables > 1:
            shape = (self.n_tables, *shape)  # type: ignore[assignment]
        self.q = nn.Parameter(th.full(shape, float(initial_value), dtype=th.float64), requires_grad=False)
        """[S, A]"""
        self.register_buffer("visits", th.zeros(shape, dtype=th.int64))
        self.register_buffer("second_moment", th.full(shape, float(initial_value) ** 2, dtype=th.float64))

    @property
    def cells(self) -> Cells:
        """:return: of state s and action a it is cell ``s * A + a``"""
        q, visits, second_moment = self.q.numpy(), self.visits.numpy(), self.second_moment.numpy()
        return Cells(q.reshape(-1), visits.reshape(-1), second_moment.reshape(-1))

    def values(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n] numbers
        :return: [n, A] float64
        """
        values: np.ndarray = self.q.numpy()[states]
        return values

    def counts(self, states: np.ndarray) -> Counts:
        """
        :param states: [n] numbers
        :return: what is known of their actions
        """
        return Counts(self.visits.numpy()[states], self.values(states), self.second_moment.numpy()[states])

    def action_values(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: observations, [B], [B, 1] or [B, k]
        :return: [B, A] float64
        """
        assert isinstance(obs, th.Tensor)
        return th.as_tensor(self.values(self.states.numbers(obs.cpu().numpy())))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """:return: [B] the first of the best actions: how it explores is known to its algorithm alone"""
        return self.action_values(observation).argmax(dim=1)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self._predict(obs, deterministic)

    def obs_to_tensor(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """
        Adds: numbers may come as [n, 1], as replay buffers store them, and as a tuple where the space was one.

        :raises ValueError: for anything that is no observation of the space
        """
        if isinstance(observation, dict):
            raise ValueError(f"observation {observation!r} is none of {self.states.space}")
        rows = self.states.rows(observation)
        is_plain = isinstance(self.states.space, spaces.Discrete)
        return th.as_tensor(rows[:, 0] if is_plain else rows), self.states.is_batch(observation)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """
        Parameters as in torch.

        :raises ValueError: for numbers that no training leads to; the present ones are kept then
        """
        for name in self.never_negative:
            numbers = state_dict.get(name)
            if isinstance(numbers, th.Tensor) and not (numbers >= 0).all():
                raise ValueError(f"{name} must be at least 0 everywhere")
        visits = state_dict.get("visits")
        if isinstance(visits, th.Tensor) and (visits > MOST_VISITS).any():
            raise ValueError(f"visits must be at most {MOST_VISITS} everywhere")
        return super().load_state_dict(state_dict, strict, assign)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "initial_value": self.initial_value,
        }


def check_memory(n_states: int, n_actions: int, n_tables: int = 1) -> None:
    """
    :param n_states: S
    :param n_actions: A
    :param n_tables: of this size
    :raises ValueError: where the memory of this machine does not hold them
    """
    needed = n_tables * n_states * n_actions * BYTES_OF_A_CELL
    there = _memory()
    if needed > there:
        raise ValueError(
            f"a table of {_short(n_states)} states x {n_actions} actions takes {_short(needed // 10**9)} GB, and this "
            f"machine has {there / 1e9:.3g} GB: observe less, or use sb3_ext.Rainbow"
        )


def _short(number: int) -> str:
    """:return: three digits, also of a number that no float is as large as"""
    return f"{number:.3g}" if number < 1e300 else f"1e+{int(math.log10(number))}"


def _memory() -> int:
    """:return: bytes of this machine; where it does not tell, those of none that we know"""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 2**42
