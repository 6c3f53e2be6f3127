"""
Environments that are collected from instead of stepped: other processes step them, with copies of the policy.

An algorithm knows this protocol and nothing of who is behind it (`sb3_ext.distributed`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize, VecTransposeImage


@runtime_checkable
class RolloutSource(Protocol):
    """Collects in place of ``env.step``."""

    def check(self, model: OffPolicyAlgorithm) -> None:
        """
        :param model: that is to learn from it
        :raises ValueError: for settings with which it cannot, before anything is started
        """

    def attach(self, model: OffPolicyAlgorithm) -> None:
        """
        A training begins: what is under way for this model is stored, what comes next begins new trajectories. Called
        before the environments are reset, if they are.

        :param model: whose policy acts from now on
        """

    def collect_for(
        self, model: OffPolicyAlgorithm, callback: BaseCallback, train_freq: TrainFreq, log_interval: int | None
    ) -> RolloutReturn:
        """Parameters as in SB3's ``collect_rollouts``, in whose place it is called."""


def source_of(env: GymEnv | None) -> RolloutSource | None:
    """
    :param env: with all its wrappers
    :return: what collects, None where ``env`` is stepped
    :raises ValueError: for a wrapper around it whose `step_wait` would never be called
    """
    wrappers: list[VecEnvWrapper] = []
    inner: object = env
    while isinstance(inner, VecEnvWrapper):
        wrappers.append(inner)
        inner = inner.venv
    # The protocol's own look takes several us, and a model with train_freq=1 asks at every step.
    if not hasattr(inner, "collect_for") or not isinstance(inner, RolloutSource):
        return None
    for wrapper in wrappers:
        if not isinstance(wrapper, VecNormalize | VecTransposeImage):
            name = type(wrapper).__name__
            raise ValueError(
                f"{name} around {type(inner).__name__} would see no step: put it into make_env, around the "
                "environments of each actor"
            )
    return inner


def refuse_source(env: GymEnv | None, algorithm: str) -> None:
    """
    :param env: with all its wrappers
    :param algorithm: that steps its environments itself
    :raises ValueError: where they cannot be stepped
    """
    if source_of(env) is not None:
        raise ValueError(f"{algorithm} does not learn from actors: use R2D2, Rainbow or RainbowR, or a plain VecEnv")
