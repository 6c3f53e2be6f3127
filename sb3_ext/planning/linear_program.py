"""Optimal values by linear programming, which shares nothing with sweeps and policies: for tests and doubters."""

from __future__ import annotations

import numpy as np

from sb3_ext.planning.lab_extra import scipy_module
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.undiscounted import free_loops


def lp_value(mdp: TabularMDP) -> np.ndarray:
    """
    The least values that no look ahead exceeds (Puterman, 1994, section 6.9), by HiGHS.

    :param mdp: some thousand states at most
    :return: [S]
    :raises ValueError: where there are none, as with gamma 1 and a reward for ever
    """
    sparse, optimize = scipy_module("scipy.sparse"), scipy_module("scipy.optimize")
    n_rows = mdp.reward.size
    own = sparse.csr_array(
        (np.ones(n_rows), (np.arange(n_rows), np.arange(n_rows) // mdp.n_actions)), shape=(n_rows, mdp.n_states)
    )
    lowest = np.full(mdp.n_states, -np.inf)
    if mdp.gamma == 1.0:
        lowest[free_loops(mdp).members] = 0.0  # one can always stay
    result = optimize.linprog(
        np.ones(mdp.n_states),
        A_ub=(mdp.gamma * mdp.matrix - own).tocsc(),
        b_ub=-mdp.reward.ravel(),
        bounds=np.stack([lowest, np.full(mdp.n_states, np.inf)], axis=1),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.x is None or not result.success:
        raise ValueError(f"the linear program has no solution: {result.message}")
    v: np.ndarray = result.x
    return v
