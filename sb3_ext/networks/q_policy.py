"""Policies of Q-learning: online and target network of one architecture, and the optimizer."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_ext.networks.heads import Head
from sb3_ext.networks.noisy import has_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.recurrent_q import RecurrentQNetwork


class QPolicy(BasePolicy):
    """
    Base of the policies of `R2D2` and `Rainbow`, which document the parameters.

    :raises ValueError: when SB3's torso for Dict observations gets another space, or one of the others gets a Dict
    """

    action_space: spaces.Discrete
    q_net: QNetwork | RecurrentQNetwork
    q_net_target: QNetwork | RecurrentQNetwork
    adam_kwargs: ClassVar[dict[str, Any]]
    """for Adam without ``optimizer_kwargs``"""
    policy_names: ClassVar[tuple[str, str]]
    """of the policies for Dict observations and for all others, for error messages"""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        *,
        net_arch: list[int],
        activation_fn: type[nn.Module],
        head: Head,
        features_extractor_class: type[BaseFeaturesExtractor],
        features_extractor_kwargs: dict[str, Any] | None,
        normalize_images: bool,
        optimizer_class: type[th.optim.Optimizer],
        optimizer_kwargs: dict[str, Any] | None,
    ) -> None:
        for_dicts, for_others = self.policy_names
        is_dict = isinstance(observation_space, spaces.Dict)
        if is_dict and issubclass(features_extractor_class, (FlattenExtractor, NatureCNN)):
            raise ValueError(f"Dict observations need {for_dicts}, not {for_others}")
        if not is_dict and issubclass(features_extractor_class, CombinedExtractor):
            raise ValueError(f"{for_dicts} needs a Dict, got {observation_space}: use {for_others}")
        if optimizer_kwargs is None:
            optimizer_kwargs = self.adam_kwargs if optimizer_class in (th.optim.Adam, th.optim.AdamW) else {}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.net_arch = net_arch
        self.activation_fn = activation_fn
        self.head = head

    @abstractmethod
    def make_q_net(self) -> QNetwork | RecurrentQNetwork:
        """:return: a new network with its own torso"""

    def _build(self, lr_schedule: Schedule) -> None:
        self.q_net = self.make_q_net()
        self.is_noisy = has_noise(self.q_net)  # to ask every layer takes a while
        self.q_net_target = self.make_q_net()
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.q_net_target.set_training_mode(False)
        self.q_net_target.head_net = self.head.as_target(self.q_net_target.head_net)
        self.optimizer = self.optimizer_class(  # type: ignore[call-arg]
            self.q_net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def obs_to_tensor(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """
        Adds: what no network can answer is refused. The greedy action of a NaN would be the first one, and a recurrent
        state that has seen one never loses it.

        :raises ValueError: where an observation is NaN or infinite
        """
        obs, vectorized = super().obs_to_tensor(observation)
        for name, x in obs.items() if isinstance(obs, dict) else [("observation", obs)]:
            if not x.is_floating_point() or math.isfinite(x.sum()):  # in one operation, a tenth of the others' time
                continue
            if not bool(x.isfinite().all()):  # finite ones may have a sum that is not
                at = tuple(x.isfinite().logical_not().nonzero()[0].tolist())
                raise ValueError(
                    f"{name} of env {at[0]} is not finite ({float(x[at])} at {list(at[1:])}): no action follows from "
                    "it, and it would stay in a recurrent state; mend the environment, or wrap it in VecCheckNan to "
                    "find the cause"
                )
        return obs, vectorized

    def forward(self, obs: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        return self._predict(obs, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        """Greedy actions [B]; of recurrent networks each from a fresh state."""
        return self.q_net._predict(observation, deterministic)

    def set_training_mode(self, mode: bool) -> None:
        """The target network always stays in evaluation mode."""
        self.q_net.set_training_mode(mode)
        self.training = mode

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            head=self.head,
            lr_schedule=self._dummy_schedule,  # needed to build the optimizer, replaced on load
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        return data
