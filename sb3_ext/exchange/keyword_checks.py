"""
Whether a keyword may have a value. SB3's constructors take nearly anything, and break when it is used; of a file, and
before a file is written, it is asked at the door: the type by the constructor's own annotations, the range by name.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.errors import did_you_mean
from sb3_ext.exchange.keywords import keywords_of

MAX_COUNT = 10**7  # of any whole number among the keywords, but for those that take no memory when an agent is built
MAX_REPLAY = 10**9  # transitions
UNCOUNTED = {"buffer_size", "learning_starts", "seed"}


class Range(NamedTuple):
    """Both ends belong to it."""

    low: float
    high: float = math.inf


_ANY_FINITE = Range(-np.finfo(np.float64).max, np.finfo(np.float64).max)
_PROBABILITY = Range(0.0, 1.0)
# By name: SB3 calls the same thing by one name in all of its algorithms. Ours check what is their own.
RANGES: dict[str, Range] = {
    **dict.fromkeys(
        (
            "batch_size", "buffer_size", "n_steps", "n_epochs", "policy_delay", "n_critic_updates",
            "cg_max_steps", "line_search_max_iter", "sub_sampling_factor", "n_delta", "n_top", "n_eval_episodes",
            "stats_window_size", "target_update_interval", "n_critics", "lstm_hidden_size",
            "n_lstm_layers", "net_arch", "features_dim", "cnn_output_dim", "hidden_size", "num_layers", "train_freq",
        ),
        Range(1),
    ),
    # Fractions of IQN: no weight is made of them, and acting takes memory for each.
    **dict.fromkeys(("n_quantiles", "n_target", "n_acting"), Range(1, 10_000)),
    **dict.fromkeys(("learning_starts", "top_quantiles_to_drop_per_net", "seed", "renorm_warmup_steps"), Range(0)),
    **dict.fromkeys(("gradient_steps", "sde_sample_freq"), Range(-1)),
    **dict.fromkeys(
        (
            "gamma", "tau", "gae_lambda", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps",
            "line_search_shrinking_factor", "batch_norm_momentum", "visit_power",
        ),
        _PROBABILITY,
    ),
    **dict.fromkeys(
        (
            "learning_rate", "clip_range", "clip_range_vf", "delta_std", "discriminator_learning_rate", "vf_coef",
            "target_kl", "rms_prop_eps", "cg_damping", "clip_mean", "batch_norm_eps",
            "target_policy_noise", "target_noise_clip", "sigma", "theta", "dt", "dropout",
        ),
        Range(0.0, _ANY_FINITE.high),
    ),
    "max_grad_norm": Range(0.0),  # infinite: nothing is clipped
}  # fmt: skip


def check_values(cls: type, keywords: Mapping[str, Any]) -> None:
    """
    :param cls: of an algorithm
    :param keywords: of its constructor, all of them known
    :raises ValueError: at the first that cannot be, with its name
    """
    for name, value in keywords.items():
        check_value(value, annotations_of(cls).get(name, Any), name)


def check_policy_values(cls: type, keywords: Mapping[str, Any] | None) -> None:
    """
    :param cls: of a policy
    :param keywords: its ``policy_kwargs``
    :raises ValueError: at the first that cannot be, with its name
    """
    for name, value in (keywords or {}).items():
        known = keywords_of(cls)
        if name not in known:
            raise ValueError(f"policy_kwargs: {cls.__name__} has no {name!r}{did_you_mean(name, known)}")
        if name == "net_arch" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]  # as SB3 wanted it before 1.8, and still takes it
        check_value(value, annotations_of(cls).get(name, Any), f"policy_kwargs.{name}")
        # features_extractor_kwargs are of features_extractor_class, and so on.
        made = (keywords or {}).get(name.removesuffix("_kwargs") + "_class") if name.endswith("_kwargs") else None
        for key, part in (value or {}).items() if isinstance(made, type) else ():
            check_value(part, annotations_of(made).get(key, Any), f"policy_kwargs.{name}.{key}")


def check_value(
    value: Any, annotation: Any, name: str, limits: Range | None = None
) -> None:  # Any: a setting of anyone, and what typing makes of annotations
    """
    :param value: of a setting
    :param annotation: of the parameter
    :param name: what to call it
    :param limits: of numbers; None = by the last part of the name
    :raises ValueError: with the name
    """
    if not _fits(value, annotation):
        shown = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        raise ValueError(f"{name} {_shown(value)} is no {shown}")
    last = name.rsplit(".", 1)[-1]
    for number, key in _numbers(value, last):
        shown = f"{name if key == last else f'{name}: {key}'} {_shown(number)}"
        limit = MAX_COUNT if key not in UNCOUNTED else MAX_REPLAY if key == "buffer_size" else 2**62
        if isinstance(number, int) and abs(number) > limit:
            raise ValueError(f"{shown} is larger than {limit}")
        low, high = limits or RANGES.get(key, _ANY_FINITE)
        if not low <= number <= high:  # nor is NaN
            raise ValueError(f"{shown} must lie in [{low:g}, {high:g}]")


@cache
def annotations_of(cls: type) -> dict[str, Any]:  # Any: what typing makes of them
    """:return: of the parameters of a constructor, also those that reach a base class through ``**kwargs``"""
    if dataclasses.is_dataclass(cls):  # whose constructor knows nothing of the modules of its bases
        return typing.get_type_hints(cls)
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        if not inspect.isfunction(constructor):
            continue
        names = {"VecEnv": VecEnv}  # which our own files import for type checkers alone
        for name, annotation in typing.get_type_hints(constructor, None, names).items():
            found.setdefault(name, annotation)
    return found


def _fits(value: Any, annotation: Any) -> bool:  # Any: see `check_value`
    if annotation is Any or isinstance(annotation, typing.TypeVar):
        return True
    if annotation is None or annotation is types.NoneType:
        return value is None
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(annotation))
    if origin is Callable or annotation is Callable:
        return callable(value)
    if origin is not None:
        return _fits_parts(value, origin, typing.get_args(annotation))
    return _fits_class(value, annotation)


def _fits_parts(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:  # Any: see `check_value`
    """:return: whether it is one of ``origin[parts]``"""
    if origin is typing.Literal:
        return isinstance(value, str) and value in parts
    if origin is tuple:  # yml has lists alone
        is_one = isinstance(value, list | tuple) and len(value) == len(parts)
        return is_one and all(map(_fits, value, parts))
    if origin is list:
        return isinstance(value, list | tuple) and all(_fits(x, parts[0]) for x in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(_fits(x, parts[1]) for x in value.values())
    if origin is type:
        kind = typing.get_origin(parts[0]) or parts[0]
        return isinstance(value, type) and (not isinstance(kind, type) or issubclass(value, kind))
    return _fits_class(value, origin)


def _fits_class(value: Any, annotation: Any) -> bool:  # Any: see `check_value`
    if annotation is np.ndarray:  # or what NumPy makes one of
        return isinstance(value, np.ndarray) or _fits(value, float)
    if annotation is bool:
        return isinstance(value, bool) or (type(value) is int and value in (0, 1))
    if annotation is int:  # 1e4 is what many write
        return type(value) is int or (isinstance(value, float) and value.is_integer())
    if annotation is float:
        return type(value) is int or isinstance(value, float)
    if getattr(annotation, "_is_protocol", False):
        wanted = [key for key in vars(annotation) if not key.startswith("_")]
        return not isinstance(value, type) and all(hasattr(value, key) for key in wanted)
    return not isinstance(annotation, type) or isinstance(value, annotation)


def _numbers(value: Any, key: str) -> Iterator[tuple[float, str]]:  # Any: see `check_value`
    """:return: each number in it, and the name that it has there"""
    if isinstance(value, bool | str | type) or value is None:
        return
    if isinstance(value, int | float):
        yield value, key
    elif isinstance(value, np.ndarray):
        yield from ((float(x), key) for x in value.ravel())
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _numbers(part, key if key == "net_arch" else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part, key)


def _shown(value: Any) -> str:  # Any: see `check_value`
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."
