"""
Learning with actors beside learning in one process: the same updates per environment step, five seeds.

    python benchmarks/scale_out_learning.py

R2D2 with its blocks of zoo_configs/r2d2.yml, whose schedules end with the budget; MemoryChain with the windows of
benchmarks/memory.py. 20 greedy episodes on the way, 50 at the end, on environments of their own. The area under the
curve (AUC) is the mean over the evaluations on the way. CPU seconds of the learner are without evaluations, those of
the actors with their start; the wall's are of a machine that may be busy. Finished runs stay in
results/scale_out_learning.csv.
"""

from __future__ import annotations

import contextlib
import functools
import io
from typing import Any

import numpy as np
from common import Bound, Table, hardware, parse, parser, print_rows, verdict
from learning import Panel, plot_curves, train, zoo_experiment
from memory import TASKS as MEMORY_TASKS
from memory import Task
from processes import load_average
from scale_out_runs import CONDITIONS, N_ENVS, Condition, available, keywords_of
from scale_out_worlds import of_the_zoo
from scipy import stats
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed import ActorEnvs, distribute
from sb3_ext.zoo.registry import register

MEMORY = {task.name: task for task in MEMORY_TASKS}
TASKS = (
    Task("CartPoleNoVel", "CartPoleNoVel-v1", 100_000, chance=20.0),
    MEMORY["RepeatPrevious"],
    MEMORY["MemoryChain-20"],
)
LEVELS = {"CartPoleNoVel": 475.0, "RepeatPrevious": 0.8, "MemoryChain-20": 0.9}
AGENTS = {name: CONDITIONS[name].label for name in ("plain", "process_2", "process_2_short", "ray_2")}
EVERY = {"CartPoleNoVel": 5_000, "RepeatPrevious": 3_000, "MemoryChain-20": 250}  # that is solved within 2 000 steps
COLUMNS = (
    "task",
    "agent",
    "seed",
    "env_steps",
    "updates",
    "reached_at",
    "auc",
    "final_mean",
    "final_std",
    "learner_cpu",
    "actors_cpu",
    "wall",
    "lag_p95",
    "lag_bound",
    "load",
    "curve",
)


def settings_of(task: Task) -> dict[str, Any]:
    """:return: keywords in place of the yml's"""
    return {**task.r2d2, **({"env_kwargs": task.env_kwargs} if task.env_kwargs else {})}


def with_actors(model: OffPolicyAlgorithm, task: Task, condition: Condition, seed: int) -> ActorEnvs | None:
    """:return: what steps the model's environments from now on, None = the model itself"""
    if condition.backend is None:
        return None
    assert isinstance(model, DeepQLearning) and model.env is not None
    model.env.close()
    make = functools.partial(of_the_zoo, env_id=task.env_id, env_kwargs=task.env_kwargs)
    envs = distribute(model, make, condition.n_actors, **keywords_of(condition))
    envs.seed(seed)  # as the model's own were
    return envs


