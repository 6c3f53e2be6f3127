"""Whether a file acts as `predict` does: both are run on the same observations, each with its own state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy

from sb3_ext import nested
from sb3_ext.exchange.export_inputs import Source, drawer

TOLERANCE = 1e-5
"""of a number up to 1; of a larger one, its part"""
N_STEPS = 100
WIDTHS = (3, 1)  # environments at once: the batch has no fixed size
SCORES = ("q_values", "logits", "probabilities")  # of which the action is the best
RESTARTS = 0.1  # of the steps, at which an episode begins


class Difference(NamedTuple):
    """The largest between a file and `predict`."""

    largest: float
    where: str
    """name of the output"""
    n_steps: int


class Graph(Protocol):
    """What the file was made of."""

    input_names: list[str]
    output_names: list[str]
    fresh: list[th.Tensor]

    def __call__(self, *inputs: th.Tensor) -> tuple[th.Tensor, ...]: ...


def compare(
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]], graph: Graph, policy: BasePolicy, source: Source
) -> Difference:
    """
    :param run: the file, inputs to outputs
    :param graph: that it was made of, which computes what `predict` does not tell: the values
    :param policy: whose `predict` is right
    :param source: of observations, which are drawn at random
    :return: the largest over `N_STEPS` steps
    """
    rng, draw = np.random.default_rng(1), drawer(source)
    found = [("action", 0.0)]
    for width in WIDTHS:
        state: Any = None  # a tree of arrays
        ours = [np.repeat(x.numpy(), width, axis=0) for x in graph.fresh]
        for t in range(N_STEPS // len(WIDTHS)):
            observations = draw(width)
            starts = np.full(width, True) if t == 0 else rng.random(width) < RESTARTS
            inputs = [x.numpy() for x in source.tensors(observations)]
            inputs += [*ours, starts] if ours else []
            outputs = dict(zip(graph.output_names, run(inputs), strict=True))
            action, state = policy.predict(source.seen(observations), state, starts, deterministic=True)
            with th.no_grad():
                expected = dict(zip(graph.output_names, graph(*map(th.as_tensor, inputs)), strict=True))
            right = {name: x.numpy() for name, x in expected.items()}
            right["action"] = action
            right |= {f"next_state_{i}": x for i, x in enumerate(nested.leaves(state))} if ours else {}
            found += [(name, _distance(name, outputs, right)) for name in graph.output_names]
            ours = [outputs[f"next_state_{i}"] for i in range(len(ours))]
    where, largest = max(found, key=lambda each: np.inf if np.isnan(each[1]) else each[1])
    return Difference(float(largest), where, N_STEPS // len(WIDTHS) * len(WIDTHS))


def _distance(name: str, outputs: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    """:return: of a number above 1, relative to it; infinite for another choice or another shape"""
    given, expected = outputs[name], np.asarray(right[name])
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return np.inf
    if given.dtype.kind != "f":
        differs = given != expected
        return np.inf if (differs & ~_tied(given, expected, right)).any() else 0.0
    return float(np.max(np.abs(given - expected) / np.maximum(np.abs(expected), 1.0), initial=0.0))


def _tied(given: np.ndarray, expected: np.ndarray, right: dict[str, np.ndarray]) -> np.ndarray:
    """:return: whether both choices are equally good, but for rounding"""
    values = next((right[name] for name in SCORES if name in right), None)
    if values is None:
        return np.zeros(given.shape, dtype=bool)
    rows = np.arange(len(values))
    a, b = values[rows, given], values[rows, expected]
    tied: np.ndarray = np.abs(a - b) <= TOLERANCE * np.maximum(np.abs(b), 1.0)
    return tied
