"""
Policies of R2D2: online and target recurrent Q-network, optimizer, and a `predict` that depends on its arguments alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_ext import nested
from sb3_ext.nested import Nested
from sb3_ext.networks.cores import LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import Head, Scalar
from sb3_ext.networks.noisy import noise_for_acting
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.networks.recurrent_q import RecurrentQNetwork


class R2D2Policy(QPolicy):
    """
    :param observation_space: space of one observation
    :param action_space: Discrete
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of each stream of the head
    :param activation_fn: activation in the head
    :param lstm_hidden_size: H, width of the core (LSTM or GRU)
    :param n_lstm_layers: L, layers of the core
    :param core_class: `LSTMCore`, `GRUCore` or another `RecurrentCore`
    :param core_kwargs: keywords of ``core_class`` beyond sizes, e.g. ``forget_bias``
    :param head: `Scalar`, `C51`, `Quantile` or another `Head`; the algorithm gives its own
    :param features_extractor_class: torso
    :param features_extractor_kwargs: its keywords
    :param normalize_images: divide images by 255
    :param optimizer_class: Adam by default
    :param optimizer_kwargs: its keywords without the learning rate; None = ``eps=1e-5`` for Adam (the paper: 1e-3)
    :raises ValueError: when SB3's torso for Dict observations gets another space, or one of the others gets a Dict
    """

    q_net: RecurrentQNetwork
    q_net_target: RecurrentQNetwork
    # The paper's 1e-3 (table 2) belongs to Atari's scores: with small errors it stands above the gradients.
    adam_kwargs: ClassVar[dict[str, Any]] = {"eps": 1e-5}
    policy_names: ClassVar[tuple[str, str]] = ("MultiInputLstmPolicy", "MlpLstmPolicy or CnnLstmPolicy")

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        lstm_hidden_size: int = 64,
        n_lstm_layers: int = 1,
        core_class: type[RecurrentCore[Any]] = LSTMCore,
        core_kwargs: dict[str, Any] | None = None,
        head: Head = Scalar(),
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            net_arch=[lstm_hidden_size] if net_arch is None else net_arch,
            activation_fn=activation_fn,
            head=head,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.lstm_hidden_size = lstm_hidden_size
        self.n_lstm_layers = n_lstm_layers
        self.core_class = core_class
        self.core_kwargs = core_kwargs
        self._build(lr_schedule)

    def make_q_net(self) -> RecurrentQNetwork:
        """:return: a new network with its own torso"""
        extractor = self.make_features_extractor()
        return RecurrentQNetwork(
            self.observation_space,
            self.action_space,
            features_extractor=extractor,
            features_dim=extractor.features_dim,
            head=self.head,
            core_class=self.core_class,
            core_kwargs=self.core_kwargs,
            hidden_size=self.lstm_hidden_size,
            n_layers=self.n_lstm_layers,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            normalize_images=self.normalize_images,
        ).to(self.device)

    def act(
        self, obs: PyTorchObs, state: RecurrentState, deterministic: bool = False
    ) -> tuple[np.ndarray, RecurrentState]:
        """
        :param obs: [E, ...]
        :param state: before ``obs`` is fed
        :param deterministic: mean weights of noisy layers, or a draw for each environment
        :return: Q-values [E, A] and the state after ``obs``
        """
        if self.is_noisy:
            noise_for_acting(self.q_net, nested.rows(obs), deterministic)
        with th.no_grad():
            q_values, state = self.q_net.step(obs, state)
        return q_values.cpu().numpy(), state

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: Nested[np.ndarray] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:  # Any: a tree of arrays, where SB3 says a tuple
        """
        Greedy actions, with the recurrent state in and out as in sb3-contrib's RecurrentPPO.

        :param observation: one observation or a batch of n
        :param state: what the last call returned, arrays [n, ...]; None = that of a new episode
        :param episode_start: [n], true where a new episode begins: there the state is made new
        :param deterministic: mean weights of noisy layers, or a draw for each observation; epsilon is the algorithm's
        :return: actions [n] (or a scalar array) and the next state
        """
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        n = nested.rows(obs)
        now = self.q_net.initial_state(n) if state is None else self.q_net.state_from_numpy(state, n)
        if episode_start is not None:
            now = self.q_net.core.reset_where(now, np.asarray(episode_start, dtype=bool))
        q_values, after = self.act(obs, now, deterministic)
        actions = q_values.argmax(axis=1)
        if not vectorized:
            actions = actions.squeeze(axis=0)
        return actions, nested.map(lambda s: s.cpu().numpy(), after)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            lstm_hidden_size=self.lstm_hidden_size,
            n_lstm_layers=self.n_lstm_layers,
            core_class=self.core_class,
            core_kwargs=self.core_kwargs,
        )
        return data


MlpLstmPolicy = R2D2Policy


class CnnLstmPolicy(R2D2Policy):
    """`R2D2Policy` for images: NatureCNN and the paper's LSTM and streams of 512. Parameters as there."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
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
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,  # those of R2D2Policy, passed on unread
    ) -> None:
        super().__init__(
            observation_space, action_space, lr_schedule, features_extractor_class=features_extractor_class, **kwargs
        )
