"""
What a learner gets from its VecEnv beside observations: the final one of each episode, raw and its own.

SB3 hands it over as ``terminal_observation`` in the infos. Two things happen to it on the way, and a hook at each of
the two places keeps what the environment gave:

```
env.step -> DummyVecEnv (resets the env) -> ... -> VecNormalize -> ... -> learner
         ^ a copy: `reset` may write            ^ the raw one stays in the infos as well:
           into the array that `step`             normalising clips it, and there is
           returned                               no way back
```

The hooks are attributes of the environments themselves. A wrapper in the chain would be seen by SB3, which compares the
chains of training and evaluation, and asks them what they are wrapped in.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecTransposeImage,
    unwrap_vec_normalize,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_ext import nested
from sb3_ext.remote import source_of

Observations = np.ndarray | dict[str, np.ndarray]

RAW_FINAL_OBSERVATION = "raw_terminal_observation"
"""Key of infos, beside ``terminal_observation``, where VecNormalize stands between: as it came to VecNormalize"""
SUSPICIOUS = 5  # ends of episodes


class FreshArrays:
    """Marks a VecEnv that writes into no array after it has returned it: none needs to be copied or compared."""


def keep_final_observations(env: VecEnv) -> None:
    """
    Afterwards every final observation is a copy of its own, and infos hold it raw, too, under VecNormalize. Calling it
    again changes nothing. Environments in other processes cannot be reached: where each of their final observations
    equals the first one of the next episode, there is a warning. Where actors step environments, theirs are seen to.

    :param env: with all its wrappers
    """
    if source_of(env) is not None:
        return
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None:
        _hook(normalizer.venv, "step_wait", _KeepsRaw)
    base = env
    while isinstance(base, VecEnvWrapper):
        base = base.venv
    if isinstance(base, DummyVecEnv):
        for each in base.envs:
            _hook(each, "step", _Copies)
    elif not isinstance(base, FreshArrays):
        _hook(base, "step_wait", _Compares)


def raw_final_observation(info: dict[str, Any]) -> Observations | None:
    """
    :param info: of an environment whose episode has ended
    :return: its last observation as the environment gave it, None where the VecEnv told none; under a wrapper around
        VecNormalize it is as it came to VecNormalize
    """
    return info.get(RAW_FINAL_OBSERVATION, info.get("terminal_observation"))


def raw_observations(env: VecEnv, observations: Observations) -> Observations:
    """
    :param env: with all its wrappers
    :param observations: as VecNormalize's `get_original_obs` gave them
    :return: the same, with what wrappers around VecNormalize do to them
    """
    for wrapper in reversed(_around(env)):
        observations = wrapper.transpose_observations(observations)
    return observations


def check_discrete_starts(space: spaces.Space[Any]) -> None:
    """
    :param space: of observations
    :raises ValueError: for discrete values that do not begin at 0, which SB3's one-hot encoding cannot take
    """
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        if isinstance(part, spaces.Discrete | spaces.MultiDiscrete) and np.any(np.asarray(part.start) != 0):
            name = f"observation space {key!r}" if key else "observation space"
            raise ValueError(f"{name} {part} must begin at 0: shift the observations in a wrapper")


class RawTransitionsMixin(OffPolicyAlgorithm):
    """
    Adds to an off-policy algorithm: replay gets final observations raw and as copies, and observations as the model
    sees them, where a wrapper around VecNormalize transposes images.

    :raises ValueError: for a wrapper around VecNormalize that changes observations otherwise
    """

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Every environment that a model is given comes through here."""
        wrapped = BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        _around(wrapped)
        keep_final_observations(wrapped)
        return wrapped

    def _more_to_store(self) -> dict[str, Any]:  # Any: as the replay's `add` takes them
        """:return: keywords of the replay's ``add`` beside SB3's, such as ``extras``, the values of its columns"""
        return {}

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Adds: SB3 undoes VecNormalize where it was clipped, or in the dtype of pictures; what is raw goes past it."""
        more = self._more_to_store()
        if self._vec_normalize_env is None:
            writer = _Writer(replay_buffer, more) if more else replay_buffer
            super()._store_transition(writer, buffer_action, new_obs, reward, dones, infos)  # type: ignore[arg-type]
            return
        assert self.env is not None
        raw = _RawWriter(replay_buffer, more, self.env, infos)
        super()._store_transition(raw, buffer_action, new_obs, reward, dones, _without_finals(infos))  # type: ignore[arg-type]


class _Writer:
    """Carries more through SB3's `_store_transition`, which calls ``add`` with fixed arguments."""

    def __init__(self, replay_buffer: ReplayBuffer, more: dict[str, Any]) -> None:
        self.replay_buffer, self.more = replay_buffer, more

    def add(self, *given: Any) -> None:  # Any: SB3's arguments
        self.replay_buffer.add(*given, **self.more)


