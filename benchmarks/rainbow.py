"""
Rainbow beside SB3's DQN and sb3-contrib's QR-DQN on small tasks, the same env steps.

    python benchmarks/rainbow.py

Rainbow has its blocks of zoo_configs/rainbow.yml, the other two rl-zoo3's tuned settings, and all are evaluated alike:
ten times on the way (20 greedy episodes) and at the end (50). rl-zoo3 has nothing for MinAtar: there all three have the
network and the settings of its paper (Young and Tian, 2019), and one update per two steps. QR-DQN has 50 quantiles on
MinAtar, where its default is 200, and on LunarLander in place of the tuned 170. The aggregate is rliable's
interquartile mean over tasks and seeds of the final return, scaled so that a random agent has 0 and the task's goal is
1, with the 95 % interval of the stratified bootstrap (Agarwal et al., 2021). Finished runs stay in results/rainbow.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import minatar.gym
import numpy as np
import torch as th
from common import Table, hardware, parse, parser, print_rows
from gymnasium import spaces
from learning import RUN_COLUMNS, RUN_KEY, Panel, cell_of, plot_curves, row_of, train_with_the_zoo
from rliable.library import get_interval_estimates
from rliable.metrics import aggregate_iqm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class MinAtarCnn(BaseFeaturesExtractor):
    """
    The network of Young and Tian (2019): 16 filters of 3 x 3 on the 10 x 10 picture, then 128 units.

    :param observation_space: of shape [rows, columns, channels]
    """

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=128)
        rows, columns, channels = observation_space.shape
        self.conv = nn.Conv2d(channels, 16, kernel_size=3)
        self.linear = nn.Linear(16 * (rows - 2) * (columns - 2), 128)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        pixels = self.conv(observations.permute(0, 3, 1, 2)).relu()
        features: th.Tensor = self.linear(pixels.flatten(1)).relu()
        return features


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    chance: float
    """return of a random agent"""
    goal: float
    """gymnasium's reward threshold; MinAtar has none, there it is a third of a wall"""
    shared: dict[str, Any] = field(default_factory=dict)
    """settings of all agents where no yml has a block"""
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """settings of one agent"""


MINATAR = {
    "policy": "MlpPolicy",
    "learning_rate": 2.5e-4,
    "buffer_size": 100_000,
    "learning_starts": 5000,
    "batch_size": 32,
    "gamma": 0.99,
    "train_freq": 2,
    "gradient_steps": 1,
}
NETWORK = {"features_extractor_class": MinAtarCnn}
STOCK: dict[str, Any] = {
    "target_update_interval": 1000,
    "exploration_fraction": 1.0,
    "exploration_final_eps": 0.1,
    "policy_kwargs": {**NETWORK, "net_arch": []},
}
TASKS = (
    Task("CartPole-v1", 50_000, 22.0, 475.0),
    Task("Acrobot-v1", 100_000, -500.0, -100.0),
    Task("MountainCar-v0", 120_000, -200.0, -110.0),
    Task(
        "LunarLander-v3",
        100_000,
        -180.0,
        200.0,
        # Not the tuned 170: their 28 900 pairs of quantiles make a run last an hour.
        own={"qrdqn": {"policy_kwargs": {"net_arch": [256, 256], "n_quantiles": 50}}},
    ),
    Task(
        "MinAtar/Breakout-v1",
        100_000,
        0.4,
        10.0,
        shared=MINATAR,
        own={
            "rainbow": {"target_update_interval": 500, "policy_kwargs": {**NETWORK, "net_arch": [128]}},
            "dqn": STOCK,
            "qrdqn": {**STOCK, "policy_kwargs": {**STOCK["policy_kwargs"], "n_quantiles": 50}},
        },
    ),
)
AGENTS = {"rainbow": "Rainbow", "dqn": "DQN", "qrdqn": "QR-DQN"}
N_EVALUATIONS = 10
N_BOOTSTRAP = 20_000


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    every = max(n_steps // N_EVALUATIONS, 1)
    settings = {**task.shared, **task.own.get(agent, {})}
    result = train_with_the_zoo(agent, task.env_id, seed, n_steps, every, n_episodes=20, final_episodes=50, **settings)
    return row_of(result, task.env_id, agent, seed, n_steps)


def aggregate(table: Table) -> None:
    """Print the interquartile mean of each agent that has finished the same seeds of all tasks."""
    scores: dict[str, np.ndarray] = {}
    for agent in AGENTS:
        finals = [table.values("final_mean", task=task.env_id, agent=agent) for task in TASKS]
        n_seeds = min(len(x) for x in finals)
        scaled = [
            (x[:n_seeds] - task.chance) / (task.goal - task.chance) for x, task in zip(finals, TASKS, strict=True)
        ]
        if n_seeds > 0:
            scores[agent] = np.stack(scaled, axis=1)  # [seeds, tasks]
    points, intervals = get_interval_estimates(scores, lambda x: np.array([aggregate_iqm(x)]), reps=N_BOOTSTRAP)
    for agent, x in scores.items():
        (point,), ((low,), (high,)) = points[agent], intervals[agent]
        print(f"{AGENTS[agent]}: interquartile mean {point:.2f} [{low:.2f}, {high:.2f}] ({x.shape[0]} seeds)")


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
    aggregate(table)


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--tasks", nargs="+", default=[task.env_id for task in TASKS], help="only these")
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), help="only these")
    args = parse(arguments)
    table = Table("rainbow", RUN_COLUMNS, key=RUN_KEY, saved=not args.quick, fresh=args.fresh)
    minatar.gym.register_envs()
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in args.agents:
                if task.env_id in args.tasks and not table.has(task=task.env_id, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1200 if args.quick else task.n_steps))
    print(hardware())
    report(table)
    if not args.quick:
        plot_curves(table, [Panel.of(task.env_id, task.goal) for task in TASKS], AGENTS, "rainbow")


if __name__ == "__main__":
    main()
