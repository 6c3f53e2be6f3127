"""Panel of scale_out.py: environment steps, CPU seconds and lag, in one process and with actors."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from common import Bound, Table, print_rows
from processes import load_average
from scale_out_runs import CONDITIONS, Condition, Stretch, available, make_envs, pole_model
from scale_out_worlds import poles

from sb3_ext.distributed import ActorEnvs

COLUMNS = (
    "case",
    "condition",
    "repeat",
    "env_steps",
    "updates",
    "learner_ms",  # CPU, per env step
    "updates_ms",  # of the learner's
    "actors_ms",
    "steps_per_s",  # by the clock
    "idle_steps_per_s",  # what two idle cores would give, from CPU seconds
    "cores",  # in use
    "lag_p50",
    "lag_p95",
    "lag_max",
    "lag_bound",
    "load",
)
KEY = ("case", "condition", "repeat")
BEGIN = 2_000  # env steps that do not count: half of them are the warm-up
CORES = 2


@dataclass(frozen=True)
class Case:
    """Work for learner and environments."""

    label: str
    updates: int
    """per 16 env steps"""
    busy: float
    """CPU seconds that an environment's step takes more"""
    n_steps: int


CASES = {
    "a": Case("4 updates / 16 steps (tuned)", 4, 0.0, 10_000),
    "b": Case("1 update / 16 steps", 1, 0.0, 18_000),
    "c": Case("1 update / 16 steps, env step + 0.5 ms", 1, 0.5e-3, 14_000),
}


def run(name: str, condition_name: str, repeat: int, quick: bool) -> dict[str, object]:
    """:return: one row"""
    case, condition = CASES[name], CONDITIONS[condition_name]
    envs = make_envs(functools.partial(poles, busy=case.busy), condition)
    begin, n_steps = (1_200, 1_600) if quick else (BEGIN, case.n_steps)
    stretch = Stretch(begin, envs if isinstance(envs, ActorEnvs) else None)
    model = pole_model(envs, case.updates)
    try:
        model.learn(n_steps, callback=stretch, log_interval=10**9)
    finally:
        envs.close()
    spent = stretch.spent
    learner, actors = 1000 * spent.learner_cpu / spent.env_steps, 1000 * spent.others_cpu / spent.env_steps
    lags = np.quantile(spent.lags, [0.5, 0.95, 1.0]).tolist() if spent.lags else []
    return {
        "case": name,
        "condition": condition_name,
        "repeat": repeat,
        "env_steps": spent.env_steps,
        "updates": spent.updates,
        "learner_ms": round(learner, 4),
        "updates_ms": round(1000 * spent.updates_cpu / spent.env_steps, 4),
        "actors_ms": round(actors, 4),
        "steps_per_s": round(spent.env_steps / spent.wall, 1),
        "idle_steps_per_s": round(1000 / idle_ms(learner, actors, condition), 1),
        "cores": round((spent.learner_cpu + spent.others_cpu) / spent.wall, 2),
        **{f"lag_{name}": round(lag, 1) for name, lag in zip(("p50", "p95", "max"), lags, strict=False)},
        "lag_bound": condition.window * case.updates / 16 if spent.lags else "",
        "load": load_average(),
    }


def idle_ms(learner: float, actors: float, condition: Condition) -> float:
    """:return: per env step, where the learner and each actor work beside each other on two cores of their own"""
    if condition.backend is None:
        return learner
    return max(learner, actors / condition.n_actors, (learner + actors) / CORES)


def measure(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing; conditions in turns."""
    for repeat in range(repeats):
        for case in CASES:
            for condition in available():
                if not table.has(case=case, condition=condition, repeat=repeat):
                    row = run(case, condition, repeat, quick)
                    table.add(row)
                    print(*(f"{name} {row.get(name, '')}" for name in COLUMNS), flush=True)


def to_plain(table: Table, column: str, case: str, condition: str) -> float:
    """:return: median over repeats of the ratio to one process"""
    ratios = [
        float(mine[column]) / float(plain[column])
        for mine in table.rows
        for plain in table.rows
        if (mine["case"], mine["condition"]) == (case, condition)
        and (plain["case"], plain["condition"], plain["repeat"]) == (case, "plain", mine["repeat"])
    ]
    return float(np.median(ratios)) if ratios else float("nan")


def report(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached"""
    rows: list[tuple[object, ...]] = []
    for name, case in CASES.items():
        for condition, known in CONDITIONS.items():
            where = {"case": name, "condition": condition}
            if not len(table.values("repeat", **where)):
                continue
            lags = [table.median(f"lag_{x}", **where) for x in ("p50", "p95", "max")]
            rows.append(
                (
                    case.label,
                    known.label,
                    *(table.median(x, **where) for x in ("learner_ms", "updates_ms", "actors_ms")),
                    *(round(table.median(x, **where)) for x in ("idle_steps_per_s", "steps_per_s")),
                    to_plain(table, "idle_steps_per_s", **where),
                    to_plain(table, "steps_per_s", **where),
                    "" if np.isnan(lags[0]) else "{:.0f}/{:.0f}/{:.0f}".format(*lags),
                    table.median("lag_bound", **where),
                )
            )
    header = (
        "case",
        "",
        "learner ms",
        "of it updates",
        "actors ms",
        "idle/s",
        "clock/s",
        "x plain",
        "by clock",
        "lag",
        "bound",
    )
    print_rows(header, rows)
    print(
        "CPU ms per env step; steps/s that two idle cores would give (from CPU ms) and by the clock of this machine;\n"
        "lag in updates, p50/p95/max beside W x ratio; medians over repeats."
    )
    bounds = [
        Bound(
            "env step + 0.5 ms, 1 actor: env steps/s to plain",
            to_plain(table, "idle_steps_per_s", "c", "process_1"),
            at_least=1.25,
        ),
        Bound(
            "1 update / 16 steps, 2 actors: learner's CPU per env step to plain",
            to_plain(table, "learner_ms", "b", "process_2"),
            at_most=0.75,
        ),
    ]
    for condition in ("process_1", "process_2", "ray_2"):
        for name in CASES:
            lag, bound = (table.median(x, case=name, condition=condition) for x in ("lag_p95", "lag_bound"))
            if not np.isnan(lag):
                bounds.append(
                    Bound(f"({name}), {CONDITIONS[condition].label}: lag, p95", lag, at_most=bound, unit=" updates")
                )
    return bounds
