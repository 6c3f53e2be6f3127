"""Policies of Rainbow, feed-forward, and of RainbowR, which are R2D2's with Rainbow's optimizer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_ext import nested
from sb3_ext.networks.heads import C51, Head
from sb3_ext.networks.noisy import noise_for_acting
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.q_policy import QPolicy
from sb3_ext.r2d2.policies import CnnLstmPolicy, MultiInputLstmPolicy, R2D2Policy


class RainbowPolicy(QPolicy):
    """
    :param observation_space: space of one observation
    :param action_space: Discrete
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of the head; all but the last are shared by the streams of a dueling head
    :param activation_fn: activation in the head
    :param head: `Scalar`, `C51`, `Quantile` or another `Head`; the algorithm gives its own
    :param features_extractor_class: torso
    :param features_extractor_kwargs: its keywords
    :param normalize_images: divide images by 255
    :param optimizer_class: Adam by default
    :param optimizer_kwargs: its keywords without the learning rate; None = ``eps=1e-8, fused=True`` for Adam
    :raises ValueError: when SB3's torso for Dict observations gets another space, or one of the others gets a Dict
    """

    q_net: QNetwork
    q_net_target: QNetwork
    # Torch's eps: the paper's 1.5e-4 leaves CartPole unsolved. One kernel for all parameters is faster, also on a CPU.
    adam_kwargs: ClassVar[dict[str, Any]] = {"eps": 1e-8, "fused": True}
    policy_names: ClassVar[tuple[str, str]] = ("MultiInputPolicy", "MlpPolicy or CnnPolicy")

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        head: Head = C51(),
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            net_arch=[64, 64] if net_arch is None else net_arch,  # as SB3's DQN
            activation_fn=activation_fn,
            head=head,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self._build(lr_schedule)

    def make_q_net(self) -> QNetwork:
        """:return: a new network with its own torso"""
        extractor = self.make_features_extractor()
        return QNetwork(
            self.observation_space,
            self.action_space,
            features_extractor=extractor,
            features_dim=extractor.features_dim,
            head=self.head,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            normalize_images=self.normalize_images,
        ).to(self.device)

    def act(self, obs: PyTorchObs) -> np.ndarray:
        """
        :param obs: [E, ...]
        :return: Q-values [E, A] of the exploring agent: each environment has its own draw of the noisy layers
        """
        if self.is_noisy:
            noise_for_acting(self.q_net, nested.rows(obs), deterministic=False)
        with th.no_grad():
            q_values: np.ndarray = self.q_net(obs).cpu().numpy()
            return q_values


MlpPolicy = RainbowPolicy


class CnnPolicy(RainbowPolicy):
    """`RainbowPolicy` for images: NatureCNN and the paper's streams of 512. Parameters as there."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,  # those of RainbowPolicy, passed on unread
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[512] if net_arch is None else net_arch,
            features_extractor_class=features_extractor_class,
            **kwargs,
        )


class MultiInputPolicy(RainbowPolicy):
    """`RainbowPolicy` for Dict observations: SB3's CombinedExtractor. Parameters as there."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,  # those of RainbowPolicy, passed on unread
    ) -> None:
        super().__init__(
            observation_space, action_space, lr_schedule, features_extractor_class=features_extractor_class, **kwargs
        )


class RainbowRPolicy(R2D2Policy):
    """`R2D2Policy` with Rainbow's optimizer. Parameters as there."""

    adam_kwargs: ClassVar[dict[str, Any]] = RainbowPolicy.adam_kwargs


class RainbowRCnnPolicy(CnnLstmPolicy):
    """`CnnLstmPolicy` with Rainbow's optimizer. Parameters as there."""

    adam_kwargs: ClassVar[dict[str, Any]] = RainbowPolicy.adam_kwargs


class RainbowRMultiInputPolicy(MultiInputLstmPolicy):
    """`MultiInputLstmPolicy` with Rainbow's optimizer. Parameters as there."""

    adam_kwargs: ClassVar[dict[str, Any]] = RainbowPolicy.adam_kwargs
