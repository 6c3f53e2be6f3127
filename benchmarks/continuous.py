"""
TD3 and DDPG beside SB3's own on continuous control, the same env steps, one thread each.

    python benchmarks/continuous.py
    python benchmarks/continuous.py --tasks Walker2d-v5 Ant-v5

Ours have their blocks of zoo_configs, SB3's rl-zoo3's settings for MuJoCo; on Pendulum, where rl-zoo3 acts at random
for as long as this task lasts, SB3's defaults with its noise. "article" is the preset of the tutorials that the project
began from, "small" the preset small-net. sbx-rl's TD3 (JAX) has SB3's settings and runs where it is installed
(pip install sbx-rl -c constraints.txt). All are evaluated alike: ten times on the way (10 greedy episodes) and at the
end (50; Pendulum 100). The aggregate is rliable's interquartile mean over seeds with the 95 % interval of the
bootstrap. Finished runs stay in results/continuous.csv.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Table, hardware, parse, parser, print_rows
from learning import RUN_COLUMNS, RUN_KEY, Panel, plot_curves, row_of, train, train_with_the_zoo
from rliable.library import get_interval_estimates
from rliable.metrics import aggregate_iqm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sb3_ext.zoo import config_path
from sb3_ext.zoo.configs import read_presets

ZOO = {"learning_starts": 10_000, "policy_kwargs": {"net_arch": [400, 300]}}  # rl-zoo3's MuJoCo blocks
COLUMNS = (*RUN_COLUMNS, "worst")


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    final_episodes: int = 50
    level: float = 0.0
    """a return to draw a line at: the anchor of the TD3 authors' curves at 100k steps, v1"""
    is_default: bool = True


TASKS = (
    Task("Pendulum-v1", 10_000, 100, -160.0),
    Task("HalfCheetah-v5", 100_000, level=5514.0),
    Task("Hopper-v5", 100_000, level=660.0),
    Task("Walker2d-v5", 100_000, is_default=False),
    Task("Ant-v5", 100_000, is_default=False),
)
AGENTS = {
    "td3": "TD3",
    "sb3-td3": "SB3's TD3",
    "ddpg": "DDPG",
    "sb3-ddpg": "SB3's DDPG",
    "small-td3": "TD3, small networks",
    "small-ddpg": "DDPG, small networks",
    "sbx-td3": "sbx's TD3",
    "article-td3": "TD3, article's settings",
    "article-ddpg": "DDPG, article's settings",
}
PRESETS = {
    ("Hopper-v5", "small-td3"): "small-net",
    ("Hopper-v5", "small-ddpg"): "small-net",
    ("Pendulum-v1", "article-td3"): "source-article",
    ("Pendulum-v1", "article-ddpg"): "source-article",
    ("HalfCheetah-v5", "article-ddpg"): "source-article-halfcheetah",
}
PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}
N_EVALUATIONS = 10
N_BOOTSTRAP = 20_000


def exists(task: Task, agent: str) -> bool:
    """:return: whether there is a preset for this task, and sbx is installed"""
    if agent.startswith(("article", "small")):
        return (task.env_id, agent) in PRESETS
    return agent != "sbx-td3" or importlib.util.find_spec("sbx") is not None


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    every = max(n_steps // N_EVALUATIONS, 1)
    algo = agent.split("-")[-1]
    if agent.startswith("sb"):
        env = make_vec_env(task.env_id, 1, seed=seed)
        shape = env.action_space.shape
        assert shape is not None
        settings: dict[str, Any] = {} if task.env_id == "Pendulum-v1" else ZOO
        noise = NormalActionNoise(np.zeros(shape), 0.1 * np.ones(shape))
        cls = getattr(importlib.import_module(PEERS[agent.split("-")[0]]), algo.upper())
        model = cls("MlpPolicy", env, learning_rate=1e-3, action_noise=noise, seed=seed, device="cpu", **settings)
        eval_env = make_vec_env(task.env_id, 10, seed=seed + 100_000)
        result = train(model, eval_env, n_steps, every, 10, task.final_episodes)
    else:
        preset = PRESETS.get((task.env_id, agent))
        settings = read_presets(config_path(algo))[preset] if preset else {}
        result = train_with_the_zoo(
            algo, task.env_id, seed, n_steps, every, n_episodes=10, final_episodes=task.final_episodes, **settings
        )
    return {**row_of(result, task.env_id, agent, seed, n_steps), "worst": round(result.final_worst, 3)}


def report(table: Table) -> None:
    """Print final returns, their interquartile means, and the CPU seconds of a run."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        for agent, name in AGENTS.items():
            where = {"task": task.env_id, "agent": agent}
            finals = table.values("final_mean", **where)
            if len(finals) == 0:
                continue
            scores = {agent: finals[:, None]}
            points, intervals = get_interval_estimates(scores, lambda x: np.array([aggregate_iqm(x)]), reps=N_BOOTSTRAP)
            (point,), ((low,), (high,)) = points[agent], intervals[agent]
            cells.append(
                (
                    task.env_id,
                    f"{task.n_steps // 1000}k",
                    name,
                    f"{point:.0f} [{low:.0f}, {high:.0f}]",
                    f"{finals.mean():.0f} +- {finals.std():.0f}",
                    f"{table.values('worst', **where).min():.0f}",
                    len(finals),
                    table.median("cpu_seconds", **where),
                )
            )
    print_rows(("task", "env steps", "agent", "IQM", "mean", "worst episode", "seeds", "CPU-s of a run"), cells)


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--tasks", nargs="+", default=[t.env_id for t in TASKS if t.is_default], help="only these")
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    args = parse(arguments)
    # JAX's threads, before it is imported
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    table = Table("continuous", COLUMNS, key=RUN_KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in args.agents:
                if (
                    task.env_id in args.tasks
                    and exists(task, agent)
                    and not table.has(task=task.env_id, agent=agent, seed=seed)
                ):
                    table.add(run(task, agent, seed, 300 if args.quick else task.n_steps))
    print(hardware())
    report(table)
    if not args.quick:
        measured = {row["task"] for row in table.rows}
        levels = [Panel.of(task.env_id, task.level) for task in TASKS if task.env_id in measured]
        plot_curves(table, levels, AGENTS, "continuous", n_episodes=10)


if __name__ == "__main__":
    main()
