"""
Sweeps towards the values that one more look ahead does not change, until they are provably near. What is said of the
error accounts for rounding.

What is best in a state is a rule. It rises with the action values and by no more than they do, so that the sweeps
contract: by gamma, or with gamma 1 because episodes end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.undiscounted import FreeLoops

Improve = Callable[[np.ndarray, np.ndarray], np.ndarray]
EPS = float(np.finfo(float).eps)


class Sweep(NamedTuple):
    """One line of a solver's log."""

    n: int
    """from 1"""
    change: float
    """largest of a value in it"""
    bound: float
    """largest possible error of the values after it; inf while nothing is known"""


OnSweep = Callable[[Sweep, np.ndarray], None]
"""is told each sweep and the values [S] after it, which the next one does not overwrite"""


class Lookahead:
    """
    What acting once is worth.

    :param matrix: [S * A, S] scipy matrix of what goes on
    :param reward: [S, A]
    :param gamma: discount
    :param has_ends: whether rows of ``matrix`` may sum to less than 1
    """

    def __init__(self, matrix: Any, reward: np.ndarray, gamma: float, has_ends: bool) -> None:
        self.matrix, self.reward, self.gamma, self.has_ends = matrix, reward, gamma, has_ends
        self._flat = reward.ravel()
        # Of one row: each product and sum rounds once, and so do gamma and the reward.
        self._roundings = int(np.diff(matrix.indptr).max()) + 4
        self.largest_reward = float(np.abs(reward).max())

    @classmethod
    def of(cls, mdp: TabularMDP) -> Lookahead:
        """:return: into a process"""
        return cls(mdp.matrix, mdp.reward, mdp.gamma, mdp.has_ends)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """
        :param v: [S]
        :return: [S, A]
        """
        q = self.matrix @ (self.gamma * v)
        q += self._flat
        return q.reshape(self.reward.shape)  # type: ignore[no-any-return]  # scipy has no annotations

    def steps_after(self, x: np.ndarray) -> np.ndarray:
        """
        :param x: [S] numbers of steps
        :return: [S, A] of acting once and then taking as many, undiscounted
        """
        return 1.0 + (self.matrix @ x).reshape(self.reward.shape)  # type: ignore[no-any-return]

    def rounding(self, largest_value: float, largest_reward: float | None = None) -> float:
        """
        :param largest_value: absolute, of any state
        :param largest_reward: absolute, of the actions that count; by default of all
        :return: largest error of one look ahead
        """
        reward = self.largest_reward if largest_reward is None else largest_reward
        return self._roundings * EPS * (largest_value + reward)


class Rule(Protocol):
    """What is best in a state."""

    def best(self, q: np.ndarray) -> np.ndarray:
        """
        :param q: [S, A]
        :return: [S]
        """

    def counts(self, q: np.ndarray, slack: float) -> np.ndarray:
        """
        :param q: [S, A]
        :param slack: of each of them
        :return: [S, A] bool: actions on which what is best may depend
        """

    def steps(self, look: Lookahead, q: np.ndarray, slack: float) -> float | None:
        """
        :param look: undiscounted
        :param q: [S, A]
        :param slack: what an action may lack and still be taken by the best policy
        :return: a number of steps such that no value is further from the best one than the largest change of a sweep
            times it, as long as this is below ``slack``; None where the policies that may be best need not end
        """


