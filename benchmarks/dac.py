"""
DAC on SAC from a few episodes of a trained expert, Hopper-v5: final return as a ratio to the expert's.

    python benchmarks/dac.py

The expert is PPO under VecNormalize after a million steps, trained once and kept under --experts. Demonstrations are
subsampled by 20 as in the GAIL paper. Behaviour cloning on the same demonstrations stands beside it. Finished runs stay
in results/dac.csv.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from common import Table, hardware, parse, parser, print_rows
from learning import RUN_COLUMNS, mean_return, row_of, train
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import DACSAC
from sb3_ext.demonstrations import Demonstrations, load, record, save
from sb3_ext.imitation import behaviour_cloning

ENV = "Hopper-v5"
EXPERT_STEPS = 1_000_000
N_STEPS = 50_000
N_EVALUATIONS = 10
N_DEMOS = (4, 11)
AGENTS = {"dacsac": "DACSAC", "bc": "behaviour cloning"}
CACHE = pathlib.Path.home() / ".cache" / "sb3_ext" / "experts"


def expert(folder: pathlib.Path, n_steps: int) -> Demonstrations:
    """:return: episodes of the expert, which is trained where there are none yet"""
    path = folder / f"{ENV}-ppo-{n_steps}.npz"
    if not path.is_file():
        th.set_num_threads(1)
        begin = time.process_time()
        env = VecNormalize(make_vec_env(ENV, 8, seed=0))
        settings: dict[str, Any] = {"n_steps": 256, "batch_size": 256, "seed": 0, "device": "cpu"}
        model = PPO("MlpPolicy", env, learning_rate=lambda left: 5e-4 * left, **settings).learn(n_steps)
        print(f"expert: {n_steps} steps in {time.process_time() - begin:.0f} CPU-s")
        save(record(model, env, 25, seed=1000, env_id=ENV), path)
    return load(path)


def run(agent: str, demos: Demonstrations, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row; that of behaviour cloning has no steps and a curve of one point"""
    task = f"{ENV}, {len(demos)} demos"
    eval_env = make_vec_env(ENV, 10, seed=seed + 100_000)
    few = demos.subsample(20, seed=seed)
    if agent == "bc":
        th.set_num_threads(1)
        model = PPO("MlpPolicy", gym.make(ENV), seed=seed, device="cpu", policy_kwargs={"net_arch": [256, 256]})
        begin = time.process_time()
        behaviour_cloning(model, few, n_epochs=500, seed=seed)
        cpu = time.process_time() - begin
        mean, std = mean_return(model, eval_env, 50)
        names = ("task", "agent", "seed", "env_steps", "final_mean", "final_std", "best", "cpu_seconds", "curve")
        values = (task, agent, seed, 0, round(mean, 3), round(std, 3), round(mean, 3), round(cpu, 1), f"0:{mean}")
        return dict(zip(names, values, strict=True))
    imitator = DACSAC("MlpPolicy", make_vec_env(ENV, 1, seed=seed), few, learning_starts=1000, seed=seed, device="cpu")
    result = train(imitator, eval_env, n_steps, max(n_steps // N_EVALUATIONS, 1), 10, 50)
    return row_of(result, task, agent, seed, n_steps)


def report(table: Table, demos: Demonstrations) -> None:
    """Print the final return and its ratio to the expert."""
    mean = float(demos.returns.mean())
    print(f"expert: {mean:.0f} +- {demos.returns.std():.0f} over {len(demos)} episodes")
    cells: list[tuple[object, ...]] = []
    for n_demos in N_DEMOS:
        for agent, name in AGENTS.items():
            where = {"task": f"{ENV}, {n_demos} demos", "agent": agent}
            finals = table.values("final_mean", **where)
            if len(finals):
                ratio = f"{np.mean(finals) / mean:.2f}"
                cpu = table.median("cpu_seconds", **where)
                cells.append((name, n_demos, f"{finals.mean():.0f} +- {finals.std():.0f}", ratio, len(finals), cpu))
    print_rows(("agent", "demos", "final return", "ratio to the expert", "seeds", "CPU-s of a run"), cells)


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--experts", type=pathlib.Path, default=CACHE, help="folder of the expert's episodes")
    args: argparse.Namespace = parse(arguments)
    table = Table("dac", RUN_COLUMNS, key=("task", "agent", "seed"), saved=not args.quick, fresh=args.fresh)
    demos = expert(args.experts, 300 if args.quick else EXPERT_STEPS)
    for seed in range(args.seeds):
        for agent in reversed(AGENTS):
            for n_demos in N_DEMOS:
                if not table.has(task=f"{ENV}, {n_demos} demos", agent=agent, seed=seed):
                    table.add(run(agent, demos.limit(n_demos), seed, 1200 if args.quick else N_STEPS))
    print(hardware())
    report(table, demos)


if __name__ == "__main__":
    main()
