"""
What each switch is worth: the block of zoo_configs for a task with one thing changed, the same env steps.

    python benchmarks/ablation.py

"mean" is the mean return of all evaluations on the way (20 greedy episodes each, ten of them), so it counts how fast an
agent learned as well as how far it came. Finished runs stay in results/ablation.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Table, hardware, parse, parser, print_rows
from learning import train_with_the_zoo

COLUMNS = ("algo", "task", "change", "seed", "env_steps", "mean", "final_mean", "final_std", "cpu_seconds", "curve")
N_EVALUATIONS = 10


@dataclass(frozen=True)
class Study:
    """An algorithm on a task, and the changes to its block of the yml."""

    algo: str
    env_id: str
    n_steps: int
    changes: dict[str, dict[str, Any]]


MEMORY: dict[str, dict[str, Any]] = {
    "as tuned": {},
    "no burn-in": {"burn_in": 0},
    "zero state": {"state_init": "zero"},
    "zero state, no burn-in": {"state_init": "zero", "burn_in": 0},
    "no double Q": {"double_q": False},
    "no dueling": {"head": {"scalar": {"dueling": None}}},
    "no value rescaling": {"value_rescaling": False},
    "prioritized": {"sampler": {"proportional": {"alpha": 0.9, "beta": 0.6}}},  # the tuned blocks draw uniformly
}


def rainbow(noise: float, largest: float) -> dict[str, dict[str, Any]]:
    """
    :param noise: sigma_0 of the tuned block
    :param largest: return without value rescaling
    :return: changes by name
    """
    return {
        "as tuned": {},
        "no double Q": {"double_q": False},
        "uniform": {"sampler": "uniform"},
        "no dueling": {"head": {"c51": {"noise": noise, "dueling": None}}},
        "1 step": {"n_steps": 1},
        "not distributional": {"head": {"scalar": {"noise": noise}}},
        "quantiles": {"head": {"quantile": {"noise": noise}}},
        "no noise": {"head": "c51"},
        "no value rescaling": {
            "value_rescaling": False,
            "head": {"c51": {"noise": noise, "v_min": -largest, "v_max": largest}},
        },
    }


STUDIES = (
    Study("r2d2", "CartPoleNoVel-v1", 30_000, {**MEMORY, "1 step": {"n_steps": 1}}),
    Study("r2d2", "sb3_ext/RepeatPrevious-v0", 60_000, {**MEMORY, "5 steps": {"n_steps": 5}}),
    Study("rainbow", "CartPole-v1", 30_000, rainbow(0.5, 100.0)),
    Study("rainbow", "Acrobot-v1", 20_000, rainbow(0.5, 100.0)),
    Study("rainbowr", "CartPoleNoVel-v1", 30_000, rainbow(0.1, 100.0)),
    Study(
        "rainbowr",
        "sb3_ext/MemoryChain-v0",
        30_000,
        {
            **rainbow(0.1, 2.0),  # returns -1, 1
            "zero state, no burn-in": {"state_init": "zero", "burn_in": 0},
        },
    ),
)


def run(study: Study, change: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    every = max(n_steps // N_EVALUATIONS, 1)
    result = train_with_the_zoo(
        study.algo, study.env_id, seed, n_steps, every, n_episodes=20, final_episodes=50, **study.changes[change]
    )
    curve = zip(result.curve.steps, result.curve.means, strict=True)
    return {
        "algo": study.algo,
        "task": study.env_id,
        "change": change,
        "seed": seed,
        "env_steps": n_steps,
        "mean": round(float(np.mean(result.curve.means)), 3),
        "final_mean": round(result.final_mean, 3),
        "final_std": round(result.final_std, 3),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "curve": " ".join(f"{steps}:{mean}" for steps, mean in curve),
    }


def report(table: Table) -> None:
    """Print mean and spread over seeds."""
    for study in STUDIES:
        cells: list[tuple[object, ...]] = []
        for change in study.changes:
            where = {"algo": study.algo, "task": study.env_id, "change": change}
            means, finals = table.values("mean", **where), table.values("final_mean", **where)
            if len(means):
                spreads = [f"{x.mean():.2f} +- {x.std():.2f}" for x in (means, finals)]
                cells.append((change, *spreads, len(means), table.median("cpu_seconds", **where)))
        print(f"\n{study.algo} on {study.env_id}, {study.n_steps} env steps")
        print_rows(("change", "mean on the way", "final (50 episodes)", "seeds", "CPU-s of a run"), cells)


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--algos", nargs="+", default=["r2d2", "rainbow", "rainbowr"], help="only these")
    arguments.add_argument("--tasks", nargs="+", default=[study.env_id for study in STUDIES], help="only these")
    args = parse(arguments)
    key = ("algo", "task", "change", "seed")
    table = Table("ablation", COLUMNS, key=key, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for study in STUDIES:
            for change in study.changes:
                wanted = study.algo in args.algos and study.env_id in args.tasks
                if wanted and not table.has(algo=study.algo, task=study.env_id, change=change, seed=seed):
                    table.add(run(study, change, seed, 1200 if args.quick else study.n_steps))
    print(hardware())
    report(table)


if __name__ == "__main__":
    main()
