"""
The reward for which demonstrations are what a soft-optimal policy would do: maximum causal entropy inverse
reinforcement learning with a discount, on a table.

With rewards r = features . w, soft-optimal means (Ziebart, Bagnell and Dey, ICML 2010; with a discount Bloem and
Bambos, CDC 2014; temperature 1, because another one only scales w)::

    q(s, a) = r(s, a) + gamma sum_s' P(s'|s, a) v(s'),    v(s) = log sum_a exp q(s, a),    pi(a|s) = exp(q - v)

What is maximised is the mean of log pi(a|s) over the demonstrated steps, less l2 / 2 |w|^2. It asks only what was done
where, so an episode that was cut, or of which some steps are kept, counts for what it shows: nothing is to be known
about the rest. (Counts of features would be: those of an expert that was cut off have a tail that nobody saw.) Let n be
the share of the steps that took a in s, and c(s) what is acted in s and did not come from a demonstrated step::

    c(s) = sum_a n(s, a) - gamma sum_s'a' n(s', a') P(s|s', a')
    likelihood = sum n (q - v) = sum n r - sum_s c(s) v(s)
    gradient   = sum n features - sum d features,    d(s, a) = pi(a|s) times the discounted visits of s from c

which is Ziebart's: features of the demonstrations less those of the policy, when both begin as the demonstrations do.
d of the demonstrators' own policy is n. The likelihood's curvature is minus the visits times a covariance of what the
actions of a state lead to: it is concave where no visits are negative. Near a fit they are those of the demonstrations;
with a handful of steps and much chance some can be, and there can be a second optimum (benchmarks/irl.py counts them).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.imitation.max_ent_reward import MaxEntReward
from sb3_ext.imitation.table_steps import times_shown
from sb3_ext.planning import Solution, TabularMDP, occupancy, soft_policy_iteration
from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.views import Observe

Features: TypeAlias = (
    Literal["arrival", "state_action"] | Any
)  # Any: an array, or scipy's sparse ones, which have no type
"""one-hot of the state that an action leads to, ends too, in expectation: rewards of arrival [F = S]; one-hot of state
and action [F = S * A]; or any [S, A, F], scipy's sparse ones as [S * A, F]"""
TEMPERATURE = 1.0
"""in units of the reward: another one would be another unit"""
MEMORY = 50
"""steps of which L-BFGS remembers the curvature"""


def max_ent_irl(
    mdp: TabularMDP,
    demonstrations: Demonstrations,
    features: Features = "arrival",
    l2: float = 1e-4,
    observe: Observe | None = None,
    tol: float = 1e-8,
    max_iterations: int = 5000,
    start: np.ndarray | None = None,
) -> MaxEntReward:
    """
    :param mdp: the process, whose rewards are not read; with a discount below 1
    :param demonstrations: of its environment. Steps that `Demonstrations.subsample` took away do not count
    :param features: "arrival", "state_action", or [S, A, F]
    :param l2: penalty, positive: without one, an action that was never shown would be worth minus infinity
    :param observe: from numbers of states [n] to observations [n, ...], where those of the demonstrations are no
        numbers of states
    :param tol: largest entry of the gradient at the optimum, relative to the largest feature
    :param max_iterations: give up after as many, with ``converged`` False
    :param start: [F] first weights, by default 0
    :raises ValueError: for numbers out of range, features of another shape, and demonstrations that cannot be of this
        process: the message names episode and step
    """
    if mdp.gamma == 1.0:
        raise ValueError("gamma 1: the entropy of an episode that need not end has no bound; use a discount below 1")
    for name, number in (("l2", l2), ("tol", tol)):
        if not 0.0 < number < np.inf:
            raise ValueError(f"{name} {number} must be positive")
    if max_iterations < 1:
        raise ValueError(f"max_iterations {max_iterations} must be at least 1")
    matrix = _features(features, mdp)
    n = times_shown(mdp, demonstrations, observe)
    model = _Model(mdp, matrix, n / n.sum(), l2)
    first = np.zeros(matrix.shape[1]) if start is None else np.asarray(start, float)
    if first.shape != (matrix.shape[1],) or not np.isfinite(first).all():
        raise ValueError(
            f"start of shape {first.shape} must hold a finite number for each of {matrix.shape[1]} features"
        )
    weights, history = _climb(model, first, tol * model.largest_feature, max_iterations)
    found = model.soft(weights)
    gap = model.feature_gaps(found)
    return MaxEntReward(
        weights=weights,
        reward=model.reward(weights),
        policy=found.policy,
        of_arrival=weights if isinstance(features, str) and features == "arrival" else None,
        feature_gap=float(np.abs(gap).max()),
        log_likelihood=model.log_likelihood(found),
        history=np.array(history),
        gamma=mdp.gamma,
        l2=float(l2),
        n_steps=int(n.sum()),
        converged=bool(np.abs(gap - l2 * weights).max() <= tol * model.largest_feature),
    )


