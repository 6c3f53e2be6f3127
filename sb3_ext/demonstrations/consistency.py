"""Whether the same state has the same action: what hands, and experts that draw lots, do not give."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.array_spaces import subspaces
from sb3_ext.demonstrations.data import Demonstrations

# Nearly equal: within 0.2 standard deviations per component, root mean square. By this width deterministic controllers
# have inconsistency 0.00 to 0.10, one with every tenth action random 0.40, an unsteady hand 0.66, a coin about 1
# (benchmarks/inconsistency.py).
NEAR = 0.2
MAX_QUERIES, MAX_STATES = 2_000, 20_000  # of the comparison of all states with all others
MAX_COMPONENTS = 512  # of a float Box; larger ones are pictures, which must be equal
MIN_PAIRS = 30  # fewer say nothing


class Inconsistency(NamedTuple):
    """How much the actions differ where the states do not."""

    share: float
    """Squared difference of the actions in nearly equal states over that in any two states: 0 = the state decides the
    action, 1 = it tells nothing about it"""
    n_pairs: int
    """compared steps, each with the nearest state of another episode"""
    n_steps: int
    """steps for which one was looked for"""


def inconsistency(demos: Demonstrations, seed: int = 0) -> Inconsistency | None:
    """
    Compare each action with that of the nearest state of another episode, where that one is nearly equal. A neighbour
    of the same episode would often be the step before, with the key still held.

    Components of float Boxes are measured in their standard deviations; all others, images among them, must be equal.

    :param demos: of at least two episodes
    :param seed: of the choice among too many steps
    :return: None where too few states are nearly equal to say anything
    """
    exact, near = _states(demos)
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    differs = _differences(
        actions.reshape(len(actions), -1), isinstance(demos.action_space, spaces.Box | spaces.MultiBinary)
    )
    owner = np.repeat(np.arange(len(demos)), demos.lengths)
    rng = np.random.default_rng(seed)
    states = np.sort(rng.permutation(len(actions))[:MAX_STATES])
    queries = np.sort(rng.permutation(states)[:MAX_QUERIES])
    if differs is None:
        return Inconsistency(0.0, len(queries), len(queries))
    differences: list[np.ndarray] = []
    for chunk in np.array_split(queries, len(queries) // 100 + 1):
        distance = np.zeros((len(chunk), len(states)), dtype=np.float32)
        if near.shape[1]:
            squares = (near[chunk] ** 2).sum(1)[:, None] + (near[states] ** 2).sum(1)
            distance = (squares - 2 * near[chunk] @ near[states].T) / near.shape[1]
        distance[(exact[chunk][:, None] != exact[states]) | (owner[chunk][:, None] == owner[states])] = np.inf
        # Of many equal ones a random one: the first would be the start of an episode more often than not.
        nearest = np.where(distance <= distance.min(axis=1, keepdims=True), rng.random(distance.shape), -1).argmax(1)
        close = distance[np.arange(len(chunk)), nearest] < NEAR**2
        differences.append(differs(chunk[close], states[nearest][close]))
    pairs = np.concatenate(differences)
    # Two independent draws differ by twice the variance, which is 1 now.
    return None if len(pairs) < MIN_PAIRS else Inconsistency(float(pairs.mean() / 2), len(pairs), len(queries))


def _states(demos: Demonstrations) -> tuple[np.ndarray, np.ndarray]:
    """:return: [N] codes that are equal where states must be, and [N, D] what may differ a little"""
    digests = np.zeros((demos.n_steps, 0), dtype=np.int64)
    near = np.zeros((demos.n_steps, 0), dtype=np.float32)
    for name, space in subspaces(demos.observation_space, "observations").items():
        values = np.concatenate([episode.named_observations()[name][: len(episode)] for episode in demos.episodes])
        values = values.reshape(len(values), -1)
        if isinstance(space, spaces.Box) and values.dtype.kind == "f" and values.shape[1] <= MAX_COMPONENTS:
            values = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
            spread = values.std(axis=0)
            values = values[:, spread > 0] / spread[spread > 0]
            near = np.concatenate([near, values.astype(np.float32)], axis=1)
        else:
            codes = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values]
            digests = np.concatenate([digests, np.frombuffer(b"".join(codes), dtype=np.int64)[:, None]], axis=1)
    _, exact = np.unique(digests, axis=0, return_inverse=True)
    return exact.reshape(-1) if digests.shape[1] else np.zeros(demos.n_steps, dtype=np.int64), near


def _differences(actions: np.ndarray, continuous: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """
    :param actions: [N, C]
    :param continuous: whether numbers that are near each other are near as actions; those of zeros and ones are, too
    :return: of rows to rows the mean squared difference, in variances; None where all are equal. A choice counts as one
        column of zeros and ones for each choice that was made, which are not written out: there may be 2^40 of them
    """
    if continuous:
        numbers = actions.astype(np.float64)
        spread = numbers.var(axis=0)
        scaled = numbers[:, spread > 0] / np.sqrt(spread[spread > 0])
        return (lambda a, b: ((scaled[a] - scaled[b]) ** 2).mean(axis=1)) if scaled.shape[1] else None
    codes, weights, n_columns = [], [], 0
    for column in actions.T:
        _, code, count = np.unique(column, return_inverse=True, return_counts=True)
        if len(count) > 1:
            share = count / len(actions)
            codes.append(code)
            weights.append((1 / (share * (1 - share)))[code])  # of zeros and ones the variance is p (1 - p)
            n_columns += len(count)
    if not codes:
        return None
    which, weight = np.stack(codes, axis=1), np.stack(weights, axis=1)  # [N, C]
    # Two different choices differ in two columns.
    return lambda a, b: ((which[a] != which[b]) * (weight[a] + weight[b])).sum(axis=1) / n_columns
