"""Where the demonstrations of a run come from, when its yml does not name a file; and the expert that it asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import load_agent
from sb3_ext.zoo.registry import KEYBOARD, PLANNER
from sb3_ext.zoo.typed_ids import know_env, made

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_ext.demonstrations import Demonstrations
    from sb3_ext.demonstrations.record import Predictor
    from sb3_ext.imitation.labels import Expert
    from sb3_ext.planning import PlannerPolicy


def default_path(env_id: str) -> Path:
    """:return: where `demos record` writes, and imitating algorithms look"""
    return Path("demos") / f"{env_id.replace('/', '-').replace(':', '-')}.npz"


def planner_of(
    env_id: str, env_kwargs: Mapping[str, Any], gamma: float = 0.99, epsilon: float = 0.0
) -> tuple[PlannerPolicy, gym.Env[Any, Any]]:
    """
    :param env_id: of an environment that publishes its table
    :param env_kwargs: for it
    :param gamma: discount to plan with
    :param epsilon: part of the actions that are any of them, where they are drawn
    :return: the best policy, and the environment it is for
    :raises UserError: for an environment that nobody knows
    :raises ValueError: where it cannot be planned for, see `PlannerPolicy.from_env`
    """
    from sb3_ext.planning import PlannerPolicy

    know_env(env_id)
    env = made(env_id, env_kwargs)
    try:
        return PlannerPolicy.from_env(env, gamma, epsilon), env
    except ValueError:
        env.close()
        raise


def expert_of(env_id: str, given: str | Mapping[str, Any], env_kwargs: Mapping[str, Any] | None = None) -> Expert:
    """
    :param env_id: environment
    :param given: in a yml or on the command line: ``planner``, ``keyboard``, the algorithm of a trained agent; or
        ``model:`` with one of them and ``folder:`` of its logs or ``path:`` of its zip, of the planner ``gamma``
    :param env_kwargs: of the environment to plan for; an agent has its own
    :return: who labels, with the statistics that it was trained with
    :raises UserError: for other keys, or where there is no such agent
    """
    from stable_baselines3.common.vec_env import unwrap_vec_normalize

    from sb3_ext.imitation import Normalized

    how: Mapping[str, Any] = {"model": given} if isinstance(given, str) else given
    known = {"model", "gamma"} if how.get("model") == PLANNER else {"model", "folder", "path"}
    for name in how:
        if name not in known:
            raise UserError(f"expert: unknown key {name!r}{did_you_mean(name, known)}")
    if "model" not in how:
        raise UserError("expert: planner, keyboard, or the algorithm of a trained agent, perhaps as `model:`")
    if how["model"] == KEYBOARD:
        return KEYBOARD
    if how["model"] == PLANNER:
        planner, env = planner_of(env_id, env_kwargs or {}, how.get("gamma", 0.99))
        env.close()
        return planner
    path = None if "path" not in how else Path(how["path"])
    agent = load_agent(AgentRef(how["model"], env_id, Path(how.get("folder", "logs")), path=path))
    agent.env.close()
    normalizer = unwrap_vec_normalize(agent.env)
    if normalizer is not None and normalizer.observation_space != agent.env.observation_space:
        raise UserError(f"expert: {how['model']} stacks frames that are normalised one by one: normalise it last")
    return Normalized(agent.model, normalizer)


def recorded(env_id: str, how: Mapping[str, Any], env_kwargs: Mapping[str, Any] | None = None) -> Demonstrations:
    """
    Record the newest trained agent, as ``demonstrations:`` in a yml asks for, or the planner.

    :param env_id: environment
    :param how: ``model``, the agent's algorithm, and optionally ``n_episodes``, ``min_return``, ``seed`` and
        ``folder``; of ``model: planner``, in place of a folder, ``gamma`` and ``epsilon``
    :param env_kwargs: of the environment to plan for; an agent has its own
    :raises UserError: for other keys, or where there is no such agent
    """
    from sb3_ext import demonstrations

    own = {"gamma": 0.99, "epsilon": 0.0} if how.get("model") == PLANNER else {"folder": "logs"}
    known = {**own, "n_episodes": 10, "min_return": None, "seed": 0}
    for name in how:
        if name not in {"model", *known}:
            raise UserError(f"demonstrations: unknown key {name!r}{did_you_mean(name, {'model', *known})}")
    if "model" not in how:
        raise UserError("demonstrations: a path, `source:` with it, or `model:` with the algorithm of a trained agent")
    chosen: dict[str, Any] = {**known, **how}
    model: Predictor
    env: gym.Env[Any, Any] | VecEnv
    if chosen["model"] == PLANNER:
        model, env = planner_of(env_id, env_kwargs or {}, chosen["gamma"], chosen["epsilon"])
    else:
        agent = load_agent(AgentRef(chosen["model"], env_id, Path(chosen["folder"]), seed=chosen["seed"]))
        model, env = agent.model, agent.env
    try:
        return demonstrations.record(
            model,
            env,
            chosen["n_episodes"],
            min_return=chosen["min_return"],
            deterministic=not chosen.get("epsilon"),
            seed=chosen["seed"],
            env_id=env_id,
        )
    finally:
        env.close()
