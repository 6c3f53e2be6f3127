"""
Policies of R2D2: online and target recurrent Q-network, optimizer, and a `predict` that depends on its arguments alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_ext.networks.cores import LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import DuelingMode, QHead, ScalarHead
from sb3_ext.networks.recurrent_q import RecurrentQNetwork

PAPER_ADAM_EPS = 1e-3  # R2D2 paper, table 2


class R2D2Policy(BasePolicy):
    """
    :param observation_space: space of one observation
    :param action_space: Discrete
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of each stream of the head
    :param activation_fn: activation in the head
    :param lstm_hidden_size: H, width of the core (LSTM or GRU)
    :param n_lstm_layers: L, layers of the core
    :param core_class: ``LSTMCore`` or ``GRUCore``
    :param core_kwargs: keywords of ``core_class`` beyond sizes, e.g. ``forget_bias``
    :param dueling: "avg", "max", "naive", or None for a single stream
    :param head_class: ``ScalarHead``, ``C51Head`` or ``QuantileHead``
    :param head_kwargs: keywords of ``head_class`` beyond sizes and ``dueling``, e.g. ``noisy_std``
    :param features_extractor_class: torso
    :param features_extractor_kwargs: its keywords
    :param normalize_images: divide images by 255
    :param optimizer_class: Adam by default
    :param optimizer_kwargs: its keywords without the learning rate; None = the paper's ``eps=1e-3`` for Adam
    :raises ValueError: when SB3's torso for Dict observations gets another space, or one of the others gets a Dict
    """

    action_space: spaces.Discrete

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        lstm_hidden_size: int = 64,
        n_lstm_layers: int = 1,
        core_class: type[RecurrentCore] = LSTMCore,
        core_kwargs: dict[str, Any] | None = None,
        dueling: DuelingMode | None = "avg",
        head_class: type[QHead] = ScalarHead,
        head_kwargs: dict[str, Any] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        is_dict = isinstance(observation_space, spaces.Dict)
        if is_dict and issubclass(features_extractor_class, (FlattenExtractor, NatureCNN)):
            raise ValueError("Dict observations need MultiInputLstmPolicy, not MlpLstmPolicy or CnnLstmPolicy")
        if not is_dict and issubclass(features_extractor_class, CombinedExtractor):
            raise ValueError(
                f"MultiInputLstmPolicy needs a Dict, got {observation_space}: use MlpLstmPolicy or CnnLstmPolicy"
            )
        if optimizer_kwargs is None:
            optimizer_kwargs = {"eps": PAPER_ADAM_EPS} if optimizer_class in (th.optim.Adam, th.optim.AdamW) else {}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.net_arch = [lstm_hidden_size] if net_arch is None else net_arch
        self.activation_fn = activation_fn
        self.lstm_hidden_size = lstm_hidden_size
        self.n_lstm_layers = n_lstm_layers
        self.core_class = core_class
        self.core_kwargs = core_kwargs
        self.dueling = dueling
        self.head_class = head_class
        self.head_kwargs = head_kwargs
        self._build(lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        self.q_net = self.make_q_net()
        self.q_net_target = self.make_q_net()
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.q_net_target.set_training_mode(False)
        self.optimizer = self.optimizer_class(  # type: ignore[call-arg]
            self.q_net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def make_q_net(self) -> RecurrentQNetwork:
        """:return: a new network with its own torso"""
        extractor = self.make_features_extractor()
        return RecurrentQNetwork(
            self.observation_space,
            self.action_space,
            features_extractor=extractor,
            features_dim=extractor.features_dim,
            head_class=self.head_class,
            head_kwargs={"dueling": self.dueling, **(self.head_kwargs or {})},
            core_class=self.core_class,
            core_kwargs=self.core_kwargs,
            hidden_size=self.lstm_hidden_size,
            n_layers=self.n_lstm_layers,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            normalize_images=self.normalize_images,
        ).to(self.device)

    def act(self, obs: PyTorchObs, state: RecurrentState) -> tuple[np.ndarray, RecurrentState]:
        """
        :param obs: [E, ...]
        :param state: before ``obs`` is fed
        :return: greedy actions [E] and the state after it
        """
        with th.no_grad():
            q_values, state = self.q_net.step(obs, state)
        return q_values.argmax(dim=1).cpu().numpy(), state

    def forward(self, obs: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        return self._predict(obs, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        """Greedy actions [B], each from a fresh state."""
        return self.q_net._predict(observation, deterministic)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Greedy actions, with the recurrent state in and out as in sb3-contrib's RecurrentPPO.

        :param observation: one observation or a batch of n
        :param state: arrays [L, n, H] from the last call; None = zeros
        :param episode_start: [n], true where a new episode begins: the state is zeroed there
        :param deterministic: without effect here, exploration is the algorithm's
        :return: actions [n] (or a scalar array) and the next state
        """
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        n = len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)
        now = self.q_net.initial_state(n) if state is None else self.q_net.state_from_numpy(state)
        if episode_start is not None:
            now = zero_where(now, episode_start)
        actions, after = self.act(obs, now)
        if not vectorized:
            actions = actions.squeeze(axis=0)
        return actions, tuple(s.cpu().numpy() for s in after)

    def set_training_mode(self, mode: bool) -> None:
        """The target network always stays in evaluation mode."""
        self.q_net.set_training_mode(mode)
        self.training = mode

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            lstm_hidden_size=self.lstm_hidden_size,
            n_lstm_layers=self.n_lstm_layers,
            core_class=self.core_class,
            core_kwargs=self.core_kwargs,
            dueling=self.dueling,
            head_class=self.head_class,
            head_kwargs=self.head_kwargs,
            lr_schedule=self._dummy_schedule,  # needed to build the optimizer, replaced on load
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        return data


MlpLstmPolicy = R2D2Policy


class CnnLstmPolicy(R2D2Policy):
    """`R2D2Policy` for images: NatureCNN and the paper's LSTM and streams of 512. Parameters as there."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        lstm_hidden_size: int = 512,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,  # those of R2D2Policy, passed on unread
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            lstm_hidden_size=lstm_hidden_size,
            features_extractor_class=features_extractor_class,
            **kwargs,
        )


class MultiInputLstmPolicy(R2D2Policy):
    """`R2D2Policy` for Dict observations: SB3's CombinedExtractor. Parameters as there."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,  # those of R2D2Policy, passed on unread
    ) -> None:
        super().__init__(
            observation_space, action_space, lr_schedule, features_extractor_class=features_extractor_class, **kwargs
        )


def zero_where(state: RecurrentState, ended: np.ndarray) -> RecurrentState:
    """
    :param state: each [L, n, H]
    :param ended: [n] bool
    :return: the state with the columns of ``ended`` set to zero
    """
    if not np.any(ended):
        return state
    keep = th.as_tensor(~np.asarray(ended, dtype=bool), dtype=state[0].dtype, device=state[0].device).view(1, -1, 1)
    return tuple(s * keep for s in state)
