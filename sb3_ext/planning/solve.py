"""The best policy of a `TabularMDP`. Every solution carries how far from the truth its values can be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.planning.evaluation import DENSE, steps_of, value_and_error
from sb3_ext.planning.fixed_point import (
    Found,
    Greedy,
    Lookahead,
    OnSweep,
    Sweep,
    bound_of,
    check_solver,
    iterate,
    largest,
    undiscounted_bound,
)
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.undiscounted import FreeLoops, can_end, free_loops, never_ends, quickest, some, way_out

EVALUATIONS = 10
"""sweeps of a settled policy between two improvements"""
SETTLED = 0.02
"""share of the states whose action may be another one than when last looked at"""
LOOK_EVERY = 4
"""sweeps, while it is not settled. These three keep `solve` near the faster of both methods: benchmarks/planning.py"""
TINY = 100
"""states up to which a system of equations costs less than sweeps"""


class Solution(NamedTuple):
    """What a solver found."""

    v: np.ndarray
    """[S]"""
    q: np.ndarray
    """[S, A]"""
    policy: np.ndarray
    """[S] int64: a best action of each state; [S, A] probabilities where the best policy of a kind is stochastic"""
    bound: float
    """no value is further from the optimal one of these tables, rounding of the solver included; inf where nothing is
    known. ``mdp.reward`` is taken as it is: a mean of large rewards that cancel out has been rounded before"""
    n_sweeps: int
    """looks ahead from all states with all actions"""
    converged: bool
    """whether ``bound`` is what was asked for"""
    log: list[Sweep]


def backup(mdp: TabularMDP, v: np.ndarray) -> np.ndarray:
    """
    :param mdp: any process
    :param v: [S] values
    :return: [S, A] of acting once and then being worth ``v``
    """
    return Lookahead.of(mdp)(np.asarray(v, float))


def value_iteration(
    mdp: TabularMDP, tol: float = 1e-8, max_sweeps: int = 100_000, on_sweep: OnSweep | None = None
) -> Solution:
    """
    Sweeps until MacQueen's bounds (1966) meet.

    :param mdp: any process
    :param tol: largest error of a value, relative to the largest of them where that is above 1
    :param max_sweeps: give up after as many, with ``converged`` False
    :param on_sweep: is told each of them, with the values after it
    :raises ValueError: with gamma 1, where no policy has a value
    """
    look, rule = Lookahead.of(mdp), _rule(mdp)
    if rule.loops is not None:
        _way_out(mdp, rule.loops)
    found = iterate(look, rule, tol, max_sweeps, _watched(mdp, look, rule, on_sweep))
    return _solution(mdp, look, rule, found)


def policy_iteration(
    mdp: TabularMDP, max_iterations: int = 1000, policy: np.ndarray | None = None, on_sweep: OnSweep | None = None
) -> Solution:
    """
    An action is kept unless another one is better by more than rounding can make it, so that ties do not go round
    in circles and every policy is truly better than the one before (Howard, 1960).

    :param mdp: any process. Above 1 500 states each policy is evaluated by sweeps
    :param max_iterations: give up after as many, with ``converged`` False
    :param policy: [S] first actions; by default those that pay most at once, with gamma 1 a way to the end
    :param on_sweep: is told each policy, with its values
    :return: ``converged`` where no action is better, whatever the bound
    :raises ValueError: with gamma 1, where no policy has a value
    """
    check_solver(1.0, max_iterations)
    look, rule, states = Lookahead.of(mdp), _rule(mdp), np.arange(mdp.n_states)
    if policy is None:
        policy = mdp.reward.argmax(axis=1) if rule.loops is None else _way_out(mdp, rule.loops)
    elif np.ndim(policy) != 1:
        raise ValueError(f"policy has shape {np.shape(policy)}, not ({mdp.n_states},): one first action for each state")
    log: list[Sweep] = []
    for n in range(1, max_iterations + 1):
        v, error = value_and_error(mdp, policy)
        q = look(v)
        log.append(Sweep(n, float(np.abs(rule.best(q) - v).max()), bound_of(look, rule, v, q)))
        if on_sweep is not None:
            on_sweep(log[-1], v)
        better = q.max(axis=1) > q[states, policy] + 2.0 * error
        policy = np.where(better, q.argmax(axis=1), policy)
        if rule.loops is not None:
            idle = rule.loops.members & (v < -error)  # it leaves where staying costs nothing
            better |= idle
            policy = np.where(idle, rule.loops.inside.argmax(axis=1), policy)
        if not better.any():
            break
        if rule.loops is not None and (endless := _goes_on(mdp, rule.loops.members, policy)).any():
            raise _paid_for_ever(endless)  # truly better than one that ends, and does not end itself
    bound = log[-1].bound
    if rule.loops is not None:
        bound, policy = undiscounted_bound(look, rule, v, q), _quickest(mdp, rule.loops, q, v)
    return Solution(v, q, policy, bound, n, not better.any() and error < np.inf, log)


def solve(mdp: TabularMDP, tol: float = 1e-8) -> Solution:
    """
    By policy iteration where there are few states, by modified policy iteration (Puterman and Shin, 1978) where there
    are many; in between by the second, and by the first where that is slow.

    :param mdp: any process
    :param tol: largest error of a value, relative to the largest of them where that is above 1
    :raises ValueError: with gamma 1, where no policy has a value
    """
    check_solver(tol, 1)
    if mdp.gamma == 1.0:
        return _good_enough(mdp, policy_iteration(mdp), tol) if mdp.n_states <= DENSE else value_iteration(mdp, tol)
    if mdp.n_states <= TINY:
        return _good_enough(mdp, policy_iteration(mdp), tol)
    look = Lookahead.of(mdp)
    # After so many sweeps the time of two or three eliminations is spent.
    patience = max(20, (mdp.n_states // 100) ** 3) if mdp.n_states <= DENSE else 100_000
    found = iterate(look, Greedy(), tol, patience, improve=_Evaluations(mdp, look))
    if found.converged or mdp.n_states > DENSE:
        return _solution(mdp, look, Greedy(), found)
    exact = policy_iteration(mdp, policy=look(found.v).argmax(axis=1))
    return _good_enough(mdp, exact._replace(n_sweeps=exact.n_sweeps + found.n_sweeps, log=found.log + exact.log), tol)


def best_return(mdp: TabularMDP, horizon: int | None = None) -> float:
    """
    The best undiscounted return within the limit, by backward induction: of policies that know the time.

    :param mdp: any process
    :param horizon: steps, by default ``mdp.horizon``
    """
    look = Lookahead(mdp.matrix, mdp.reward, 1.0, mdp.has_ends)
    v = np.zeros(mdp.n_states)
    for _ in range(steps_of(mdp, horizon)):
        v = largest(look(v))
    return float(mdp.start @ v)


def _solution(mdp: TabularMDP, look: Lookahead, rule: Greedy, found: Found) -> Solution:
    """:return: with a policy that has the values, as far as they are known"""
    q = look(found.v)
    v = rule.best(q)
    policy = q.argmax(axis=1) if rule.loops is None else _quickest(mdp, rule.loops, q, v)
    return Solution(v, q, policy, found.bound, found.n_sweeps, found.converged, found.log)


def _good_enough(mdp: TabularMDP, solution: Solution, tol: float) -> Solution:
    """:return: with sweeps from its values where rounding in the equations left them too far off"""
    wanted = tol * max(1.0, float(np.abs(solution.v).max()))
    if solution.converged and solution.bound <= wanted:
        return solution
    look, rule = Lookahead.of(mdp), _rule(mdp)
    found = iterate(look, rule, tol, 100_000, _watched(mdp, look, rule, None), solution.v)
    return _solution(mdp, look, rule, found) if found.bound < solution.bound else solution._replace(converged=False)


class _Evaluations:
    """
    Sweeps of the greedy policy alone, where it is settled. As long as news still travel through the states a sweep of
    all actions brings them as far, and no rows need to be taken out of the matrix.
    """

    def __init__(self, mdp: TabularMDP, look: Lookahead) -> None:
        self.matrix, self.look = mdp.matrix, look
        self.first = np.arange(mdp.n_states) * mdp.n_actions
        self.last_seen, self.taken = self.first, np.zeros(0, np.int64)
        self.wait = LOOK_EVERY

    def __call__(self, q: np.ndarray, v: np.ndarray) -> np.ndarray:
        self.wait -= 1
        if self.wait > 0:
            return v
        taken = self.first + q.argmax(axis=1)
        changed = float((taken != self.last_seen).mean())
        self.last_seen = taken
        if changed > SETTLED:
            self.wait = LOOK_EVERY
            return v
        if not np.array_equal(taken, self.taken):
            self.taken, self.rows = taken, self.matrix[taken]
            self.reward = self.look.reward.ravel()[taken]
        for _ in range(EVALUATIONS):
            v = self.rows @ (self.look.gamma * v)
            v += self.reward
        return v


def _rule(mdp: TabularMDP) -> Greedy:
    return Greedy() if mdp.gamma < 1.0 else Greedy(loops=free_loops(mdp))


def _way_out(mdp: TabularMDP, loops: FreeLoops) -> np.ndarray:
    """
    :return: [S] actions that surely come to an end, or stay where that is free
    :raises ValueError: where there are none
    """
    anything = np.ones(mdp.reward.shape, bool)
    staying, lost = way_out(mdp, anything, loops.inside)
    if lost.any():
        raise ValueError(
            f"with gamma 1 no policy ends from {some(lost)}: their values are no numbers; use gamma < 1 or best_return"
        )
    ending, endless = way_out(mdp, anything, np.zeros_like(anything))
    return np.where(endless, staying, ending)


def _quickest(mdp: TabularMDP, loops: FreeLoops, q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """:return: [S] of the best actions those that come to the end in the fewest steps: with some it never comes"""
    for window in (1e-12, 1e-10, 1e-8, 1e-6):
        good = v - window * np.abs(v).max()
        stay = loops.inside & (good <= 0.0)[:, None]
        policy, lost = way_out(mdp, q >= good[:, None], stay)
        if not lost.any():
            return quickest(mdp, q >= good[:, None], stay, policy)
    return policy


def _watched(mdp: TabularMDP, look: Lookahead, rule: Greedy, on_sweep: OnSweep | None) -> OnSweep | None:
    """:return: ``on_sweep``, with gamma 1 after a look for values that would grow for ever"""
    loops = rule.loops
    if loops is None:
        return on_sweep

    def told(sweep: Sweep, v: np.ndarray) -> None:
        if sweep.n >= 64 and sweep.n & (sweep.n - 1) == 0:  # at each doubling
            _check_gains(mdp, look, loops, v)
        if on_sweep is not None:
            on_sweep(sweep, v)

    return told


def _check_gains(mdp: TabularMDP, look: Lookahead, loops: FreeLoops, v: np.ndarray) -> None:
    """:raises ValueError: where a policy stays among states all of which gain by one more step, and so by any number"""
    ways_out = np.where(loops.inside, -np.inf, look(v))
    policy = ways_out.argmax(axis=1)
    endless = _goes_on(mdp, loops.members & (ways_out.max(axis=1) < v), policy)
    if not endless.any():
        return
    taken = np.flatnonzero(endless) * mdp.n_actions + policy[endless]
    chain, reward = mdp.matrix[taken][:, endless], mdp.reward.ravel()[taken]
    v = v[endless]
    for _ in range(64):  # half a step each, so that turns of good and bad steps are smoothed
        gain = reward + chain @ v - v
        v = v + gain / 2.0
    if gain.min() > look.rounding(float(np.abs(v).max())):
        raise _paid_for_ever(endless)


def _goes_on(mdp: TabularMDP, at_rest: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """:return: [S] bool: states from which a policy comes neither to an end nor to a state ``at_rest``"""
    states = np.arange(mdp.n_states)
    exits = can_end(mdp)[states, policy] | at_rest
    return never_ends(mdp.matrix[states * mdp.n_actions + policy], exits)


def _paid_for_ever(states: np.ndarray) -> ValueError:
    return ValueError(
        f"with gamma 1 a policy is paid for ever from {some(states)}: their value is inf; use gamma < 1 or best_return"
    )
