"""Environments as rl-zoo3's `create_envs` makes them, but for their statistics, made wherever an actor runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecTransposeImage, is_vecenv_wrapped

from sb3_ext.zoo.vec_wrappers import has_channels_last


@dataclass(frozen=True)
class EnvFactory:
    """
    A number of environments -> these, with a Monitor that writes no file. Plain data: another process, or another host,
    imports what registers the environment, and builds it anew.

    :param env_id: plain, as gymnasium knows it
    :param imports: modules that register environments
    :param env_kwargs: of the environment
    :param env_wrapper: as in a yml
    :param monitor_kwargs: of SB3's `Monitor`
    :param vec_env_wrapper: as in a yml
    :param frame_stack: frames that are stacked, None = none
    """

    env_id: str
    imports: tuple[str, ...] = ()
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    env_wrapper: Any = None  # Any: a name, one with its keywords, or a list of either
    monitor_kwargs: Mapping[str, Any] = field(default_factory=dict)
    vec_env_wrapper: Any = None  # Any: as above
    frame_stack: int | None = None

    def __call__(self, n_envs: int) -> VecEnv:
        """
        :param n_envs: how many
        :raises ValueError: where nothing that was imported registers the environment
        """
        # It registers what the zoo knows, and puts rl-zoo3's TimeLimit in gymnasium's place, as in the learner.
        importlib.import_module("rl_zoo3.import_envs")
        for module in self.imports:
            importlib.import_module(module)
        from rl_zoo3.utils import get_wrapper_class  # an actor needs it, and not whoever unpickles this

        if self.env_id not in gym.registry:
            raise ValueError(
                f"actors know no environment {self.env_id!r}: name the module that registers it, by --env MODULE:ID "
                "or --gym-packages"
            )
        env = make_vec_env(
            gym.spec(self.env_id).make,
            n_envs=n_envs,
            seed=0,  # the actor seeds them again; without one, SB3 draws from the global generator
            env_kwargs=dict(self.env_kwargs),
            wrapper_class=get_wrapper_class({"env_wrapper": self.env_wrapper}),
            vec_env_cls=SeededVecEnv,
            monitor_kwargs=dict(self.monitor_kwargs),
        )
        # rl-zoo3 declares what wraps single environments, by the same function.
        wrap: Callable[[Any], Any] | None = get_wrapper_class(
            {"vec_env_wrapper": self.vec_env_wrapper}, "vec_env_wrapper"
        )
        if wrap is not None:
            env = wrap(env)
        if self.frame_stack is not None:
            env = VecFrameStack(env, self.frame_stack)
        if has_channels_last(env.observation_space) and not is_vecenv_wrapped(env, VecTransposeImage):
            env = VecTransposeImage(env)
        return env


class SeededVecEnv(DummyVecEnv):
    """Adds: action spaces are seeded with their environments, as `make_vec_env` does with its own seed."""

    def seed(self, seed: int | None = None) -> Any:  # Any: SB3's list of seeds
        """:param seed: of the first environment"""
        seeds = super().seed(seed)
        for env, each in zip(self.envs, seeds, strict=True):
            env.unwrapped.action_space.seed(each)
        return seeds
