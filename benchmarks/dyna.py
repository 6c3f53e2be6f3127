"""
What planning on what was seen is worth: `DynaQ` and `PrioritizedSweeping` beside `QLearning`.

    python benchmarks/dyna.py

The maze of Sutton & Barto ("Reinforcement Learning", 2nd edition, figure 8.2): 6 x 9 cells, one reward of 1 at the
goal, discount 0.95, steps of 0.1 and epsilon 0.1; the shortest way has 14 steps. Episodes are compared from the second
one on: until the goal was found once there is nothing to plan with, and the first is random in all of them. No
planning must be Q-learning, bit for bit, and 5 planning steps must take at most a third of the steps.

On FrozenLake-v1, which slips, the gap is exact, as a share of V*. Speed is measured in turns, on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from common import COLORS, Bound, hardware, in_turns, panels, parse, parser, print_rows, save, verdict
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import DynaQ, PrioritizedSweeping, QLearning
from sb3_ext.envs import GridWorldEnv
from sb3_ext.ops.exploration import EpsilonGreedy
from sb3_ext.planning import OptimalityGap, TabularMDP, TabularVecEnv, solve
from sb3_ext.tabular import TableAlgorithm

MAZE = (".......#+", "..#....#.", "S.#....#.", "..#......", ".....#...", ".........")
OPTIMUM = 14  # steps
N_EPISODES = 30
GAMMA_OF_MAZE = 0.95
LAKE = "FrozenLake-v1"
GAMMA = 0.99
SOLVED = 0.02  # share of V*


class Contestant(NamedTuple):
    """An algorithm with how much it plans."""

    name: str
    algorithm: Callable[..., TableAlgorithm]
    settings: Mapping[str, Any]


CONTESTANTS = {
    "q": Contestant("Q-learning", QLearning, {}),
    "0": Contestant("Dyna-Q, k = 0", DynaQ, {"planning_steps": 0}),
    "5": Contestant("Dyna-Q, k = 5", DynaQ, {"planning_steps": 5}),
    "50": Contestant("Dyna-Q, k = 50", DynaQ, {"planning_steps": 50}),
    "sweep": Contestant("prioritized sweeping, k = 5", PrioritizedSweeping, {"planning_steps": 5}),
}


def of_maze(contestant: Contestant, env: gym.Env[Any, Any] | VecEnv, seed: int) -> TableAlgorithm:
    """:return: untrained; prioritized sweeping makes whole steps"""
    steps = {} if contestant.algorithm is PrioritizedSweeping else {"learning_rate": 0.1, "visit_power": 0.0}
    explored = EpsilonGreedy(0.1, 0.1, 1.0)
    return contestant.algorithm(
        "TablePolicy", env, gamma=GAMMA_OF_MAZE, exploration=explored, seed=seed, **steps, **contestant.settings
    )


class Episodes(BaseCallback):
    """Keeps how long episodes are, and stops after so many."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n, self.lengths = n, [0] * 0

    def _on_step(self) -> bool:
        self.lengths += [info["episode"]["l"] for info in self.locals["infos"] if "episode" in info]
        return len(self.lengths) < self.n


def maze() -> gym.Env[Any, Any]:
    """:return: the maze, which does not slip, and in which a step costs nothing but time"""
    return Monitor(GridWorldEnv(MAZE, move_prob=1.0, default_reward=0.0))


def learn_maze(contestant: Contestant, seed: int, n_episodes: int) -> tuple[list[int], np.ndarray]:
    """:return: [n_episodes] lengths, [S, A] the table"""
    model, episodes = of_maze(contestant, maze(), seed), Episodes(n_episodes)
    model.learn(10**7, callback=episodes, log_interval=10**9)
    return episodes.lengths, model.policy.q.numpy().copy()


