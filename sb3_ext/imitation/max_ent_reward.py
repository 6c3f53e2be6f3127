"""A reward that explains demonstrations, as data and as a file that a page, or another process, can read."""

from __future__ import annotations

import io
import json
import os
import pathlib
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from sb3_ext.saving import write_whole

KIND = {"kind": "sb3_ext.MaxEntReward", "version": 1}
MAX_BYTES = 256_000_000
"""of a file, which may be a stranger's: a million states with four actions"""
TABLES = ("weights", "reward", "policy", "of_arrival", "history")


@dataclass(frozen=True, eq=False)
class MaxEntReward:
    """
    What `max_ent_irl` found. Rewards are in units of the temperature, which is 1: an action that is better by 1 is
    taken e times as often.

    :param weights: [F] of the features
    :param reward: [S, A] their sum
    :param policy: [S, A] probabilities: soft-optimal under the reward
    :param of_arrival: [S] paid for arriving in a state, ends too; None where the features were not of arrival
    :param feature_gap: the largest difference of a feature between demonstrations and policy, a step. At the optimum it
        is ``l2 * max(abs(weights))``: all that is left is what the penalty holds back
    :param log_likelihood: mean of log pi(a|s) over the demonstrated steps
    :param history: [iterations + 1] what was maximised, ``log_likelihood - l2 / 2 * |weights|^2``; it never falls
    :param gamma: discount
    :param l2: penalty
    :param n_steps: demonstrated
    :param converged: whether no entry of the gradient is larger than was asked for
    """

    weights: np.ndarray
    reward: np.ndarray
    policy: np.ndarray
    of_arrival: np.ndarray | None
    feature_gap: float
    log_likelihood: float
    history: np.ndarray
    gamma: float
    l2: float
    n_steps: int
    converged: bool

    @property
    def n_iterations(self) -> int:
        """Of the optimiser."""
        return len(self.history) - 1

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """
        :param path: file to write, one JSON object; ``.json`` is added where there is no suffix
        :return: the path with its suffix
        """
        tables = {name: None if getattr(self, name) is None else getattr(self, name).tolist() for name in TABLES}
        text = json.dumps({**KIND, **asdict(self), **tables}, allow_nan=False)

        def write(file: io.BufferedIOBase) -> None:
            file.write(text.encode())

        final = with_suffix(path)
        write_whole(final, "json", write)
        return final

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MaxEntReward:
        """
        :param path: of a file that `save` wrote; ``.json`` is added where there is no suffix
        :raises FileNotFoundError: where there is none
        :raises ValueError: for one that is something else, or broken
        """
        path = with_suffix(path)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path}: {size} bytes are more than a reward takes ({MAX_BYTES})")
        try:
            said = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: no JSON of MaxEntReward.save ({error})") from error
        if not isinstance(said, dict) or any(said.get(key) != value for key, value in KIND.items()):
            raise ValueError(f"{path}: no file of MaxEntReward.save: it would begin with {json.dumps(KIND)[1:-1]}")
        try:
            return _checked(said)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def with_suffix(path: str | os.PathLike[str]) -> pathlib.Path:
    """:return: a path of a file, with ``.json`` where it has no suffix"""
    named = pathlib.Path(path)
    return named if named.suffix else named.with_name(f"{named.name}.json")


def _checked(said: dict[str, Any]) -> MaxEntReward:
    """
    :param said: an object of a file
    :raises ValueError: naming what is wrong with it
    """
    names = [field.name for field in fields(MaxEntReward)]
    for name in names:
        if name not in said:
            raise ValueError(f"{name!r} is missing")
    values: dict[str, Any] = {name: said[name] for name in names}
    for name, dimensions in zip(TABLES, (1, 2, 2, 1, 1), strict=True):
        if name == "of_arrival" and said[name] is None:
            continue
        values[name] = _numbers(said[name], name, dimensions)
    shape = values["reward"].shape
    if values["policy"].shape != shape:
        raise ValueError(f"policy has shape {values['policy'].shape}, reward {shape}")
    arrival = values["of_arrival"]
    if arrival is not None and arrival.shape != shape[:1]:
        raise ValueError(f"of_arrival has {len(arrival)} states, reward {shape[0]}")
    for name in ("feature_gap", "log_likelihood", "gamma", "l2"):
        values[name] = float(_numbers(said[name], name, 0))
    if not isinstance(said["n_steps"], int) or not isinstance(said["converged"], bool):
        raise ValueError("n_steps must be a whole number, converged true or false")
    return MaxEntReward(**values)


def _numbers(given: Any, name: str, dimensions: int) -> np.ndarray:  # Any: whatever the file holds
    try:
        table = np.array(given, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} holds something else than numbers, or rows of different lengths") from error
    if table.ndim != dimensions or not np.isfinite(table).all():
        raise ValueError(f"{name!r} must hold finite numbers along {dimensions} axes, and has {table.ndim}")
    return table
