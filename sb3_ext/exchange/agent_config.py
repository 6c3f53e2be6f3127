"""
What `config.json` says of an agent: schema, algorithm, policy, spaces, keywords, counters. `config_of` writes it, and
`read_config` looks at every field of it before anything is made.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.env_ids import id_of_file
from sb3_ext.errors import UnsafeFile, UserError
from sb3_ext.exchange.environments import checked_environment
from sb3_ext.exchange.keyword_checks import check_policy_values, check_values
from sb3_ext.exchange.keywords import keywords_of
from sb3_ext.exchange.known_algorithms import algorithm_of, name_of
from sb3_ext.exchange.plain_json import NotPlain, decode, encode
from sb3_ext.versions import package_versions

CONFIG = "config.json"
ALONE = "policy_alone"
"""key of a policy without an algorithm, see `policy_files`"""
SCHEMA = 1
MAX_ENVS = 2**16

# Keywords that are no part of an agent: where it ran, what it stored, and classes of replays.
LEFT_OUT = {
    "policy",
    "env",
    "device",
    "verbose",
    "tensorboard_log",
    "monitor_wrapper",
    "support_multi_env",
    "supported_action_spaces",
    "sde_support",
    "demonstrations",
    "expert",
    "compile",
    "prefetch",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "_init_setup_model",
}
COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
# Numbers that acting or going on needs, and their ranges.
STATE = {
    "exploration_rate": (0.0, 1.0),
    "progress_remaining": (0.0, 1.0),
    "_worst_of_best": (-math.inf, math.inf),
    "return_scale": (0.0, sys.float_info.max),
    "_reward_squares": (0.0, sys.float_info.max),
    "_n_rewards": (0.0, sys.float_info.max),
}
STORED = {"stats_window_size": "_stats_window_size", "delta_std": "delta_std_schedule"}  # keyword -> attribute
# What may be a function of the user's own; an agent that acts does not need it.
SCHEDULES = {"learning_rate", "clip_range", "clip_range_vf", "delta_std", "discriminator_learning_rate", "beta"}


def config_of(model: BaseAlgorithm) -> dict[str, Any]:
    """
    :return: what `build` needs, for `json.dumps`
    :raises NotPlain: for a policy of the user's own, or a setting that only a pickle could hold
    :raises ValueError: for a setting that cannot be
    """
    aliases = [name for name, cls in model.policy_aliases.items() if cls is model.policy_class]
    if not aliases:
        raise NotPlain(f"policy {model.policy_class.__name__} is a class of your own: only a pickle could name it")
    keywords: dict[str, Any] = {}
    approximated: dict[str, str] = {}
    given = {**vars(getattr(model, "reward_settings", object)), **vars(model)}
    for name in sorted(keywords_of(type(model)) - LEFT_OUT):
        if name == "use_rms_prop":  # A2C puts it into policy_kwargs
            keywords[name] = model.policy_kwargs.get("optimizer_class") is th.optim.RMSprop
            continue
        attribute = STORED.get(name, name)
        if attribute not in given:
            approximated[name] = "the default"
            continue
        value = given[attribute]
        try:
            keywords[name] = encode(value, name)
        except NotPlain:
            if name not in SCHEDULES or not callable(value):
                raise
            keywords[name], approximated[name] = float(value(1.0)), "its value at the start"
    name = name_of(model)
    readable = {key: decode(value, key) for key, value in keywords.items()}
    check_values(type(model), readable)  # what no reader would take is not written
    check_policy_values(model.policy_class, readable.get("policy_kwargs"))
    return {
        "schema": SCHEMA,
        "algorithm": name,
        "policy": aliases[0],
        "observation_space": encode(model.observation_space, "observation_space"),
        "action_space": encode(model.action_space, "action_space"),
        "n_envs": model.n_envs,
        "keywords": keywords,
        "approximated": approximated,
        "state": {name: encode(float(getattr(model, name)), name) for name in STATE if hasattr(model, name)},
        "counters": {name: int(getattr(model, name)) for name in COUNTERS if hasattr(model, name)},
        "versions": package_versions(),
    }


class Config(NamedTuple):
    """What `config.json` asks for, after every field of it was looked at."""

    algorithm: type[BaseAlgorithm]
    policy: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    n_envs: int
    keywords: dict[str, Any]
    counters: dict[str, int]
    state: dict[str, float]


def read_config(config: Mapping[str, Any]) -> Config:
    """
    :param config: of `config_of`, or of anyone
    :raises UnsafeFile: with the name of the field that cannot be
    """
    check_schema(config.get("schema"))
    _check_fields(config)
    name, policy, n_envs = config["algorithm"], config["policy"], config["n_envs"]
    try:
        cls = algorithm_of(str(name))
    except UnsafeFile as error:
        raise UnsafeFile(f"{CONFIG}: {error}") from None
    if not isinstance(policy, str) or policy not in cls.policy_aliases:
        raise UnsafeFile(f"{CONFIG}: {name} has no policy {policy!r}; it has {', '.join(cls.policy_aliases)}")
    unknown = sorted(config["keywords"].keys() - (keywords_of(cls) - LEFT_OUT))
    if unknown:
        raise UnsafeFile(f"{CONFIG}: {name} takes no keyword {unknown}")
    if type(n_envs) is not int or not 1 <= n_envs <= MAX_ENVS:
        raise UnsafeFile(f"{CONFIG}: n_envs {n_envs!r} must be a number from 1 to {MAX_ENVS}")
    try:
        if "env_id" in config:
            id_of_file(config["env_id"])
        checked_environment(config.get("environment"))
        keywords = {key: decode(value, key) for key, value in config["keywords"].items()}
        spaces_of = {key: decode(config[key], key) for key in ("observation_space", "action_space")}
        check_values(cls, keywords)
        check_policy_values(cls.policy_aliases[policy], keywords.get("policy_kwargs"))
        state = {key: _number_of_state(decode(value, "state"), key) for key, value in config.get("state", {}).items()}
    except (ValueError, UserError) as error:
        raise UnsafeFile(f"{CONFIG}: {error}") from None
    found = Config(cls, policy, **spaces_of, n_envs=n_envs, keywords=keywords, counters=config["counters"], state=state)
    _check_together(found)
    return found


def check_schema(schema: Any) -> None:  # Any: JSON of anyone
    """:raises UnsafeFile: for one that is not known here"""
    if type(schema) is not int or schema < 1:
        raise UnsafeFile(f"{CONFIG}: schema {schema!r} is none of sb3_ext's")
    if schema > SCHEMA:
        raise UnsafeFile(
            f"{CONFIG}: schema {schema} is newer than this sb3_ext knows ({SCHEMA}): pip install -U sb3-ext"
        )


def _check_fields(config: Mapping[str, Any]) -> None:
    """:raises UnsafeFile: for one that is missing or of another kind"""
    if ALONE in config:
        raise UnsafeFile(f"{CONFIG}: a policy without an algorithm: load_safe_policy or load_policy_from_hub reads it")
    for key in ("algorithm", "policy", "observation_space", "action_space", "n_envs", "keywords", "counters"):
        if key not in config:
            raise UnsafeFile(f"{CONFIG}: {key} is missing")
    for key in ("keywords", "counters", "state", "approximated", "versions"):
        if not isinstance(config.get(key, {}), dict):
            raise UnsafeFile(f"{CONFIG}: {key} {config[key]!r} is no object")
    for key in ("approximated", "versions"):
        if not all(isinstance(x, str) for x in config.get(key, {}).values()):
            raise UnsafeFile(f"{CONFIG}: {key} {config[key]!r} must be texts")


def _check_together(config: Config) -> None:
    """:raises UnsafeFile: where values do not go with each other"""
    if config.state.get("_reward_squares", 0.0) > 0.0 and config.state.get("_n_rewards", 0.0) == 0.0:
        raise UnsafeFile(f"{CONFIG}: state has squares of rewards, and no number of them")
    for key in ("observation_space", "action_space"):
        if not isinstance(getattr(config, key), spaces.Space):
            raise UnsafeFile(f"{CONFIG}: {key} is no space")
    noise, action = config.keywords.get("action_noise"), config.action_space.shape
    for attribute in ("_mu", "_sigma"):
        shape = np.shape(getattr(noise, attribute, 0.0))
        if shape not in ((), action):
            raise UnsafeFile(f"{CONFIG}: action_noise has shape {shape}, an action {action}")
    for key, count in config.counters.items():
        if key not in COUNTERS or type(count) is not int or not 0 <= count < 2**62:
            raise UnsafeFile(f"{CONFIG}: counters.{key} {count!r} is no count of {', '.join(COUNTERS)}")


def _number_of_state(value: Any, name: str) -> float:  # Any: JSON of anyone
    """:raises ValueError: for what is no number that an agent can have"""
    if name not in STATE:
        raise ValueError(f"state has no {name!r}; it has {', '.join(STATE)}")
    low, high = STATE[name]
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"state.{name} {str(value)[:50]} must lie in [{low}, {high}]")
    return float(value)
