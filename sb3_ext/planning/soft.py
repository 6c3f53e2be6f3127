"""
What learners with a soft policy learn: the fixed points of soft Q-learning, and of SARSA and Expected SARSA. They are
not the optimal values, and are not to be measured by them.
"""

from __future__ import annotations

import numpy as np

from sb3_ext.planning.evaluation import evaluate_paid
from sb3_ext.planning.fixed_point import (
    Greedy,
    Lookahead,
    OnSweep,
    Sweep,
    bound_of,
    check_solver,
    iterate,
    largest,
    rounding_of,
    steps_to_end,
)
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.solve import Solution
from sb3_ext.planning.undiscounted import free_loops


class Soft:
    """
    The log of a sum of exponentials: an entropy is paid beside the reward.

    :param temperature: of it, in units of reward
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def best(self, q: np.ndarray) -> np.ndarray:
        highest = largest(q)
        best: np.ndarray = highest + self.temperature * np.log(self._weights(q).sum(axis=1))
        return best

    def policy(self, q: np.ndarray) -> np.ndarray:
        """
        :param q: [S, A]
        :return: [S, A] probabilities
        """
        weights = self._weights(q)
        probabilities: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return probabilities

    def counts(self, q: np.ndarray, slack: float) -> np.ndarray:
        return np.ones(q.shape, bool)

    def steps(self, look: Lookahead, q: np.ndarray, slack: float) -> float | None:
        policy = self.policy(q)
        steps = steps_to_end(look, lambda x: (policy * x).sum(axis=1))
        if steps is None:
            return None
        # Values that are off by at most `slack` change probabilities by this factor at most; so much is held ready.
        drift = np.expm1(min(slack / self.temperature, 700.0))
        return 2.0 * steps if drift * 2.0 * steps <= 1.0 else None

    def _weights(self, q: np.ndarray) -> np.ndarray:
        below = np.maximum(q - largest(q)[:, None], -800.0 * self.temperature)  # exp(-800) is 0
        weights: np.ndarray = np.exp(below / self.temperature)
        return weights


def soft_value_iteration(
    mdp: TabularMDP,
    temperature: float,
    tol: float = 1e-8,
    max_sweeps: int = 100_000,
    on_sweep: OnSweep | None = None,
) -> Solution:
    """
    Maximum-entropy values (Ziebart, 2010; Haarnoja et al., 2017, theorem 1): v = temperature log sum exp(q /
    temperature). Their policy is stochastic.

    :param mdp: any process; with gamma 1 one in which chance alone comes to the end, and does so before the entropy on
        the way is worth going on for ever
    :param temperature: positive, in units of reward
    :param tol: largest error of a value, relative to the largest of them where that is above 1
    :param max_sweeps: give up after as many, with ``converged`` False
    :param on_sweep: is told each of them, with the values after it
    """
    _check_temperature(temperature)
    look, rule = Lookahead.of(mdp), Soft(temperature)
    found = iterate(look, rule, tol, max_sweeps, on_sweep)
    q = look(found.v)
    return Solution(rule.best(q), q, rule.policy(q), found.bound, found.n_sweeps, found.converged, found.log)


def soft_policy_iteration(
    mdp: TabularMDP, temperature: float, max_iterations: int = 1000, v: np.ndarray | None = None
) -> Solution:
    """
    The same by Newton's method, a linear solve a step (Haarnoja et al., 2018, lemmas 1 and 2, have it as soft policy
    iteration): until nothing but rounding moves, in a few steps whatever the discount.

    :param mdp: a process with a discount below 1. Above 1 500 states each step is done by sweeps
    :param temperature: positive, in units of reward
    :param max_iterations: give up after as many, with ``converged`` False
    :param v: [S] first values, by default 0: the nearer, the fewer steps
    """
    _check_temperature(temperature)
    check_solver(1.0, max_iterations)
    if mdp.gamma == 1.0:
        raise ValueError("gamma 1: soft policies are improved with a discount below 1; see soft_value_iteration")
    look, rule = Lookahead.of(mdp), Soft(temperature)
    v = np.zeros(mdp.n_states) if v is None else v
    log: list[Sweep] = []
    for n in range(1, max_iterations + 1):
        q = look(v)
        wrong = rule.best(q) - v
        log.append(Sweep(n, float(np.abs(wrong).max()), bound_of(look, rule, v, q)))
        settled = log[-1].change <= rounding_of(look, rule, q, float(np.abs(v).max()))
        if settled:
            break
        v = v + evaluate_paid(mdp, rule.policy(q), wrong)
    return Solution(rule.best(q), q, rule.policy(q), log[-1].bound, n, settled, log)


def epsilon_soft_value_iteration(
    mdp: TabularMDP,
    epsilon: float,
    tol: float = 1e-8,
    max_sweeps: int = 100_000,
    on_sweep: OnSweep | None = None,
) -> Solution:
    """
    The best of all policies that take a random action, of all A, with probability ``epsilon``: where SARSA and
    Expected SARSA go with a constant epsilon (Sutton and Barto, 2nd ed., section 5.4). ``q`` is what they learn.

    :param mdp: any process
    :param epsilon: in [0, 1]
    :param tol: largest error of a value, relative to the largest of them where that is above 1
    :param max_sweeps: give up after as many, with ``converged`` False
    :param on_sweep: is told each of them, with the values after it
    :return: its policy holds probabilities
    """
    if not 0.0 <= epsilon <= 1.0:
        raise ValueError(f"epsilon {epsilon} must lie in [0, 1]")
    look = Lookahead.of(mdp)
    rule = Greedy(epsilon, free_loops(mdp, forced=epsilon > 0.0) if mdp.gamma == 1.0 else None)
    found = iterate(look, rule, tol, max_sweeps, on_sweep)
    q = look(found.v)
    policy = np.full(q.shape, epsilon / mdp.n_actions)
    policy[np.arange(mdp.n_states), q.argmax(axis=1)] += 1.0 - epsilon
    return Solution(rule.best(q), q, policy, found.bound, found.n_sweeps, found.converged, found.log)


def _check_temperature(temperature: float) -> None:
    if not 0.0 < temperature < np.inf:
        raise ValueError(f"temperature {temperature} must be positive: value_iteration is what is without")
