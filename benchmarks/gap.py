"""
How far from the best policy five algorithms are while they learn: exactly, by `OptimalityGap`, not by episodes.

    python benchmarks/gap.py

DQN, QR-DQN, PPO and A2C with the settings that rl-zoo3 has for its smallest task, CartPole-v1, and Rainbow with its
defaults; nothing is chosen for these tasks or these seeds. Different from there: a discount of 0.99, layers of 64 for
all, as by default, and 8 lanes for all, with as many updates per step of one environment. The gap is that of the
policy as `evaluate_policy` follows it, as a share of the size of V* at the start: 0 is the best policy, and 1 is worth
nothing where rewards are not negative. CPU seconds are those of a run with its measurements, on one thread. Finished
runs stay in results/gap.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from common import COLORS, Table, hardware, panels, parse, parser, print_rows, save
from matplotlib.ticker import FuncFormatter
from rl_zoo3.utils import linear_schedule
from sb3_contrib import QRDQN
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext import Rainbow
from sb3_ext.planning import OptimalityGap, TabularMDP, TabularVecEnv, best_return, solve

GAMMA = 0.99
N_ENVS = 8  # of rl-zoo3's PPO and A2C
N_STEPS = 50_000
EVERY = 1_000
SOLVED = 0.02  # share of V*
SHOWN_SEED = 2  # of DQN, in its own picture


@dataclass(frozen=True)
class Task:
    """An environment with a table, and its limit of steps where it has none of its own."""

    env_id: str
    horizon: int | None = None

    def mdp(self) -> TabularMDP:
        mdp = TabularMDP.from_env(self.env_id, GAMMA)
        return mdp if self.horizon is None else replace(mdp, horizon=self.horizon)


TASKS = (
    Task("FrozenLake-v1"),
    Task("FrozenLake8x8-v1"),
    Task("CliffWalking-v1", horizon=200),
)


@dataclass(frozen=True)
class Agent:
    """An algorithm and what it is given: by rl-zoo3 for CartPole-v1, and Rainbow nothing but the number of lanes."""

    name: str
    algorithm: Callable[..., BaseAlgorithm]
    settings: Mapping[str, Any]


OF_DQN: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "target_update_interval": 10,
    "train_freq": 256 // N_ENVS,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
AGENTS = {
    "dqn": Agent("DQN", DQN, OF_DQN),
    "qrdqn": Agent("QR-DQN", QRDQN, {**OF_DQN, "policy_kwargs": {"n_quantiles": 10}}),
    "rainbow": Agent("Rainbow", Rainbow, {"train_freq": 1, "gradient_steps": N_ENVS // 2}),
    "ppo": Agent(
        "PPO",
        PPO,
        {
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "n_epochs": 20,
            "ent_coef": 0.0,
            "learning_rate": linear_schedule(1e-3),
            "clip_range": linear_schedule(0.2),
        },
    ),
    "a2c": Agent("A2C", A2C, {"ent_coef": 0.0}),
}
COLUMNS = (
    "task",
    "agent",
    "seed",
    "env_steps",
    "first_solved",
    "last_half",
    "final",
    "final_return",
    "final_q_error",
    "cpu_seconds",
    "curve",
)


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: a row; a point of the curve is steps:gap, as a share of V*:exact return:error of Q, or nothing"""
    mdp = task.mdp()
    chosen = AGENTS[agent]
    env = TabularVecEnv(mdp, N_ENVS, seed=seed)
    model = chosen.algorithm("MlpPolicy", env, gamma=GAMMA, seed=seed, device="cpu", **chosen.settings)
    gap = OptimalityGap(mdp, every=EVERY)
    begin = time.process_time()
    model.learn(n_steps, callback=gap, log_interval=10**9)
    cpu = time.process_time() - begin
    steps = np.array([row["steps"] for row in gap.history])
    shares = np.array([row["gap_fraction"] for row in gap.history])
    solved = steps[shares <= SOLVED]
    last = gap.history[-1]
    return {
        "task": task.env_id,
        "agent": agent,
        "seed": seed,
        "env_steps": n_steps,
        "first_solved": f"{solved[0]:.0f}" if len(solved) else "",
        "last_half": f"{np.median(shares[steps > steps[-1] / 2]):.4f}",
        "final": f"{last['gap_fraction']:.4f}",
        "final_return": f"{last['return_exact']:.4f}",
        "final_q_error": f"{last['q_error']:.3f}" if "q_error" in last else "",
        "cpu_seconds": f"{cpu:.1f}",
        "curve": " ".join(_point(row) for row in gap.history),
    }


def _point(row: Mapping[str, float]) -> str:
    q_error = f"{row['q_error']:.3f}" if "q_error" in row else ""
    return f"{row['steps']:.0f}:{row['gap_fraction']:.4f}:{row['return_exact']:.4f}:{q_error}"


def curve_of(row: Mapping[str, str]) -> np.ndarray:
    """:return: [N, 4] steps, gap as a share of V*, exact return, error of Q or NaN"""
    return np.array([[float(x or "nan") for x in point.split(":")] for point in row["curve"].split()])


