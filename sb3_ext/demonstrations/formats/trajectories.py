"""
The `imitation` package's `Trajectory` objects, or anything with their attributes.

`imitation` keeps `infos` as jsonpickle text, which runs code when it is decoded. It never is here: the last info of an
episode is read as plain JSON, and only for how the episode ended.

`terminal=True` says that the episode is whole, by termination or by time limit::

    terminal   last info                               here
    False                                              truncated
    True       "terminated", "truncated" (ours)        as they say
    True       "TimeLimit.truncated"                   truncated if true, else terminated
    True       neither, length = time limit of env_id  truncated
    True       neither, shorter than it                terminated
    True       neither, and no time limit is known     as ``terminated=`` says; without it the reader asks

The last three lines matter: `imitation.data.rollout` throws infos away unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.data import Demonstrations, Episode
from sb3_ext.demonstrations.formats.arrays import from_arrays, optional, refuse_kept, refuse_unknown
from sb3_ext.demonstrations.formats.ends import CUT, End, Terminated, ends_of, time_limit

INSTALL_IMITATION = "pip install --no-deps imitation==1.0.1"


def from_trajectories(
    trajectories: Sequence[Any],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    env_id: str | None = None,
    terminated: Terminated | None = None,
) -> Demonstrations:
    """
    :param trajectories: `imitation.data.types.Trajectory` or `TrajectoryWithRew`, or anything with their attributes
    :param observation_space: of the task
    :param action_space: of the task
    :param env_id: to write down; its time limit tells cuts from terminations where infos do not
    :param terminated: how those ended whose infos do not say, see `sb3_ext.demonstrations.formats.ends`; default: by
        the time limit of ``env_id``, if gymnasium knows it
    :raises ValueError: with the episode and the field; also where nobody says how the episodes ended
    """
    rewards = [getattr(trajectory, "rews", None) for trajectory in trajectories]
    with_rewards = [values is not None for values in rewards]
    if any(with_rewards) and not all(with_rewards):
        raise ValueError(f"rews: in {sum(with_rewards)} of {len(rewards)} trajectories; all or none must have them")
    infos = [_last_info(trajectory.infos) for trajectory in trajectories]
    ends = _ends(trajectories, infos, env_id, terminated)
    return from_arrays(
        # DictObs is no dictionary, but has its items.
        [dict(t.obs.items()) if hasattr(t.obs, "items") else t.obs for t in trajectories],
        [trajectory.acts for trajectory in trajectories],
        rewards if all(with_rewards) else None,
        terminated=[terminated for terminated, _ in ends],
        truncated=[truncated for _, truncated in ends],
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        seeds=[_integer(info.get("seed")) for info in infos],
    )


def to_trajectories(demos: Demonstrations) -> list[Any]:
    """
    :param demos: whole episodes
    :return: `TrajectoryWithRew` where rewards are known, else `Trajectory`; the last info says how the episode ended
    :raises ImportError: without the `imitation` package
    """
    refuse_kept(demos, "imitation's format")
    refuse_unknown(demos, "imitation's format")
    try:
        types = optional("imitation.data.types")
    except ImportError as error:
        raise ImportError(f"imitation is needed here ({error}): {INSTALL_IMITATION}") from error
    trajectories = []
    for episode in demos.episodes:
        common = dict(
            obs=types.maybe_wrap_in_dictobs(episode.observations),
            acts=episode.actions,
            infos=np.array([{}] * (len(episode) - 1) + [last_info_of(episode)], dtype=object),
            terminal=True,
        )
        if episode.rewards is None:
            trajectories.append(types.Trajectory(**common))
        else:
            trajectories.append(types.TrajectoryWithRew(**common, rews=as_floats(episode.rewards)))
    return trajectories


def last_info_of(episode: Episode) -> dict[str, Any]:
    return {
        "TimeLimit.truncated": episode.truncated and not episode.terminated,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        **({} if episode.seed is None else {"seed": int(episode.seed)}),
    }


def as_floats(rewards: np.ndarray) -> np.ndarray:
    """imitation refuses integers."""
    return rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)


def _last_info(infos: Any) -> Mapping[str, Any]:
    """:return: the last step's info, empty where it is unknown"""
    # What `serialize.load` returns decodes an item with jsonpickle as soon as it is looked at; below lies the text.
    infos = getattr(infos, "_encoded_list", infos)
    if not isinstance(infos, list | tuple | np.ndarray) or len(infos) == 0:
        return {}
    last = infos[-1]
    if isinstance(last, str):
        try:
            last = json.loads(last)
        except (ValueError, RecursionError):
            return {}
    return last if isinstance(last, Mapping) else {}


def _ends(
    trajectories: Sequence[Any], infos: Sequence[Mapping[str, Any]], env_id: str | None, terminated: Terminated | None
) -> list[End]:
    """:return: of each; the table is above"""
    ends = [_written_end(bool(t.terminal), info) for t, info in zip(trajectories, infos, strict=True)]
    lengths = [len(t.acts) for t, end in zip(trajectories, ends, strict=True) if end is None]
    if lengths and terminated is None and time_limit(env_id) is not None:
        terminated = "time_limit"
    where = (
        f"the infos of {len(lengths)} of {len(ends)} trajectories do not say how they ended, and gymnasium knows no "
    )
    where += f"time limit of env_id {env_id!r}"
    said = iter(ends_of(terminated, lengths, env_id, where) if lengths else [])
    return [next(said) if end is None else end for end in ends]


def _written_end(terminal: bool, info: Mapping[str, Any]) -> End | None:
    """:return: None where nothing is written"""
    flags = {name: info.get(name) for name in ("terminated", "truncated", "TimeLimit.truncated")}
    known = {name: bool(value) for name, value in flags.items() if isinstance(value, bool | np.bool_)}
    if not terminal:
        return CUT
    if {"terminated", "truncated"} <= known.keys():
        return known["terminated"], known["truncated"]
    if "TimeLimit.truncated" in known:
        return not known["TimeLimit.truncated"], known["TimeLimit.truncated"]
    return None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
