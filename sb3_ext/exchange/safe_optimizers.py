"""
States of optimizers as JSON and safetensors. What state an optimizer has, it shows by itself on a parameter of two
numbers; a file of anyone's has this state for the parameters of the network, or none.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch as th

from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.plain_json import decode, encode
from sb3_ext.exchange.tensor_files import Tensors

OPTIMIZER = "optimizer"
HOW = {
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "params",
}  # how it is computed here; the file does not matter
SIGNED = {"exp_avg", "momentum_buffer", "grad_avg"}  # all others are squares and counts


def plain_optimizers(optimizers: Mapping[str, th.optim.Optimizer]) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """
    :param optimizers: by name
    :return: settings for `json.dumps`, and states
    """
    groups, tensors = {}, {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        # A captured update has its rate in a tensor.
        plain = [
            {key: x.item() if isinstance(x, th.Tensor) else x for key, x in group.items()}
            for group in state["param_groups"]
        ]
        groups[name] = encode(plain, name)
        for number, slots in state["state"].items():
            tensors.update({f"{name}/{number}/{slot}": th.as_tensor(x) for slot, x in slots.items()})
    return groups, tensors


def fill_optimizers(optimizers: Mapping[str, th.optim.Optimizer], groups: Mapping[str, Any], tensors: Tensors) -> None:
    """
    :param optimizers: of a network that was just built, by name
    :param groups: settings of each, of anyone
    :param tensors: their states, of anyone
    :raises UnsafeFile: where they are not those of these optimizers
    """
    for name in groups.keys() - optimizers.keys():
        raise UnsafeFile(f"{OPTIMIZER}.json: the agent has no {name!r}")
    checked = {name: _checked_groups(optimizers[name], groups[name], name) for name in groups}
    examples = {name: [_example(optimizers[name], group, name) for group in checked[name]] for name in groups}
    states: dict[str, dict[int, set[str]]] = {name: {} for name in groups}
    for key in tensors.shapes:
        name, _, rest = key.partition("/")  # names of optimizers have no slash
        number, _, slot = rest.partition("/")
        if name not in states or not number.isdecimal() or len(number) > 9:
            raise UnsafeFile(f"{tensors.path.name}: {key} is the state of no optimizer of the agent")
        states[name].setdefault(int(number), set()).add(slot)
    for name, state in states.items():
        parameters = [
            (x, example)
            for group, example in zip(optimizers[name].param_groups, examples[name], strict=True)
            for x in group["params"]
        ]
        for index, slots in state.items():
            if index >= len(parameters):
                raise UnsafeFile(f"{tensors.path.name}: {name}/{index}: there are {len(parameters)} parameters")
            _check_slots(*parameters[index], slots, tensors, f"{name}/{index}")
    loaded = tensors.load()
    for key, x in loaded.items():
        if key.rpartition("/")[2] not in SIGNED and bool((x < 0).any()):
            raise UnsafeFile(f"{tensors.path.name}: {key} has negative numbers")
    for name, state in states.items():
        filled = {index: {slot: loaded[f"{name}/{index}/{slot}"] for slot in slots} for index, slots in state.items()}
        optimizers[name].load_state_dict({"state": filled, "param_groups": checked[name]})


def _checked_groups(optimizer: th.optim.Optimizer, data: Any, name: str) -> list[dict[str, Any]]:  # Any: JSON of anyone
    """:return: settings of each group of parameters"""
    ours = optimizer.state_dict()["param_groups"]
    try:
        theirs = decode(data, name)
    except ValueError as error:
        raise UnsafeFile(f"{OPTIMIZER}.json: {error}") from None
    if not isinstance(theirs, list) or len(theirs) != len(ours) or not all(isinstance(x, dict) for x in theirs):
        raise UnsafeFile(f"{OPTIMIZER}.json: {name} must be {len(ours)} groups of settings")
    for mine, group in zip(ours, theirs, strict=True):
        for key in group.keys() - mine.keys():
            raise UnsafeFile(f"{OPTIMIZER}.json: {name} has no setting {key!r}")
        params = group.get("params")
        if params != mine["params"] or not all(type(x) is int for x in params):
            raise UnsafeFile(f"{OPTIMIZER}.json: {name}.params must number the network's parameters")
    return [_checked_group(x, y, f"{OPTIMIZER}.json: {name}") for x, y in zip(ours, theirs, strict=True)]


def _checked_group(ours: dict[str, Any], theirs: dict[str, Any], name: str) -> dict[str, Any]:  # Any: settings
    """:return: the file's numbers; all else is as `config.json` says"""
    result = dict(ours)
    for key in theirs.keys() & HOW - {"params"}:
        if not isinstance(theirs[key], bool | None):
            raise UnsafeFile(f"{name}.{key} {str(theirs[key])[:50]} is neither true nor false")
    for key in theirs.keys() - HOW:
        mine, value = ours[key], theirs[key]
        if isinstance(mine, th.Tensor):
            mine = mine.item()
        if not _is_alike(value, mine):
            raise UnsafeFile(f"{name}.{key} {str(value)[:50]} cannot be: here it is {mine}")
        result[key] = value
    return result


def _is_alike(value: Any, mine: Any) -> bool:  # Any: settings
    """:return: whether it is a number where there is one here, and the same otherwise"""
    if isinstance(mine, tuple):
        return isinstance(value, tuple) and len(value) == len(mine) and all(map(_is_alike, value, mine))
    if isinstance(mine, bool) or not isinstance(mine, int | float):
        return type(value) is type(mine) and bool(value == mine)
    return type(value) in (int, float) and 0 <= value < 2**63 and math.isfinite(value)


def _example(optimizer: th.optim.Optimizer, group: dict[str, Any], name: str) -> dict[str, th.Tensor]:
    """
    :return: the state of a parameter of two numbers after one step
    :raises UnsafeFile: where the optimizer's constructor refuses the settings
    """
    known = inspect.signature(type(optimizer)).parameters.keys() - HOW
    parameter = th.nn.Parameter(th.zeros(2))
    parameter.grad = th.ones(2)
    make: Any = type(optimizer)  # Any: each has keywords of its own
    try:
        example: th.optim.Optimizer = make([parameter], **{key: x for key, x in group.items() if key in known})
    except (ValueError, TypeError) as error:
        raise UnsafeFile(f"{OPTIMIZER}.json: {name}: {error}") from None
    example.step()
    return {slot: th.as_tensor(x) for slot, x in example.state[parameter].items()}


def _check_slots(
    parameter: th.Tensor, example: dict[str, th.Tensor], slots: set[str], tensors: Tensors, name: str
) -> None:
    """:raises UnsafeFile: where the state of a parameter is not what this optimizer keeps of it"""
    file = tensors.path.name
    if slots != example.keys():
        raise UnsafeFile(f"{file}: {name} has {', '.join(sorted(slots))}, and needs {', '.join(sorted(example))}")
    for slot, x in example.items():
        key = f"{name}/{slot}"
        shape, dtype = tensors.shapes[key], tensors.dtypes[key]
        expected = (tuple(parameter.shape), parameter.dtype) if x.ndim else ((), x.dtype)
        if (shape, dtype) != expected:
            raise UnsafeFile(f"{file}: {key} is {shape} of {dtype}, and must be {expected[0]} of {expected[1]}")