class _RawWriter(_Writer):
    """In place of what VecNormalize remembers, which SB3 gives to ``add``."""

    def __init__(
        self, replay_buffer: ReplayBuffer, more: dict[str, Any], env: VecEnv, infos: list[dict[str, Any]]
    ) -> None:
        super().__init__(replay_buffer, more)
        self.env, self.infos = env, infos

    def add(
        self,
        obs: Observations,
        next_obs: Observations,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        for lane in np.flatnonzero(done):
            final = raw_final_observation(self.infos[lane])
            if final is None:
                continue
            nested.put(next_obs, lane, final)
        before, after = raw_observations(self.env, obs), raw_observations(self.env, next_obs)
        super().add(before, after, action, reward, done, self.infos)


def _without_finals(infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ended = "terminal_observation"
    return [{k: v for k, v in info.items() if k != ended} if ended in info else info for info in infos]


def _around(env: VecEnv) -> list[VecTransposeImage]:
    """
    :return: wrappers around VecNormalize that transpose images, the outermost first; SB3 itself puts one there
    :raises ValueError: for others that change observations
    """
    normalizer = unwrap_vec_normalize(env)
    found: list[VecTransposeImage] = []
    while normalizer is not None and env is not normalizer:
        assert isinstance(env, VecEnvWrapper)
        if isinstance(env, VecTransposeImage):
            found.append(env)
        elif env.observation_space != env.venv.observation_space:
            raise ValueError(
                f"{type(env).__name__} around VecNormalize: replay stores raw observations, {env.observation_space} "
                f"are none that VecNormalize knows: make VecNormalize the outer one"
            )
        env = env.venv
    return found


def _hook(holder: Any, name: str, kind: type[_Hook]) -> None:  # Any: an environment, or a VecEnv
    there = holder.__dict__.get(name)
    while isinstance(there, _Hook):
        if isinstance(there, kind):
            return
        there = there.method
    holder.__dict__[name] = kind(getattr(holder, name))


class _Hook:
    """Stands in for a method of one object. A deep copy belongs to the copy of that object."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method


class _Copies(_Hook):
    """`step` of a gymnasium environment."""

    def __call__(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # Any: of this environment
        obs, reward, terminated, truncated, info = self.method(action)
        return copy.deepcopy(obs) if terminated or truncated else obs, reward, terminated, truncated, info


class _KeepsRaw(_Hook):
    """`step_wait` of the VecEnv under VecNormalize."""

    def __call__(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.method()
        for lane in np.flatnonzero(dones):
            if "terminal_observation" in infos[lane]:
                infos[lane][RAW_FINAL_OBSERVATION] = infos[lane]["terminal_observation"]
        return obs, rewards, dones, infos


class _Compares(_Hook):
    """`step_wait` of a VecEnv whose environments are out of reach."""

    def __init__(self, method: Callable[..., Any]) -> None:
        super().__init__(method)
        self.n_equal: float = 0

    def __call__(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.method()
        if self.n_equal < SUSPICIOUS:
            for lane in np.flatnonzero(dones).tolist():
                # One difference is enough.
                self.n_equal += 1 if _is_row(infos[lane].get("terminal_observation"), obs, lane) else math.inf
            if SUSPICIOUS <= self.n_equal < math.inf:
                warnings.warn(
                    f"the final observations of {SUSPICIOUS} episodes equal the first ones of the next: unless the "
                    "environment looks like that, its reset() writes into the array that step() returned, and what is "
                    "stored is wrong: return copies",
                    stacklevel=2,
                )
        return obs, rewards, dones, infos


def _is_row(observation: Observations | None, batch: Observations, lane: int) -> bool:
    if observation is None:
        return False
    return all(nested.leaves(nested.map(lambda x, seen: np.array_equal(x[lane], seen), batch, observation)))