def report(table: Table, tasks: list[Task]) -> None:
    """Print a table for each task."""
    header = (
        "agent",
        f"gap <= {SOLVED:g} at",
        "seeds",
        "last half: median",
        f"above {SOLVED:g}",
        "end",
        "return",
        "CPU-s",
    )
    for task in tasks:
        mdp = task.mdp()
        optimum = mdp.start @ solve(mdp).v
        print(f"\n{task.env_id}: V* {optimum:.4f}, best return in {mdp.horizon} steps {best_return(mdp):.4f}")
        cells = []
        for agent, chosen in AGENTS.items():
            where = {"task": task.env_id, "agent": agent}
            first = table.values("first_solved", **where)
            if not len(first):
                continue
            never = np.isnan(first)
            cells.append(
                (
                    chosen.name,
                    "never" if never.all() else f"{np.nanmedian(first):.0f}",
                    f"{len(first) - never.sum()} of {len(first)}",
                    _spread(table.values("last_half", **where)),
                    _spread(np.array([_unsolved(row) for row in _rows(table, task, agent)])),
                    _spread(table.values("final", **where)),
                    _spread(table.values("final_return", **where)),
                    table.median("cpu_seconds", **where),
                )
            )
        print_rows(header, cells)


def _rows(table: Table, task: Task, agent: str) -> list[dict[str, str]]:
    return [row for row in table.rows if (row["task"], row["agent"]) == (task.env_id, agent)]


def _unsolved(row: Mapping[str, str]) -> float:
    """:return: part of the measurements of the last half that are above `SOLVED`"""
    curve = curve_of(row)
    return float((curve[curve[:, 0] > curve[-1, 0] / 2, 1] > SOLVED).mean())


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def plot(table: Table) -> None:
    """Draw docs/images/gap.png: a panel per task, mean and range over seeds."""
    figure, axes = panels(len(TASKS), width=3.2, height=3.0)
    for axis, task in zip(axes, TASKS, strict=True):
        for (agent, chosen), color in zip(AGENTS.items(), COLORS, strict=False):
            rows = _rows(table, task, agent)
            if not rows:
                continue
            curves = np.array([curve_of(row)[: N_STEPS // EVERY + 1] for row in rows])
            steps, shares = curves[0, :, 0] / 1000, curves[:, :, 1]
            axis.plot(steps, shares.mean(axis=0), color=color, label=chosen.name)
            axis.fill_between(steps, shares.min(axis=0), shares.max(axis=0), color=color, alpha=0.12, linewidth=0)
        axis.axhline(0.0, color="black", linewidth=1)
        if axis.get_ylim()[1] > 2.0:
            axis.set_yscale("symlog", linthresh=1.0)
            axis.set_ylim(bottom=-0.1)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set(title=task.env_id, xlabel="env steps (thousands)")
    axes[0].set_ylabel("exact gap, as a share of V*")
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(AGENTS))
    save(figure, "gap")


def plot_dqn(table: Table) -> None:
    """Draw docs/images/gap_dqn.png: DQN's table comes nearer to Q*, its policy does not stay near the best one."""
    lake = TASKS[0]
    mdp = lake.mdp()
    optimum = float(mdp.start @ solve(mdp).v)
    figure, (errors, gaps) = panels(2, width=4.3, height=3.0)
    for row in _rows(table, lake, "dqn"):
        steps, shares, _, q_errors = curve_of(row).T
        is_shown = row["seed"] == str(SHOWN_SEED)
        look: dict[str, Any] = {"linewidth": 1.8, "zorder": 3} if is_shown else {"linewidth": 0.8, "alpha": 0.3}
        errors.plot(steps / 1000, q_errors, color=COLORS[0], **look)
        gaps.plot(steps / 1000, shares * optimum, color=COLORS[1], **look)
    errors.set(title="largest error of a Q-value", xlabel="env steps (thousands)", ylim=(0, None))
    gaps.axhline(optimum, color="black", linewidth=1, linestyle="--")
    gaps.text(N_STEPS / 1000, optimum * 1.02, f"V* = {optimum:.3f}: worth nothing", ha="right", va="bottom")
    gaps.set(title="exact gap of the greedy policy", xlabel="env steps (thousands)", ylim=(0, optimum * 1.15))
    figure.suptitle(f"DQN on {lake.env_id}, the same runs in both (bold: seed {SHOWN_SEED}; the other seeds thin)")
    save(figure, "gap_dqn")


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--tasks", nargs="+", default=[task.env_id for task in TASKS], help="only these")
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    args = parse(arguments)
    tasks = [task for task in TASKS if task.env_id in args.tasks]
    table = Table("gap", COLUMNS, key=("task", "agent", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in tasks:
            for agent in args.agents:
                if not table.has(task=task.env_id, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1_200 if args.quick else N_STEPS))
    print(hardware())
    report(table, tasks)
    if not args.quick:
        plot(table)
        plot_dqn(table)


if __name__ == "__main__":
    main()