class Greedy:
    """
    The best action, but for a share of the time any.

    :param epsilon: that share
    :param loops: where staying is free; None = nowhere, as with a discount
    """

    def __init__(self, epsilon: float = 0.0, loops: FreeLoops | None = None) -> None:
        self.epsilon, self.loops = epsilon, loops

    def best(self, q: np.ndarray) -> np.ndarray:
        return self._mixed(q, q)

    def counts(self, q: np.ndarray, slack: float) -> np.ndarray:
        return np.ones(q.shape, bool) if self.epsilon > 0.0 else q >= largest(q)[:, None] - slack

    def steps(self, look: Lookahead, q: np.ndarray, slack: float) -> float | None:
        far = q < self.best(q)[:, None] - slack
        return steps_to_end(look, lambda x: self._mixed(np.where(far, 0.0, x), x))

    def _mixed(self, chosen: np.ndarray, q: np.ndarray) -> np.ndarray:
        """
        :param chosen: [S, A] of which the largest is taken
        :param q: [S, A] of which any is, with probability ``epsilon``
        :return: [S]
        """
        ways_out = chosen if self.loops is None else np.where(self.loops.inside, -np.inf, chosen)
        best = largest(ways_out)
        if self.epsilon > 0.0:
            best = (1.0 - self.epsilon) * best + self.epsilon * q.mean(axis=1)
        return best if self.loops is None else self.loops.merge(best)


class Found(NamedTuple):
    """Where the sweeps have led."""

    v: np.ndarray
    """[S]"""
    bound: float
    n_sweeps: int
    converged: bool
    log: list[Sweep]


def iterate(
    look: Lookahead,
    rule: Rule,
    tol: float,
    max_sweeps: int,
    on_sweep: OnSweep | None = None,
    v: np.ndarray | None = None,
    improve: Improve | None = None,
    least_size: float = 1.0,
) -> Found:
    """
    The bounds are MacQueen's (1966): where every row sums to 1 all values are off by about the same, which the last
    sweep adds. Where episodes can end, this share is 0 for them.

    :param look: ahead
    :param rule: what is best
    :param tol: largest error of a value, relative to the largest of them where that is above ``least_size``
    :param max_sweeps: give up after as many
    :param on_sweep: is told each of them
    :param v: [S] first values, by default 0
    :param improve: (action values, new values) -> values to go on with: any, the bounds hold for all
    :param least_size: of values, below which errors are not measured by them
    """
    check_solver(tol, max_sweeps)
    v = np.zeros(len(look.reward)) if v is None else v
    log: list[Sweep] = []
    error = _Error(look, rule)
    for n in range(1, max_sweeps + 1):
        q = look(v)
        new = rule.best(q)
        change = new - v
        low, high = float(change.min()), float(change.max())
        highest, lowest = float(new.max()), float(new.min())
        largest_value = max(highest, -lowest)
        rounding = rounding_of(look, rule, q, largest_value)
        shift, bound = error.after(n, q, low, high, rounding, tol * max(least_size, largest_value))
        wanted = tol * max(least_size, highest + shift, -lowest - shift)
        log.append(Sweep(n, max(high, -low), bound))
        if on_sweep is not None:
            on_sweep(log[-1], new + shift)
        stalled = max(high, -low) <= rounding  # nothing but rounding moves
        if bound <= wanted or stalled or n == max_sweeps:
            break
        v = new if improve is None else improve(q, new)
    if bound == np.inf:
        bound = undiscounted_bound(look, rule, v, q)
    return Found(new + shift, bound, n, bound <= wanted, log)


def rounding_of(look: Lookahead, rule: Rule, q: np.ndarray, largest_value: float) -> float:
    """
    A forbidding reward of an action that is never taken does no harm.

    :param q: [S, A] one look ahead
    :param largest_value: absolute, of any state
    :return: largest error by rounding of what is best there
    """
    rounding = look.rounding(largest_value)
    if look.largest_reward <= 10.0 * largest_value:
        return rounding
    counting = np.abs(look.reward[rule.counts(q, 2.0 * rounding)]).max()
    return look.rounding(largest_value, float(counting))


def bound_of(look: Lookahead, rule: Rule, v: np.ndarray, q: np.ndarray) -> float:
    """
    :param v: [S] any values
    :param q: [S, A] one look ahead from them
    :return: their largest error; inf with gamma 1
    """
    if look.gamma == 1.0:
        return np.inf
    wrong = float(np.abs(rule.best(q) - v).max()) + rounding_of(look, rule, q, float(np.abs(v).max()))
    return wrong / (1.0 - look.gamma)


