"""SB3's zips of anyone: their weights, in networks of our own making. No pickle in them is read."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.counted import at_most
from sb3_ext.exchange.keyword_checks import check_value
from sb3_ext.exchange.plain_json import CLASSES
from sb3_ext.exchange.safe_files import BUILDING
from sb3_ext.exchange.strict_json import parse
from sb3_ext.exchange.tensor_files import MAX_WEIGHT_BYTES
from sb3_ext.exchange.torch_zip import open_zip, read_member, read_tensors

MAX_DATA_BYTES = 32 * 2**20  # settings, and the last observations as text


def load_zip_weights(
    path: pathlib.Path, algorithm: type[BaseAlgorithm], env: GymEnv, device: th.device | str = "auto", **keywords: Any
) -> BaseAlgorithm:
    """
    The weights of SB3's zip in a network of our own making. No pickle in it is read.

    :param path: of the zip
    :param algorithm: that made it
    :param env: of the same spaces
    :param device: of the networks
    :param keywords: of the algorithm, such as ``policy`` and ``policy_kwargs`` where the zip does not say them plainly
    :return: the agent; all other settings are the algorithm's defaults
    :raises UnsafeFile: for another file, or weights of another network
    """
    with open_zip(path, path.name) as archive:
        content = read_member(archive, "data", MAX_DATA_BYTES, path.name)
        data = parse(content, f"{path.name}: data", MAX_DATA_BYTES, infinite=True)
        weights = read_tensors(
            read_member(archive, "policy.pth", MAX_WEIGHT_BYTES, path.name), f"{path.name}: policy.pth"
        )
    kwargs = _plain_policy_kwargs(data.get("policy_kwargs"))
    policies = [keywords.pop("policy")] if "policy" in keywords else list(algorithm.policy_aliases)
    given = {"policy_kwargs": kwargs, **keywords}
    # A storage that two names share counts once.
    n_weights = sum({x.data_ptr(): x.numel() for x in weights.values()}.values())
    try:
        check_value(kwargs, dict[str, Any], "policy_kwargs")
    except ValueError as error:
        raise UnsafeFile(f"{path.name}: data: {error}") from None
    reasons = []
    for policy in policies:
        try:
            with at_most(n_weights, len(weights), "its networks have more weights than policy.pth"):
                model = algorithm(policy, env, device=device, **given)
            _fill(model, weights)
        except BUILDING as error:
            reasons.append(f"{policy}: {' '.join(str(error).split())[:200]}")
        else:
            return model
    raise UnsafeFile(
        f"{path.name}: its weights fit no policy of {algorithm.__name__} on this environment; give policy=... and "
        f"policy_kwargs=... ({'; '.join(reasons)})"
    )


def _fill(model: BaseAlgorithm, weights: Mapping[str, th.Tensor]) -> None:
    """:raises ValueError, RuntimeError: where names, shapes or types are not the model's"""
    for key, x in model.policy.state_dict().items():
        if key in weights and weights[key].dtype != x.dtype:
            raise ValueError(f"{key} is of {weights[key].dtype}, that of the network of {x.dtype}")
    model.policy.load_state_dict(dict(weights))


def _plain_policy_kwargs(data: Any) -> dict[str, Any]:  # Any: JSON of anyone
    """:return: what SB3's JSON says in plain text, classes out of our own list"""
    if not isinstance(data, Mapping):
        return {}
    texts = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in CLASSES.values()}
    kwargs: dict[str, Any] = {}
    for key, value in data.items():
        if key in (":type:", ":serialized:"):
            continue
        if isinstance(value, str) and value.startswith("<class '"):
            cls = texts.get(value[len("<class '") : -len("'>")])
            if cls is not None:
                kwargs[key] = cls
        elif isinstance(value, bool | int | float | list | dict | None):
            kwargs[key] = value
    return kwargs
