"""Small decision processes, and their values by formulas that are slower and plainer than ours."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import Outcomes, TabularMDP


def random_process(
    seed: int, n_states: int, n_actions: int, gamma: float, ends: float = 0.1, branches: int = 3
) -> TabularMDP:
    """
    :param ends: share of the outcomes that terminate; each state has one, where it isn't 0
    :param branches: outcomes of each action
    """
    rng = np.random.default_rng(seed)
    n_rows = n_states * n_actions
    terminated = rng.random(n_rows * branches) < ends
    if ends > 0.0:
        terminated[:: n_actions * branches] = True
    outcomes = Outcomes(
        np.repeat(np.arange(n_rows), branches),
        rng.integers(n_states, size=n_rows * branches),
        rng.dirichlet(np.ones(branches), size=n_rows).ravel(),
        rng.normal(size=n_rows * branches),
        terminated,
    )
    return TabularMDP(outcomes, n_states, n_actions, rng.dirichlet(np.ones(n_states)), gamma)


def eighths(seed: int, n_states: int, n_actions: int, gamma: float, ends: float = 0.2) -> TabularMDP:
    """Probabilities and rewards are eighths, which no sum of a few rounds: exact values are those of the tables."""
    rng = np.random.default_rng(seed)
    rows = [(3, 4, 1), (4, 2, 2), (1, 1, 6)]
    n_rows = n_states * n_actions
    probability = np.array([rows[i] for i in rng.integers(3, size=n_rows)]).ravel() / 8.0
    size = len(probability)
    terminated = rng.random(size) < ends
    if ends > 0.0:
        terminated[:: 3 * n_actions] = True
    outcomes = Outcomes(
        np.repeat(np.arange(n_rows), 3),
        rng.integers(n_states, size=size),
        probability,
        rng.integers(-8, 9, size=size) / 8.0,
        terminated,
    )
    return TabularMDP(outcomes, n_states, n_actions, np.eye(n_states)[0], gamma)


def random_grid(seed: int) -> GridWorldEnv:
    """2 to 6 rows and columns, blocks and ends anywhere, slips of four kinds."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(2, 7, size=2)
    cells = rng.choice([0.0, 0.0, 0.0, 9.0, 1.0, -1.0, 0.5], size=(rows, columns))
    i, j = int(rng.integers(rows)), int(rng.integers(columns))
    cells[i, j] = 0.0
    move_prob = float(rng.choice([1.0, 0.8, 0.5, 1 / 3]))
    return GridWorldEnv(
        cells.tolist(), move_prob=move_prob, default_reward=float(rng.choice([-0.04, 0.0])), start=(i, j)
    )


def exact_values(mdp: TabularMDP, policy: tuple[int, ...]) -> list[Fraction]:
    """:return: values of a policy in fractions of whole numbers, by elimination"""
    n, gamma = mdp.n_states, Fraction(mdp.gamma)
    matrix = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    right = [Fraction(0)] * n
    for row, following, p, reward, terminated in zip(*[x.tolist() for x in mdp.outcomes], strict=True):
        state, action = divmod(row, mdp.n_actions)
        if policy[state] == action:
            right[state] += Fraction(p) * Fraction(reward)
            if not terminated:
                matrix[state][following] -= gamma * Fraction(p)
    for i in range(n):
        pivot = next(k for k in range(i, n) if matrix[k][i] != 0)
        matrix[i], matrix[pivot], right[i], right[pivot] = matrix[pivot], matrix[i], right[pivot], right[i]
        for k in range(n):
            if k != i and matrix[k][i] != 0:
                factor = matrix[k][i] / matrix[i][i]
                matrix[k] = [x - factor * y for x, y in zip(matrix[k], matrix[i], strict=True)]
                right[k] -= factor * right[i]
    return [right[i] / matrix[i][i] for i in range(n)]


def exact_best_values(mdp: TabularMDP) -> list[Fraction]:
    """:return: the best of all policies, one by one"""
    policies = product(range(mdp.n_actions), repeat=mdp.n_states)
    values = [exact_values(mdp, policy) for policy in policies]
    return [max(of_state) for of_state in zip(*values, strict=True)]


def distance(values: np.ndarray, exact: list[Fraction]) -> Fraction:
    """:return: largest error, not rounded"""
    return max(abs(Fraction(x) - y) for x, y in zip(values.tolist(), exact, strict=True))