def undiscounted_bound(look: Lookahead, rule: Rule, v: np.ndarray, q: np.ndarray) -> float:
    """
    :param v: [S] any values
    :param q: [S, A] one look ahead from them
    :return: an error that they certainly do not exceed, inf where there is none
    """
    largest_value = float(np.abs(v).max())
    wrong = float(np.abs(rule.best(q) - v).max()) + rounding_of(look, rule, q, largest_value)
    for exponent in range(-14, 1, 2):
        slack = 10.0**exponent * max(1.0, largest_value)
        steps = rule.steps(look, q, slack)
        if steps is None:
            break  # with more slack, even more may be best
        if steps * wrong <= slack:
            return steps * wrong
    return np.inf


class _Error:
    """How far values are from the fixed point, by how much one sweep changed them."""

    def __init__(self, look: Lookahead, rule: Rule) -> None:
        self.look, self.rule = look, rule
        self.factor = look.gamma / (1.0 - look.gamma) if look.gamma < 1.0 else np.inf
        self.next_try = 1

    def after(
        self, n: int, q: np.ndarray, low: float, high: float, rounding: float, wanted: float
    ) -> tuple[float, float]:
        """
        :param n: sweep
        :param q: [S, A] values of its actions
        :param low: least change of a value, may be negative
        :param high: largest one
        :param rounding: largest error of it
        :param wanted: error
        :return: what to add to all values, and their largest error then
        """
        if self.look.gamma == 1.0:
            self._count_steps(n, q, max(high, -low), wanted)
            wrong = max(high, -low) + rounding
            return 0.0, self.factor * wrong if self.factor < np.inf else np.inf  # also where nothing is wrong
        if self.look.has_ends:
            shift, radius = 0.0, self.factor * max(high, -low)
        else:
            shift, radius = self.factor * (low + high) / 2.0, self.factor * (high - low) / 2.0
            rounding += self.look.rounding(abs(shift), 0.0)  # of values that much larger
        return shift, radius + rounding / (1.0 - self.look.gamma)

    def _count_steps(self, n: int, q: np.ndarray, change: float, wanted: float) -> None:
        """With gamma 1 the factor is how long episodes last, under all policies that may still be best."""
        may_suffice = change * (self.factor if self.factor < np.inf else 1.0) <= wanted
        if may_suffice and n >= self.next_try:
            steps = self.rule.steps(self.look, q, wanted)
            self.factor = np.inf if steps is None else steps
            # To find that nothing ends takes as long as many sweeps.
            self.next_try = 2 * n + 1 if steps is None else n + n // 8 + 1


def steps_to_end(look: Lookahead, choose: Callable[[np.ndarray], np.ndarray], max_sweeps: int = 20_000) -> float | None:
    """
    :param look: undiscounted
    :param choose: [S, A] steps after each action -> [S]
    :param max_sweeps: give up after as many
    :return: w with w(s) - E w(s') >= 1 for all that may be chosen, its maximum; None where nothing ends so soon
    """
    x = np.zeros(len(look.reward))
    for _ in range(max_sweeps):
        new = choose(look.steps_after(x))
        if (new - x).max() <= 0.5:
            # x - E x' = x - new + 1 >= 1/2, so that 2 x is what is looked for.
            return 2.0 * float(x.max())
        x = new
    return None


def largest(q: np.ndarray) -> np.ndarray:
    """
    :param q: [S, A]
    :return: [S] of the best action
    """
    if len(q) < 100 or q.shape[1] > 16:
        best: np.ndarray = q.max(axis=1)
        return best
    best = q[:, 0].copy()  # column by column: NumPy is 3 to 17 times slower along so short an axis
    for a in range(1, q.shape[1]):
        np.maximum(best, q[:, a], out=best)
    return best


def check_solver(tol: float, limit: int) -> None:
    """:raises ValueError: for what no solver can keep"""
    if not 0.0 < tol < np.inf:
        raise ValueError(f"tol {tol} must be positive")
    if limit < 1:
        raise ValueError(f"a limit of {limit} sweeps must be at least 1")
