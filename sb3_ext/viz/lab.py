"""
The maze lab as one HTML file, which plans by itself and loads nothing from outside, and what it is given to show.

The page is in lab_page/. A file carries all that it shows; a page that a server gives asks the server. Cells have the
numbers of `GridWorldEnv`: row * columns + column.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.envs.grid_world import MOVES, GridWorldEnv
from sb3_ext.planning import Outcomes, TabularMDP, evaluate, policy_table, q_table
from sb3_ext.planning.model_states import Model, policy_of
from sb3_ext.viz.page_parts import embedded, hash_of, read_page

SCRIPTS = ("solver.js", "maze.js", "board.js", "served.js", "page.js", "controls.js")


class ShownModel:
    """
    A trained model, whose policy and values can be shown on mazes of as many cells as it has states.

    :param model: an algorithm or a policy that observes the number of a cell and moves in four directions
    :param algo: its id
    :param gamma: discount of the values of its policy
    :param deterministic: False = the probabilities that it draws its actions with
    :param reward_unit: the environment's reward for 1 of those that the model is trained on
    :raises ValueError: for a model of something else than mazes, or one that keeps a memory
    """

    def __init__(
        self, model: Model, algo: str, gamma: float, deterministic: bool = True, reward_unit: float = 1.0
    ) -> None:
        self.model, self.algo, self.gamma = model, algo, gamma
        self.deterministic, self.reward_unit = deterministic, reward_unit
        self.name = type(model).__name__
        mdp = resting(model)
        if mdp.n_actions != len(MOVES):
            raise ValueError(f"the model has {mdp.n_actions} actions, a maze {len(MOVES)}")
        self.n_states = mdp.n_states
        policy_table(model, mdp, deterministic=deterministic)  # what refuses does so now

    def check(self, maze: GridWorldEnv) -> None:
        """:raises ValueError: where it is of another maze"""
        if maze.grid.size != self.n_states:
            raise ValueError(f"the model has {self.n_states} states, the maze {maze.grid.size}")

    def on(self, maze: GridWorldEnv) -> dict[str, Any]:
        """
        :param maze: it may have been trained in
        :return: what it does in each cell [S, A], its Q-values [S, A] and the exact values of what it does [S], or None
            where there are none; ready for JSON
        :raises ValueError: where it is of another maze, or its numbers are none
        """
        self.check(maze)
        mdp = TabularMDP.from_env(maze, self.gamma)
        policy = policy_table(self.model, mdp, deterministic=self.deterministic)
        q = q_table(self.model, mdp)
        for what, table in (("probabilities", policy), ("Q-values", q)):
            if table is not None and not np.isfinite(table).all():
                raise ValueError(f"the model's {what} are not all finite: its training diverged")
        return {
            "name": self.name,
            "pi": policy.tolist(),
            "q": None if q is None else (self.reward_unit * q).tolist(),
            "value": _value(mdp, policy),
            "gamma": self.gamma,
        }


@dataclass(frozen=True)
class ShownReward:
    """What was found out about the reward of a maze."""

    name: str
    of_arrival: np.ndarray
    """[S] in the order of the cells"""


@dataclass(frozen=True)
class Lab:
    """
    What the page is given beside what its user draws.

    :raises ValueError: where the parts are of mazes of different sizes
    """

    maze: GridWorldEnv | None = None
    model: ShownModel | None = None
    reward: ShownReward | None = None
    gamma: float | None = None
    """discount; None = the model's"""

    def __post_init__(self) -> None:
        if self.maze is not None and self.model is not None:
            self.model.check(self.maze)
        if self.maze is not None and self.reward is not None and len(self.reward.of_arrival) != self.maze.grid.size:
            raise ValueError(f"the reward has {len(self.reward.of_arrival)} states, the maze {self.maze.grid.size}")

    def facts(self) -> dict[str, Any]:
        """:return: ready for JSON"""
        maze, model, reward = self.maze, self.model, self.reward
        made = GridWorldEnv() if maze is None else maze
        return {
            "model": None if model is None else {"name": model.name, "algo": model.algo, "n_states": model.n_states},
            "grid": None if maze is None else maze.grid.tolist(),
            "start": None if maze is None else list(maze.start),
            "prob": made.move_prob,
            "default_reward": made.default_reward,
            "gamma": model.gamma if self.gamma is None and model is not None else self.gamma,
            "reward": None if reward is None else {"name": reward.name, "of_arrival": reward.of_arrival.tolist()},
        }

    def whole(self) -> dict[str, Any]:
        """:return: for a file that has no server: with the policy on the given maze"""
        shown = None if self.maze is None or self.model is None else self.model.on(self.maze)
        return {"lab": self.facts(), "policy": shown}


def build(given: dict[str, Any] | None = None) -> str:
    """
    :param given: `Lab.whole`; None = the page's server is asked
    :return: an HTML page, all in one
    """
    page, css, js = read_page("lab_page", SCRIPTS)
    return Template(page).substitute(
        data=embedded(given), css=css, js=js, style_hash=hash_of(css), script_hash=hash_of(js)
    )


def resting(model: Model) -> TabularMDP:
    """
    :param model: with states and actions that have numbers
    :return: a process of as many, in which nothing happens: enough to ask the model in each state
    :raises ValueError: for other models
    """
    policy = policy_of(model)
    for what, space in (("observes", policy.observation_space), ("acts in", policy.action_space)):
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"{type(model).__name__} {what} {space}: only Discrete states and actions make a table")
    n_states, n_actions = int(policy.observation_space.n), int(policy.action_space.n)  # type: ignore[attr-defined]
    row = np.arange(n_states * n_actions)
    stays = Outcomes(row, row // n_actions, np.ones(len(row)), np.zeros(len(row)), np.zeros(len(row), bool))
    return TabularMDP(stays, n_states, n_actions, np.eye(n_states)[0], gamma=0.0)


def _value(mdp: TabularMDP, policy: np.ndarray) -> list[float] | None:
    """:return: exact values, None where there are none: without a discount a policy that does not come to an end"""
    try:
        value: list[float] = evaluate(mdp, policy).tolist()
    except ValueError:
        return None
    return value
