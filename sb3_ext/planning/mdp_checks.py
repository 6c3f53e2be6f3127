"""What a table of outcomes must be before anything is computed from it. Every error names state, action and number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sb3_ext.planning.mdp import Outcomes

ROUNDING = 1e-6
"""by so much a row may sum to another number than 1: tables of float32"""


def check_numbers(n_states: object, n_actions: object, gamma: object, horizon: object) -> None:
    """:raises ValueError: for what no process has"""
    for name, number in (("n_states", n_states), ("n_actions", n_actions)):
        if not _counts(number):
            raise ValueError(f"{name} {number} must be a whole number, at least 1")
    if not isinstance(gamma, int | float | np.number) or not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma {gamma} must lie in [0, 1]")
    check_horizon(horizon)


def check_horizon(horizon: object) -> None:
    """:raises ValueError: for a limit of no step"""
    if horizon is not None and not _counts(horizon):
        raise ValueError(f"horizon {horizon} must be at least 1 step, and a whole number of them")


def check_start(start: np.ndarray, n_states: int) -> None:
    """:raises ValueError: where it isn't a distribution over states"""
    if start.shape != (n_states,):
        raise ValueError(f"start has shape {start.shape}, not ({n_states},): one probability for each state")
    wrong = np.flatnonzero(~(start >= 0.0))  # finds NaN, too
    if len(wrong):
        raise ValueError(f"probability {start[wrong[0]]:g} of starting in state {wrong[0]} must lie in [0, 1]")
    if abs(start.sum() - 1.0) > ROUNDING:
        raise ValueError(f"probabilities of start sum to {start.sum():g}, not 1")


def check_outcomes(of: Outcomes, n_states: int, n_actions: int) -> None:
    """
    All but the sums of rows, which `check_sums` sees.

    :raises ValueError: naming the first outcome that cannot be
    """
    for name in ("row", "next"):
        column = getattr(of, name)
        if not np.issubdtype(column.dtype, np.integer):
            for number in column[~(np.mod(column, 1.0) == 0.0)][:1]:
                raise ValueError(f"{name} {number} of an outcome must be a whole number")
    sizes = {name: len(column) for name, column in of._asdict().items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"outcomes have columns of different lengths: {sizes}")
    n_rows = n_states * n_actions
    if len(of.row) < n_rows:  # before anything as large as the table is made
        raise ValueError(f"{len(of.row)} outcomes of {n_states} states x {n_actions} actions: each needs one or more")
    outside = np.flatnonzero((of.row < 0) | (of.row >= n_rows))
    if len(outside):
        raise ValueError(f"row {of.row[outside[0]]} of an outcome must lie in [0, {n_rows}): state * A + action")
    for k in np.flatnonzero((of.next < 0) | (of.next >= n_states))[:1]:
        raise ValueError(f"{_where(of.row[k], n_actions)} leads to state {of.next[k]}, of {n_states}")
    for k in np.flatnonzero(~((of.probability >= 0.0) & (of.probability <= 1.0 + ROUNDING)))[:1]:
        place = _where(of.row[k], n_actions)
        raise ValueError(f"probability {of.probability[k]:g} of {place} must lie in [0, 1]")
    for k in np.flatnonzero(~np.isfinite(of.reward))[:1]:
        raise ValueError(f"reward {of.reward[k]} of {_where(of.row[k], n_actions)} must be a finite number")


def check_sums(sums: np.ndarray, n_actions: int) -> None:
    """
    :param sums: [S * A] of the probabilities of each row
    :raises ValueError: where they are not 1
    """
    for row in np.flatnonzero(np.abs(sums - 1.0) > ROUNDING)[:1]:
        raise ValueError(f"probabilities of {_where(row, n_actions)} sum to {sums[row]:.7g}, not 1")


def check_reward(reward: np.ndarray, n_states: int, n_actions: int) -> None:
    """
    :param reward: [S, A]
    :raises ValueError: for another shape and for what is no number
    """
    if reward.shape != (n_states, n_actions):
        raise ValueError(
            f"reward has shape {reward.shape}, not ({n_states}, {n_actions}): one for each state and action"
        )
    for row in np.flatnonzero(~np.isfinite(reward))[:1]:
        raise ValueError(f"reward {reward.flat[row]} of {_where(row, n_actions)} must be a finite number")


def _counts(number: object) -> bool:
    return isinstance(number, int | np.integer) and int(number) >= 1


def _where(row: int, n_actions: int) -> str:
    return f"state {row // n_actions}, action {row % n_actions}"
