"""
Settings as JSON that cannot run code: numbers, text, lists, spaces, and names out of a list that is written here.

A reader of a pickle does what the writer wrote. Here the writer can only choose: a class is a key of `CLASSES`, an
object one of `OBJECTS` with plain arguments, or either is what the reader has allowed (`sb3_ext.exchange.allow`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_ext.buffers.samplers import SAMPLERS
from sb3_ext.demonstrations.spaces_json import space_from_json, space_to_json
from sb3_ext.exchange import allowed
from sb3_ext.exchange.keyword_checks import RANGES, annotations_of, check_value
from sb3_ext.networks import GRUCore, ImpalaResNet, LSTMCore
from sb3_ext.networks.head_table import HEADS
from sb3_ext.ops.exploration import EXPLORATIONS
from sb3_ext.ops.value_rescaling import ValueRescaling
from sb3_ext.td3.noise import Laddered, Scheduled
from sb3_ext.td3.policies import NormalizedExtractor

MAX_DEPTH = 16
MAX_SPACE = 2**21  # numbers in the bounds of a space: a picture of 800 x 800 in colour
MAX_PARTS = 1000  # spaces in a space
MAX_LENGTH = 100_000  # entries of one list, array or text

ACTIVATIONS = ("ReLU", "Tanh", "ELU", "LeakyReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "SELU", "Mish", "Identity")
OPTIMIZERS = ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")
CLASSES: dict[str, type] = {
    **{f"torch.nn.{name}": getattr(th.nn, name) for name in ACTIVATIONS},
    **{f"torch.optim.{name}": getattr(th.optim, name) for name in OPTIMIZERS},
    **{f"stable_baselines3.{x.__name__}": x for x in (CombinedExtractor, FlattenExtractor, NatureCNN, RMSpropTFLike)},
    "numpy.float32": np.float32,
    "numpy.float64": np.float64,
    **{f"sb3_ext.{x.__name__}": x for x in (GRUCore, ImpalaResNet, LSTMCore, NormalizedExtractor)},
}
SPECS: tuple[type, ...] = (
    *HEADS.values(),
    *SAMPLERS.values(),
    *EXPLORATIONS.values(),
    Laddered,
    Scheduled,
    ValueRescaling,
)
"""Settings that are objects: written by what their classes are called with, which is held under the same names."""
OBJECTS: dict[str, tuple[type, Mapping[str, str]]] = {
    # name -> class, and the attribute that holds each argument
    **{f"sb3_ext.{x.__name__}": (x, {name: name for name in inspect.signature(x).parameters}) for x in SPECS},
    "stable_baselines3.ConstantSchedule": (ConstantSchedule, {"val": "val"}),
    "stable_baselines3.LinearSchedule": (
        LinearSchedule,
        {name: name for name in ("start", "end", "end_fraction")},
    ),
    "stable_baselines3.NormalActionNoise": (NormalActionNoise, {"mean": "_mu", "sigma": "_sigma", "dtype": "_dtype"}),
    "stable_baselines3.OrnsteinUhlenbeckActionNoise": (
        OrnsteinUhlenbeckActionNoise,
        {
            "mean": "_mu",
            "sigma": "_sigma",
            "theta": "_theta",
            "dt": "_dt",
            "initial_noise": "initial_noise",
            "dtype": "_dtype",
        },
    ),
}
TAGS = ("$class", "$object", "$space", "$array", "$tuple", "$float")


@cache
def _names() -> dict[type, str]:
    return {cls: name for name, cls in CLASSES.items()} | {cls: name for name, (cls, _) in OBJECTS.items()}


def _name_of(cls: type) -> str | None:
    return _names().get(cls) or allowed.name_of(cls)


class NotPlain(ValueError):
    """A value that only a pickle could hold."""


def encode(value: Any, name: str) -> Any:  # Any: whatever a setting may be
    """
    :param value: a setting
    :param name: what to call it
    :return: for `json.dumps`
    :raises NotPlain: for anything that is not on the list
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, list):
        return [encode(x, name) for x in value]
    if isinstance(value, Mapping) and not isinstance(value, spaces.Space):  # that of dictionaries is one
        if not all(isinstance(key, str) and not key.startswith("$") for key in value):
            raise NotPlain(f"{name}: keys {list(value)} must be text that does not begin with $")
        return {key: encode(x, f"{name}.{key}") for key, x in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size <= MAX_LENGTH:
        numbers = [encode(x, name) for x in value.ravel().tolist()]
        return {"$array": numbers, "shape": list(value.shape), "dtype": str(value.dtype)}
    return _encode_object(value, name)


def _encode_object(value: Any, name: str) -> Any:  # Any: as in `encode`
    """Parameters as in `encode`, of what JSON has no form of."""
    if isinstance(value, tuple):
        parts = (value.frequency, value.unit.value) if isinstance(value, TrainFreq) else value
        return {"$tuple": [encode(x, name) for x in parts]}
    if isinstance(value, spaces.Space):
        return {"$space": encode(space_to_json(value), name)}  # JSON has no infinite bounds
    if isinstance(value, type) and _name_of(value) is not None:
        return {"$class": _name_of(value)}
    if isinstance(value, FloatSchedule | VectorizedActionNoise):  # around what was given
        return encode(value.value_schedule if isinstance(value, FloatSchedule) else value.base_noise, name)
    if type(value).__module__ == "rl_zoo3.utils" and type(value).__name__ == "SimpleLinearSchedule":
        return encode(LinearSchedule(float(value.initial_value), 0.0, 1.0), name)
    kind = _name_of(type(value))
    if kind is not None:
        _, attributes = _known(kind)
        return {
            "$object": kind,
            **{key: encode(getattr(value, attribute), name) for key, attribute in attributes.items()},
        }
    shown = value.__name__ if inspect.isfunction(value) or isinstance(value, type) else type(value).__name__
    advice = allowed.advice(value if isinstance(value, type) else type(value))
    raise NotPlain(f"{name}: {shown} cannot be written without a pickle{advice}")


def decode(data: Any, name: str, depth: int = 0) -> Any:  # Any: what JSON may hold, from anyone
    """
    :param data: from `encode`, or from anyone
    :param name: what to call it
    :return: the setting
    :raises NotPlain: for anything that `encode` does not write
    """
    if depth > MAX_DEPTH:
        raise NotPlain(f"{name}: nested deeper than {MAX_DEPTH}")
    if data is None or isinstance(data, bool | int | float):
        return data
    if isinstance(data, str | list) and len(data) > MAX_LENGTH:
        raise NotPlain(f"{name}: longer than {MAX_LENGTH}")
    if isinstance(data, str):
        return data
    if isinstance(data, list):
        return [decode(x, name, depth + 1) for x in data]
    if not isinstance(data, dict):
        raise NotPlain(f"{name}: {type(data).__name__} is not JSON")
    tags = [key for key in data if key.startswith("$")]
    if not tags:
        return {key: decode(x, f"{name}.{key}", depth + 1) for key, x in data.items()}
    if len(tags) > 1 or tags[0] not in TAGS:
        raise NotPlain(f"{name}: unknown tag {', '.join(tags)}")
    readers: dict[str, Callable[[dict[str, Any], str, int], Any]] = {
        "$class": _class,
        "$object": _object,
        "$space": _space,
        "$array": _array,
        "$tuple": lambda x, what, level: tuple(decode(part, what, level + 1) for part in _list(x["$tuple"], what)),
        "$float": _float,
    }
    return readers[tags[0]](data, name, depth)


def _space(data: dict[str, Any], name: str, depth: int) -> spaces.Space[Any]:
    plain = decode(data["$space"], name, depth + 1)
    n_parts = _n_parts(plain)
    if n_parts > MAX_PARTS:
        raise NotPlain(f"{name}: not a space ({n_parts} parts, more than {MAX_PARTS})")
    return space_from_json(plain, name, MAX_SPACE)


def _n_parts(data: Any) -> int:  # Any: JSON of anyone
    """:return: objects in it: a space and those within it"""
    if isinstance(data, dict):
        return 1 + sum(map(_n_parts, data.values()))
    return sum(map(_n_parts, data)) if isinstance(data, list) else 0


def _list(data: Any, name: str) -> list[Any]:
    if not isinstance(data, list) or len(data) > MAX_LENGTH:
        raise NotPlain(f"{name}: a list of at most {MAX_LENGTH} entries is expected")
    return data


def _float(data: dict[str, Any], name: str, depth: int) -> float:
    if data["$float"] not in ("inf", "-inf", "nan"):
        raise NotPlain(f"{name}: {data['$float']!r} is none of inf, -inf, nan")
    return float(data["$float"])


def _class(data: dict[str, Any], name: str, depth: int) -> type:
    kind = data["$class"]
    found = (CLASSES.get(kind) or allowed.class_of(kind)) if isinstance(kind, str) else None
    if found is None or allowed.is_spec(found):  # of those a file holds objects
        raise NotPlain(f"{name}: class {allowed.in_words(str(kind))}")
    return found


def _object(data: dict[str, Any], name: str, depth: int) -> Any:  # Any: one of OBJECTS
    kind = data["$object"]
    cls, attributes = _known(kind) if isinstance(kind, str) else (None, {})
    if cls is None:
        raise NotPlain(f"{name}: {allowed.in_words(str(kind))}")
    given = {key: x for key, x in data.items() if key != "$object"}
    if not given.keys() <= attributes.keys():
        raise NotPlain(f"{name}: {kind} has no {', '.join(sorted(given.keys() - attributes.keys()))}")
    arguments = {key: decode(x, name, depth + 1) for key, x in given.items()}
    for key, value in arguments.items():
        annotation = type[np.floating] if key == "dtype" else annotations_of(cls).get(key, Any)
        try:
            # A schedule goes from one value of its keyword to another.
            limits = RANGES.get(name) if key in ("val", "start", "end") else None
            check_value(value, annotation, f"{name}.{key}", limits)
        except ValueError as error:
            raise NotPlain(str(error)) from None
    try:
        return cls(**arguments)
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, AssertionError, RuntimeError) as error:
        raise NotPlain(f"{name}: not a {kind} ({error})") from None


