"""
A policy without an algorithm as safe files: the table of a planner. Whoever reads them builds a policy that is known
here, and copies its weights in; a file costs no more than its size.

```
config.json           schema, kind of policy, spaces, versions
policy.safetensors    "probabilities" [S, A]
```
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import get_device

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.agent_config import ALONE, CONFIG, SCHEMA, check_schema
from sb3_ext.exchange.plain_json import decode, encode
from sb3_ext.exchange.strict_json import json_bytes, read_json
from sb3_ext.exchange.tensor_files import read_header, tensor_bytes
from sb3_ext.planning import PlannerPolicy
from sb3_ext.versions import package_versions

WEIGHTS = "policy.safetensors"
KIND = "sb3_ext.planning.PlannerPolicy"
TABLE = "probabilities"


def policy_files(policy: PlannerPolicy) -> Iterator[tuple[str, bytes]]:
    """:return: names and contents"""
    config = {
        "schema": SCHEMA,
        ALONE: KIND,
        "observation_space": encode(policy.observation_space, "observation_space"),
        "action_space": encode(policy.action_space, "action_space"),
        "versions": package_versions(),
    }
    yield CONFIG, json_bytes(config, CONFIG)
    yield WEIGHTS, tensor_bytes({TABLE: policy.probabilities})


def load_safe_policy(path: str | os.PathLike[str], device: th.device | str = "auto") -> PlannerPolicy:
    """
    :param path: folder of `save_safe`, of a policy
    :param device: of its table
    :return: the policy
    :raises UnsafeFile: for a file that is not what `save_safe` writes, or of a newer schema
    """
    folder = pathlib.Path(path)
    observed, acting = _spaces(read_json(folder / CONFIG))
    weights = read_header(folder / WEIGHTS)
    expected = (int(observed.n), int(acting.n))
    if weights.shapes != {TABLE: expected} or weights.dtypes[TABLE] != th.float64:
        raise UnsafeFile(f"{WEIGHTS} holds {weights.shapes}, {CONFIG} asks for {TABLE} {expected} of torch.float64")
    try:
        policy = PlannerPolicy(observed, acting, weights.load()[TABLE].numpy())
    except ValueError as error:
        raise UnsafeFile(f"{WEIGHTS}: {error}") from None
    return policy.to(get_device(device))


def _spaces(config: Mapping[str, Any]) -> tuple[spaces.Discrete, spaces.Discrete]:
    """:raises UnsafeFile: with the name of the field that cannot be"""
    check_schema(config.get("schema"))
    if config.get(ALONE) != KIND:
        what = f"{ALONE} {config[ALONE]!r} is not known here" if ALONE in config else "an agent: load_safe reads it"
        raise UnsafeFile(f"{CONFIG}: {what}")
    found = []
    for name in ("observation_space", "action_space"):
        try:
            space = decode(config.get(name), name)
        except ValueError as error:
            raise UnsafeFile(f"{CONFIG}: {error}") from None
        if not isinstance(space, spaces.Discrete):
            raise UnsafeFile(f"{CONFIG}: {name} {space} must be Discrete")
        found.append(space)
    return found[0], found[1]
