"""
What a task is worth to an agent that remembers all it has seen, between two certain bounds. Its beliefs form a process
that grows: beliefs at its rim are worth what `belief_bounds` says of them, inner ones what follows from these. Both
bounds hold after each sweep, and a sweep only narrows them, so the search can stop at any time::

    first beliefs  o---o---o ...  inner: looked one step ahead, by all actions and all that may be seen
                    \\    \\
                     o    o       rim: below  blind policies, and states that are known and stay so
                                       above  fast informed bound
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from sb3_ext.planning.belief_bounds import Bounds, bounds
from sb3_ext.planning.belief_tree import BeliefTree, Steps
from sb3_ext.planning.fixed_point import largest
from sb3_ext.planning.mdp import Csr
from sb3_ext.planning.pomdp import TabularPOMDP, as_belief

GROWTH = 4  # of as many inner beliefs one is added before the values are computed again
VISITS = 1e-3  # that are not followed any further
SWEEPS = 1000  # before the clock is looked at


class BeliefPolicy:
    """
    Acts by what can be known. Its value lies in the interval of the solution that it comes from.

    :param pomdp: whose beliefs
    :param tree: those that were reached
    :param rim: bounds on all others
    :param action: [N] best action of each belief of the tree, -1 at its rim
    """

    def __init__(self, pomdp: TabularPOMDP, tree: BeliefTree, rim: Bounds, action: np.ndarray) -> None:
        self._pomdp = pomdp
        self._tree = tree
        self._rim = rim
        self._action = action

    def first(self, observation: int | None = None) -> np.ndarray:
        """
        :param observation: what is seen before any action
        :return: [S] the belief then
        """
        return self._pomdp.first_belief(observation)

    def next(self, belief: np.ndarray, action: int, observation: int) -> np.ndarray:
        """
        :param belief: [S]
        :param action: what was done
        :param observation: what was seen then
        :return: [S] the belief now
        """
        return self._pomdp.next_belief(belief, action, observation)

    def act(self, belief: np.ndarray) -> int:
        """
        :param belief: [S]
        :return: the action
        """
        belief = as_belief(belief, self._pomdp.mdp.n_states)
        number = self._tree.number_of(belief)
        if number is None or self._action[number] < 0:
            return self._rim.action(belief)
        return int(self._action[number])


class BeliefSolution(NamedTuple):
    """What is certain of the value at the start, discounted, without a limit of steps."""

    lower: float
    """the policy reaches it"""
    upper: float
    """none is worth more"""
    policy: BeliefPolicy
    n_beliefs: int
    """that were reached"""
    converged: bool
    """whether the interval is as narrow as was asked for"""


def solve_beliefs(
    pomdp: TabularPOMDP, tol: float = 1e-3, max_beliefs: int = 50_000, seconds: float = 60.0
) -> BeliefSolution:
    """
    Stops when one of the three is reached; the interval holds in any case.

    :param pomdp: with gamma 1 it must be one that always ends
    :param tol: width of the interval
    :param max_beliefs: that are reached; the last step may go beyond it
    :param seconds: of searching
    :raises ValueError: for limits that are not positive, and with gamma 1 where a policy can go on for ever
    """
    for name, limit in (("tol", tol), ("max_beliefs", max_beliefs), ("seconds", seconds)):
        if not limit > 0:
            raise ValueError(f"{name} {limit} must be positive")
    deadline = time.monotonic() + seconds
    search = _Search(pomdp, tol, deadline - 0.75 * seconds)  # most of the time is for the search
    while True:
        rests = search.sweep()
        lower, upper = search.interval()
        if upper - lower <= tol or len(search.tree) >= max_beliefs or time.monotonic() >= deadline:
            break
        grown = search.grow(at_most=max_beliefs - len(search.tree))
        if rests and not grown:
            break  # what is left is rounding
    return BeliefSolution(lower, upper, search.policy(), len(search.tree), upper - lower <= tol)


class _Search:
    """
    :param pomdp: whose beliefs
    :param tol: width of the interval that is wanted
    :param deadline: by the monotonic clock, of the bounds at the rim
    """

    def __init__(self, pomdp: TabularPOMDP, tol: float, deadline: float) -> None:
        self._pomdp = pomdp
        self.tree = BeliefTree(pomdp)
        self._rim = bounds(pomdp, self.tree.seen_next, tol, deadline)
        # Of a policy tree, between two states: how a belief's error is paid for.
        self._span = 2.0 * float(np.abs(pomdp.mdp.reward).max()) * self._rim.n_steps
        self._still = tol / (40.0 * self._rim.n_steps)  # a smaller change leaves at most tol / 40
        self._inner = np.empty(0, np.int64)  # [n] numbers of the inner beliefs
        n_actions = pomdp.mdp.n_actions
        self._steps = Steps(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
        self._gain = np.empty((0, n_actions, 2))  # [n, A, lower or upper] reward, with what belief errors may cost
        self._values = np.empty((0, 2))  # [N, lower or upper]
        self._q = np.empty((0, n_actions, 2))
        self._add_values()

    def sweep(self) -> bool:
        """
        Value iteration on both bounds at once, until they rest or it is time to look at the clock.

        :return: whether they rest
        """
        inner, matrix = self._inner, self._matrix()
        for _ in range(SWEEPS):
            self._q = self._gain + self._pomdp.mdp.gamma * (matrix @ self._values).reshape(self._gain.shape)
            best, old = largest(self._q), self._values[inner]
            new = np.stack([np.maximum(best[:, 0], old[:, 0]), np.minimum(best[:, 1], old[:, 1])], axis=1)
            self._values[inner] = new
            if np.abs(new - old).max(initial=0.0) < self._still:
                return True
        return False

    def interval(self) -> tuple[float, float]:
        """:return: lower and upper bound of the start, also in exact arithmetic"""
        lower, upper = self.tree.first_probability @ self._values[self.tree.first]
        size = float(np.abs(self._values).max())
        rounding = np.finfo(float).eps * (self._pomdp.mdp.n_states + 4) * size * self._rim.n_steps
        return float(lower - rounding), float(upper + rounding)

    def grow(self, at_most: int) -> bool:
        """
        Look one step ahead from the beliefs at the rim that hold the interval open.

        :param at_most: beliefs
        :return: whether there are any
        """
        score = self._visits() * (self._values[:, 1] - self._values[:, 0])
        score[self._inner] = 0.0
        n_chosen = min(max(1, len(self._inner) // GROWTH), at_most)
        chosen = np.argsort(-score, kind="stable")[:n_chosen]
        chosen = chosen[score[chosen] > 0.0]
        if not len(chosen):
            return False
        mdp, before = self._pomdp.mdp, self._steps
        steps = self.tree.expand(chosen)
        reward = self.tree.beliefs.take(chosen).matrix(mdp.n_states) @ mdp.reward  # [n, A]
        apart = np.concatenate([[0.0], np.cumsum(steps.probability * steps.distance)])[steps.indptr]
        cost = 0.5 * mdp.gamma * self._span * np.diff(apart).reshape(reward.shape)
        gain = np.stack([reward - cost, reward + cost], axis=2)
        self._steps = Steps(
            np.concatenate([before.indptr, before.indptr[-1] + steps.indptr[1:]]),
            *(np.concatenate(both) for both in zip(before[1:], steps[1:], strict=True)),
        )
        self._gain = np.concatenate([self._gain, gain])
        self._inner = np.concatenate([self._inner, chosen])
        self._add_values()
        return True

    def policy(self) -> BeliefPolicy:
        """:return: the best by the lower bounds"""
        action = np.full(len(self.tree), -1)
        action[self._inner] = self._q[..., 0].argmax(axis=1)
        return BeliefPolicy(self._pomdp, self.tree, self._rim, action)

    def _add_values(self) -> None:
        """Of beliefs that are new."""
        new = np.arange(len(self._values), len(self.tree))
        beliefs = self.tree.beliefs.take(new).matrix(self._pomdp.mdp.n_states)
        rim = np.stack([self._rim.lower(beliefs), self._rim.upper(beliefs)], axis=1)
        self._values = np.concatenate([self._values, rim])

    def _visits(self) -> np.ndarray:
        """:return: [N] discounted visits of each belief by the policy that trusts the upper bounds"""
        gamma, n_actions = self._pomdp.mdp.gamma, self._pomdp.mdp.n_actions
        rows = np.arange(len(self._inner)) * n_actions + self._q[..., 1].argmax(axis=1)
        on = self._matrix()[rows].T.tocsr()
        now = np.zeros(len(self.tree))
        now[self.tree.first] = self.tree.first_probability
        visits: np.ndarray = now.copy()
        for _ in range(SWEEPS):
            if now[self._inner].sum() < VISITS:
                break
            now = gamma * (on @ now[self._inner])
            visits += now
        return visits

    def _matrix(self) -> Any:  # Any: scipy ships no annotations
        """:return: [n * A, N], sparse"""
        return Csr(self._steps.indptr, self._steps.child, self._steps.probability, len(self.tree)).matrix()
