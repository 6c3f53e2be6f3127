"""
Recurrent cores. A core owns its state, which is any tree of tensors [n, ...], batch axis first, and opaque to everyone
else: a new core is one new class.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
import torch as th
from torch import nn

from sb3_ext import nested
from sb3_ext.nested import Nested

RecurrentState = Nested[th.Tensor]
"""[n, ...] each"""
State = TypeVar("State", bound=RecurrentState)


class RecurrentCore(nn.Module, Generic[State]):
    """
    What a network remembers with. A policy makes ``core_class(input_size, hidden_size, n_layers, **core_kwargs)``. A
    core has `initial_state`, `forward` and, where its output is not H wide, `output_size`; the other methods follow
    from these, but it may know quicker ones.

    :param input_size: D, features per step
    :param hidden_size: H, width of the core
    :param n_layers: L, stacked layers
    :raises ValueError: for sizes below 1
    """

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1) -> None:
        super().__init__()
        if hidden_size < 1 or n_layers < 1:
            raise ValueError(f"hidden_size {hidden_size} and n_layers {n_layers} must be >= 1")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.n_layers = n_layers

    @property
    def output_size(self) -> int:
        """H', width of what `forward` returns"""
        return self.hidden_size

    @abstractmethod
    def initial_state(self, n: int, device: th.device | str = "cpu") -> State:
        """:return: of n sequences, before their first step; alike for all of them"""

    @abstractmethod
    def forward(self, x: th.Tensor, state: State) -> tuple[th.Tensor, State]:
        """
        One fused pass over time; nothing resets inside.

        :param x: [B, T, D]
        :param state: before the first step, which stays as it is
        :return: [B, T, H'] and the state after the last step
        """

    def step(self, x: th.Tensor, state: State) -> tuple[th.Tensor, State]:
        """
        `forward` for T = 1, which acting needs.

        :param x: [B, D]
        :param state: before the step
        :return: [B, H'] and the state after it
        """
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def select(self, state: State, rows: Any) -> State:  # Any: whatever tensors take as an index
        """
        :param state: of n sequences
        :param rows: numbers of some of them, n flags, or a slice
        :return: their states
        """
        return nested.take(state, rows)

    def reset_where(self, state: State, ended: np.ndarray) -> State:
        """
        :param state: of n sequences
        :param ended: [n] bool
        :return: the initial state where a sequence has ended
        """
        if not ended.any():
            return state
        device = next(nested.leaves(state)).device
        return nested.where(th.as_tensor(ended, dtype=th.bool, device=device), self.initial_state(1, device), state)


class LSTMCore(RecurrentCore[tuple[th.Tensor, th.Tensor]]):
    """
    Two state tensors, hidden and cell, each [n, L, H].

    :param input_size: D, features per step
    :param hidden_size: H, width of the output and of each state tensor
    :param n_layers: L, stacked layers
    :param forget_bias: added to the initial bias of the forget gates. 1 is the default of TensorFlow's, Sonnet's and
        Haiku's LSTMs (Jozefowicz et al., 2015, section 2.2); PyTorch's is 0, which forgets a cue within ten steps
    """

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.rnn = nn.LSTM(input_size, hidden_size, n_layers, batch_first=True)
        with th.no_grad():
            for layer in range(n_layers):  # PyTorch's order of gates: input, forget, cell, output
                getattr(self.rnn, f"bias_hh_l{layer}")[hidden_size : 2 * hidden_size] += forget_bias

    def initial_state(self, n: int, device: th.device | str = "cpu") -> tuple[th.Tensor, th.Tensor]:
        zeros = th.zeros(n, self.n_layers, self.hidden_size, device=device)
        return zeros, zeros.clone()

    def forward(
        self, x: th.Tensor, state: tuple[th.Tensor, th.Tensor]
    ) -> tuple[th.Tensor, tuple[th.Tensor, th.Tensor]]:
        y, (hidden, cell) = self.rnn(x, (layers_first(state[0]), layers_first(state[1])))
        return y, (hidden.transpose(0, 1), cell.transpose(0, 1))

    def step(self, x: th.Tensor, state: tuple[th.Tensor, th.Tensor]) -> tuple[th.Tensor, tuple[th.Tensor, th.Tensor]]:
        if x.is_cuda:  # cuDNN may round to TF32, and acting should round as training does
            return super().step(x, state)
        # On a CPU the fused layer costs two to four times its cells when T = 1 (benchmarks/acting.py).
        hidden, cell = [], []
        for h, c, weights in zip(state[0].unbind(1), state[1].unbind(1), self.rnn.all_weights, strict=True):
            x, c = th.lstm_cell(x, (h, c), *weights)
            hidden.append(x)
            cell.append(c)
        return x, (th.stack(hidden, dim=1), th.stack(cell, dim=1))

    def reset_where(self, state: tuple[th.Tensor, th.Tensor], ended: np.ndarray) -> tuple[th.Tensor, th.Tensor]:
        if not ended.any():
            return state
        keep = _keep(ended, state[0])
        return state[0] * keep, state[1] * keep


class GRUCore(RecurrentCore[th.Tensor]):
    """One state tensor, hidden, [n, L, H]."""

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.rnn = nn.GRU(input_size, hidden_size, n_layers, batch_first=True)

    def initial_state(self, n: int, device: th.device | str = "cpu") -> th.Tensor:
        return th.zeros(n, self.n_layers, self.hidden_size, device=device)

    def forward(self, x: th.Tensor, state: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        y, hidden = self.rnn(x, layers_first(state))
        return y, hidden.transpose(0, 1)

    def step(self, x: th.Tensor, state: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        if x.is_cuda:  # as for the LSTM
            return super().step(x, state)
        hidden = []
        for h, weights in zip(state.unbind(1), self.rnn.all_weights, strict=True):
            x = th.gru_cell(x, h, *weights)
            hidden.append(x)
        return x, th.stack(hidden, dim=1)

    def reset_where(self, state: th.Tensor, ended: np.ndarray) -> th.Tensor:
        return state * _keep(ended, state) if ended.any() else state


def _keep(ended: np.ndarray, state: th.Tensor) -> th.Tensor:
    """:return: [n, 1, 1], 0 where a sequence has ended: a product takes a third of the time of `where`"""
    return th.as_tensor(~ended, dtype=state.dtype, device=state.device).view(-1, 1, 1)


def layers_first(state: th.Tensor) -> th.Tensor:
    """
    :param state: [n, L, H]
    :return: [L, n, H] as PyTorch's recurrent layers want it; without a copy where L is 1
    """
    return state.transpose(0, 1).contiguous()
