"""
Trained agents as a folder of JSON and safetensors, which cannot run code when it is read.

```
config.json                 schema, algorithm, policy, spaces, keywords, versions
policy.safetensors          every weight, under "<state dict>/<name>"; variables under "<name>"
optimizer.json, .safetensors    state of the optimizers, where it is kept
vec_normalize.json, .safetensors    statistics of VecNormalize, where there is one
```

A reader builds an algorithm that it knows, from keywords that its constructor has, and copies the weights in. Sizes
are checked before memory is taken, and every error about a file is an `UnsafeFile`.
"""

from __future__ import annotations

import math
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.env_ids import id_of_file
from sb3_ext.errors import UnsafeFile as UnsafeFile
from sb3_ext.errors import UserError
from sb3_ext.exchange.counted import at_most
from sb3_ext.exchange.environments import checked_environment
from sb3_ext.exchange.keyword_checks import check_policy_values, check_values
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.exchange.known_algorithms import algorithm_of, name_of
from sb3_ext.exchange.plain_json import NotPlain, decode, encode
from sb3_ext.exchange.safe_normalize import NORMALIZE as NORMALIZE
from sb3_ext.exchange.safe_normalize import load_vec_normalize as load_vec_normalize
from sb3_ext.exchange.safe_normalize import plain_normalize
from sb3_ext.exchange.safe_optimizers import OPTIMIZER, fill_optimizers, plain_optimizers
from sb3_ext.exchange.strict_json import json_bytes
from sb3_ext.exchange.strict_json import read_json as read_json
from sb3_ext.exchange.tensor_files import Tensors, read_header, tensor_bytes
from sb3_ext.saving import write_folder_whole
from sb3_ext.versions import package_versions

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "policy.safetensors"
MAX_ROLLOUT_BYTES = 4 * 2**30
MAX_REPLAY_BYTES = 64 * 2**30  # a million pictures of Atari and their successors take 53
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
    "compile",
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
    "_worst_of_best": (-math.inf, math.inf),
    "return_scale": (0.0, sys.float_info.max),
    "_reward_squares": (0.0, sys.float_info.max),
    "_n_rewards": (0.0, sys.float_info.max),
}
# What constructors raise when they are given what they did not expect.
BUILDING = (
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)
STORED = {"stats_window_size": "_stats_window_size", "delta_std": "delta_std_schedule"}  # keyword -> attribute
# What may be a function of the user's own; an agent that acts does not need it.
SCHEDULES = {"learning_rate", "clip_range", "clip_range_vf", "delta_std", "discriminator_learning_rate"}


# ---------------------------------------------------------------------- writing


def save_safe(
    model: BaseAlgorithm,
    path: str | os.PathLike[str],
    optimizer: bool = False,
    vec_normalize: VecNormalize | None = None,
) -> pathlib.Path:
    """
    :param model: of ours, of SB3 or of sb3-contrib
    :param path: of a folder that does not exist yet
    :param optimizer: keep the state of the optimizers, which only training needs
    :param vec_normalize: its statistics; None = those of the model's environment, if it has them
    :return: the folder
    :raises NotPlain: for a setting that only a pickle could hold
    :raises ValueError: if there is something at the path
    """
    if vec_normalize is None:
        vec_normalize = model.get_vec_normalize_env()
    files = dict(safe_files(model, optimizer, vec_normalize))
    return write_folder_whole(path, lambda folder: write_files(files, folder))


def write_files(files: Mapping[str, bytes], folder: pathlib.Path) -> None:
    """
    :param files: contents by name
    :param folder: where they go
    """
    for name, content in files.items():
        (folder / name).write_bytes(content)


def safe_files(
    model: BaseAlgorithm, optimizer: bool = False, vec_normalize: VecNormalize | None = None
) -> Iterator[tuple[str, bytes]]:
    """
    Parameters as for `save_safe`.

    :return: names and contents
    """
    yield CONFIG, json_bytes(config_of(model), CONFIG)
    weights = {}
    state_dicts, variables = model._get_torch_save_params()
    for name in state_dicts:
        if not _is_optimizer(name):
            weights.update({f"{name}/{key}": x for key, x in _attribute(model, name).state_dict().items()})
    weights.update({name: _attribute(model, name) for name in variables})
    yield WEIGHTS, tensor_bytes({name: x for name, x in weights.items() if isinstance(x, th.Tensor)})
    if optimizer:
        groups, tensors = plain_optimizers(_optimizers(model))
        yield f"{OPTIMIZER}.json", json_bytes(groups, f"{OPTIMIZER}.json")
        yield f"{OPTIMIZER}.safetensors", tensor_bytes(tensors)
    if vec_normalize is not None:
        settings, arrays = plain_normalize(vec_normalize)
        yield f"{NORMALIZE}.json", json_bytes(settings, f"{NORMALIZE}.json")
        yield f"{NORMALIZE}.safetensors", tensor_bytes(arrays)


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


