"""Agents in folders of safe files, in their environment: nothing in such a folder can run code."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


def load_safe_agent(
    given: argparse.Namespace, env_kwargs: dict[str, Any]
) -> tuple[BaseAlgorithm, VecEnv, dict[str, Any]]:
    """
    :param given: of the command line; ``model`` is a folder that `save_safe` wrote, or one of the Hub
    :param env_kwargs: in place of the saved ones
    :return: the agent, its environment, and how that one is wrapped
    :raises UnsafeFile: for files that are not what they should be
    """
    from rl_zoo3.utils import create_test_env
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    from sb3_ext.exchange.environments import checked_environment
    from sb3_ext.exchange.safe_files import CONFIG, NORMALIZE, load_safe, load_vec_normalize, read_json

    saved = checked_environment(read_json(given.model / CONFIG).get("environment"))
    wrappers: dict[str, Any] = {key: saved[key] for key in ("env_wrapper", "vec_env_wrapper") if key in saved}
    env = create_test_env(
        given.env,
        seed=given.seed,
        should_render=False,
        hyperparams=wrappers,
        env_kwargs={**(saved.get("env_kwargs") or {}), **env_kwargs},
        vec_env_cls=DummyVecEnv,
    )
    if (given.model / f"{NORMALIZE}.json").is_file():
        env = load_vec_normalize(given.model, env)
        env.norm_reward = False
    if saved.get("frame_stack"):
        env = VecFrameStack(env, saved["frame_stack"])
    return load_safe(given.model, device=given.device), env, saved
