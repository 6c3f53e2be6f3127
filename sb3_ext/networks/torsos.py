"""Features extractors beside SB3's own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: th.Tensor) -> th.Tensor:
        out: th.Tensor = x + self.layers(x)
        return out


class ImpalaResNet(BaseFeaturesExtractor):
    """
    The deep residual torso of IMPALA (Espeholt et al., 2018, figure 3, right): three sections of a convolution, a
    max-pool by two and two residual blocks.

    :param observation_space: channels-first image, at least 8 x 8
    :param features_dim: width of the output
    :param channels: channels of the sections
    :param normalized_image: the space holds floats that need no division by 255
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        features_dim: int = 256,
        channels: tuple[int, ...] = (16, 32, 32),
        normalized_image: bool = False,
    ) -> None:
        super().__init__(observation_space, features_dim)
        if not is_image_space(observation_space, check_channels=False, normalized_image=normalized_image):
            raise ValueError(
                f"ImpalaResNet needs an image space, got {observation_space}: use MlpLstmPolicy for vectors"
            )
        shape = observation_space.shape
        assert shape is not None
        widths = (shape[0], *channels)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [
                nn.Conv2d(n_in, n_out, 3, padding=1),
                nn.MaxPool2d(3, 2, padding=1),
                _Residual(n_out),
                _Residual(n_out),
            ]
        self.cnn = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
        with th.no_grad():
            n_flat = self.cnn(th.zeros(1, *shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(n_flat, features_dim), nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.linear(self.cnn(observations))
        return features
