"""
What the page of the maze lab can ask its server: to plan, and what the given model does. JSON in, data for JSON out.

Whatever the text is, a wrong one is a ``ValueError`` of one line, and an answer is limited: in cells, in sweeps, and in
numbers. No text names a file.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np

from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import Sweep, TabularMDP, policy_iteration, value_iteration
from sb3_ext.planning.evaluation import DENSE
from sb3_ext.viz.lab import ShownModel

MOST_CELLS = 2500
"""of a maze"""
MOST_SWEEPS = 10_000
MOST_NUMBERS = 1_000_000
"""in the log of an answer, of all its sweeps together: 20 MB of JSON"""
LARGEST = 1e6
"""reward of a cell"""


def plan(text: bytes) -> dict[str, Any]:
    """
    :param text: ``{"grid": [[0, 1], ...], "plan": "value" | "policy", "prob": 0.8, "gamma": 0.9}``, perhaps with
        ``"default_reward"``
    :return: "log": values by row and column after each sweep, or of each policy; the last ones are the best ones where
        "converged" is true. "policy" [S] best actions, "q" [S, A], "bound": largest error of a value, None = unknown,
        "n_sweeps"
    :raises ValueError: for anything else
    """
    asked = _parsed(text, {"grid", "plan", "prob", "gamma"}, {"default_reward"})
    maze, gamma = _maze(asked), _number(asked["gamma"], "gamma")
    mdp = TabularMDP.from_env(maze, gamma)
    log: list[list[list[float]]] = []

    def on_sweep(_: Sweep, v: np.ndarray) -> None:
        log.append(v.reshape(maze.grid.shape).tolist())

    most = min(MOST_SWEEPS, MOST_NUMBERS // mdp.n_states)
    if asked["plan"] == "value":
        found = value_iteration(mdp, max_sweeps=most, on_sweep=on_sweep)
    elif asked["plan"] == "policy":
        if mdp.n_states > DENSE:  # whose policies are evaluated by sweeps, of which nobody knows how many
            raise ValueError(f"policy iteration takes at most {DENSE} cells here, the grid has {mdp.n_states}")
        found = policy_iteration(mdp, max_iterations=most, on_sweep=on_sweep)
    else:
        raise ValueError(f'plan {_shown(asked["plan"])} must be "value" or "policy"')
    return {
        "log": log,
        "policy": found.policy.tolist(),
        "q": found.q.tolist(),
        "converged": found.converged,
        "bound": found.bound if math.isfinite(found.bound) else None,
        "n_sweeps": found.n_sweeps,
    }


def policy(text: bytes, model: ShownModel) -> dict[str, Any]:
    """
    :param text: ``{"grid": [[0, 1], ...], "prob": 0.8}``, perhaps with ``"default_reward"``
    :param model: given on the command line
    :return: `ShownModel.on`
    :raises ValueError: for anything else, and for a maze that the model is not of
    """
    return model.on(_maze(_parsed(text, {"grid", "prob"}, {"default_reward"})))


def _parsed(text: bytes, needed: set[str], possible: set[str]) -> dict[str, Any]:
    """:return: a JSON object with the keys that it must have, perhaps with others that it may have"""
    try:
        # Integers as well: thousands of digits are a large number, and not an error of Python's own.
        asked = json.loads(text, parse_int=float, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {_in_short(str(error))}") from None
    if not isinstance(asked, dict):
        raise ValueError(f"the body must be a JSON object, not {_shown(asked)}")
    known = ", ".join(sorted(needed | possible))
    for key in sorted(asked.keys() - needed - possible):
        raise ValueError(f"unknown key {_shown(key)}: there are {known}")
    for key in sorted(needed - asked.keys()):
        raise ValueError(f"the body has no {key!r}: it must have {', '.join(sorted(needed))}")
    return asked


def _maze(asked: dict[str, Any]) -> GridWorldEnv:
    rows = asked["grid"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("grid must be a list of rows, each a list of numbers")
    n_cells = sum(map(len, rows))
    if n_cells > MOST_CELLS:
        raise ValueError(f"grid has {n_cells} cells: the server takes at most {MOST_CELLS}")
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if abs(_number(cell, f"cell ({i}, {j})")) > LARGEST:
                raise ValueError(f"cell ({i}, {j}) is {cell:g}: it must lie within +-{LARGEST:g}")
    reward = _number(asked.get("default_reward", GridWorldEnv().default_reward), "default_reward")
    if abs(reward) > LARGEST:
        raise ValueError(f"default_reward {reward:g} must lie within +-{LARGEST:g}")
    # Where it starts is of no account here, but somewhere it must.
    start = next(((i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell == 0.0), None)
    return GridWorldEnv(rows, _number(asked["prob"], "prob"), reward, start)


def _number(value: Any, what: str) -> float:  # Any: JSON
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError(f"{what} is {_shown(value)}: it must be a finite number")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _shown(value: Any) -> str:  # Any: JSON
    """:return: enough of it to know it by"""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return _in_short(json.dumps(value))


def _in_short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."
