"""
What SB3 says of policies, observations and actions that do not go together, said so that it can be mended: what was
given, what would work, and what to use. Nothing is refused here that SB3 takes: its error is put into other words.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_ext.errors import did_you_mean

SMALLEST = 36
"""pixels, of a picture that NatureCNN has an output for"""
USE: dict[str, str] = {
    "Discrete": "Rainbow, R2D2, PPO or DQN",
    "Box": "TD3, SAC or PPO",
    "MultiDiscrete": "PPO or A2C",
    "MultiBinary": "PPO or A2C",
}
"""by kind of actions"""


@dataclass(frozen=True)
class Given:
    """
    :param algorithm: that was to be made
    :param policy: its class
    :param observations: as the policy would see them
    :param actions: of the environment
    :param is_normalized: whether VecNormalize makes numbers of the observations
    :param policy_kwargs: of the policy
    """

    algorithm: type[BaseAlgorithm]
    policy: type[BasePolicy] | None
    observations: spaces.Space[Any]
    actions: spaces.Space[Any]
    is_normalized: bool = False
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, algorithm: type[BaseAlgorithm], policy: Any, env: VecEnv, policy_kwargs: Any = None) -> Given:
        """
        :param policy: class or name
        :param env: that the algorithm was given
        """
        known = algorithm.policy_aliases.get(policy) if isinstance(policy, str) else policy
        seen = BaseAlgorithm._wrap_env(env, verbose=0)  # channels first
        normalizer = unwrap_vec_normalize(env)
        is_normalized = normalizer is not None and normalizer.norm_obs
        return cls(algorithm, known, seen.observation_space, env.action_space, is_normalized, policy_kwargs or {})

    @property
    def extractor(self) -> type:
        """:return: of features, the policy's own unless another is given"""
        own = {} if self.policy is None else dict(inspect.signature(self.policy).parameters)
        default = own["features_extractor_class"].default if "features_extractor_class" in own else object
        found = self.policy_kwargs.get("features_extractor_class", default)
        return found if isinstance(found, type) else object

    def named(self, kind: str) -> str:
        """
        :param kind: "Mlp", "Cnn" or "MultiInput"
        :return: the policy of this kind that the algorithm has
        """
        return next((name for name in self.algorithm.policy_aliases if name.startswith(kind)), f"{kind}Policy")


def what_does_not_fit(given: Given, said: str) -> str | None:
    """
    :param said: by SB3, or by PyTorch when the network was made
    :return: the same in other words; None where it is about something else
    """
    name = given.algorithm.__name__
    taken = re.search(r"The algorithm only supports (.*) as action spaces", said)
    if taken is not None:
        kinds = re.findall(r"\.(\w+)'>", taken[1])
        instead = USE.get(type(given.actions).__name__)
        fix = f"take {instead}" if instead else f"flatten them into {' or '.join(kinds)} in a wrapper"
        return f"{name} has no actions {given.actions}: it takes {', '.join(kinds)}; {fix}"
    if "finite lower and upper bound" in said:
        return (
            f"action space {given.actions} must have finite bounds: set them in a wrapper, "
            "gymnasium.wrappers.RescaleAction for one"
        )
    return _about_observations(given, said)


def _about_observations(given: Given, said: str) -> str | None:
    space, name = given.observations, given.algorithm.__name__
    parts = list(space.values()) if isinstance(space, spaces.Dict) else [space]
    if isinstance(space, spaces.Tuple):
        return (
            f"{name} cannot read {space}: make a Dict of it in a wrapper, or a vector with "
            "gymnasium.wrappers.FlattenObservation"
        )
    if isinstance(space, spaces.Dict) and "dict observation space" in said:
        return f"observations are a Dict of {', '.join(space)}: use {given.named('MultiInput')}"
    if issubclass(given.extractor, CombinedExtractor) and "no attribute 'spaces'" in said:
        kind = "Cnn" if _looks_like_pictures(space) else "Mlp"
        return f"{given.named('MultiInput')} reads a Dict, observations are {space}: use {given.named(kind)}"
    if issubclass(given.extractor, NatureCNN | CombinedExtractor) and "Kernel size can't be greater" in said:
        return next((_about_size(part) for part in parts if _looks_like_pictures(part)), None)
    if issubclass(given.extractor, NatureCNN) and "NatureCNN only with images" in said:
        return _about_pictures(given)
    return None


