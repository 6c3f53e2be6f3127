"""
Rainbow beside SB3's DQN and sb3-contrib's QR-DQN on small tasks, the same env steps.

    python benchmarks/rainbow.py

Rainbow has its blocks of zoo_configs/rainbow.yml, the other two rl-zoo3's tuned settings, and all are evaluated alike:
ten times on the way (20 greedy episodes) and at the end (50). The aggregate is the interquartile mean over tasks and
seeds of the final return, scaled so that a random agent has 0 and the task's goal is 1, with a 95 % interval of the
stratified bootstrap (Agarwal et al., 2021). Finished runs stay in results/rainbow.csv.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from common import Table, hardware, parse, parser, print_rows
from learning import RUN_COLUMNS, RUN_KEY, cell_of, plot_curves, row_of, train_with_the_zoo
from scipy.stats import trim_mean


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    chance: float
    """return of a random agent"""
    goal: float
    """gymnasium's reward threshold"""


TASKS = (
    Task("CartPole-v1", 50_000, 22.0, 475.0),
    Task("Acrobot-v1", 100_000, -500.0, -100.0),
    Task("MountainCar-v0", 120_000, -200.0, -110.0),
    Task("LunarLander-v3", 100_000, -180.0, 200.0),
)
AGENTS = {"rainbow": "Rainbow", "dqn": "DQN", "qrdqn": "QR-DQN"}
N_EVALUATIONS = 10
N_BOOTSTRAP = 2000


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    every = max(n_steps // N_EVALUATIONS, 1)
    result = train_with_the_zoo(agent, task.env_id, seed, n_steps, every, n_episodes=20, final_episodes=50)
    return row_of(result, task.env_id, agent, seed, n_steps)


def iqm_with_interval(scores: list[np.ndarray]) -> tuple[float, float, float]:
    """
    :param scores: of each task, [seeds]
    :return: interquartile mean of all, and the ends of its 95 % interval; seeds are drawn again inside each task
    """
    rng = np.random.default_rng(0)
    draws = [trim_mean(np.concatenate([rng.choice(x, len(x)) for x in scores]), 0.25) for _ in range(N_BOOTSTRAP)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(trim_mean(np.concatenate(scores), 0.25)), float(low), float(high)


def report(table: Table) -> None:
    """Print the final return of each agent on each task, and the aggregate over tasks."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        row: list[object] = [task.env_id, f"{task.n_steps // 1000}k"]
        for agent in AGENTS:
            row.append(cell_of(table, task.env_id, agent))
        cells.append(tuple(row))
    print_rows(("task", "env steps", *AGENTS.values()), cells)
    print("Final return of 50 greedy episodes: mean and standard deviation over seeds (seeds; CPU-s of a run).\n")
    for agent, name in AGENTS.items():
        scores = [
            (table.values("final_mean", task=task.env_id, agent=agent) - task.chance) / (task.goal - task.chance)
            for task in TASKS
        ]
        if all(len(x) for x in scores):
            iqm, low, high = iqm_with_interval(scores)
            print(f"{name}: interquartile mean {iqm:.2f} [{low:.2f}, {high:.2f}]")


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--tasks", nargs="+", default=[task.env_id for task in TASKS], help="only these")
    args = parse(arguments)
    table = Table("rainbow", RUN_COLUMNS, key=RUN_KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in AGENTS:
                if task.env_id in args.tasks and not table.has(task=task.env_id, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1200 if args.quick else task.n_steps))
    print(hardware())
    report(table)
    if not args.quick:
        plot_curves(table, [(task.env_id, task.goal) for task in TASKS], AGENTS, "rainbow")


if __name__ == "__main__":
    main()
