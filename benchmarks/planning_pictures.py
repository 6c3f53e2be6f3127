"""
Value and policy iteration on the maze of the course, sweep by sweep: docs/images/planning.png.

    python benchmarks/planning_pictures.py

They are calculated in a second, so there is no table; the numbers in the picture are printed.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import matplotlib as mpl
import numpy as np
from common import COLORS, panels, parse, parser, print_rows, save
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from sb3_ext.envs.grid_world import BLOCK, MOVES, GridWorldEnv
from sb3_ext.planning import Sweep, TabularMDP, backup, policy_iteration, value_iteration

GAMMA = 0.9
SWEEPS = (1, 2, 3, 5, 10)
"""of value iteration that are drawn, beside the last"""
TIED = 1e-9


class Picture(NamedTuple):
    """The values after one sweep."""

    title: str
    v: np.ndarray
    """[S]"""


def value_iteration_pictures(mdp: TabularMDP) -> tuple[list[Picture], list[Sweep]]:
    """:return: pictures, and the log of all sweeps"""
    values: dict[int, np.ndarray] = {}
    found = value_iteration(mdp, on_sweep=lambda sweep, v: values.update({sweep.n: v}))
    chosen = (*SWEEPS, found.n_sweeps)
    return [Picture(f"value iteration, sweep {n}", values[n]) for n in chosen], found.log


def policy_iteration_pictures(mdp: TabularMDP) -> tuple[list[Picture], list[Sweep]]:
    """:return: pictures, and the log of all policies"""
    found = policy_iteration(mdp)
    values = [policy_iteration(mdp, max_iterations=n).v for n in range(1, found.n_sweeps + 1)]
    return [Picture(f"policy iteration, policy {i + 1}", v) for i, v in enumerate(values)], found.log


def draw(axis: Axes, env: GridWorldEnv, mdp: TabularMDP, picture: Picture) -> None:
    """
    Cells with their values, and arrows to where acting once more is best: several where they are tied.

    :param axis: that is drawn on
    :param env: the maze
    :param mdp: its process
    :param picture: what is drawn
    """
    n_rows, n_columns = env.grid.shape
    q = backup(mdp, picture.v)
    shown = np.where(env.grid == 0.0, picture.v.reshape(env.grid.shape), env.grid)
    colours = mpl.colormaps["RdYlGn"](Normalize(-1.0, 1.0)(shown))
    colours[env.grid == BLOCK] = (0.35, 0.35, 0.35, 1.0)
    axis.imshow(colours)
    for state in range(mdp.n_states):
        row, column = divmod(state, n_columns)
        if env.grid[row, column] == BLOCK:
            continue
        if env.grid[row, column] != 0.0:
            axis.text(
                column, row, f"{env.grid[row, column]:+g}", ha="center", va="center", fontweight="bold", color="white"
            )
            continue
        axis.text(column, row + 0.36, f"{picture.v[state]:.3f}", ha="center", va="center", fontsize=8)
        for action in np.flatnonzero(q[state] >= q[state].max() - TIED):
            down, right = MOVES[action]
            axis.annotate(
                "",
                xy=(column + 0.3 * right, row - 0.13 + 0.3 * down),
                xytext=(column, row - 0.13),
                arrowprops={"arrowstyle": "->", "color": "black", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7},
            )
    axis.set(title=picture.title, xticks=[], yticks=[])
    axis.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(n_rows + 1) - 0.5, minor=True)
    axis.grid(False)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)


def main() -> None:
    args = parse(parser(__doc__, seeds=1))
    env = gym.make("sb3_ext/GridWorld-v0")
    maze = env.unwrapped
    assert isinstance(maze, GridWorldEnv)
    mdp = TabularMDP.from_env(env, GAMMA)
    of_sweeps, sweeps = value_iteration_pictures(mdp)
    of_policies, policies = policy_iteration_pictures(mdp)
    for name, log in (("value iteration: sweep", sweeps), ("policy iteration: policy", policies)):
        print_rows((name, "largest change", "no value is further off than"), [tuple(sweep) for sweep in log])
        print()
    if args.quick:
        return
    pictures = [*of_sweeps, *of_policies]
    figure, axes = panels(len(pictures) + 1, width=2.55, height=2.15, columns=4)
    for axis, picture in zip(axes, pictures, strict=False):
        draw(axis, maze, mdp, picture)
    for name, log, color in (("value iteration", sweeps, COLORS[0]), ("policy iteration", policies, COLORS[1])):
        axes[-1].semilogy([s.n for s in log], [s.bound for s in log], ".-", color=color, label=name, markersize=4)
    axes[-1].set(title="no value is further off than", xlabel="sweep, policy")
    axes[-1].legend()
    save(figure, "planning")


if __name__ == "__main__":
    main()