def _looks_like_pictures(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def _about_size(space: spaces.Space[Any]) -> str | None:
    assert space.shape is not None
    channels, *size = space.shape  # SB3 has put them first where it knew them
    if channels > min(size):
        return (
            f"pictures of shape {space.shape} have their channels in the middle: SB3 finds them in the first or the "
            "last axis, where gymnasium.wrappers.TransformObservation moves them"
        )
    return (
        f"pictures of {size[0]} x {size[1]} are too small for NatureCNN, which needs {SMALLEST} x {SMALLEST}: enlarge "
        "them with gymnasium.wrappers.ResizeObservation, give another features_extractor_class in policy_kwargs, or "
        "read them as numbers with an Mlp policy"
    )


def _about_pictures(given: Given) -> str:
    cnn, mlp, space = given.named("Cnn"), given.named("Mlp"), given.observations
    if given.is_normalized and _looks_like_pictures(space):
        return (
            f"{cnn} reads pictures, and VecNormalize makes other numbers of them, {space}: VecNormalize(..., "
            "norm_obs=False), in a yml normalize: {norm_obs: False}; a policy divides pictures by 255 itself"
        )
    assert space.shape is not None
    if len(space.shape) == 2:
        fix = "give them an axis of channels, with gymnasium.wrappers.ReshapeObservation"
    elif len(space.shape) == 3 and space.dtype == np.uint8:
        fix = "their bounds must be 0 and 255"
    elif len(space.shape) == 3:
        fix = "make them so, or give policy_kwargs normalize_images=False, and channels first"
    else:
        fix = f"use {mlp}"
    return f"{cnn} reads pictures, uint8 of 0 to 255 with three axes, and observations are {space}: {fix}"


@contextlib.contextmanager
def saying_what_fits(given: Callable[[], Given | None]) -> Iterator[None]:
    """
    :param given: what was to go together, None where it did not come so far; asked after an error
    :raises ValueError: in place of an error that `what_does_not_fit` has other words for
    """
    try:
        yield
    # What SB3 and PyTorch raise of things that do not go together; it is raised again where nothing better can be said.
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        found = given()
        line = None if found is None else what_does_not_fit(found, str(error))
        if line is None:
            raise
        raise ValueError(line) from error


class SaysWhatFitsMixin(BaseAlgorithm):
    """An algorithm that says so of itself. It comes last before SB3's class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: SB3's, unread
        with saying_what_fits(self._what_was_given):
            super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        """Adds: what does not fit is said as in the constructor; `load` builds a model, too."""
        with saying_what_fits(self._what_was_given):
            super()._setup_model()  # type: ignore[safe-super] # SB3's class has one

    def _what_was_given(self) -> Given | None:
        known = vars(self)
        if known.get("observation_space") is None or known.get("action_space") is None:
            return None
        normalizer = known.get("_vec_normalize_env")
        return Given(
            type(self),
            known.get("policy_class"),
            self.observation_space,
            self.action_space,
            normalizer is not None and normalizer.norm_obs,
            known.get("policy_kwargs") or {},
        )

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        """Adds: the names that there are."""
        if policy_name not in self.policy_aliases:
            _refuse_name(policy_name, type(self))
        return super()._get_policy_from_name(policy_name)


def _refuse_name(name: str, algorithm: type[BaseAlgorithm]) -> NoReturn:
    fix = did_you_mean(name, algorithm.policy_aliases)
    raise ValueError(f"{algorithm.__name__} has no policy {name!r}{fix}")
