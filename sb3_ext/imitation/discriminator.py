"""
The discriminator: a logit for each step, high where the step looks like the expert's.

It sees raw observations and executed actions. The absorbing state behind a termination is the final observation with
an indicator of its own, here and nowhere else, so that one end is not another: reaching a goal is not falling. Its
action is zeros, whatever the caller put there. Where nobody wrote down the expert's final observations, it is the
observation before, the policy's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm as spectrally_normalized

from sb3_ext import nested
from sb3_ext.imitation.steps import Steps, Tensors
from sb3_ext.networks.normalizer import RunningNormalizer

INPUTS = ("sa", "s", "ss", "sas")


# The indicator's size. A network whose slope is bounded, by a penalty or spectral normalisation, cannot tell the
# absorbing state from others over a distance of 1: terminations then look good although no expert ends (CartPole).
FLAG = 10.0


class Discriminator(nn.Module):
    """
    :param observation_space: raw observations, images channels first
    :param action_space: executed actions
    :param inputs: what it judges: ``"sa"`` state and action, ``"s"``, ``"ss"`` state and next state, ``"sas"`` all
    :param absorbing: whether it sees that a step ended in an absorbing state
    :param net_arch: widths of the hidden layers
    :param activation_fn: between them
    :param features_extractor_class: of observations; None = NatureCNN for images, CombinedExtractor for dictionaries,
        flat otherwise
    :param features_extractor_kwargs: its keywords
    :param normalize_observations: standardise vectors by running statistics over policy and demonstrations, those of
        absorbing states by their own
    :param spectral_norm: bound every layer's largest singular value to 1 (Miyato et al., 2018)
    :param dropout: share of hidden units dropped in training
    :raises ValueError: for unknown ``inputs`` or an impossible ``dropout``
    """

    reads_log_prob = False
    from_final: th.Tensor
    """1 where an absorbing state is a final observation, 0 where it is the one before; saved with the weights"""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        inputs: str = "sa",
        absorbing: bool = True,
        net_arch: Sequence[int] = (64, 64),
        activation_fn: type[nn.Module] = nn.Tanh,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: Mapping[str, Any] | None = None,
        normalize_observations: bool = True,
        spectral_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if inputs not in INPUTS:
            raise ValueError(f"inputs {inputs!r} must be one of {', '.join(INPUTS)}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout {dropout} must be in [0, 1)")
        self.observation_space, self.action_space = observation_space, action_space
        self.inputs, self.absorbing = inputs, absorbing
        if features_extractor_class is None:
            features_extractor_class = default_extractor(observation_space)
        self.features_extractor = features_extractor_class(observation_space, **(features_extractor_kwargs or {}))
        vectors = _vector_spaces(observation_space) if normalize_observations else {}
        self.normalizers = nn.ModuleDict({key: RunningNormalizer(space.shape) for key, space in vectors.items()})
        # Final observations are extreme ones. Measured by other states, they lie so far apart that it takes long to
        # learn that all of them are the policy's: CartPole, whose expert never falls, needed half as many steps again.
        self.final_normalizers = nn.ModuleDict({key: RunningNormalizer(space.shape) for key, space in vectors.items()})
        n_inputs = inputs.count("s") * (self.features_extractor.features_dim + 1)
        if "a" in inputs:
            n_inputs += encoded_action_dim(action_space)
        self.n_inputs = n_inputs
        self.register_buffer("from_final", th.ones((), dtype=th.float64))
        self.head = self._mlp(n_inputs, net_arch, activation_fn, dropout, spectral_norm)

    @staticmethod
    def _mlp(
        n_inputs: int, net_arch: Sequence[int], activation_fn: type[nn.Module], dropout: float, spectral_norm: bool
    ) -> nn.Sequential:
        layers: list[nn.Module] = []
        for layer in create_mlp(n_inputs, 1, list(net_arch), activation_fn):
            if isinstance(layer, nn.Linear) and spectral_norm:
                layer = spectrally_normalized(layer)
            layers.append(layer)
            if isinstance(layer, activation_fn) and dropout > 0:
                layers.append(nn.Dropout(dropout))
        return nn.Sequential(*layers)

    def forward(self, steps: Steps) -> th.Tensor:
        """:return: [B] logits"""
        return self.logits(self.encode(steps), steps.log_prob)

    def logits(self, encoded: th.Tensor, log_prob: th.Tensor) -> th.Tensor:
        """
        :param encoded: [B, n_inputs] of `encode`
        :param log_prob: [B]; unused here
        :return: [B]
        """
        logits: th.Tensor = self.head(encoded).squeeze(-1)
        return logits

    def encode(self, steps: Steps) -> th.Tensor:
        """:return: [B, n_inputs] features, absorbing flags and encoded actions in a row"""
        parts = [self._state(steps.observations, steps.absorbing)]
        if "a" in self.inputs:
            present = (1.0 - steps.absorbing).unsqueeze(-1)
            parts.append(encode_action(steps.actions, self.action_space) * present)
        if self.inputs in ("ss", "sas"):
            parts.append(self._state(steps.behind(self.from_final), self._shown(steps.next_absorbing)))
        return th.cat(parts, dim=-1)

    def update_normalizers(self, steps: Steps) -> None:
        """:param steps: whose observations are taken in"""
        for normalizers, flag in ((self.normalizers, 0), (self.final_normalizers, 1)):
            rows = (steps.absorbing == flag).nonzero().squeeze(-1)
            observations = _finite(nested.take(steps.observations, rows))
            for key, normalizer in normalizers.items():
                assert isinstance(normalizer, RunningNormalizer)
                normalizer.update(observations[key] if isinstance(observations, dict) else observations)

    def _shown(self, ends: th.Tensor) -> th.Tensor:
        """:return: [B] indicator of the next state"""
        return ends if self.absorbing else th.zeros_like(ends)

    def _state(self, observations: Tensors, absorbing: th.Tensor) -> th.Tensor:
        prepared = preprocess_obs(_finite(observations), self.observation_space)
        if isinstance(prepared, dict):
            prepared = {key: self._normalized(key, x, absorbing) for key, x in prepared.items()}
        else:
            prepared = self._normalized(WHOLE, prepared, absorbing)
        return th.cat([self.features_extractor(prepared), FLAG * absorbing.unsqueeze(-1)], dim=-1)

    def _normalized(self, key: str, x: th.Tensor, absorbing: th.Tensor) -> th.Tensor:
        if key not in self.normalizers:
            return x
        normalized: th.Tensor = nested.where(absorbing > 0, self.final_normalizers[key](x), self.normalizers[key](x))
        return normalized


class ShapedDiscriminator(Discriminator):
    """
    The discriminator of AIRL: ``logit = f - log pi(a|s)`` with ``f = g(s) + gamma h(s') - h(s)``, whose g is a reward
    that depends on the state alone and can be taken to other dynamics (Fu et al., 2018, section 6).

    Shaping must not change which policy is best: the discounted sum of f - g over an episode is -h(s_0) on every path
    (Ng et al., 1999). An absorbing state goes on for ever and takes back what its h gave; where absorbing states do
    not count, an episode ends with the termination, and h is 0 there.

    :param gamma: of the policy

    The other parameters are those of `Discriminator`, but for ``inputs``, which are ``"ss"``.
    """

    reads_log_prob = True

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        gamma: float,
        absorbing: bool = True,
        net_arch: Sequence[int] = (64, 64),
        activation_fn: type[nn.Module] = nn.Tanh,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: Mapping[str, Any] | None = None,
        normalize_observations: bool = True,
        spectral_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            "ss",
            absorbing,
            net_arch,
            activation_fn,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_observations,
            spectral_norm,
            dropout,
        )
        self.gamma = gamma
        self.n_state = self.n_inputs // 2
        self.head = self._mlp(self.n_state, net_arch, activation_fn, dropout, spectral_norm)
        self.shaping = self._mlp(self.n_state, net_arch, activation_fn, dropout, spectral_norm)

    def logits(self, encoded: th.Tensor, log_prob: th.Tensor) -> th.Tensor:
        """
        :param encoded: [B, n_inputs] of `encode`
        :param log_prob: [B] of the action under the policy; 0 in the absorbing state, which has no choice
        :return: [B]
        """
        state, next_state = encoded[:, : self.n_state], encoded[:, self.n_state :]
        of_next = self.shaping(next_state)
        if not self.absorbing:
            of_next = of_next * (1.0 - next_state[:, -1:] / FLAG)
        shaping = self.gamma * of_next - self.shaping(state)
        logits: th.Tensor = (self.head(state) + shaping).squeeze(-1) - log_prob
        return logits

    def state_reward(self, steps: Steps) -> th.Tensor:
        """:return: [B] g(s)"""
        reward: th.Tensor = self.head(self._state(steps.observations, steps.absorbing)).squeeze(-1)
        return reward

    def _shown(self, ends: th.Tensor) -> th.Tensor:
        return ends  # `logits` ends the shaping there


WHOLE = "observation"
"""name of the normaliser of an observation that is no dictionary"""


def _finite(observations: Tensors) -> Tensors:
    """:return: zeros in place of what is not finite: a final observation of a simulation that diverged"""
    finite: Tensors = nested.map(lambda x: x.where(x.isfinite(), th.zeros_like(x)), observations)
    return finite


def default_extractor(observation_space: gym.Space[Any]) -> type[BaseFeaturesExtractor]:
    """:return: SB3's extractor for the space"""
    if isinstance(observation_space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_image_space(observation_space) else FlattenExtractor


def _vector_spaces(observation_space: gym.Space[Any]) -> dict[str, spaces.Box]:
    parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {WHOLE: observation_space}
    return {key: space for key, space in parts.items() if isinstance(space, spaces.Box) and not is_image_space(space)}


def encoded_action_dim(space: gym.Space[Any]) -> int:
    """:return: width of `encode_action`"""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    assert isinstance(space, spaces.Box | spaces.MultiBinary)
    return int(np.prod(space.shape))


def encode_action(actions: th.Tensor, space: gym.Space[Any]) -> th.Tensor:
    """
    One-hot for Discrete, one-hots in a row for MultiDiscrete, 0 and 1 for MultiBinary; a Box with bounds is scaled to
    [-1, 1], one without is left as it is.

    :param actions: [B, *shape] as the environment executed them
    :param space: of one of them
    :return: [B, encoded_action_dim]
    """
    if isinstance(space, spaces.Discrete):
        return F.one_hot(actions.long().flatten() - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        shifted = actions.long().flatten(1) - th.as_tensor(space.start.flatten(), device=actions.device)
        sizes = [int(n) for n in space.nvec.flatten()]
        return th.cat([F.one_hot(shifted[:, i], n).float() for i, n in enumerate(sizes)], dim=-1)
    flat = actions.float().flatten(1)
    if isinstance(space, spaces.Box):
        low, high = (th.as_tensor(x.flatten(), device=actions.device).float() for x in (space.low, space.high))
        bounded = th.isfinite(low) & th.isfinite(high)
        span = th.where(bounded, high - low, th.full_like(low, 2.0)).clamp(min=1e-8)
        return (flat - th.where(bounded, low, th.full_like(low, -1.0))) / span * 2.0 - 1.0
    return flat
