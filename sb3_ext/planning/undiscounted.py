"""
What gamma 1 asks of a process: from where a policy ends, and where one can stay for ever for nothing. A value is a
number only where either holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sb3_ext.planning.lab_extra import scipy_module

if TYPE_CHECKING:
    from sb3_ext.planning.mdp import TabularMDP


class FreeLoops(NamedTuple):
    """
    Sets of states in which one can stay for ever, going from each to each, and is paid nothing: all states of a set
    have one value, which is 0 or that of the best way out.
    """

    label: np.ndarray
    """[S] int64: number of the set, -1 outside of them"""
    inside: np.ndarray
    """[S, A] bool: actions that surely stay in it"""

    @property
    def members(self) -> np.ndarray:
        """[S] bool"""
        found: np.ndarray = self.label >= 0
        return found

    def merge(self, best: np.ndarray) -> np.ndarray:
        """
        :param best: [S] values of the best ways out, -inf where there are none
        :return: [S] of the best of all states of the set, or of staying
        """
        members = self.members
        if not members.any():
            return best
        merged = np.zeros(self.label.max() + 1)  # of staying
        np.maximum.at(merged, self.label[members], best[members])
        best = best.copy()
        best[members] = merged[self.label[members]]
        return best


def free_loops(mdp: TabularMDP, forced: bool = False) -> FreeLoops:
    """
    The maximal end components of the actions that pay nothing (de Alfaro, 1997).

    :param mdp: any process
    :param forced: only states all of whose actions stay: the policy may take any of them
    """
    graph = scipy_module("scipy.sparse.csgraph")
    n_rows, indptr, n_actions = mdp.reward.size, mdp.transitions.indptr, mdp.n_actions
    row = np.repeat(np.arange(n_rows), np.diff(indptr))
    state, following = row // n_actions, mdp.transitions.column
    inside = (mdp.reward == 0.0).ravel() & ~can_end(mdp).ravel()
    while True:
        if forced:
            inside &= np.repeat(inside.reshape(-1, n_actions).all(axis=1), n_actions)
        kept = inside[row]
        n, label = graph.connected_components(
            _adjacency(state[kept], following[kept], mdp.n_states), directed=True, connection="strong"
        )
        leaves = kept & (label[state] != label[following])
        if not leaves.any():
            break
        inside[row[leaves]] = False
    members = inside.reshape(-1, n_actions).any(axis=1)
    numbers = np.full(n, -1)
    numbers[np.unique(label[members])] = np.arange(len(np.unique(label[members])))
    return FreeLoops(np.where(members, numbers[label], -1), inside.reshape(-1, n_actions))


def can_end(mdp: TabularMDP) -> np.ndarray:
    """:return: [S, A] bool: whether an action can terminate the episode"""
    found = np.zeros(mdp.reward.size, bool)
    found[mdp.outcomes.row[mdp.outcomes.terminated]] = True
    return found.reshape(mdp.reward.shape)


def never_ends(chain: Any, exits: np.ndarray) -> np.ndarray:
    """
    :param chain: [S, S] scipy matrix of what goes on under a policy
    :param exits: [S] bool: whether it can terminate there
    :return: [S] bool: states from which it never does
    """
    edges = chain.tocoo()
    return _distances(edges.col, edges.row, exits)[0]


def idle_classes(chain: Any, paid: np.ndarray, endless: np.ndarray) -> np.ndarray:
    """
    :param chain: [S, S] scipy matrix of what goes on under a policy
    :param paid: [S] bool: whether a step from there is
    :param endless: [S] bool: what `never_ends` finds
    :return: [S] bool: states of which it stays in a set for ever and is never paid
    """
    edges = chain.tocoo()
    n, label = scipy_module("scipy.sparse.csgraph").connected_components(
        _adjacency(edges.row, edges.col, len(paid)), directed=True, connection="strong"
    )
    busy = np.zeros(n, bool)
    busy[label[paid | ~endless]] = True
    busy[label[edges.row[label[edges.row] != label[edges.col]]]] = True  # it leaves
    return ~busy[label]  # type: ignore[no-any-return]  # scipy has no annotations


def way_out(mdp: TabularMDP, allowed: np.ndarray, stay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    A policy that ends with probability 1, or stays where that is free, by the fewest steps that luck allows.

    :param mdp: any process
    :param allowed: [S, A] bool actions to choose from
    :param stay: [S, A] bool actions that are as good as an end
    :return: [S] actions, and [S] bool: states from where no way leads there
    """
    n_actions, n_states = mdp.n_actions, mdp.n_states
    row = np.repeat(np.arange(mdp.reward.size), np.diff(mdp.transitions.indptr))
    row, following = row[allowed.ravel()[row]], mdp.transitions.column[allowed.ravel()[row]]
    last = allowed & (can_end(mdp) | stay)
    lost, nearer = _distances(following, row // n_actions, last.any(axis=1))
    policy = allowed.argmax(axis=1)
    towards = row[nearer[row // n_actions] == following]
    policy[towards[::-1] // n_actions] = towards[::-1] % n_actions  # the first of several
    at_end = nearer == n_states
    policy[at_end] = last[at_end].argmax(axis=1)
    return policy, lost


def quickest(mdp: TabularMDP, allowed: np.ndarray, stay: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """
    :param mdp: any process
    :param allowed: [S, A] bool actions to choose from
    :param stay: [S, A] bool actions that are as good as an end
    :param policy: [S] allowed actions that come to one: what `way_out` gives
    :return: [S] allowed actions that come to one in the fewest steps, in the mean
    """
    at_end, x = (allowed & stay).any(axis=1), np.zeros(mdp.n_states)
    for _ in range(20_000):
        after = np.where(allowed, 1.0 + (mdp.matrix @ x).reshape(mdp.reward.shape), np.inf)
        new = np.where(at_end, 0.0, after.min(axis=1))
        if (new - x).max() <= 1e-9 * new.max():
            return np.where(at_end, policy, after.argmin(axis=1))
        x = new
    return policy  # it takes too long to tell


def some(states: np.ndarray) -> str:
    """:return: how many, and the first ones, for a message"""
    numbers = np.flatnonzero(states)
    shown = ", ".join(str(s) for s in numbers[:2]) + (", ..." if len(numbers) > 2 else "")
    return f"{len(numbers)} {'state' if len(numbers) == 1 else 'states'} ({shown})"


def _adjacency(begin: np.ndarray, end: np.ndarray, n: int) -> Any:
    """
    :return: [n, n] scipy matrix with the edges of a graph, each of them once: `connected_components` of scipy 1.17 may
        not return where an edge is given twice
    """
    edges = (np.ones(len(begin)), (begin, end))
    return scipy_module("scipy.sparse").coo_array(edges, shape=(n, n)).tocsr()  # adds up what is given twice


def _distances(nearer: np.ndarray, farther: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    :param nearer: [K] ends of the edges
    :param farther: [K] where these begin
    :param goal: [S] bool
    :return: [S] bool: from where no goal is reached; [S] the next state on the shortest way, S at a goal
    """
    n, first = len(goal), np.flatnonzero(goal)
    graph = _adjacency(np.append(nearer, np.full(len(first), n)), np.append(farther, first), n + 1)
    _, before = scipy_module("scipy.sparse.csgraph").breadth_first_order(graph, n)
    return before[:n] < 0, before[:n]
