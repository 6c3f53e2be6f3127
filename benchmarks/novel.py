"""
CartPole without velocities: R2D2 with our settings beside RecurrentPPO with rl-zoo3's tuned ones, the same steps, both
evaluated alike.

    python benchmarks/novel.py

"475 at" is the first evaluation (20 greedy episodes, every 2 500 env steps) with a mean of at least 475; CPU seconds
are of training alone, on one thread. Finished runs stay in results/novel.csv.
"""

from __future__ import annotations

import numpy as np
from common import COLORS, Table, hardware, panels, parse, parser, print_rows, save
from learning import train_with_the_zoo

ENV_ID = "CartPoleNoVel-v1"
ALGOS = {"r2d2": "R2D2", "ppo_lstm": "RecurrentPPO"}
N_STEPS = 100_000
EVERY = 2_500
THRESHOLD = 475.0
COLUMNS = (
    "algo",
    "seed",
    "env_steps",
    "steps_to_475",
    "cpu_to_475",
    "best",
    "final_mean",
    "final_std",
    "cpu_seconds",
    "curve",
)


def run(algo: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    result = train_with_the_zoo(
        algo, ENV_ID, seed, n_steps, every=min(EVERY, n_steps), n_episodes=20, final_episodes=100
    )
    steps, cpu = result.curve.reached(THRESHOLD)
    curve = zip(result.curve.steps, result.curve.cpu_seconds, result.curve.means, strict=True)
    return {
        "algo": algo,
        "seed": seed,
        "env_steps": n_steps,
        "steps_to_475": "" if steps is None else steps,
        "cpu_to_475": "" if cpu is None else cpu,
        "best": max(result.curve.means),
        "final_mean": round(result.final_mean, 1),
        "final_std": round(result.final_std, 1),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "curve": " ".join(f"{s}:{c}:{m}" for s, c, m in curve),
    }


def report(rows: list[dict[str, str]]) -> None:
    """Print the table."""
    header = ("", "seed", "475 at step", "CPU-s", "best", "final (100 episodes)", "CPU-s of all")
    cells: list[tuple[object, ...]] = [
        (
            ALGOS[row["algo"]],
            row["seed"],
            row["steps_to_475"] or "never",
            row["cpu_to_475"],
            row["best"],
            f"{row['final_mean']} +- {row['final_std']}",
            row["cpu_seconds"],
        )
        for row in rows
    ]
    print_rows(header, cells)
    for algo, name in ALGOS.items():
        mine = [row for row in rows if row["algo"] == algo]
        if not mine:
            continue
        steps = [float(row["steps_to_475"] or "inf") for row in mine]
        finals = [float(row["final_mean"]) for row in mine]
        print(
            f"{name}: 475 on {np.isfinite(steps).sum()} of {len(mine)} seeds, median step {np.median(steps):.0f}; "
            f"final mean {np.mean(finals):.1f} +- {np.std(finals):.1f} over seeds"
        )


def plot(rows: list[dict[str, str]]) -> None:
    """Draw docs/images/novel.png."""
    figure, (axis,) = panels(1, width=7, height=4)
    for (algo, name), color in zip(ALGOS.items(), COLORS, strict=False):
        curves = [[point.split(":") for point in row["curve"].split()] for row in rows if row["algo"] == algo]
        for i, curve in enumerate(curves):
            steps, means = [int(p[0]) / 1000 for p in curve], [float(p[2]) for p in curve]
            axis.plot(steps, means, color=color, alpha=0.25, linewidth=1)
            if i == 0:
                n_points = min(len(c) for c in curves)
                mean = np.mean([[float(p[2]) for p in c[:n_points]] for c in curves], axis=0)
                axis.plot(
                    steps[:n_points], mean, color=color, linewidth=2.5, label=f"{name} (mean of {len(curves)} seeds)"
                )
    axis.axhline(THRESHOLD, color="0.5", linewidth=1, linestyle="--")
    axis.set(xlabel="env steps (thousands)", ylabel="return, 20 greedy episodes", title=ENV_ID, ylim=(0, 520))
    axis.legend(loc="lower right")
    save(figure, "novel")


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    table = Table("novel", COLUMNS, key=("algo", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for algo in ALGOS:
            if not table.has(algo=algo, seed=seed):
                table.add(run(algo, seed, 600 if args.quick else N_STEPS))
    print(hardware())
    report(table.rows)
    if not args.quick:
        plot(table.rows)


if __name__ == "__main__":
    main()