# ---------------------------------------------------------------------- reading


def load_safe(
    path: str | os.PathLike[str], env: GymEnv | None = None, device: th.device | str = "auto", **keywords: Any
) -> BaseAlgorithm:
    """
    :param path: folder of `save_safe`
    :param env: to go on training, or None to act
    :param device: of the networks
    :param keywords: of the algorithm, in place of the saved ones
    :return: the agent; its class is the saved one
    :raises UnsafeFile: for a file that is not what `save_safe` writes, or of a newer schema
    :raises ValueError: for an environment of other spaces
    """
    folder = pathlib.Path(path)
    config = read_json(folder / CONFIG)
    weights = read_header(folder / WEIGHTS)
    model = build(config, weights.shapes, env, device, keywords)
    fill(model, weights)
    optimizer = folder / f"{OPTIMIZER}.json"
    if optimizer.is_file():
        fill_optimizers(_optimizers(model), read_json(optimizer), read_header(folder / f"{OPTIMIZER}.safetensors"))
    return model


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
    schema = config.get("schema")
    if type(schema) is not int or schema < 1:
        raise UnsafeFile(f"{CONFIG}: schema {schema!r} is none of sb3_ext's")
    if schema > SCHEMA:
        raise UnsafeFile(
            f"{CONFIG}: schema {schema} is newer than this sb3_ext knows ({SCHEMA}): pip install -U sb3-ext"
        )
    for key in ("algorithm", "policy", "observation_space", "action_space", "n_envs", "keywords", "counters"):
        if key not in config:
            raise UnsafeFile(f"{CONFIG}: {key} is missing")
    for key in ("keywords", "counters", "state", "approximated", "versions"):
        if not isinstance(config.get(key, {}), dict):
            raise UnsafeFile(f"{CONFIG}: {key} {config[key]!r} is no object")
    for key in ("approximated", "versions"):
        if not all(isinstance(x, str) for x in config.get(key, {}).values()):
            raise UnsafeFile(f"{CONFIG}: {key} {config[key]!r} must be texts")
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
    if state.get("_reward_squares", 0.0) > 0.0 and state.get("_n_rewards", 0.0) == 0.0:
        raise UnsafeFile(f"{CONFIG}: state has squares of rewards, and no number of them")
    for key, space in spaces_of.items():
        if not isinstance(space, spaces.Space):
            raise UnsafeFile(f"{CONFIG}: {key} is no space")
    for attribute in ("_mu", "_sigma"):
        shape, action = np.shape(getattr(keywords.get("action_noise"), attribute, 0.0)), spaces_of["action_space"].shape
        if shape not in ((), action):
            raise UnsafeFile(f"{CONFIG}: action_noise has shape {shape}, an action {action}")
    for key, count in config["counters"].items():
        if key not in COUNTERS or type(count) is not int or not 0 <= count < 2**62:
            raise UnsafeFile(f"{CONFIG}: counters.{key} {count!r} is no count of {', '.join(COUNTERS)}")
    return Config(cls, policy, **spaces_of, n_envs=n_envs, keywords=keywords, counters=config["counters"], state=state)


def _number_of_state(value: Any, name: str) -> float:  # Any: JSON of anyone
    """:raises ValueError: for what is no number that an agent can have"""
    if name not in STATE:
        raise ValueError(f"state has no {name!r}; it has {', '.join(STATE)}")
    low, high = STATE[name]
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"state.{name} {str(value)[:50]} must lie in [{low}, {high}]")
    return float(value)


def build(
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    env: GymEnv | None,
    device: th.device | str,
    given: Mapping[str, Any],
) -> BaseAlgorithm:
    """
    :param config: of `config_of`, or of anyone
    :param shapes: of the weights that will be copied in
    :param env: or None
    :param device: of the networks
    :param given: keywords in place of the saved ones
    :return: with new weights
    :raises UnsafeFile: where the config is not one
    :raises ValueError: for an environment of other spaces
    """
    wanted = read_config(config)
    cls, keywords = wanted.algorithm, dict(wanted.keywords)
    check_keywords(given, keywords_of(cls), f"keyword of {config['algorithm']}")
    if env is None and issubclass(cls, OffPolicyAlgorithm):
        keywords["buffer_size"] = 1  # to act takes no replay
        if "optimize_memory_usage" in keywords:
            keywords["optimize_memory_usage"] = False  # which SB3's refuse without keywords of the replay
    _check_replay({key: x for key, x in keywords.items() if key not in given}, wanted.observation_space)
    keywords.update(given)
    failed = f"{CONFIG}{' with ' + ', '.join(given) if given else ''}: {config['algorithm']} cannot be built from it"
    try:
        model = cls(wanted.policy, env, device=device, _init_setup_model=False, **keywords)  # type: ignore[call-arg]
    except BUILDING as error:
        raise UnsafeFile(f"{failed} ({type(error).__name__}: {error})") from error
    if model.env is None:
        model.observation_space, model.action_space = wanted.observation_space, wanted.action_space
        model.n_envs = wanted.n_envs
    else:
        check_for_correct_spaces(model.env, wanted.observation_space, wanted.action_space)
    _check_rollout(model)
    try:
        message = f"{CONFIG}: its networks have more weights than {WEIGHTS}"
        with at_most(sum(map(math.prod, shapes.values())), len(shapes), message):
            model._setup_model()
    except UnsafeFile:
        raise
    except BUILDING as error:
        raise UnsafeFile(f"{failed} ({type(error).__name__}: {error})") from error
    for key, value in {**wanted.counters, **wanted.state}.items():
        if hasattr(model, key):
            setattr(model, key, value)
    return model