class _Model:
    """
    What weights say of the demonstrations.

    :param mdp: process
    :param features: [S * A, F] matrix
    :param n: [S, A] shares of the demonstrated steps
    :param l2: penalty
    """

    def __init__(self, mdp: TabularMDP, features: Any, n: np.ndarray, l2: float) -> None:
        self.mdp, self.features, self.n, self.l2 = mdp, features, n, l2
        self.first = n.sum(axis=1) - mdp.gamma * (mdp.matrix.T @ n.ravel())
        self.shown = features.T @ n.ravel()
        self.largest_feature = float(abs(features).max())
        self._v = np.zeros(mdp.n_states)

    def reward(self, weights: np.ndarray) -> np.ndarray:
        """:return: [S, A]"""
        reward: np.ndarray = (self.features @ weights).reshape(self.n.shape)
        return reward

    def soft(self, weights: np.ndarray) -> Solution:
        """:return: the soft-optimal policy; found sooner where weights are near the last ones"""
        found = soft_policy_iteration(self.mdp.with_reward(self.reward(weights)), TEMPERATURE, v=self._v)
        self._v = found.v
        return found

    def log_likelihood(self, found: Solution) -> float:
        """:return: mean of a demonstrated step"""
        return float((self.n * (found.q - found.v[:, None])).sum())

    def feature_gaps(self, found: Solution) -> np.ndarray:
        """:return: [F] of the demonstrations less those of the policy"""
        visits = occupancy(self.mdp, found.policy, self.first)
        gaps: np.ndarray = self.shown - self.features.T @ (visits[:, None] * found.policy).ravel()
        return gaps

    def objective(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """:return: what is maximised, and its gradient [F]"""
        found = self.soft(weights)
        value = self.log_likelihood(found) - self.l2 / 2.0 * float(weights @ weights)
        return value, self.feature_gaps(found) - self.l2 * weights


def _climb(model: _Model, weights: np.ndarray, tol: float, max_iterations: int) -> tuple[np.ndarray, list[float]]:
    """:return: [F] weights, and what was maximised before and after each step"""
    tried = {}

    def descend(w: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = model.objective(w)
        tried[w.tobytes()] = value
        return -value, -gradient

    def taken(w: np.ndarray) -> None:
        history.append(tried[w.tobytes()])
        tried.clear()

    history = [model.objective(weights)[0]]
    options = {"maxiter": max_iterations, "maxfun": 20 * max_iterations, "gtol": tol, "ftol": 0.0, "maxcor": MEMORY}
    minimize = scipy_module("scipy.optimize").minimize
    found = minimize(descend, weights, jac=True, method="L-BFGS-B", callback=taken, options=options)
    return np.array(found.x), history


def _features(features: Features, mdp: TabularMDP) -> Any:  # Any: an array, or a matrix of scipy's
    """:return: [S * A, F]"""
    sparse = scipy_module("scipy.sparse")
    n_rows, shape = mdp.reward.size, mdp.reward.shape
    if isinstance(features, str):
        if features == "arrival":
            arrivals = mdp.arrivals().matrix().copy()  # on memory of its own: scipy sums entries named twice in place
            arrivals.sum_duplicates()
            return arrivals
        if features == "state_action":
            return sparse.identity(n_rows, format="csr")
        raise ValueError(f"features {features!r} must be 'arrival', 'state_action' or an array")
    if sparse.issparse(features):
        if features.shape[0] != n_rows or features.shape[1] == 0:
            raise ValueError(f"features have shape {features.shape}, not ({n_rows}, F): a row for state * A + action")
        matrix = sparse.coo_array(features, dtype=float)
        for i in np.flatnonzero(~np.isfinite(matrix.data))[:1]:
            s, a = divmod(int(matrix.row[i]), mdp.n_actions)
            raise ValueError(f"feature {matrix.col[i]} of state {s}, action {a} is {matrix.data[i]}: it must be finite")
        return matrix.tocsr()
    table = np.asarray(features, float)
    if table.ndim != 3 or table.shape[:2] != shape or table.shape[2] == 0:
        raise ValueError(f"features have shape {table.shape}, not ({shape[0]}, {shape[1]}, F)")
    for s, a, f in np.argwhere(~np.isfinite(table))[:1]:
        raise ValueError(f"feature {f} of state {s}, action {a} is {table[s, a, f]}: it must be a finite number")
    return table.reshape(n_rows, -1)
