"""Where the episodes of a process can be before they end, and how long they can be."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp import TabularMDP


def acting_states(mdp: TabularMDP) -> np.ndarray:
    """:return: [n] the states that are reached from the start by what does not end an episode, ascending"""
    n, graph = mdp.n_states, _onward(mdp)
    found = scipy_module("scipy.sparse.csgraph").breadth_first_order(graph, n, return_predecessors=False)
    states: np.ndarray = np.sort(found[found < n])
    return states


def longest_episode(mdp: TabularMDP) -> int | None:
    """:return: steps after which every episode has ended, whatever is done; None where one can go on for ever"""
    among = acting_states(mdp)
    graph = _onward(mdp)[among][:, among]
    n_circles, _ = scipy_module("scipy.sparse.csgraph").connected_components(graph, connection="strong")
    if n_circles < len(among) or graph.diagonal().any():
        return None
    under_way, n_steps = mdp.start[among] > 0.0, 0
    while under_way.any():
        under_way, n_steps = graph.T @ under_way > 0.0, n_steps + 1
    return n_steps


def _onward(mdp: TabularMDP) -> Any:  # Any: a csr_array, scipy ships no annotations
    """:return: [S + 1, S + 1] what does not end an episode; state S is before the start"""
    starts = np.flatnonzero(mdp.start)
    indptr, column, probability, n = mdp.transitions
    data = np.concatenate([probability, np.ones(len(starts))])
    columns, rows = np.concatenate([column, starts]), np.append(indptr[:: mdp.n_actions], indptr[-1] + len(starts))
    graph = scipy_module("scipy.sparse").csr_array((data, columns, rows), shape=(n + 1, n + 1))
    graph.sum_duplicates()  # scipy 1.17's `connected_components` never returns from some graphs with an edge twice
    return graph