def _parts(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    return list(space.values()) if isinstance(space, spaces.Dict) else [space]


def _check_replay(keywords: Mapping[str, Any], space: spaces.Space[Any]) -> None:
    """:raises UnsafeFile: where the replay that the file asks for would fill the memory, at once or in the end"""
    n_bytes = sum(math.prod(part.shape or ()) * np.dtype(part.dtype).itemsize for part in _parts(space))
    n_bytes *= keywords.get("buffer_size", 0)
    if n_bytes > MAX_REPLAY_BYTES:
        raise UnsafeFile(
            f"{CONFIG}: buffer_size {keywords['buffer_size']} would take {n_bytes} bytes; give buffer_size=..."
        )


def _check_rollout(model: BaseAlgorithm) -> None:
    """:raises UnsafeFile: where the rollout of an on-policy algorithm would fill the memory"""
    if not isinstance(model, OnPolicyAlgorithm):
        return
    n_numbers = sum(math.prod(part.shape or ()) for part in _parts(model.observation_space))
    n_numbers += get_action_dim(model.action_space)
    if "lstm_hidden_size" in keywords_of(model.policy_class):
        kwargs = model.policy_kwargs
        n_numbers += 4 * kwargs.get("n_lstm_layers", 1) * kwargs.get("lstm_hidden_size", 256)
    if isinstance(model, MaskablePPO):
        n_numbers += spaces.utils.flatdim(model.action_space)
    n_bytes = 4 * model.n_steps * model.n_envs * n_numbers
    if n_bytes > MAX_ROLLOUT_BYTES:
        raise UnsafeFile(f"{CONFIG}: n_steps {model.n_steps} would take {n_bytes} bytes")


def fill(model: BaseAlgorithm, weights: Tensors) -> None:
    """
    Copy weights in.

    :param model: of `build`
    :param weights: all of them, and no others
    :raises UnsafeFile: where names or shapes are not the model's
    """
    state_dicts, variables = model._get_torch_save_params()
    expected: dict[str, th.Tensor] = {}
    for name in state_dicts:
        if not _is_optimizer(name):
            state = _attribute(model, name).state_dict()
            expected.update({f"{name}/{key}": x for key, x in state.items() if isinstance(x, th.Tensor)})
    expected.update({name: _attribute(model, name) for name in variables})
    shapes = {key: tuple(x.shape) for key, x in expected.items()}
    for key in sorted(shapes.keys() | weights.shapes.keys()):
        if shapes.get(key) != weights.shapes.get(key):
            raise UnsafeFile(
                f"{weights.path.name}: {key} is {weights.shapes.get(key, 'missing')}, "
                f"the network of {CONFIG} has {shapes.get(key, 'none')}"
            )
        if expected[key].dtype != weights.dtypes[key]:
            raise UnsafeFile(
                f"{weights.path.name}: {key} is of {weights.dtypes[key]}, that of the network of {expected[key].dtype}"
            )
    tensors = weights.load()
    for name in state_dicts:
        if not _is_optimizer(name):
            prefix = f"{name}/"
            state = {key[len(prefix) :]: x for key, x in tensors.items() if key.startswith(prefix)}
            _attribute(model, name).load_state_dict(state)
    for name in variables:
        _attribute(model, name).data.copy_(tensors[name])


def _optimizers(model: BaseAlgorithm) -> dict[str, th.optim.Optimizer]:
    names = [name for name in model._get_torch_save_params()[0] if _is_optimizer(name)]
    return {name: _attribute(model, name) for name in names}


def _attribute(model: BaseAlgorithm, name: str) -> Any:  # Any: a module, an optimizer or a tensor
    return reduce(getattr, name.split("."), model)


def _is_optimizer(name: str) -> bool:
    return name.endswith("optimizer")
