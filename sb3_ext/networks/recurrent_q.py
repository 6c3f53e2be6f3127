"""
Features extractor, recurrent core and head as one Q-network. The torso is folded over B * T, the core runs once over
time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_ext import nested
from sb3_ext.nested import Nested
from sb3_ext.networks.backups import HeadOut
from sb3_ext.networks.cores import LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import Head, Scalar
from sb3_ext.networks.noisy import noise_for_acting


class RecurrentQNetwork(BasePolicy):
    """
    :param observation_space: space of one observation
    :param action_space: Discrete
    :param features_extractor: torso, any of SB3's
    :param features_dim: width of its output
    :param core_class: recurrent core
    :param core_kwargs: its keywords beyond sizes
    :param hidden_size: H
    :param n_layers: L
    :param head: on top of the core; its network is ``head_net``
    :param net_arch: hidden layers of the head
    :param activation_fn: activation in the head
    :param normalize_images: divide images by 255
    """

    action_space: spaces.Discrete

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        head: Head = Scalar(),
        core_class: type[RecurrentCore[Any]] = LSTMCore,
        core_kwargs: dict[str, Any] | None = None,
        hidden_size: int = 64,
        n_layers: int = 1,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor=features_extractor, normalize_images=normalize_images
        )
        self.features_dim = int(features_dim)
        self.hidden_size, self.n_layers = hidden_size, n_layers
        self.head = head
        self.core_kwargs = core_kwargs
        self.net_arch = net_arch
        self.activation_fn = activation_fn
        self.core = core_class(self.features_dim, hidden_size, n_layers, **(core_kwargs or {}))
        self.head_net = head.network(self.core.output_size, int(action_space.n), net_arch or [], activation_fn)

    def initial_state(self, n: int) -> RecurrentState:
        """:return: state of n sequences before their first step"""
        state: RecurrentState = self.core.initial_state(n, self.device)
        return state

    def unroll(self, obs: PyTorchObs, state: RecurrentState) -> tuple[HeadOut, RecurrentState]:
        """
        :param obs: [B, T, ...] (or a dict of such)
        :param state: before the first step
        :return: output of the head's network, leading axes [B, T], and the state after the last step
        """
        y, state = self.core(self._features(obs), state)
        return self.head_net(y), state

    def burn_in(
        self, obs: PyTorchObs, state: RecurrentState, lengths: th.Tensor, offsets: tuple[int, ...]
    ) -> RecurrentState:
        """
        Refresh stored states without gradient. Sequence i has ``lengths[i]`` real columns, at the end; its state is put
        in where they begin, so the padding before them has no influence. One fused pass per possible length, not per
        step.

        :param obs: [B, l, ...]
        :param state: state before the first real column of each sequence
        :param lengths: [B] int64, each one of ``offsets``
        :param offsets: the possible lengths
        :return: state after the last column
        """
        begins = sorted({max(offsets) - b for b in offsets})  # columns at which some sequence begins
        n_columns = max(offsets)
        with th.no_grad():
            x = self._features(obs) if n_columns > 0 else None
            now = state
            for column, end in zip(begins, [*begins[1:], n_columns], strict=True):
                now = nested.where(lengths == n_columns - column, state, now)
                if end > column:
                    assert x is not None
                    _, now = self.core(x[:, column:end], now)
        return now

    def _features(self, obs: PyTorchObs) -> th.Tensor:
        """:return: [B, T, D]"""
        assert self.features_extractor is not None
        n_batch, n_time = next(nested.leaves(obs)).shape[:2]
        folded = nested.map(lambda x: x.flatten(0, 1), obs)
        return self.extract_features(folded, self.features_extractor).view(n_batch, n_time, -1)

    def step(self, obs: PyTorchObs, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        """
        :param obs: [B, ...], one step
        :return: Q-values [B, A] and the next state
        """
        assert self.features_extractor is not None
        y, state = self.core.step(self.extract_features(obs, self.features_extractor), state)
        return self.head.q_values(self.head_net(y)), state

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """:return: Q-values [B, A] of single steps, each from a fresh state"""
        return self.step(obs, self.initial_state(nested.rows(obs)))[0]

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        noise_for_acting(self, nested.rows(observation), deterministic)
        best: th.Tensor = self(observation).argmax(dim=1).reshape(-1)
        return best

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            features_extractor=self.features_extractor,
            features_dim=self.features_dim,
            head=self.head,
            core_class=type(self.core),
            core_kwargs=self.core_kwargs,
            hidden_size=self.hidden_size,
            n_layers=self.n_layers,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
        )
        return data

    def state_from_numpy(self, state: Nested[np.ndarray], n: int) -> RecurrentState:
        """
        :param state: arrays as `predict` returned them
        :param n: sequences
        :raises ValueError: for another tree or other shapes
        """
        expected = self.initial_state(n)
        shapes, right = (nested.map(lambda x: tuple(np.shape(x)), tree) for tree in (state, expected))
        if shapes != right:
            raise ValueError(f"state has shapes {shapes}, {type(self.core).__name__} has {right} for {n} environments")
        return nested.map(lambda like, x: th.as_tensor(x, dtype=like.dtype, device=like.device), expected, state)
