"""Features extractor and head as one Q-network, for single observations."""

from __future__ import annotations

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_ext import nested
from sb3_ext.networks.backups import HeadOut
from sb3_ext.networks.heads import Head, Scalar
from sb3_ext.networks.noisy import noise_for_acting


class QNetwork(BasePolicy):
    """
    :param observation_space: space of one observation
    :param action_space: Discrete
    :param features_extractor: torso, any of SB3's
    :param features_dim: width of its output
    :param head: on top of it; its network is ``head_net``
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
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor=features_extractor, normalize_images=normalize_images
        )
        self.features_dim = int(features_dim)
        self.head = head
        self.net_arch = net_arch
        self.activation_fn = activation_fn
        self.head_net = head.network(self.features_dim, int(action_space.n), net_arch or [], activation_fn)

    def outputs(self, obs: PyTorchObs) -> HeadOut:
        """
        :param obs: [B, ...] (or a dict of such)
        :return: of the head's network, leading axis B
        """
        assert self.features_extractor is not None
        return self.head_net(self.extract_features(obs, self.features_extractor))

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """:return: Q-values [B, A]"""
        return self.head.q_values(self.outputs(obs))

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
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
        )
        return data
