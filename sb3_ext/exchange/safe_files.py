"""
Trained agents as a folder of JSON and safetensors, which cannot run code when it is read.

```
config.json                 schema, algorithm, policy, spaces, keywords, versions
policy.safetensors          every weight, under "<state dict>/<name>"; variables under "<name>"
optimizer.json, .safetensors    state of the optimizers, where it is kept
vec_normalize.json, .safetensors    statistics of VecNormalize, where there is one
```

A policy without an algorithm has files of its own, see `policy_files`.

A reader builds an algorithm that it knows, from keywords that its constructor has, and copies the weights in. Sizes
are checked before memory is taken, and every error about a file is an `UnsafeFile`.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

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
from torch import nn

from sb3_ext import nested
from sb3_ext.errors import UnsafeFile as UnsafeFile
from sb3_ext.exchange.agent_config import CONFIG as CONFIG
from sb3_ext.exchange.agent_config import config_of, read_config
from sb3_ext.exchange.counted import at_most
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.exchange.policy_files import WEIGHTS as WEIGHTS
from sb3_ext.exchange.policy_files import load_safe_policy as load_safe_policy
from sb3_ext.exchange.policy_files import policy_files
from sb3_ext.exchange.safe_normalize import NORMALIZE as NORMALIZE
from sb3_ext.exchange.safe_normalize import load_vec_normalize as load_vec_normalize
from sb3_ext.exchange.safe_normalize import plain_normalize
from sb3_ext.exchange.safe_optimizers import OPTIMIZER, fill_optimizers, plain_optimizers
from sb3_ext.exchange.strict_json import json_bytes
from sb3_ext.exchange.strict_json import read_json as read_json
from sb3_ext.exchange.tensor_files import Tensors, read_header, tensor_bytes
from sb3_ext.planning import PlannerPolicy
from sb3_ext.saving import write_folder_whole

MAX_ROLLOUT_BYTES = 4 * 2**30
MAX_REPLAY_BYTES = 64 * 2**30  # a million pictures of Atari and their successors take 53

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


# ---------------------------------------------------------------------- writing


def save_safe(
    model: BaseAlgorithm | PlannerPolicy,
    path: str | os.PathLike[str],
    optimizer: bool = False,
    vec_normalize: VecNormalize | None = None,
) -> pathlib.Path:
    """
    :param model: of ours, of SB3 or of sb3-contrib; or a planner's policy, which `load_safe_policy` reads
    :param path: of a folder that does not exist yet
    :param optimizer: keep the state of the optimizers, which only training needs
    :param vec_normalize: its statistics; None = those of the model's environment, if it has them
    :return: the folder
    :raises NotPlain: for a setting that only a pickle could hold
    :raises ValueError: if there is something at the path
    """
    if vec_normalize is None and isinstance(model, BaseAlgorithm):
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
    model: BaseAlgorithm | PlannerPolicy, optimizer: bool = False, vec_normalize: VecNormalize | None = None
) -> Iterator[tuple[str, bytes]]:
    """
    Parameters as for `save_safe`.

    :return: names and contents
    """
    if isinstance(model, PlannerPolicy):
        yield from policy_files(model)
    else:
        yield from _agent_files(model, optimizer)
    if vec_normalize is not None:
        settings, arrays = plain_normalize(vec_normalize)
        yield f"{NORMALIZE}.json", json_bytes(settings, f"{NORMALIZE}.json")
        yield f"{NORMALIZE}.safetensors", tensor_bytes(arrays)


def _agent_files(model: BaseAlgorithm, optimizer: bool) -> Iterator[tuple[str, bytes]]:
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
    if env is None and issubclass(cls, OffPolicyAlgorithm) and "buffer_size" in keywords_of(cls):
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


def _check_replay(keywords: Mapping[str, Any], space: spaces.Space[Any]) -> None:
    """:raises UnsafeFile: where the replay that the file asks for would fill the memory, at once or in the end"""
    n_bytes = sum(math.prod(part.shape or ()) * np.dtype(part.dtype).itemsize for part in nested.leaves(space))
    n_bytes *= keywords.get("buffer_size", 0)
    if n_bytes > MAX_REPLAY_BYTES:
        raise UnsafeFile(
            f"{CONFIG}: buffer_size {keywords['buffer_size']} would take {n_bytes} bytes; give buffer_size=..."
        )


def _check_rollout(model: BaseAlgorithm) -> None:
    """:raises UnsafeFile: where the rollout of an on-policy algorithm would fill the memory"""
    if not isinstance(model, OnPolicyAlgorithm):
        return
    n_numbers = sum(math.prod(part.shape or ()) for part in nested.leaves(model.observation_space))
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
    kept = {name: _attribute(model, name) for name in state_dicts if not _is_optimizer(name)}
    # What grows with what was seen has no size of its own before: it looks at the file's by itself.
    growing = tuple(f"{name}/" for name, x in kept.items() if not isinstance(x, nn.Module))
    expected: dict[str, th.Tensor] = {}
    for name, x in kept.items():
        if isinstance(x, nn.Module):
            expected.update({f"{name}/{key}": y for key, y in x.state_dict().items() if isinstance(y, th.Tensor)})
    expected.update({name: _attribute(model, name) for name in variables})
    shapes = {key: tuple(x.shape) for key, x in expected.items()}
    for key in sorted(shapes.keys() | {key for key in weights.shapes if not key.startswith(growing)}):
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
    for name, x in kept.items():
        prefix = f"{name}/"
        state = {key[len(prefix) :]: y for key, y in tensors.items() if key.startswith(prefix)}
        try:
            x.load_state_dict(state)
        except ValueError as error:
            raise UnsafeFile(f"{weights.path.name}: {name}: {error}") from None
    for name in variables:
        _attribute(model, name).data.copy_(tensors[name])


def _optimizers(model: BaseAlgorithm) -> dict[str, th.optim.Optimizer]:
    names = [name for name in model._get_torch_save_params()[0] if _is_optimizer(name)]
    return {name: _attribute(model, name) for name in names}


def _attribute(model: BaseAlgorithm, name: str) -> Any:  # Any: a module, an optimizer or a tensor
    return reduce(getattr, name.split("."), model)


def _is_optimizer(name: str) -> bool:
    return name.endswith("optimizer")
