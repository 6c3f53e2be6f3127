"""
What users bring along: cores, heads, samplers and strategies as one would write them outside of the package, from its
documentation alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch as th
from torch import nn

from sb3_ext.buffers import Draw, Sampler
from sb3_ext.networks import Head, RecurrentCore, Scalar
from sb3_ext.networks.backups import Backup, Mixture
from sb3_ext.ops.value_rescaling import ValueTransform

Pair = tuple[th.Tensor, th.Tensor]


class ProjectedLSTM(RecurrentCore[Pair]):
    """
    PyTorch's LSTM with projections (Sak et al., 2014): hidden states [n, L, P] are narrower than cells [n, L, H].

    :param proj_size: P
    """

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1, proj_size: int = 4) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.proj_size = proj_size
        self.rnn = nn.LSTM(input_size, hidden_size, n_layers, batch_first=True, proj_size=proj_size)

    @property
    def output_size(self) -> int:
        return self.proj_size

    def initial_state(self, n: int, device: th.device | str = "cpu") -> Pair:
        hidden = th.zeros(n, self.n_layers, self.proj_size, device=device)
        return hidden, th.zeros(n, self.n_layers, self.hidden_size, device=device)

    def forward(self, x: th.Tensor, state: Pair) -> tuple[th.Tensor, Pair]:
        hidden, cell = (s.transpose(0, 1).contiguous() for s in state)
        y, (hidden, cell) = self.rnn(x, (hidden, cell))
        return y, (hidden.transpose(0, 1), cell.transpose(0, 1))


class MatrixMemory(RecurrentCore[th.Tensor]):
    """Keys and values in a matrix [n, H, H] that forgets, as linear attention has it; a query reads it."""

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.key_value_query = nn.Linear(input_size, 3 * hidden_size)
        self.keep = nn.Linear(input_size, 1)

    def initial_state(self, n: int, device: th.device | str = "cpu") -> th.Tensor:
        return 0.1 * th.eye(self.hidden_size, device=device).repeat(n, 1, 1)  # not zero

    def forward(self, x: th.Tensor, state: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        keys, values, queries = self.key_value_query(x).tanh().chunk(3, dim=-1)
        keeps = self.keep(x).sigmoid().unsqueeze(-1)
        read = []
        for t in range(x.shape[1]):
            state = keeps[:, t] * state + values[:, t].unsqueeze(2) * keys[:, t].unsqueeze(1)
            read.append((state @ queries[:, t].unsqueeze(2)).squeeze(2))
        return th.stack(read, dim=1), state


class Pyramid(RecurrentCore[dict[str, th.Tensor]]):
    """
    Two layers of GRU, the lower one of another width.

    :param lower_size: of the lower one
    """

    def __init__(self, input_size: int, hidden_size: int, n_layers: int = 1, lower_size: int = 5) -> None:
        super().__init__(input_size, hidden_size, n_layers)
        self.lower = nn.GRU(input_size, lower_size, batch_first=True)
        self.upper = nn.GRU(lower_size, hidden_size, batch_first=True)

    def initial_state(self, n: int, device: th.device | str = "cpu") -> dict[str, th.Tensor]:
        return {name: th.zeros(n, getattr(self, name).hidden_size, device=device) for name in ("lower", "upper")}

    def forward(self, x: th.Tensor, state: dict[str, th.Tensor]) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        x, lower = self.lower(x, state["lower"].unsqueeze(0))
        x, upper = self.upper(x, state["upper"].unsqueeze(0))
        return x, {"lower": lower[0], "upper": upper[0]}


CORES: list[type[RecurrentCore[th.Tensor]] | type[RecurrentCore[Pair]] | type[RecurrentCore[dict[str, th.Tensor]]]] = [
    ProjectedLSTM,
    MatrixMemory,
    Pyramid,
]


@dataclass
class RoundRobin(Sampler):
    """
    One leaf after the other.

    :param stride: how many are passed over
    """

    stride: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.leaves: list[int] = []
        self.turn = 0

    def resize(self, capacity: int) -> None:
        pass

    def activate(self, leaves: np.ndarray) -> None:
        self.leaves += leaves.tolist()
        self.n_active = len(self.leaves)

    def deactivate(self, leaves: np.ndarray) -> None:
        for leaf in leaves.tolist():
            self.leaves.remove(leaf)
        self.n_active = len(self.leaves)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        pass

    def draw(self, batch_size: int, progress_remaining: float = 1.0) -> Draw:
        if not self.leaves:
            raise ValueError("nothing can be drawn yet")
        turns = self.turn + self.stride * np.arange(batch_size)
        self.turn += self.stride * batch_size
        drawn = np.array(self.leaves)[turns % len(self.leaves)]
        return Draw(drawn, np.ones(batch_size, dtype=np.float32))


@dataclass(frozen=True)
class Stubborn:
    """
    The worst action now and then.

    :param share: of the steps
    """

    share: float = 0.25

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        wild = np.random.random(len(q_values)) < self.share
        actions: np.ndarray = np.where(wild, q_values.argmin(axis=1), q_values.argmax(axis=1))
        return actions

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return self.share


class Fractions(NamedTuple):
    z: th.Tensor
    """[..., A, N]"""
    taus: th.Tensor
    """[..., N]"""


class CosineNet(nn.Module):
    def __init__(self, width: int, n_actions: int, hidden: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.phi = nn.Linear(16, width)
        self.out = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, n_actions))

    def forward(self, x: th.Tensor) -> Fractions:
        midpoints = ((th.arange(self.n) + 0.5) / self.n).expand(*x.shape[:-1], -1)
        taus = th.rand_like(midpoints) if self.training else midpoints
        cosines = (np.pi * th.arange(16) * taus[..., None]).cos()
        return Fractions(self.out(x[..., None, :] * self.phi(cosines).relu()).movedim(-1, -2), taus)


@dataclass(frozen=True)
class OwnIQN(Head):
    """
    Implicit quantiles (Dabney et al., 2018), written without a look at ours.

    :param n: fractions, everywhere
    """

    n: int = 4

    def network(
        self, features_dim: int, n_actions: int, net_arch: list[int], activation_fn: type[nn.Module] = nn.ReLU
    ) -> CosineNet:
        return CosineNet(features_dim, n_actions, net_arch[-1], self.n)

    def q_values(self, out: Fractions) -> th.Tensor:
        return out.z.mean(-1)

    def expected_returns(self, out: Fractions, action: th.Tensor, transform: ValueTransform) -> th.Tensor:
        taken = th.take_along_dim(out.z, action[..., None], -2).squeeze(-2)
        return transform.invert(taken).mean(-1)

    def loss(self, out: Fractions, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        taken = th.take_along_dim(out.z, action[..., None], -2).squeeze(-2)  # [..., N]
        returns, transform = backup.returns, backup.transform
        with th.no_grad():
            after = backup.policy.of(backup.target_out.z, transform.invert)
            target = transform.apply(returns.reward_sum[..., None] + returns.discount[..., None] * after)
        error = target[..., None, :] - taken[..., None]
        loss = ((out.taus[..., None] - (error < 0).float()).abs() * error.abs()).mean(-1).sum(-1)
        return loss, loss.detach()


@dataclass(frozen=True)
class Munchausen(Scalar):
    """
    The agent's log-probability is a reward (Vieillard et al., 2020), the policy a softmax of the target network.

    :param temperature: of the softmax
    :param alpha: weight of that reward
    :param lowest: of the log-probability times the temperature
    """

    needs_target_now: ClassVar[bool] = True

    temperature: float = 0.03
    alpha: float = 0.9
    lowest: float = -1.0

    def next_policy(self, chooser_out: th.Tensor, target_out: th.Tensor) -> Mixture:
        return Mixture((target_out / self.temperature).softmax(-1))

    def loss(self, out: th.Tensor, action: th.Tensor, backup: Backup) -> tuple[th.Tensor, th.Tensor]:
        assert isinstance(backup.policy, Mixture) and backup.target_now is not None
        returns, transform = backup.returns, backup.transform
        with th.no_grad():
            log_now = (backup.target_now / self.temperature).log_softmax(-1).gather(-1, action).squeeze(-1)
            bonus = self.alpha * (self.temperature * log_now).clamp(min=self.lowest)
            entropy = -th.xlogy(backup.policy.probabilities, backup.policy.probabilities).sum(-1)
            after = backup.policy.of(backup.target_out, transform.invert) + self.temperature * entropy
            target = transform.apply(returns.reward_sum + bonus + returns.discount * after)
        td = target - out.gather(-1, action).squeeze(-1)
        return td.square() / 2, td.detach().abs()
