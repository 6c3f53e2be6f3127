"""
Equations of learning and acting by tables. A cell is one state with one action; tables and what is counted of them are
flat, [C], and written in place.
"""

from __future__ import annotations

import numpy as np

from sb3_ext.ops.counted_exploration import Counts
from sb3_ext.ops.exploration import CountedExploration, Exploration


def bootstrapped(reward: np.ndarray, terminated: np.ndarray, next_value: np.ndarray, gamma: float) -> np.ndarray:
    """
    ``r + gamma V(s')``, and ``r`` alone where the episode terminated: an end is worth nothing, a time limit is none.

    :param reward: [n]
    :param terminated: [n] bool
    :param next_value: [n], read where the episode did not terminate
    :param gamma: discount
    :return: [n] float64
    """
    targets: np.ndarray = reward + gamma * np.where(terminated, 0.0, next_value)
    return targets


def step_sizes(visit: np.ndarray, learning_rate: float, visit_power: float) -> np.ndarray:
    """
    The polynomial learning rate of Even-Dar & Mansour ("Learning rates for Q-learning", JMLR 2003, section 3).

    :param visit: [n] int, from 1: the how manieth visit of its cell this is
    :param learning_rate: step of the first one
    :param visit_power: 0 = every step is as long, 1 with learning rate 1 = the mean of all targets
    :return: [n] float64, ``learning_rate * visit ** -visit_power``
    """
    steps: np.ndarray = learning_rate * visit.astype(np.float64) ** -visit_power
    return steps


def move_towards(
    table: np.ndarray,
    visits: np.ndarray,
    cells: np.ndarray,
    targets: np.ndarray,
    learning_rate: float,
    visit_power: float,
    second_moment: np.ndarray | None = None,
) -> None:
    """
    Move cells towards their targets, each by the step of its visit. What several environments say of one cell in one
    step is one move towards the mean of it, by what as many steps in a row would do: ``1 - prod(1 - step_i)``. (Their
    errors added up, as `np.add.at` would, overshoot: 64 steps of 0.1 from one value are 6.4 of its error.)

    :param table: [C] float64, written
    :param visits: [C] int64, how often each cell was moved before; written
    :param cells: [n] int64, some more than once
    :param targets: [n]
    :param learning_rate: as `step_sizes`
    :param visit_power: as `step_sizes`
    :param second_moment: [C] float64, written: moves likewise towards the squares of the targets
    """
    if len(cells) == 1 or len(np.unique(cells)) == len(cells):
        count: np.ndarray | int = 1
        share, squares = step_sizes(visits[cells] + 1, learning_rate, visit_power), targets * targets
    else:
        order = np.argsort(cells, kind="stable")
        sorted_cells, targets = cells[order], targets[order]
        first = np.flatnonzero(np.diff(sorted_cells, prepend=-1))
        count = np.diff(first, append=len(cells))
        rank = np.arange(len(cells)) - np.repeat(first, count)
        steps = step_sizes(visits[sorted_cells] + 1 + rank, learning_rate, visit_power)
        # Of a single step the step itself: 1 - (1 - step) differs from it in the last bit.
        share = np.where(count == 1, steps[first], 1.0 - np.multiply.reduceat(1.0 - steps, first))
        squares = np.add.reduceat(targets * targets, first) / count
        targets = np.add.reduceat(targets, first) / count
        cells = sorted_cells[first]
    table[cells] += share * (targets - table[cells])
    if second_moment is not None:
        second_moment[cells] += share * (squares - second_moment[cells])
    visits[cells] += count


def choose_breaking_ties(exploration: Exploration, seen: np.ndarray | Counts, progress_remaining: float) -> np.ndarray:
    """
    A strategy meets the actions of each environment in a random order, so that whatever it does with ties, it does at
    random: a table begins with all of its values tied.

    :param exploration: chooses
    :param seen: of the state that each environment is in: values [E, A], or counts for a strategy that reads them
    :param progress_remaining: SB3's clock, from 1 to 0
    :return: [E] actions
    """
    if isinstance(seen, Counts):
        assert isinstance(exploration, CountedExploration)
        lanes, order = _random_orders(seen.mean)
        chosen = exploration.choose_counted(Counts(*(part[lanes, order] for part in seen)), progress_remaining)
    else:
        lanes, order = _random_orders(seen)
        chosen = exploration.choose(seen[lanes, order], progress_remaining)
    actions: np.ndarray = order[lanes[:, 0], chosen]
    return actions


def _random_orders(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    :param values: [E, A]
    :return: [E, 1] numbers of rows, and [E, A] an order of the columns for each
    """
    return np.arange(len(values))[:, None], np.random.random(values.shape).argsort(axis=1)


def expected_backup(
    probability: np.ndarray, reward: np.ndarray, terminated: np.ndarray, next_value: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    The target in expectation over W outcomes: ``sum_i p_i (r_i + gamma V(s'_i))``, an end is worth nothing.

    :param probability: [n, W]
    :param reward: [n, W]
    :param terminated: [n, W] bool
    :param next_value: [n, W], read where the episode did not terminate
    :param gamma: discount
    :return: [n] mean of the targets, [n] mean of their squares
    """
    targets = bootstrapped(reward, terminated, next_value, gamma)
    mean: np.ndarray = (probability * targets).sum(axis=1)
    return mean, (probability * targets**2).sum(axis=1)
