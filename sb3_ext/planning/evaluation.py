"""What a given policy is worth, exactly: for ever and discounted, or within a number of steps; and where it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sb3_ext.planning.fixed_point import Lookahead, iterate, largest, steps_to_end
from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.mdp_checks import check_horizon
from sb3_ext.planning.undiscounted import can_end, idle_classes, never_ends, some

DENSE = 1500
"""states up to which linear equations are solved by elimination"""
SMALL = 200
"""states up to which dense equations are solved faster than sparse ones"""
FEW = 6
"""entries of a row up to which a sparse elimination costs no more than a dense one, wherever they lie"""
STEPPED_DENSE = 64
"""states up to which a dense product is faster than a sparse one"""
ERROR = 1e-10
"""of the values of larger processes, relative to the largest of them"""
MAX_SWEEPS = 500_000


class Chain(NamedTuple):
    """What is left of a process when a policy has chosen."""

    matrix: Any  # Any: a csr_array, scipy ships no annotations
    """[S, S] of what goes on"""
    reward: np.ndarray
    """[S]"""
    exits: np.ndarray
    """[S] bool: whether the episode can terminate"""


def as_table(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """
    :param policy: [S] actions or [S, A] probabilities
    :return: [S, A] probabilities
    :raises ValueError: where it isn't a policy of this process
    """
    return policy_probabilities(policy, mdp.n_states, mdp.n_actions)


def policy_probabilities(policy: np.ndarray, n_states: int, n_actions: int) -> np.ndarray:
    """
    :param policy: [S] actions or [S, A] probabilities
    :param n_states: S
    :param n_actions: A
    :return: [S, A] probabilities
    :raises ValueError: where it isn't a policy of so many states and actions
    """
    policy, shape = np.asarray(policy), (n_states, n_actions)
    if policy.shape == shape[:1] and np.issubdtype(policy.dtype, np.integer):
        for s in np.flatnonzero((policy < 0) | (policy >= n_actions))[:1]:
            raise ValueError(f"action {policy[s]} of state {s} must lie in [0, {n_actions})")
        table = np.zeros(shape)
        table[np.arange(n_states), policy] = 1.0
        return table
    if policy.shape != shape:
        raise ValueError(
            f"policy has shape {policy.shape} of {policy.dtype}: it must hold an integer action for each of "
            f"{n_states} states, or their probabilities {shape}"
        )
    table = np.array(policy, float)
    sums = table.sum(axis=1)
    for s in np.flatnonzero(~((table >= 0.0).all(axis=1) & (np.abs(sums - 1.0) <= 1e-5)))[:1]:  # rounding of float32
        raise ValueError(f"probabilities {table[s]} of state {s} must be positive and sum to 1")
    table /= sums[:, None]
    return table


def chain_of(mdp: TabularMDP, policy: np.ndarray) -> Chain:
    """
    :param policy: [S] actions or [S, A] probabilities
    :return: the process under it
    """
    table = as_table(mdp, policy)
    state, action = np.nonzero(table)
    taken = state * mdp.n_actions + action
    if len(taken) == mdp.n_states:  # one action in each state
        matrix = mdp.matrix[taken]
    else:
        weights = (table[state, action], (state, taken))
        matrix = scipy_module("scipy.sparse").csr_array(weights, shape=(mdp.n_states, table.size)) @ mdp.matrix
    exits = np.bincount(state, can_end(mdp)[state, action], minlength=mdp.n_states) > 0.0
    return Chain(matrix, (table * mdp.reward).sum(axis=1), exits)


def evaluate(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
    """
    By elimination up to 1 500 states, so exact but for rounding; above that by sweeps, with an error below 1e-10 of
    the largest value, or what rounding leaves.

    :param policy: [S] actions or [S, A] probabilities
    :return: [S] discounted values of acting by it for ever
    :raises ValueError: with gamma 1, where it never ends and is paid
    """
    return _summed(mdp, chain_of(mdp, policy))


def evaluate_paid(mdp: TabularMDP, policy: np.ndarray, paid: np.ndarray) -> np.ndarray:
    """
    What `evaluate` does, where another reward is paid.

    :param policy: [S] actions or [S, A] probabilities
    :param paid: [S] in each state, whatever is done
    :return: [S] discounted sums
    """
    return _summed(mdp, chain_of(mdp, policy)._replace(reward=paid))


def value_and_error(mdp: TabularMDP, policy: np.ndarray) -> tuple[np.ndarray, float]:
    """:return: what `evaluate` does, and the largest error of a value, rounding included"""
    chain = chain_of(mdp, policy)
    if mdp.n_states > DENSE:
        return _by_sweeps(mdp, chain)
    asked = np.stack([chain.reward, np.ones(mdp.n_states)], axis=1)
    endless = _endless(mdp, chain)
    v, steps = _eliminate(mdp, chain, asked, endless).T
    look, rule = _look(mdp, chain), _Given(endless)
    wrong = float(np.abs(rule.best(look(v)) - v).max()) + look.rounding(float(np.abs(v).max()))
    if mdp.gamma < 1.0:
        return v, wrong / (1.0 - mdp.gamma)
    # The steps are rounded as well, but not by as much as a half.
    certain = (endless | (steps - rule.best(look.steps_after(steps) - 1.0) >= 0.5)).all()
    return v, wrong * 2.0 * float(steps.max()) if certain else np.inf


def expected_return(mdp: TabularMDP, policy: np.ndarray, horizon: int | None = None) -> float:
    """
    What `evaluate_policy` estimates, exactly: undiscounted, cut at the limit of the environment.

    :param policy: [S] actions or [S, A] probabilities
    :param horizon: steps, by default ``mdp.horizon``
    """
    chain, n_steps = chain_of(mdp, policy), steps_of(mdp, horizon)
    step = chain.matrix.toarray() if mdp.n_states <= STEPPED_DENSE else chain.matrix
    v = np.zeros(mdp.n_states)
    for _ in range(n_steps):
        v = chain.reward + step @ v
    return float(mdp.start @ v)


def occupancy(mdp: TabularMDP, policy: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """
    How often each state is acted in, discounted: sums to 1 / (1 - gamma) where no episode ends. Its errors are those
    of `evaluate`.

    :param policy: [S] actions or [S, A] probabilities
    :param start: [S] weights of the first states, any numbers; None = the probabilities of the process
    :return: [S]
    :raises ValueError: with gamma 1, where the policy may never end
    """
    chain = chain_of(mdp, policy)
    if mdp.gamma == 1.0:
        endless = never_ends(chain.matrix, chain.exits)
        if endless.any():
            raise ValueError(
                f"with gamma 1 this policy never ends from {some(endless)}: it is there infinitely often; use gamma < 1"
            )
    first = mdp.start if start is None else np.asarray(start, float)
    if mdp.n_states <= DENSE:
        equations = np.eye(mdp.n_states) - mdp.gamma * chain.matrix.toarray().T
        times: np.ndarray = np.linalg.solve(equations, first)
        return times
    # What is under way acts for so many more steps.
    ahead: float | None = 1.0 / (1.0 - mdp.gamma) if mdp.gamma < 1.0 else steps_to_end(_look(mdp, chain), largest)
    onward = mdp.gamma * chain.matrix.T.tocsr()
    times, arriving = first.copy(), first
    for _ in range(MAX_SWEEPS if ahead is not None else 0):
        arriving = onward @ arriving
        times += arriving
        if np.abs(arriving).sum() * ahead <= ERROR * np.abs(times).sum():
            return times
    raise ValueError(f"{MAX_SWEEPS} steps leave {np.abs(arriving).sum():g} of the episodes under way")


def steps_of(mdp: TabularMDP, horizon: int | None) -> int:
    """:return: the limit of steps that counts"""
    horizon = mdp.horizon if horizon is None else horizon
    check_horizon(horizon)
    if horizon is None:
        raise ValueError("the environment has no limit of steps: give horizon")
    return horizon


class _Given:
    """
    There is one action to each state.

    :param endless: [S] bool: where it leads to no end, and pays nothing
    """

    def __init__(self, endless: np.ndarray) -> None:
        self.endless = endless

    def best(self, q: np.ndarray) -> np.ndarray:
        return np.where(self.endless, 0.0, q[:, 0])

    def counts(self, q: np.ndarray, slack: float) -> np.ndarray:
        return np.ones(q.shape, bool)

    def steps(self, look: Lookahead, q: np.ndarray, slack: float) -> float | None:
        return steps_to_end(look, self.best)


def _look(mdp: TabularMDP, chain: Chain) -> Lookahead:
    return Lookahead(chain.matrix, chain.reward[:, None], mdp.gamma, bool(chain.exits.any()))


def _endless(mdp: TabularMDP, chain: Chain) -> np.ndarray:
    """
    :return: [S] bool: with gamma 1, states among which it goes on for ever and is not paid: their value is 0
    :raises ValueError: where it is
    """
    if mdp.gamma < 1.0:
        return np.zeros(mdp.n_states, bool)
    endless = never_ends(chain.matrix, chain.exits)
    idle = idle_classes(chain.matrix, chain.reward != 0.0, endless) if endless.any() else endless
    paid = never_ends(chain.matrix, chain.exits | idle)
    if not paid.any():
        return idle
    low, high = chain.reward[paid].min(), chain.reward[paid].max()
    value = "-inf" if high <= 0.0 else "inf" if low >= 0.0 else "no number"
    raise ValueError(
        f"with gamma 1 this policy never ends from {some(paid)}: its value is {value}; use gamma < 1 or expected_return"
    )


def _eliminate(mdp: TabularMDP, chain: Chain, paid: np.ndarray, endless: np.ndarray) -> np.ndarray:
    """
    :param paid: [S, n]
    :param endless: [S] bool: what `_endless` finds
    :return: [S, n] the same, summed over the time that is left
    """
    sparse = scipy_module("scipy.sparse")
    goes_on = mdp.gamma * chain.matrix
    if endless.any():
        goes_on = sparse.diags((~endless).astype(float)) @ goes_on
        paid = np.where(endless[:, None], 0.0, paid)
    try:
        if mdp.n_states > SMALL and goes_on.nnz <= FEW * mdp.n_states:
            equations = (sparse.identity(mdp.n_states, format="csr") - goes_on).tocsc()
            summed: np.ndarray = scipy_module("scipy.sparse.linalg").splu(equations).solve(np.ascontiguousarray(paid))
        else:
            summed = np.linalg.solve(np.eye(mdp.n_states) - goes_on.toarray(), paid)
    except (np.linalg.LinAlgError, RuntimeError) as error:  # singular, says LAPACK or SuperLU
        raise ValueError("with gamma 1 this policy ends too seldom to compute its values: use gamma < 1") from error
    return summed


def _summed(mdp: TabularMDP, chain: Chain) -> np.ndarray:
    """:return: [S] of its reward, discounted"""
    if mdp.n_states <= DENSE:
        return _eliminate(mdp, chain, chain.reward[:, None], _endless(mdp, chain))[:, 0]
    return _by_sweeps(mdp, chain)[0]


def _by_sweeps(mdp: TabularMDP, chain: Chain) -> tuple[np.ndarray, float]:
    """:return: [S] values and their largest error"""
    found = iterate(_look(mdp, chain), _Given(_endless(mdp, chain)), ERROR, MAX_SWEEPS, least_size=0.0)
    if found.n_sweeps == MAX_SWEEPS or found.bound == np.inf:
        raise ValueError(
            f"{found.n_sweeps} sweeps leave an error of {found.bound:g}: use a smaller gamma than {mdp.gamma}"
        )
    return found.v, found.bound
