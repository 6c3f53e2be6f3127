"""
What a first user types: an algorithm, its policy and CartPole-v1, no keyword beside the seed.

    python benchmarks/without_keywords.py

100 greedy episodes of the last weights, on one thread. Finished runs stay in results/without_keywords.csv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common import Table, hardware, parse, parser, print_rows
from learning import train
from stable_baselines3.common.env_util import make_vec_env

from sb3_ext import R2D2, Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning

ENV_ID = "CartPole-v1"


@dataclass(frozen=True)
class Agent:
    """An algorithm and its budget."""

    name: str
    algorithm: Callable[..., DeepQLearning]
    policy: str
    n_steps: int
    n_seeds: int


AGENTS = (
    Agent("R2D2", R2D2, "MlpLstmPolicy", 100_000, 5),
    Agent("Rainbow", Rainbow, "MlpPolicy", 50_000, 3),
    Agent("RainbowR", RainbowR, "MlpLstmPolicy", 50_000, 3),
)


def run(agent: Agent, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    model = agent.algorithm(agent.policy, ENV_ID, seed=seed)
    result = train(model, make_vec_env(ENV_ID, 10, seed + 100_000), n_steps, n_steps // 10, 20, final_episodes=100)
    return {
        "agent": agent.name,
        "seed": seed,
        "env_steps": n_steps,
        "final_mean": round(result.final_mean, 1),
        "final_std": round(result.final_std, 1),
        "final_worst": result.final_worst,
        "cpu_seconds": round(result.cpu_seconds, 1),
        "curve": " ".join(f"{s}:{m}" for s, m in zip(result.curve.steps, result.curve.means, strict=True)),
    }


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    columns = ("agent", "seed", "env_steps", "final_mean", "final_std", "final_worst", "cpu_seconds", "curve")
    table = Table("without_keywords", columns, key=("agent", "seed"), saved=not args.quick, fresh=args.fresh)
    for agent in AGENTS:
        for seed in range(min(args.seeds, agent.n_seeds)):
            if not table.has(agent=agent.name, seed=seed):
                table.add(run(agent, seed, 2000 if args.quick else agent.n_steps))
    print(hardware())
    cells: list[tuple[object, ...]] = [
        (
            row["agent"],
            row["seed"],
            row["env_steps"],
            f"{row['final_mean']} +- {row['final_std']}",
            row["final_worst"],
            row["cpu_seconds"],
        )
        for row in table.rows
    ]
    print_rows(("", "seed", "env steps", "100 episodes", "worst", "CPU-s"), cells)


if __name__ == "__main__":
    main()