def _known(kind: str) -> tuple[type | None, Mapping[str, str]]:
    """:return: class of an object, and its attribute for each argument"""
    if kind in OBJECTS:
        return OBJECTS[kind]
    own = allowed.class_of(kind)
    return (own, allowed.fields_of(own)) if own is not None and allowed.is_spec(own) else (None, {})


def _array(data: dict[str, Any], name: str, depth: int) -> np.ndarray:
    try:
        dtype = np.dtype(str(data["dtype"]))
        if dtype.kind not in "biuf":
            raise NotPlain(f"{name}: dtype {dtype} is not one of numbers")
        values = [decode(x, name, depth + 1) for x in _list(data["$array"], name)]
        if any(not isinstance(x, bool if dtype.kind == "b" else int | float) for x in values) or (
            dtype.kind != "b" and any(isinstance(x, bool) for x in values)
        ):
            raise NotPlain(f"{name}: an array of {dtype} has numbers of this kind alone")
        shape = _list(data["shape"], name)
        if not all(type(n) is int and n >= 0 for n in shape):
            raise NotPlain(f"{name}: shape {shape} is no list of whole numbers")
        return np.array(values, dtype=dtype).reshape(shape)
    except NotPlain:
        raise
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise NotPlain(f"{name}: not an array ({type(error).__name__}: {error})") from None
