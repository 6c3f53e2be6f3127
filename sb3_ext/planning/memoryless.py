"""
What a task is worth to an agent that knows only what it saw last, and so what a memory is worth. Such a policy acts on
pairs of a state, which it does not see, and an observation, which it does; chances of these follow exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.planning.belief_bounds import ALMOST, most_steps, reachable
from sb3_ext.planning.beliefs import solve_beliefs
from sb3_ext.planning.evaluation import DENSE as ELIMINATED
from sb3_ext.planning.evaluation import evaluate, occupancy
from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp import Outcomes, TabularMDP
from sb3_ext.planning.pomdp import TabularPOMDP, ranges, seen_with
from sb3_ext.planning.solve import backup, solve

MOST_POLICIES = 10**6
MOST_WORK = 10**12  # multiplications in their equations: minutes
DENSE = 300  # pairs up to which chances are solved for many policies at once
BATCH = 4 * 10**6  # numbers in these chances
RESTARTS = 8  # of the search
SPREAD = 2.0  # of the logits that it starts from
MIXED = 0.1  # of uniform actions in a deterministic policy that it starts from: elsewhere there is no slope


class MemorylessSolution(NamedTuple):
    """A policy of what was last seen, and its value at the start, discounted, without a limit of steps."""

    value: float
    policy: np.ndarray
    """[O, A] probabilities; where nothing is seen before the first action, [O + 1, A]: the last row is for then"""
    is_best: bool
    """of all deterministic ones. False: others may be better, the value is a lower bound"""

    @property
    def actions(self) -> np.ndarray:
        """:return: [O] the likeliest ones"""
        best: np.ndarray = self.policy.argmax(axis=1)
        return best


class MemoryValue(NamedTuple):
    """Values of the start, discounted, without a limit of steps. Its text rounds them to the nearest."""

    without: float
    """of the best deterministic policy of what was last seen"""
    without_is_best: bool
    """False: of one that was found among those that may draw their actions; others may be better"""
    lower: float
    """of what the best policy that remembers all is worth"""
    upper: float
    with_state: float
    """of the best policy that sees the state"""

    def __str__(self) -> str:
        low, high = _number(self.lower), _number(self.upper)
        between = low if low == high else f"{low} to {high}"
        least = "" if self.without_is_best else "at least "
        without, with_state = _number(self.without), _number(self.with_state)
        return f"without memory {least}{without}, with memory {between}, with the state {with_state}"


def memory_value(
    pomdp: TabularPOMDP, tol: float = 1e-5, max_beliefs: int = 10_000, seconds: float = 60.0
) -> MemoryValue:
    """
    What a memory is worth. Parameters as in `solve_beliefs`. Where trying all policies without memory would take more
    than minutes, they are searched.
    """
    found = solve_beliefs(pomdp, tol, max_beliefs, seconds)
    known = solve(pomdp.mdp)
    with_state = float(pomdp.mdp.start @ known.v)
    without = best_memoryless(pomdp, stochastic=not _pairs_of(pomdp).can_be_tried)
    # A memory can be ignored, and a state forgotten.
    lower, upper = max(found.lower, without.value), min(found.upper, with_state + known.bound)
    return MemoryValue(without.value, without.is_best, min(lower, upper), upper, with_state)


def best_memoryless(pomdp: TabularPOMDP, stochastic: bool = False) -> MemorylessSolution:
    """
    :param pomdp: with gamma 1 it must be one that always ends
    :param stochastic: search policies that draw their actions, from the best deterministic one and others. Such a
        search ends in local optima, so its value is a lower bound. False: try all deterministic ones
    :raises ValueError: where these are more than a million
    """
    most_steps(pomdp.mdp)
    pairs = _pairs_of(pomdp)
    if stochastic:
        return _search(pairs, _try_all(pairs).policy if pairs.can_be_tried else None)
    if pairs.n_policies > MOST_POLICIES:
        number = f"{pomdp.mdp.n_actions}^{len(pairs.moving)}"
        raise ValueError(f"{number} policies are too many to try: stochastic=True searches")
    return _try_all(pairs)


class _Pairs(NamedTuple):
    """The process of states and what was last seen, as far as it can be reached."""

    mdp: TabularMDP
    seen: np.ndarray
    """[N] the observation of each pair"""
    n_seen: int
    """observations, and one for none"""
    moving: np.ndarray
    """observations at which the action matters for what comes next. At all others it matters for the reward at most"""

    @property
    def n_policies(self) -> int:
        """:return: of those that are deterministic, how many need equations of their own"""
        count: int = self.mdp.n_actions ** len(self.moving)
        return count

    @property
    def can_be_tried(self) -> bool:
        """:return: whether all of them can, in minutes"""
        work = self.n_policies * min(self.mdp.n_states, ELIMINATED) ** 3
        return self.n_policies <= MOST_POLICIES and work <= MOST_WORK


def _pairs_of(pomdp: TabularPOMDP) -> _Pairs:
    mdp, of = pomdp.mdp, pomdp.mdp.outcomes
    n_states, n_actions, n_seen = mdp.n_states, mdp.n_actions, pomdp.n_observations
    observation, first = pomdp.observation, pomdp.first_observation
    if first is None:  # one more observation: nothing
        observation = np.concatenate([observation, np.zeros((n_actions, n_states, 1))], axis=2)
        first = np.eye(n_seen + 1)[[n_seen] * n_states]
        n_seen += 1
    begin = mdp.start[:, None] * first
    arrived = np.zeros((n_actions, n_states, 1), bool)
    arrived[of.row[~of.terminated] % n_actions, of.next[~of.terminated]] = True
    state, seen = np.nonzero((begin > 0.0) | ((observation > 0.0) & arrived).any(axis=0))  # [N]
    number = np.full((n_states, n_seen), -1)
    number[state, seen] = np.arange(len(state))
    # An outcome of a state is one of each of its pairs, and one that goes on is one for all that may be seen after it.
    pair, outcome = ranges(*np.searchsorted(of.row, np.stack([state, state + 1]) * n_actions))
    row, goes_on = pair * n_actions + of.row[outcome] % n_actions, ~of.terminated[outcome]
    index, seen_after, chance = seen_with(observation, row[goes_on] % n_actions, of.next[outcome[goes_on]])
    index = np.flatnonzero(goes_on)[index]
    following = number[of.next[outcome[index]], seen_after]
    ends = np.flatnonzero(~goes_on)
    both = np.concatenate([index, ends])
    outcomes = Outcomes(
        row[both],
        np.concatenate([following, np.zeros(len(ends), np.int64)]),
        of.probability[outcome[both]] * np.concatenate([chance, np.ones(len(ends))]),
        of.reward[outcome[both]],
        of.terminated[outcome[both]],
    )
    whole = TabularMDP(outcomes, len(state), n_actions, begin[state, seen], mdp.gamma)
    return _reached(whole, seen, n_seen)


def _reached(mdp: TabularMDP, seen: np.ndarray, n_seen: int) -> _Pairs:
    """:return: what can be reached of these pairs"""
    reached = reachable(mdp)
    number, of, n_actions = np.cumsum(reached) - 1, mdp.outcomes, mdp.n_actions
    kept = reached[of.row // n_actions]
    row, following, probability, reward, terminated = (column[kept] for column in of)
    row = number[row // n_actions] * n_actions + row % n_actions
    following = np.where(terminated, 0, number[following])
    outcomes = Outcomes(row, following, probability, reward, terminated)
    part = TabularMDP(outcomes, int(reached.sum()), n_actions, mdp.start[reached], mdp.gamma)
    differs = np.zeros(part.n_states, bool)
    for action in range(1, n_actions):
        apart = abs(part.matrix[action::n_actions] - part.matrix[0::n_actions])
        differs |= apart.max(axis=1).toarray().ravel() > ALMOST
    return _Pairs(part, seen[reached], n_seen, np.unique(seen[reached][differs]))


def _try_all(pairs: _Pairs) -> MemorylessSolution:
    """:return: the best deterministic policy; of equally good ones the first"""
    n_actions, n_pairs, moving = pairs.mdp.n_actions, pairs.mdp.n_states, pairs.moving
    size = max(1, BATCH // n_pairs**2) if n_pairs <= DENSE else 1
    place = n_actions ** np.arange(len(moving))[::-1]
    best, best_actions = -np.inf, np.zeros(pairs.n_seen, np.int64)
    still = np.setdiff1d(np.arange(pairs.n_seen), moving)
    for begin in range(0, pairs.n_policies, size):
        code = np.arange(begin, min(begin + size, pairs.n_policies))
        actions = np.zeros((len(code), pairs.n_seen), np.int64)
        actions[:, moving] = code[:, None] // place % n_actions
        paid = _per_observation(pairs, _chances(pairs, actions), pairs.mdp.reward)  # [B, O, A]
        actions[:, still] = paid[:, still].argmax(axis=2)
        values = np.take_along_axis(paid, actions[:, :, None], axis=2).sum(axis=(1, 2))
        if values.max() > best + ALMOST * (1.0 + abs(values.max())):
            best, best_actions = float(values.max()), actions[values.argmax()]
    return MemorylessSolution(best, np.eye(n_actions)[best_actions], is_best=True)


def _search(pairs: _Pairs, deterministic: np.ndarray | None) -> MemorylessSolution:
    """
    L-BFGS on logits, with exact gradients.

    :param deterministic: [O, A] the best such policy, where it is known
    """
    minimize = scipy_module("scipy.optimize").minimize
    shape = (pairs.n_seen, pairs.mdp.n_actions)
    rng = np.random.default_rng(0)
    starts = [np.zeros(shape), *(SPREAD * rng.standard_normal((RESTARTS, *shape)))]
    candidates = []
    if deterministic is not None:
        starts.append(np.log((1.0 - MIXED) * deterministic + MIXED / shape[1]))
        candidates.append(deterministic)
    for start in starts:
        found = minimize(_loss, start.ravel(), args=(pairs,), jac=True, method="L-BFGS-B")
        policy = _softmax(found.x.reshape(shape))
        candidates += [policy, np.eye(shape[1])[policy.argmax(axis=1)]]
    values = [float(pairs.mdp.start @ evaluate(pairs.mdp, policy[pairs.seen])) for policy in candidates]
    best = int(np.argmax(values))
    return MemorylessSolution(values[best], candidates[best], is_best=False)


def _loss(logits: np.ndarray, pairs: _Pairs) -> tuple[float, np.ndarray]:
    """:return: minus the value, and its gradient"""
    mdp, policy = pairs.mdp, _softmax(logits.reshape(pairs.n_seen, -1))
    v, chances = evaluate(mdp, policy[pairs.seen]), occupancy(mdp, policy[pairs.seen])
    slope = _per_observation(pairs, chances[None], backup(mdp, v))[0]  # of the probabilities
    slope = policy * (slope - (policy * slope).sum(axis=1, keepdims=True))
    return -float(mdp.start @ v), -slope.ravel()


def _chances(pairs: _Pairs, actions: np.ndarray) -> np.ndarray:
    """
    :param actions: [B, O] of several policies
    :return: [B, N] discounted visits of each pair
    """
    mdp, acted = pairs.mdp, actions[:, pairs.seen]  # [B, N]
    if mdp.n_states > DENSE:
        return np.stack([occupancy(mdp, of_one) for of_one in acted])
    moves = mdp.matrix.toarray().reshape(mdp.n_states, mdp.n_actions, -1)
    under = moves[np.arange(mdp.n_states), acted]  # [B, N, N]
    visits: np.ndarray = np.linalg.solve(
        np.eye(mdp.n_states) - mdp.gamma * under.swapaxes(1, 2), np.broadcast_to(mdp.start[:, None], (*acted.shape, 1))
    )[..., 0]
    return visits


def _per_observation(pairs: _Pairs, visits: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """
    :param visits: [B, N] of each pair
    :param worth: [N, A]
    :return: [B, O, A] both multiplied, and summed over what looks alike
    """
    cell = (np.arange(len(visits))[:, None] * pairs.n_seen + pairs.seen).ravel()
    sums = [np.bincount(cell, (visits * of_action).ravel(), len(visits) * pairs.n_seen) for of_action in worth.T]
    return np.stack(sums, axis=1).reshape(len(visits), pairs.n_seen, -1)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """:return: probabilities along the last axis"""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _number(value: float) -> str:
    """:return: four digits, and no minus before nothing"""
    return f"{round(value, 4) + 0.0:.4f}"
