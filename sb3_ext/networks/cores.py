"""Recurrent cores. The state is a tuple of tensors [L, B, H], opaque to everyone else; a new core is one new class."""

from __future__ import annotations

from abc import abstractmethod

import torch as th
from torch import nn

RecurrentState = tuple[th.Tensor, ...]


class RecurrentCore(nn.Module):
    """
    :param input_size: D, features per step
    :param hidden_size: H, width of the output and of each state tensor
    :param n_layers: L, stacked layers
    """

    n_state_tensors: int

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1) -> None:
        super().__init__()
        if hidden_size < 1 or n_layers < 1:
            raise ValueError(f"hidden_size {hidden_size} and n_layers {n_layers} must be >= 1")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.n_layers = n_layers

    def initial_state(self, n: int, device: th.device | str = "cpu") -> RecurrentState:
        """:return: zeros for n sequences, each [L, n, H]"""
        shape = (self.n_layers, n, self.hidden_size)
        return tuple(th.zeros(shape, device=device) for _ in range(self.n_state_tensors))

    @abstractmethod
    def forward(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        """
        One fused pass over time; nothing resets inside.

        :param x: [B, T, D]
        :param state: state before the first step
        :return: [B, T, H] and the state after the last step
        """

    def step(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        """
        `forward` for T = 1, which acting needs. A core may know a quicker way.

        :param x: [B, D]
        :param state: before the step
        :return: [B, H] and the state after it
        """
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state


class LSTMCore(RecurrentCore):
    """
    Two state tensors: hidden and cell.

    :param input_size: D, features per step
    :param hidden_size: H, width of the output and of each state tensor
    :param n_layers: L, stacked layers
    :param forget_bias: added to the initial bias of the forget gates. 1 is the default of TensorFlow's, Sonnet's and
        Haiku's LSTMs (Jozefowicz et al., 2015, section 2.2); PyTorch's is 0, which forgets a cue within ten steps
    """

    n_state_tensors = 2

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.rnn = nn.LSTM(input_size, hidden_size, n_layers, batch_first=True)
        with th.no_grad():
            for layer in range(n_layers):  # PyTorch's order of gates: input, forget, cell, output
                getattr(self.rnn, f"bias_hh_l{layer}")[hidden_size : 2 * hidden_size] += forget_bias

    def forward(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        y, (hidden, cell) = self.rnn(x, (state[0], state[1]))
        return y, (hidden, cell)

    def step(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        if x.is_cuda:  # cuDNN may round to TF32, and acting should round as training does
            return super().step(x, state)
        # On a CPU the fused layer costs two to four times its cells when T = 1 (benchmarks/acting.py).
        hidden, cell = [], []
        for layer, weights in enumerate(self.rnn.all_weights):
            x, c = th.lstm_cell(x, (state[0][layer], state[1][layer]), *weights)
            hidden.append(x)
            cell.append(c)
        return x, (th.stack(hidden), th.stack(cell))


class GRUCore(RecurrentCore):
    """One state tensor: hidden."""

    n_state_tensors = 1

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.rnn = nn.GRU(input_size, hidden_size, n_layers, batch_first=True)

    def forward(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        y, hidden = self.rnn(x, state[0])
        return y, (hidden,)

    def step(self, x: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        if x.is_cuda:  # as for the LSTM
            return super().step(x, state)
        hidden = []
        for layer, weights in enumerate(self.rnn.all_weights):
            x = th.gru_cell(x, state[0][layer], *weights)
            hidden.append(x)
        return x, (th.stack(hidden),)
