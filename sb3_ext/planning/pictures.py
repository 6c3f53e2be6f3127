"""A state of a process, drawn: as a table of what can happen next, and as one lit square among all."""

from __future__ import annotations

import math

import numpy as np

from sb3_ext.planning.mdp import TabularMDP

SIDE = 256  # pixels, at least
DARK, LIT = 48, 255


def state_as_text(mdp: TabularMDP, state: int) -> str:
    """:return: all outcomes of the state's actions, a line each"""
    of, row = mdp.outcomes, state * mdp.n_actions
    first, last = np.searchsorted(of.row, (row, row + mdp.n_actions))
    lines = [f"state {state} of {mdp.n_states}", "action  probability    next      reward"]
    for i in range(first, last):
        end = "  end" if of.terminated[i] else ""
        action = of.row[i] - row
        lines.append(f"{action:>6}  {of.probability[i]:>11.6g}  {of.next[i]:>6}  {of.reward[i]:>10.6g}{end}")
    return "\n".join(lines)


def state_as_picture(mdp: TabularMDP, state: int) -> np.ndarray:
    """:return: [pixels, pixels, 3] uint8: a square per state, row by row, the present one lit"""
    columns = math.ceil(math.sqrt(mdp.n_states))
    grey = np.zeros(columns * columns, np.uint8)
    grey[: mdp.n_states] = DARK
    grey[state] = LIT
    pixels = max(1, SIDE // columns)
    wide = np.kron(grey.reshape(columns, columns), np.ones((pixels, pixels), np.uint8))
    if pixels > 2:  # lines between squares
        wide[::pixels] = wide[:, ::pixels] = 0
    return wide[:, :, None].repeat(3, axis=2)
