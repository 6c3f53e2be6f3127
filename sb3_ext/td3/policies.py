"""
Policies of TD3 and DDPG beside SB3's own: normalised networks, whose critics are one batched module.

They are SB3's `TD3Policy` with other networks, so SB3's TD3 trains them too, without the statistics of observations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from sb3_ext.networks.ensemble import layer_norm_mlp, simba
from sb3_ext.networks.normalizer import RunningNormalizer

Torso = Callable[..., nn.Sequential]
"""(n_members, n_in, n_out, net_arch, activation_fn) -> from [M, B, n_in] to [M, B, n_out]"""


class _One(nn.Module):
    """[B, D] -> [B, D'] by an ensemble of one."""

    def __init__(self, torso: nn.Sequential) -> None:
        super().__init__()
        self.torso = torso

    def forward(self, x: th.Tensor) -> th.Tensor:
        out: th.Tensor = self.torso(x.unsqueeze(0)).squeeze(0)
        return out


class TorsoActor(Actor):
    """
    SB3's actor on another network.

    :param torso: makes it

    The other parameters are `Actor`'s.
    """

    def __init__(self, torso: Torso, **kwargs: Any) -> None:  # Any: those of Actor
        super().__init__(**kwargs)
        # In place of SB3's layers.
        network = torso(1, self.features_dim, get_action_dim(self.action_space), self.net_arch, self.activation_fn)
        self.mu = nn.Sequential(_One(network), nn.Tanh())


class EnsembleCritic(ContinuousCritic):
    """
    SB3's critics as one batched module.

    :param torso: makes it

    The other parameters are `ContinuousCritic`'s.
    """

    # Any: those of ContinuousCritic
    def __init__(self, torso: Torso, n_critics: int = 2, **kwargs: Any) -> None:
        super().__init__(n_critics=0, **kwargs)  # no layers of SB3's
        self.n_critics = n_critics
        n_in = kwargs["features_dim"] + get_action_dim(self.action_space)
        self.torso = torso(n_critics, n_in, 1, kwargs["net_arch"], kwargs["activation_fn"])

    def forward(self, obs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """:return: Q-values [B, 1] of each critic"""
        with th.set_grad_enabled(th.is_grad_enabled() and not self.share_features_extractor):
            features = self.extract_features(obs, self.features_extractor)
        return tuple(self._q_values(features, actions, self.n_critics).unbind())

    def q1_forward(self, obs: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """:return: Q-values [B, 1] of the first critic, whose weights alone are used"""
        with th.no_grad():
            features = self.extract_features(obs, self.features_extractor)
        return self._q_values(features, actions, 1)[0]

    def _q_values(self, features: th.Tensor, actions: th.Tensor, n: int) -> th.Tensor:
        x = th.cat([features, actions], dim=1)
        out: th.Tensor = self.torso(x.expand(n, *x.shape))
        return out


class LayerNormPolicy(TD3Policy):
    """
    LayerNorm before every activation of actor and critics. For vectors; ``features_extractor_class`` takes
    any of SB3's for images and dictionaries.

    :param net_arch: hidden widths, or ``dict(pi=[...], qf=[...])``; None = [256, 256]

    The other parameters are `TD3Policy`'s; AdamW is ``optimizer_class=torch.optim.AdamW``.
    """

    torso: ClassVar[Torso] = staticmethod(layer_norm_mlp)
    default_arch: ClassVar[Any] = (256, 256)  # Any: as net_arch

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,  # Any: those of TD3Policy
    ) -> None:
        if net_arch is None:
            default = self.default_arch
            net_arch = {key: list(x) for key, x in default.items()} if isinstance(default, dict) else list(default)
        extractor = kwargs.get("features_extractor_class", FlattenExtractor)
        if isinstance(observation_space, spaces.Dict) and issubclass(extractor, FlattenExtractor):
            raise ValueError(
                f"{type(self).__name__} reads vectors: give policy_kwargs=dict(features_extractor_class="
                "CombinedExtractor) for dictionaries"
            )
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        keywords = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return TorsoActor(**keywords, torso=self.torso).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        keywords = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return EnsembleCritic(**keywords, torso=self.torso).to(self.device)


class NormalizedExtractor(FlattenExtractor):
    """
    Flattens observations and standardises them by the statistics of all that `normalizer.update` has seen.

    :param observation_space: Box
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space)
        self.normalizer = RunningNormalizer((self.features_dim,))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.normalizer(super().forward(observations))
        return features


class SimbaPolicy(LayerNormPolicy):
    """
    SimBa (Lee et al., 2025): observations standardised inside the network, residual LayerNorm blocks. Actor, critics
    and their targets share the statistics, which only training changes, and which are saved with the weights.

    ``net_arch`` has one width for each residual block, ``dict(pi=[...], qf=[...])`` or a list for both; None = one
    block of 128 for the actor, two of 256 for the critics (the paper's critics are 512 wide).

    :param features_extractor_class: None = standardised vectors; any other is used as it is

    The other parameters are `LayerNormPolicy`'s.
    """

    torso: ClassVar[Torso] = staticmethod(simba)
    default_arch: ClassVar[Any] = {"pi": (128,), "qf": (256, 256)}

    def __init__(
        self,
        *args: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = NormalizedExtractor,
        **kwargs: Any,
    ) -> None:
        self._shared: BaseFeaturesExtractor | None = None
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Adds: one for all networks where it has statistics, which are nobody's weights."""
        if not issubclass(self.features_extractor_class, NormalizedExtractor):
            return super().make_features_extractor()
        if self._shared is None:
            # Not a module of the policy's own: it is in the networks' states.
            object.__setattr__(self, "_shared", super().make_features_extractor())
        assert self._shared is not None
        return self._shared

    def update_statistics(self, observations: np.ndarray | dict[str, np.ndarray]) -> None:
        """:param observations: [E, *shape] as the policy is given them"""
        if isinstance(self._shared, NormalizedExtractor):
            seen = preprocess_obs(
                self.obs_to_tensor(observations)[0], self.observation_space, normalize_images=self.normalize_images
            )
            assert isinstance(seen, th.Tensor)
            self._shared.normalizer.update(seen.flatten(1))
