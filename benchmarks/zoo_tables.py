"""
How far from the best policy tables are with the settings of `zoo_configs`: exactly, at the end of training.

    python benchmarks/zoo_tables.py [--algos qlearning ...] [--envs Taxi-v4 ...]

Each block is trained as `sb3-ext train` would, but in lanes of `TabularVecEnv`, which are the environment's own table
and several times as fast. The scores above the blocks are what this prints. Blackjack-v1 publishes no table: its
scores are of the exact one in tests/support/blackjack.py. Settings were chosen on seeds 0 to 2 alone. Finished runs
stay in results/zoo_tables.csv.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import yaml
from common import Table, hardware, parse, parser, print_rows
from rl_zoo3.utils import linear_schedule

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.planning import OptimalityGap, TabularMDP, TabularVecEnv
from sb3_ext.zoo import config_path

TABLES = [algo for algo, row in ALGORITHMS.items() if row.is_tabular]
ENVS = (
    "FrozenLake-v1",
    "FrozenLake8x8-v1",
    "CliffWalking-v1",
    "CliffWalkingSlippery-v1",
    "Taxi-v4",
    "sb3_ext/GridWorld-v0",
)
COLUMNS = ("algo", "env", "seed", "env_steps", "gap", "last_half", "return", "cpu_seconds")


class Block(NamedTuple):
    """What a yml says of one environment."""

    n_steps: int
    n_envs: int
    limit: int | None
    keywords: dict[str, Any]


def block_of(algo: str, env_id: str) -> Block | None:
    """:return: of the yml; None where it has none"""
    found = yaml.safe_load(config_path(algo).read_text()).get(env_id)
    if found is None:
        return None
    limit = found.pop("env_kwargs", {}).get("max_episode_steps")
    rate = found.get("learning_rate")
    if isinstance(rate, str):
        found["learning_rate"] = linear_schedule(float(rate.removeprefix("lin_")))
    found.pop("policy")
    return Block(int(found.pop("n_timesteps")), found.pop("n_envs", 1), limit, found)


def run(algo: str, env_id: str, block: Block, seed: int, n_steps: int) -> dict[str, object]:
    """:return: a row"""
    mdp = TabularMDP.from_env(env_id, block.keywords.get("gamma", 0.99))
    mdp = mdp if block.limit is None else replace(mdp, horizon=block.limit)
    env = TabularVecEnv(mdp, block.n_envs, seed=seed)
    model = getattr(sb3_ext, ALGORITHMS[algo].name)("TablePolicy", env, seed=seed, **block.keywords)
    gap = OptimalityGap(mdp, every=max(n_steps // 50, 1))
    begin = time.process_time()
    model.learn(n_steps, callback=gap, log_interval=10**9)
    seconds = time.process_time() - begin
    steps = np.array([row["steps"] for row in gap.history])
    shares = np.array([row["gap_fraction"] for row in gap.history])
    return {
        "algo": algo,
        "env": env_id,
        "seed": seed,
        "env_steps": n_steps,
        "gap": f"{shares[-1]:.4f}",
        "last_half": f"{np.median(shares[steps > n_steps / 2]):.4f}",
        "return": f"{gap.history[-1].get('return_exact', float('nan')):.4f}",
        "cpu_seconds": f"{seconds:.1f}",
    }


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--algos", nargs="+", default=TABLES, choices=TABLES, help="only these")
    arguments.add_argument("--envs", nargs="+", default=list(ENVS), choices=list(ENVS), help="only these")
    args = parse(arguments)
    table = Table("zoo_tables", COLUMNS, key=("algo", "env", "seed"), saved=not args.quick, fresh=args.fresh)
    print(hardware())
    cells: list[tuple[object, ...]] = []
    for algo in args.algos:
        for env_id in args.envs:
            block = block_of(algo, env_id)
            if block is None:
                continue
            for seed in range(args.seeds):
                if not table.has(algo=algo, env=env_id, seed=seed):
                    table.add(run(algo, env_id, block, seed, 320 if args.quick else block.n_steps))
            where = {"algo": algo, "env": env_id}
            gaps, returns = (" ".join(f"{x:.3f}" for x in table.values(name, **where)) for name in ("gap", "return"))
            last_half = f"{table.values('last_half', **where).max():.3f}"
            cells.append((algo, env_id, gaps, last_half, returns, table.median("cpu_seconds", **where)))
    print_rows(("algo", "env", "gap at the end", "last half, worst", "exact return", "CPU-s"), cells)


if __name__ == "__main__":
    main()
