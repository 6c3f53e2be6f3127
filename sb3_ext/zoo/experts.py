"""Where the demonstrations of a run come from, when its yml does not name a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import load_agent

if TYPE_CHECKING:
    from sb3_ext.demonstrations import Demonstrations


def default_path(env_id: str) -> Path:
    """:return: where `demos record` writes, and imitating algorithms look"""
    return Path("demos") / f"{env_id.replace('/', '-').replace(':', '-')}.npz"


def recorded(env_id: str, how: Mapping[str, Any]) -> Demonstrations:
    """
    Record the newest trained agent, as ``demonstrations:`` in a yml asks for.

    :param env_id: environment
    :param how: ``model``, the agent's algorithm, and optionally ``folder``, ``n_episodes``, ``min_return``, ``seed``
    :raises UserError: for other keys, or where there is no such agent
    """
    from sb3_ext import demonstrations

    known = {"folder": "logs", "n_episodes": 10, "min_return": None, "seed": 0}
    for name in how:
        if name not in {"model", *known}:
            raise UserError(f"demonstrations: unknown key {name!r}{did_you_mean(name, {'model', *known})}")
    if "model" not in how:
        raise UserError("demonstrations: a path, `source:` with it, or `model:` with the algorithm of a trained agent")
    chosen = {**known, **how}
    agent = load_agent(AgentRef(chosen["model"], env_id, Path(chosen["folder"]), seed=chosen["seed"]))
    try:
        return demonstrations.record(
            agent.model,
            agent.env,
            chosen["n_episodes"],
            min_return=chosen["min_return"],
            seed=chosen["seed"],
            env_id=env_id,
        )
    finally:
        agent.env.close()
