"""
Trained agents as a folder of JSON and safetensors, which cannot run code when it is read.

```
config.json                 schema, algorithm, policy, spaces, keywords, versions
policy.safetensors          every weight, under "<state dict>/<name>"; variables under "<name>"
optimizer.json, .safetensors    state of the optimizers, where it is kept
vec_normalize.json, .safetensors    statistics of VecNormalize, where there is one
```

A reader builds an algorithm that it knows, from keywords that its constructor has, and copies the weights in. Sizes
are checked before memory is taken.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pathlib
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

import sb3_ext
from sb3_ext.saving import write_folder_whole
from sb3_ext.zoo.keywords import check_keywords, keywords_of
from sb3_ext.zoo.plain_json import NotPlain, decode, encode
from sb3_ext.zoo.registry import ALGORITHMS

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "policy.safetensors"
OPTIMIZER, NORMALIZE = "optimizer", "vec_normalize"
MAX_JSON_BYTES = 32 * 2**20
MAX_WEIGHT_BYTES = 8 * 2**30
MAX_ROLLOUT_BYTES = 4 * 2**30
UNBOUNDED = {"buffer_size", "learning_starts", "seed"}  # keywords that take no memory when an agent is built to act
SPARE_WEIGHTS = 100_000  # that a network may have beside twice those in the file, for targets that are made and tied
MAX_COUNT = 10**7  # of any whole number among the keywords

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
STATE = (
    "exploration_rate",
    "_worst_of_best",
    "return_scale",
    "_reward_squares",
    "_n_rewards",
)  # numbers that acting or going on needs
STORED = {"stats_window_size": "_stats_window_size", "delta_std": "delta_std_schedule"}  # keyword -> attribute
# What may be a function of the user's own; an agent that acts does not need it.
SCHEDULES = {"learning_rate", "clip_range", "clip_range_vf", "delta_std", "discriminator_learning_rate"}
NORMALIZE_KEYWORDS = (
    "training",
    "norm_obs",
    "norm_reward",
    "clip_obs",
    "clip_reward",
    "gamma",
    "epsilon",
    "norm_obs_keys",
)
CONTRIB = ("ARS", "CrossQ", "MaskablePPO", "QRDQN", "RecurrentPPO", "TQC", "TRPO")


class UnsafeFile(ValueError):
    """A file that is not what it should be; nothing of it was run."""


def algorithm_of(name: str) -> type[BaseAlgorithm]:
    """
    :param name: "sb3_ext.R2D2", "stable_baselines3.PPO", "sb3_contrib.TRPO"
    :return: its class, out of those that are known here
    :raises UnsafeFile: for any other
    """
    package, _, cls = name.partition(".")
    known = {
        "sb3_ext": set(ALGORITHMS.values()),
        "stable_baselines3": {"A2C", "DDPG", "DQN", "PPO", "SAC", "TD3"},
        "sb3_contrib": set(CONTRIB),
    }
    if cls not in known.get(package, ()):
        raise UnsafeFile(f"algorithm {name!r} is not known here: it needs a newer sb3_ext, or is none of SB3's family")
    try:
        found = getattr(importlib.import_module(package), cls)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnsafeFile(f"algorithm {name!r} is not in the installed {package} ({error})") from None
    assert isinstance(found, type) and issubclass(found, BaseAlgorithm)
    return found


def name_of(model: BaseAlgorithm) -> str:
    """
    :return: the name that `algorithm_of` knows
    :raises NotPlain: for a class of the user's own
    """
    cls = type(model)
    name = f"{cls.__module__.split('.')[0]}.{cls.__name__}"
    try:
        same = algorithm_of(name) is cls
    except UnsafeFile:
        same = False
    if not same:
        raise NotPlain(f"{cls.__module__}.{cls.__qualname__} is a class of your own: only a pickle could name it")
    return name


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
    yield CONFIG, json_bytes(config_of(model))
    weights, optimizers = {}, {}
    state_dicts, variables = model._get_torch_save_params()
    for name in state_dicts:
        state = _attribute(model, name).state_dict()
        if _is_optimizer(name):
            optimizers[name] = state
        else:
            weights.update({f"{name}/{key}": tensor for key, tensor in state.items()})
    weights.update({name: _attribute(model, name) for name in variables})
    yield WEIGHTS, tensor_bytes({name: x for name, x in weights.items() if isinstance(x, th.Tensor)})
    if optimizer:
        groups, tensors = {}, {}
        for name, state in optimizers.items():
            # A captured update has its rate in a tensor.
            plain = [
                {key: x.item() if isinstance(x, th.Tensor) else x for key, x in group.items()}
                for group in state["param_groups"]
            ]
            groups[name] = encode(plain, name)
            for number, slots in state["state"].items():
                tensors.update({f"{name}/{number}/{slot}": th.as_tensor(x) for slot, x in slots.items()})
        yield f"{OPTIMIZER}.json", json_bytes(groups)
        yield f"{OPTIMIZER}.safetensors", tensor_bytes(tensors)
    if vec_normalize is not None:
        settings = {name: encode(getattr(vec_normalize, name), name) for name in NORMALIZE_KEYWORDS}
        # What it sees, which frame stacks and transposed images above it do not.
        settings["observation_space"] = encode(vec_normalize.observation_space, "observation_space")
        yield f"{NORMALIZE}.json", json_bytes(settings)
        statistics = dict(_statistics(vec_normalize))
        arrays = {
            f"{name}/{part}": th.as_tensor(np.asarray(getattr(rms, part), dtype=np.float64))
            for name, rms in statistics.items()
            for part in ("mean", "var", "count")
        }
        yield f"{NORMALIZE}.safetensors", tensor_bytes(arrays)


def config_of(model: BaseAlgorithm) -> dict[str, Any]:
    """
    :return: what `build` needs, for `json.dumps`
    :raises NotPlain: for a policy of the user's own, or a setting that only a pickle could hold
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
    return {
        "schema": SCHEMA,
        "algorithm": name_of(model),
        "policy": aliases[0],
        "observation_space": encode(model.observation_space, "observation_space"),
        "action_space": encode(model.action_space, "action_space"),
        "n_envs": model.n_envs,
        "keywords": keywords,
        "approximated": approximated,
        "state": {name: encode(float(getattr(model, name)), name) for name in STATE if hasattr(model, name)},
        "counters": {name: int(getattr(model, name)) for name in COUNTERS if hasattr(model, name)},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """:return: what matters for a file"""
    return {
        "sb3_ext": sb3_ext.__version__,
        "stable_baselines3": stable_baselines3.__version__,
        "torch": th.__version__,
        "gymnasium": gym.__version__,
        "numpy": np.__version__,
    }


def json_bytes(data: Any) -> bytes:  # Any: JSON
    """:return: readable, and valid JSON"""
    return json.dumps(data, indent=1, allow_nan=False).encode()


def tensor_bytes(tensors: Mapping[str, th.Tensor]) -> bytes:
    """:return: a safetensors file"""
    save = _safetensors("safetensors.torch").save
    # Each with a memory of its own: the format has no shared ones.
    return save({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})


# ---------------------------------------------------------------------- reading


class Tensors(NamedTuple):
    """A safetensors file."""

    path: pathlib.Path
    shapes: dict[str, tuple[int, ...]]

    def load(self) -> dict[str, th.Tensor]:
        """:return: on the CPU"""
        tensors: dict[str, th.Tensor] = _safetensors("safetensors.torch").load_file(self.path)
        return tensors


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
        fill_optimizers(model, read_json(optimizer), read_header(folder / f"{OPTIMIZER}.safetensors"))
    return model


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """
    :param path: of anyone's file
    :raises UnsafeFile: for one that is missing, too large or not a JSON object
    """
    if not path.is_file():
        raise UnsafeFile(f"{path.parent} has no {path.name}: it is not a folder of save_safe")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UnsafeFile(f"{path.name} has {path.stat().st_size} bytes, more than {MAX_JSON_BYTES}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnsafeFile(f"{path.name} is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise UnsafeFile(f"{path.name} holds a {type(data).__name__}, not an object")
    return data


def read_header(path: pathlib.Path) -> Tensors:
    """
    :param path: of anyone's safetensors file
    :return: shapes by name, without reading a tensor
    :raises UnsafeFile: for one that is missing, too large or broken
    """
    safetensors = _safetensors("safetensors")
    if not path.is_file():
        raise UnsafeFile(f"{path.parent} has no {path.name}")
    size = path.stat().st_size
    if size > MAX_WEIGHT_BYTES:
        raise UnsafeFile(f"{path.name} has {size} bytes, more than {MAX_WEIGHT_BYTES}")
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > min(size, MAX_JSON_BYTES):
        raise UnsafeFile(f"{path.name} is not a safetensors file, or cut off")
    try:
        with safetensors.safe_open(path, "pt") as file:
            return Tensors(path, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise UnsafeFile(f"{path.name} is not a safetensors file, or cut off ({error})") from None


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
    """
    schema = config.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise UnsafeFile(f"{CONFIG}: schema {schema!r} is none of sb3_ext's")
    if schema > SCHEMA:
        raise UnsafeFile(
            f"{CONFIG}: schema {schema} is newer than this sb3_ext knows ({SCHEMA}): pip install -U sb3-ext"
        )
    try:
        name, policy, n_envs = config["algorithm"], config["policy"], config["n_envs"]
        saved, counters = config["keywords"], config["counters"]
        state = decode(config.get("state", {}), "state")
        observation_space, action_space = (decode(config[key], key) for key in ("observation_space", "action_space"))
    except (KeyError, NotPlain) as error:
        raise UnsafeFile(f"{CONFIG}: {error}") from None
    cls = algorithm_of(str(name))
    check_keywords(given, keywords_of(cls), f"keyword of {name}")
    if not isinstance(policy, str) or policy not in cls.policy_aliases:
        raise UnsafeFile(f"{CONFIG}: {name} has no policy {policy!r}; it has {', '.join(cls.policy_aliases)}")
    if not isinstance(saved, dict) or not isinstance(counters, dict) or not saved.keys() <= keywords_of(cls) - LEFT_OUT:
        unknown = (
            sorted(saved.keys() - keywords_of(cls) | saved.keys() & LEFT_OUT) if isinstance(saved, dict) else saved
        )
        raise UnsafeFile(f"{CONFIG}: {name} takes no keyword {unknown}")
    if not isinstance(n_envs, int) or not 1 <= n_envs <= 2**16:
        raise UnsafeFile(f"{CONFIG}: n_envs {n_envs!r} must be a number from 1 to {2**16}")
    try:
        keywords = {key: decode(value, key) for key, value in saved.items()}
    except NotPlain as error:
        raise UnsafeFile(f"{CONFIG}: {error}") from None
    for key, space in (("observation_space", observation_space), ("action_space", action_space)):
        if not isinstance(space, spaces.Space):
            raise UnsafeFile(f"{CONFIG}: {key} is no space")
    _check_numbers({key: x for key, x in keywords.items() if key not in UNBOUNDED}, "keywords")
    if env is None and issubclass(cls, OffPolicyAlgorithm):
        keywords["buffer_size"] = 1  # to act takes no replay
        if "optimize_memory_usage" in keywords:
            keywords["optimize_memory_usage"] = False  # which SB3's refuse without keywords of the replay
    keywords.update(given)
    try:
        model = cls(policy, env, device=device, _init_setup_model=False, **keywords)  # type: ignore[call-arg, arg-type]
        if model.env is None:
            model.observation_space, model.action_space, model.n_envs = observation_space, action_space, n_envs
        else:
            check_for_correct_spaces(model.env, observation_space, action_space)
        _check_rollout(model)
        with at_most(2 * sum(math.prod(shape) for shape in shapes.values()) + SPARE_WEIGHTS):
            model._setup_model()
    except UnsafeFile:
        raise
    except (
        TypeError,
        AssertionError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise UnsafeFile(f"{CONFIG}: {name} cannot be built from it ({type(error).__name__}: {error})") from error
    for key in COUNTERS:
        if isinstance(counters.get(key), int) and hasattr(model, key):
            setattr(model, key, counters[key])
    for key in STATE:
        if isinstance(state, dict) and isinstance(state.get(key), int | float) and hasattr(model, key):
            setattr(model, key, float(state[key]))
    return model


@contextmanager
def at_most(n_weights: int) -> Iterator[None]:
    """
    Networks are counted while they are made: a parameter is registered before it is filled, and memory that is not
    filled is not taken.

    :param n_weights: parameters and buffers that may be made in the block
    :raises UnsafeFile: at the one that is too many
    """
    left = n_weights

    def count(module: nn.Module, name: str, x: Any) -> None:  # Any: a tensor or None
        nonlocal left
        left -= x.numel() if isinstance(x, th.Tensor) else 0
        if left < 0:
            raise UnsafeFile(f"{CONFIG}: its networks have more weights than {WEIGHTS}")

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_numbers(data: Any, name: str) -> None:  # Any: decoded settings
    """
    What is filled before it is registered (atoms, schedules, windows) is small.

    :raises UnsafeFile: for a whole number that is too large
    """
    if isinstance(data, dict):
        for key, part in data.items():
            _check_numbers(part, f"{name}.{key}")
    elif isinstance(data, list | tuple):
        for part in data:
            _check_numbers(part, name)
    elif isinstance(data, int) and abs(data) > MAX_COUNT:
        raise UnsafeFile(f"{CONFIG}: {name} {data} is larger than {MAX_COUNT}")


def _check_rollout(model: BaseAlgorithm) -> None:
    """:raises UnsafeFile: where the rollout of an on-policy algorithm would fill the memory"""
    if isinstance(model, OnPolicyAlgorithm):
        if type(model.n_steps) is not int or model.n_steps < 1:
            raise UnsafeFile(f"{CONFIG}: n_steps {str(model.n_steps)[:50]!r} must be a whole number of at least 1")
        space = model.observation_space
        sizes = [part.shape for part in space.values()] if isinstance(space, spaces.Dict) else [space.shape]
        n_bytes = 4 * model.n_steps * model.n_envs * sum(int(np.prod(shape or ())) for shape in sizes)
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
    expected: dict[str, tuple[int, ...]] = {}
    for name in state_dicts:
        if not _is_optimizer(name):
            state = _attribute(model, name).state_dict()
            expected.update({f"{name}/{key}": tuple(x.shape) for key, x in state.items() if isinstance(x, th.Tensor)})
    for name in variables:
        expected[name] = tuple(_attribute(model, name).shape)
    if expected != weights.shapes:
        different = sorted(
            {k for k in expected.keys() | weights.shapes.keys() if expected.get(k) != weights.shapes.get(k)}
        )
        key = different[0]
        raise UnsafeFile(
            f"{weights.path.name}: {key} is {weights.shapes.get(key, 'missing')}, "
            f"the network of {CONFIG} has {expected.get(key, 'none')}"
        )
    tensors = weights.load()
    for name in state_dicts:
        if not _is_optimizer(name):
            prefix = f"{name}/"
            state = {key[len(prefix) :]: x for key, x in tensors.items() if key.startswith(prefix)}
            _attribute(model, name).load_state_dict(state)
    for name in variables:
        _attribute(model, name).data.copy_(tensors[name])


def fill_optimizers(model: BaseAlgorithm, groups: Mapping[str, Any], tensors: Tensors) -> None:
    """
    :param model: of `build`
    :param groups: settings of each optimizer
    :param tensors: their states
    :raises UnsafeFile: where they are not the model's
    """
    loaded = tensors.load()
    for name in model._get_torch_save_params()[0]:
        if not _is_optimizer(name) or name not in groups:
            continue
        optimizer: th.optim.Optimizer = _attribute(model, name)
        parameters = [x for group in optimizer.param_groups for x in group["params"]]
        state: dict[int, dict[str, th.Tensor]] = {}
        try:
            for key, x in loaded.items():
                if key.startswith(f"{name}/"):
                    number, _, slot = key[len(name) + 1 :].partition("/")
                    if x.numel() != 1 and x.shape != parameters[int(number)].shape:
                        raise ValueError(f"{key} has shape {tuple(x.shape)}")
                    state.setdefault(int(number), {})[slot] = x
            decoded = decode(groups[name], name)
            for ours, theirs in zip(optimizer.param_groups, decoded, strict=True):
                if ours.keys() != theirs.keys():
                    raise ValueError(f"settings {sorted(theirs)}")
            optimizer.load_state_dict({"state": state, "param_groups": decoded})
        except (ValueError, LookupError, TypeError, RuntimeError, AttributeError) as error:
            raise UnsafeFile(f"{tensors.path.name}: not the state of {name} ({error})") from None


def load_vec_normalize(path: str | os.PathLike[str], env: VecEnv) -> VecNormalize:
    """
    :param path: folder of `save_safe`
    :param env: to be normalised
    :return: with the saved statistics, which no longer change
    :raises UnsafeFile: where there are none, or of other observations
    """
    folder = pathlib.Path(path)
    settings = read_json(folder / f"{NORMALIZE}.json")
    settings.pop("observation_space", None)
    if not settings.keys() <= set(NORMALIZE_KEYWORDS):
        raise UnsafeFile(f"{NORMALIZE}.json: unknown {sorted(settings.keys() - set(NORMALIZE_KEYWORDS))}")
    header = read_header(folder / f"{NORMALIZE}.safetensors")
    try:
        normalized = VecNormalize(env, **{key: decode(x, key) for key, x in settings.items()})
        statistics = dict(_statistics(normalized))
        tensors = header.load()
        for name, rms in statistics.items():
            for part in ("mean", "var", "count"):
                x = tensors.pop(f"{name}/{part}").numpy()
                if np.shape(getattr(rms, part)) != x.shape:
                    raise UnsafeFile(
                        f"{NORMALIZE}.safetensors: {name}/{part} has shape {x.shape}, "
                        f"the environment {np.shape(getattr(rms, part))}"
                    )
                setattr(rms, part, float(x) if part == "count" else x)
    except (TypeError, KeyError, NotPlain) as error:
        raise UnsafeFile(f"{NORMALIZE}: not the statistics of this environment ({error})") from None
    normalized.training = False
    return normalized


def _statistics(env: VecNormalize) -> Iterator[tuple[str, RunningMeanStd]]:
    yield "returns", env.ret_rms
    if env.norm_obs:
        statistics: Any = env.obs_rms  # Any: SB3 annotates the dictionary alone
        if isinstance(statistics, dict):
            for key, rms in sorted(statistics.items()):
                yield f"observations.{key}", rms
        else:
            yield "observations", statistics


def _safetensors(module: str) -> Any:  # Any: a module
    """:raises ModuleNotFoundError: without the extra that brings it"""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f'safe files need the hub extra: pip install "sb3-ext[hub]" ({error})'
        raise ModuleNotFoundError(message, name=error.name) from error


def _attribute(model: BaseAlgorithm, name: str) -> Any:  # Any: a module, an optimizer or a tensor
    return reduce(getattr, name.split("."), model)


def _is_optimizer(name: str) -> bool:
    return name.endswith("optimizer")