def learn_lake(model: TableAlgorithm, mdp: TabularMDP, n_steps: int) -> tuple[object, ...]:
    """:return: cells of a row"""
    gap = OptimalityGap(mdp, every=max(n_steps // 60, 1))
    begin = time.process_time()
    model.learn(n_steps, callback=gap, log_interval=10**9)
    seconds = time.process_time() - begin
    steps = np.array([row["steps"] for row in gap.history])
    shares = np.array([row["gap_fraction"] for row in gap.history])
    solved = steps[shares <= SOLVED]
    last_half = np.median(shares[steps > n_steps / 2])
    first = f"{solved[0]:.0f}" if len(solved) else "never"
    return first, f"{last_half:.4f}", f"{gap.history[-1]['q_error']:.3f}", f"{seconds:.1f}"


def lake_rows(n_seeds: int, share: float) -> list[tuple[object, ...]]:
    """
    :param n_seeds: of each contestant
    :param share: of the steps
    :return: rows of the table
    """
    mdp = TabularMDP.from_env(LAKE, GAMMA)
    agents: list[tuple[str, Callable[..., TableAlgorithm], int, int, dict[str, Any]]] = [
        ("Q-learning, 64 lanes", QLearning, 64, 96_000, {"learning_rate": 1.0, "visit_power": 0.6}),
        ("Q-learning, one lane", QLearning, 1, 10_000, {"learning_rate": 1.0, "visit_power": 0.6}),
        ("Dyna-Q, k = 5, step 0.2", DynaQ, 1, 2_000, {"learning_rate": 0.2, "visit_power": 0.0}),
        ("Dyna-Q, k = 5, step 0.2", DynaQ, 1, 10_000, {"learning_rate": 0.2, "visit_power": 0.0}),
        ("Dyna-Q, k = 5, n^-0.6", DynaQ, 1, 10_000, {"learning_rate": 1.0, "visit_power": 0.6}),
        ("prioritized sweeping, k = 5", PrioritizedSweeping, 1, 2_000, {}),
        ("prioritized sweeping, k = 5", PrioritizedSweeping, 1, 10_000, {}),
    ]
    rows = []
    for name, algorithm, n_lanes, n_steps, settings in agents:
        for seed in range(n_seeds):
            env = TabularVecEnv(mdp, n_lanes, seed=seed)
            explored = EpsilonGreedy(1.0, 0.1, 1.0)
            model = algorithm("TablePolicy", env, gamma=GAMMA, exploration=explored, seed=seed, **settings)
            n = max(int(share * n_steps) // n_lanes, 1) * n_lanes
            rows.append((name, f"{n}", seed, *learn_lake(model, mdp, n)))
    return rows


def speed(n_steps: int, rounds: int, lanes: int) -> dict[str, float]:
    """
    :param n_steps: of each round, over all lanes
    :param rounds: timed
    :param lanes: of the maze
    :return: env steps per CPU second of each contestant, in the middle of training
    """
    mdp = TabularMDP.from_env(GridWorldEnv(MAZE, move_prob=1.0, default_reward=0.0), GAMMA_OF_MAZE)
    models = {key: of_maze(chosen, TabularVecEnv(mdp, lanes, seed=0), seed=0) for key, chosen in CONTESTANTS.items()}

    def work(model: TableAlgorithm) -> Callable[[], object]:
        return lambda: model.learn(n_steps, reset_num_timesteps=False, log_interval=10**9)

    seconds = in_turns({key: work(model) for key, model in models.items()}, rounds)
    return {key: n_steps / float(np.median(taken)) for key, taken in seconds.items()}


def plot(lengths: Mapping[str, np.ndarray]) -> None:
    """Draw docs/images/dyna.png: steps of each episode, mean and range of the seeds."""
    figure, (axis,) = panels(1, width=5.2, height=3.4)
    for (key, values), color in zip(lengths.items(), COLORS, strict=False):
        episodes = np.arange(2, values.shape[1] + 1)
        axis.plot(episodes, values[:, 1:].mean(axis=0), color=color, label=CONTESTANTS[key].name)
        low, high = values[:, 1:].min(axis=0), values[:, 1:].max(axis=0)
        axis.fill_between(episodes, low, high, color=color, alpha=0.12, linewidth=0)
    axis.axhline(OPTIMUM, color="black", linewidth=1, linestyle="--")
    axis.text(N_EPISODES, OPTIMUM * 0.97, f"shortest way: {OPTIMUM} steps", ha="right", va="top")
    axis.set(yscale="log", xlabel="episode", ylabel="steps of the episode", ylim=(9, None), xlim=(2, N_EPISODES))
    axis.set_title(f"Dyna maze, {len(next(iter(lengths.values())))} seeds")
    axis.legend()
    save(figure, "dyna")


def main() -> None:
    args = parse(parser(__doc__, seeds=10))
    n_episodes = 5 if args.quick else N_EPISODES
    print(hardware(), end="\n\n")
    shortest = solve(TabularMDP.from_env(maze(), GAMMA_OF_MAZE))
    print(f"V* of the start {shortest.v[18]:.6f} = 0.95^{OPTIMUM - 1}\n")
    lengths, tables = {}, {}
    for key, contestant in CONTESTANTS.items():
        runs = [learn_maze(contestant, seed, n_episodes) for seed in range(args.seeds)]
        lengths[key], tables[key] = np.array([run[0] for run in runs]), np.array([run[1] for run in runs])
    shown = [n for n in (2, 5, 10, N_EPISODES) if n <= n_episodes]
    header = ("maze", *(f"episode {n}" for n in shown), f"episodes 2-{n_episodes}")
    cells = [
        (CONTESTANTS[key].name, *(f"{x[:, n - 1].mean():.0f}" for n in shown), f"{x[:, 1:].sum(axis=1).mean():.0f}")
        for key, x in lengths.items()
    ]
    print_rows(header, cells)
    print()
    rows = lake_rows(1 if args.quick else 2, 0.02 if args.quick else 1.0)
    print_rows((LAKE, "steps", "seed", f"gap <= {SOLVED:g} at", "last half: median", "error of Q", "CPU-s"), rows)
    print()
    of_one, of_many = (
        speed(*given) for given in (((200, 1, 1), (640, 1, 64)) if args.quick else ((2_000, 5, 1), (32_000, 5, 64)))
    )
    speeds = [(chosen.name, f"{of_one[key]:.0f}", f"{of_many[key]:.0f}") for key, chosen in CONTESTANTS.items()]
    print_rows(("env steps per CPU-s", "one lane", "64 lanes"), speeds)
    if not args.quick:
        plot({key: x for key, x in lengths.items() if key != "0"})
    without, five = (lengths[key][:, 1:].sum(axis=1).mean() for key in ("0", "5"))
    sys.exit(
        verdict(
            [
                Bound("k = 5 takes, of the steps of k = 0", five / without, at_most=1 / 3),
                Bound("k = 0 and Q-learning: cells that differ", int((tables["0"] != tables["q"]).sum()), at_most=0),
            ]
        )
    )


if __name__ == "__main__":
    main()