def lag_of(envs: ActorEnvs | None, condition: Condition, model: OffPolicyAlgorithm) -> dict[str, object]:
    """:return: columns of a row"""
    if envs is None:
        return {}
    updates_per_step = model.gradient_steps / N_ENVS  # train_freq is 1 in these blocks
    p95 = round(float(np.quantile(envs.records.lags, 0.95)), 1)
    return {"lag_p95": p95, "lag_bound": condition.window * updates_per_step}


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    register()
    with zoo_experiment("r2d2", task.env_id, seed, n_steps, **settings_of(task)) as experiment:
        with contextlib.redirect_stdout(io.StringIO()):
            made = experiment.setup_experiment()
            assert made is not None
            eval_env = experiment.create_envs(10, eval_env=True, no_log=True)
        model = made[0]
        assert isinstance(model, OffPolicyAlgorithm)
        envs = with_actors(model, task, CONDITIONS[agent], seed)
        eval_env.seed(seed + 100_000)
        result = train(model, eval_env, n_steps, EVERY[task.name], n_episodes=20, final_episodes=50)
        eval_env.close()
    curve = result.curve
    reached_at, _ = curve.reached(LEVELS[task.name])
    return {
        "task": task.name,
        "agent": agent,
        "seed": seed,
        "env_steps": model.num_timesteps,
        "updates": model._n_updates,
        "reached_at": "" if reached_at is None else reached_at,
        "auc": round(float(np.mean(curve.means)), 4),
        "final_mean": round(result.final_mean, 3),
        "final_std": round(result.final_std, 3),
        "learner_cpu": round(result.cpu_seconds, 1),
        "actors_cpu": round(result.others_cpu_seconds, 1),
        "wall": round(result.wall_seconds, 1),
        **lag_of(envs, CONDITIONS[agent], model),
        "load": load_average(),
        "curve": " ".join(f"{s}:{m}" for s, m in zip(curve.steps, curve.means, strict=True)),
    }


# ---------------------------------------------------------------------- what is said about it


def interval(values: np.ndarray) -> tuple[float, float]:
    """:return: 95 % interval of the mean, Student's t; NaN for fewer than two values"""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def interquartile_mean(values: np.ndarray) -> float:
    """:return: mean without the lowest and the highest quarter, rounded down: the middle three of five"""
    return float(stats.trim_mean(values, 0.25)) if len(values) else float("nan")


def report(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached"""
    rows: list[tuple[object, ...]] = []
    bounds: list[Bound] = []
    for task in TASKS:
        low, high = interval(table.values("auc", task=task.name, agent="plain"))
        for agent, name in AGENTS.items():
            where = {"task": task.name, "agent": agent}
            auc, reached = table.values("auc", **where), table.values("reached_at", **where)
            if not len(auc):
                continue
            finals = table.values("final_mean", **where)
            rows.append(
                (
                    task.name,
                    name,
                    f"{np.isfinite(reached).sum()} of {len(reached)}",
                    table.median("reached_at", **where),
                    interquartile_mean(auc),
                    f"{low:.3g} to {high:.3g}" if agent == "plain" else "",
                    f"{finals.mean():.3g} +- {finals.std():.2g}",
                    table.median("updates", **where),
                    table.median("learner_cpu", **where),
                    table.median("actors_cpu", **where),
                )
            )
            if agent != "plain":
                off = abs(interquartile_mean(auc) - (low + high) / 2)
                bounds.append(
                    Bound(f"{task.name}, {name}: IQM of AUC off the middle of plain's", off, at_most=(high - low) / 2)
                )
            if task.name == "CartPoleNoVel":
                share = float(np.isfinite(reached).mean())
                bounds.append(Bound(f"{task.name}, {name}: share of seeds that reach 475", share, at_least=1.0))
    header = (
        "task",
        "",
        "level reached",
        "at step",
        "AUC, IQM",
        "plain's 95 %",
        "final",
        "updates",
        "CPU-s",
        "actors'",
    )
    print_rows(header, rows)
    return bounds


def main() -> int:
    arguments = parser(__doc__, seeds=5)
    names = [task.name for task in TASKS]
    arguments.add_argument("--tasks", nargs="+", choices=names, default=names, help="only these")
    arguments.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS), help="only these")
    args = parse(arguments)
    key = ("task", "agent", "seed")
    table = Table("scale_out_learning", COLUMNS, key, saved=not args.quick, fresh=args.fresh)
    agents = [name for name in available() if name in args.agents]
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in agents:
                if task.name in args.tasks and not table.has(task=task.name, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1200 if args.quick else task.n_steps))
    print(hardware())
    bounds = report(table)
    if not args.quick:
        plot_curves(table, [Panel.of(*level) for level in LEVELS.items()], AGENTS, "scale_out_learning")
    return verdict(bounds)


if __name__ == "__main__":
    raise SystemExit(main())
