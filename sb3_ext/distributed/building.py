"""Environments that a user's factory makes, looked at before anything is done with them."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from sb3_ext.distributed.registered import register_missing


def built(make_env: Callable[[int], VecEnv], n_envs: int, registered: bytes | None = None) -> VecEnv:
    """
    :param make_env: number of environments -> these
    :param n_envs: how many
    :param registered: ids that the learner knows, for a factory that asks for one that is not known here
    :return: what it made
    :raises ValueError: for another number, or a VecNormalize in it
    :raises TypeError: for anything that is no VecEnv
    """
    try:
        env = make_env(n_envs)
    except gym.error.UnregisteredEnv:
        if registered is None:
            raise
        register_missing(registered)
        env = make_env(n_envs)
    if not isinstance(env, VecEnv):
        raise TypeError(
            f"make_env({n_envs}) returned a {type(env).__name__}: it must return a VecEnv of so many environments, "
            "as make_vec_env(env_id, n_envs=n) does"
        )
    if env.num_envs != n_envs:
        raise ValueError(f"make_env({n_envs}) returned {env.num_envs} environments: it must make as many as it is told")
    if unwrap_vec_normalize(env) is not None:
        raise ValueError(
            "make_env returned a VecNormalize: its statistics are the learner's, put it around: "
            "VecNormalize(ActorEnvs(make_env, ...))"
        )
    return env


def lane_that_raised(error: BaseException) -> int | None:
    """
    :param error: that came out of a VecEnv
    :return: number of the environment in a `DummyVecEnv` that raised it, None where that cannot be known
    """
    trace = error.__traceback__
    found: int | None = None
    while trace is not None:
        inside = trace.tb_frame.f_locals
        # SB3's loops over environments count them under this name.
        if isinstance(inside.get("self"), DummyVecEnv) and isinstance(inside.get("env_idx"), int):
            found = inside["env_idx"]
        trace = trace.tb_next
    return found
