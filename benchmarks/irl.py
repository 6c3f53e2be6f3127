"""
Inverse reinforcement learning on tables: how well a reward is recovered whose truth is known, from how many episodes.

    python benchmarks/irl.py

Experts are soft-optimal, at a temperature for each task, or the planner's best policy. For each task, expert, kind of
features and number of demonstrations: the gap of features that is left, beside what the penalty holds back; how good
the best policy under the recovered reward is under the true one; and the soft policy that imitates, beside the expert.
All values are exact, only the demonstrations are drawn. AIRL (`GAIL`, shaped) beside it: on how many of the visited
states it acts alike. How large a penalty is best, how long larger processes take, and how often another optimum is
found from other first weights, where little is shown.

Exit code 1 where a known claim fails: the largest reward of FrozenLake is its goal, the likelihood never falls, the gap
is the penalty's, a fit of 64 states takes 2 CPU seconds at most.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from common import COLORS, Bound, Table, hardware, panels, parse, parser, print_rows, save, verdict
from gymnasium import spaces
from matplotlib.axes import Axes
from planning import garnet

from sb3_ext import GAIL
from sb3_ext.demonstrations import Demonstrations, record
from sb3_ext.envs import GridWorldEnv
from sb3_ext.imitation import max_ent_irl
from sb3_ext.imitation.table_steps import times_shown
from sb3_ext.planning import (
    PlannerPolicy,
    TabularMDP,
    TabularVecEnv,
    evaluate,
    occupancy,
    policy_table,
    soft_policy_iteration,
    solve,
)

KEY = ("task", "expert", "features", "episodes", "seed")
MEASURED = ("steps", "gap", "penalty", "greedy", "best", "imitating", "expert_value", "largest", "fall", "iterations")
COLUMNS = (*KEY, *MEASURED, "cpu")
PENALTY_KEY = ("task", "features", "episodes", "l2", "seed")
PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
OPTIMA = ("task", "features", "episodes", "limit")
EPISODES = (20, 100, 500, 1000)
FEATURES = ("arrival", "state_action")
TALL = ("..+", "...", ".#-", "...", "S..")
LAKE_GOAL = 15
AIRL_STEPS = 81_920


class Task(NamedTuple):
    """Where a reward is recovered."""

    make: Callable[[], TabularMDP]
    temperature: float
    """of the soft expert, in units of the reward"""


TASKS = {
    "FrozenLake": Task(lambda: TabularMDP.from_env("FrozenLake-v1", 0.9), 1 / 30),
    "maze 3x4": Task(lambda: TabularMDP.from_env("sb3_ext/GridWorld-v0", 0.9), 0.1),
    "maze 5x3": Task(lambda: TabularMDP.from_env(GridWorldEnv(TALL), 0.9), 0.1),
    "FrozenLake8x8": Task(lambda: TabularMDP.from_env("FrozenLake8x8-v1", 0.99), 0.01),
    "CliffWalking": Task(lambda: TabularMDP.from_env("CliffWalking-v1", 0.99), 0.5),
    "Garnet 64": Task(lambda: garnet(64, 0.95, 0), 0.3),
}


def expert_of(mdp: TabularMDP, name: str, task: Task) -> np.ndarray:
    """:return: [S, A] probabilities"""
    if name == "planner":
        return policy_table(PlannerPolicy.from_mdp(mdp), mdp)
    return soft_policy_iteration(mdp, task.temperature).policy


def demonstrate(mdp: TabularMDP, policy: np.ndarray, n_episodes: int, seed: int) -> Demonstrations:
    """:return: episodes, cut at the limit of the environment or after 200 steps"""
    acting = PlannerPolicy(spaces.Discrete(mdp.n_states), spaces.Discrete(mdp.n_actions), policy)
    lanes = TabularVecEnv(mdp, min(64, n_episodes), horizon=mdp.horizon or 200)
    return record(acting, lanes, n_episodes, deterministic=False, seed=seed)


def value(mdp: TabularMDP, policy: np.ndarray) -> float:
    """:return: true, at the start"""
    return float(mdp.start @ evaluate(mdp, policy))


def fit(mdp: TabularMDP, shown: Demonstrations, features: str, policy: np.ndarray) -> dict[str, object]:
    """:return: what is measured of a fit"""
    begun = time.process_time()
    found = max_ent_irl(mdp, shown, features)
    seconds = time.process_time() - begun
    assert found.converged
    numbers = {
        "gap": found.feature_gap,
        "penalty": found.l2 * np.abs(found.weights).max(),
        "greedy": value(mdp, solve(mdp.with_reward(found.reward)).policy),
        "best": float(mdp.start @ solve(mdp).v),
        "imitating": value(mdp, found.policy),
        "expert_value": value(mdp, policy),
        "fall": max(0.0, -float(np.diff(found.history).min())),
        "cpu": seconds,
    }
    exact = {name: f"{number:.6g}" for name, number in numbers.items()}
    return {"steps": found.n_steps, "largest": int(found.weights.argmax()), "iterations": found.n_iterations, **exact}


def measure(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing."""
    episodes = EPISODES[:1] if args.quick else EPISODES
    for name, task in TASKS.items():
        mdp = task.make()
        for expert in ("soft", "planner"):
            policy = expert_of(mdp, expert, task)
            for seed in range(args.seeds):
                for n in episodes:
                    shown: Demonstrations | None = None
                    for features in FEATURES:
                        key = dict(zip(KEY, (name, expert, features, n, seed), strict=True))
                        if table.has(**key):
                            continue
                        shown = shown or demonstrate(mdp, policy, n, seed)
                        table.add({**key, **fit(mdp, shown, features, policy)})
                print(f"{name}, {expert} expert, seed {seed}", flush=True)


# ---------------------------------------------------------------------- beside adversarial imitation


def measure_airl(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing: the share of the visited states in which both take actions of equal value."""
    mdp = TASKS["FrozenLake"].make()
    q, states = solve(mdp).q, np.arange(mdp.n_states)
    policy = expert_of(mdp, "planner", TASKS["FrozenLake"])
    for seed in range(args.seeds):
        if table.has(seed=seed):
            continue
        shown = demonstrate(mdp, policy, 100, seed)
        exact = max_ent_irl(mdp, shown).policy.argmax(axis=1)
        settings: dict[str, Any] = {"n_steps": 64, "batch_size": 256, "learning_rate": 3e-3, "gamma": mdp.gamma}
        begun = time.process_time()
        lanes = TabularVecEnv(mdp, 16)
        model = GAIL("MlpPolicy", lanes, shown, reward="airl", shaped=True, seed=seed, device="cpu", **settings)
        model.learn(1024 if args.quick else AIRL_STEPS)
        seconds = time.process_time() - begun
        learned = policy_table(model, mdp)
        visited = times_shown(mdp, shown, None).sum(axis=1) > 0
        same = np.abs(q[states, exact] - q[states, learned.argmax(axis=1)]) <= 1e-9
        row = {"seed": seed, "visited": int(visited.sum()), "agree": f"{same[visited].mean():.4f}"}
        values = {"airl": f"{value(mdp, learned):.6g}", "max_ent": f"{value(mdp, np.eye(4)[exact]):.6g}"}
        table.add({**row, **values, "cpu": f"{seconds:.3g}"})
        print(f"AIRL, seed {seed}: alike on {row['agree']} of {row['visited']} visited states", flush=True)


# ---------------------------------------------------------------------- how large a penalty


def measure_penalties(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing: how far the imitating policy is from the soft expert, where the expert is."""
    for name, task in TASKS.items():
        mdp = task.make()
        policy = expert_of(mdp, "soft", task)
        visits = occupancy(mdp, policy)
        for seed in range(min(args.seeds, 3)):
            for n in EPISODES[:1] if args.quick else (EPISODES[0], EPISODES[-1]):
                shown: Demonstrations | None = None
                for features in FEATURES:
                    for l2 in PENALTIES:
                        key = dict(zip(PENALTY_KEY, (name, features, n, l2, seed), strict=True))
                        if table.has(**key):
                            continue
                        shown = shown or demonstrate(mdp, policy, n, seed)
                        found = max_ent_irl(mdp, shown, features, l2)
                        apart = (policy * np.log(policy / found.policy)).sum(axis=1)
                        table.add({**key, "nats": f"{visits @ apart / visits.sum():.6g}"})


def tell_penalties(table: Table) -> None:
    """Print medians over tasks and seeds."""
    lines = []
    for features in FEATURES:
        for n in (EPISODES[0], EPISODES[-1]):
            nats = [f"{table.median('nats', features=features, episodes=n, l2=l2):.4f}" for l2 in PENALTIES]
            lines.append((features, n, *nats))
    print("\nnats by which an action of the soft expert is less likely under the policy that imitates, by l2")
    print_rows(("features", "episodes", *[f"{l2:g}" for l2 in PENALTIES]), lines)


# ---------------------------------------------------------------------- larger processes


def measure_sizes(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing: CPU seconds of one fit to 100 episodes of a soft expert."""
    side = 10 if args.quick else 50
    grid = ["." * (side - 1) + "+", *["." * side] * (side - 2), "S" + "." * (side - 1)]
    tasks: dict[str, Callable[[], TabularMDP]] = {
        "Taxi": lambda: TabularMDP.from_env("Taxi-v4", 0.99),
        f"grid {side} x {side}": lambda: TabularMDP.from_env(GridWorldEnv(grid), 0.99),
    }
    for name, make in tasks.items():
        if table.has(task=name):
            continue
        mdp = make()
        shown = demonstrate(mdp, soft_policy_iteration(mdp, 0.1).policy, 100, seed=0)
        begun = time.process_time()
        found = max_ent_irl(mdp, shown)
        seconds = time.process_time() - begun
        table.add({"task": name, "states": mdp.n_states, "iterations": found.n_iterations, "cpu": f"{seconds:.3g}"})
        print(f"{name}, {mdp.n_states} states: {found.n_iterations} iterations in {seconds:.2g} CPU-s", flush=True)


# ---------------------------------------------------------------------- is there one optimum?


def measure_optima(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing: few and short episodes, climbed from four first weights of growing size."""
    mdps = {name: TASKS[name].make() for name in ("FrozenLake", "maze 3x4")}
    mdps.update({f"Garnet 6, {seed}": garnet(6, 0.95, seed) for seed in range(1 if args.quick else 6)})
    for name, mdp in mdps.items():
        policy = soft_policy_iteration(mdp, 0.1).policy
        for n in (1, 5) if args.quick else (1, 2, 5, 50):
            for limit in (3, 100):
                shown = demonstrate(replace(mdp, horizon=limit), policy, n, seed=0)
                for features in FEATURES:
                    key = {"task": name, "features": features, "episodes": n, "limit": limit}
                    if table.has(**key):
                        continue
                    rng = np.random.default_rng(0)
                    found = [max_ent_irl(mdp, shown, features)]
                    for size in (1.0, 10.0, 50.0):
                        first = size * rng.normal(size=len(found[0].weights))
                        found.append(max_ent_irl(mdp, shown, features, start=first))
                    apart = max(float(np.abs(other.weights - found[0].weights).max()) for other in found)
                    better = max(float(other.history[-1]) for other in found) - float(found[0].history[-1])
                    table.add({**key, "apart": f"{apart:.3g}", "better": f"{max(0.0, better):.3g}"})


def tell_optima(table: Table) -> None:
    """Print in how many cases there was more than one."""
    apart, better = table.values("apart"), table.values("better")
    other = [row for row in table.rows if float(row["apart"]) > 0.01]
    print(f"\n{len(other)} of {len(apart)} cases have another optimum, better by at most {better.max():.2g}:")
    for row in other:
        print("  " + ", ".join(f"{name} {row[name]}" for name in ("task", "features", "episodes", "limit", "apart")))


# ---------------------------------------------------------------------- what is said about it


def report(table: Table) -> None:
    """Print medians over the seeds."""
    lines = []
    groups = dict.fromkeys(tuple(row[name] for name in KEY[:-1]) for row in table.rows)
    for group in groups:
        where = dict(zip(KEY, group, strict=False))
        gap, penalty, greedy, best, imitating, expert = (
            table.median(name, **where) for name in ("gap", "penalty", "greedy", "best", "imitating", "expert_value")
        )
        numbers = (f"{gap:.5f}", f"{penalty:.5f}", f"{greedy:.4f}", f"{best:.4f}", f"{imitating:.4f}", f"{expert:.4f}")
        lines.append((*group, *numbers, f"{table.median('cpu', **where):.2f}"))
    header = (*KEY[:-1], "gap", "l2 max|w|", "greedy", "V*", "imitating", "expert", "CPU-s")
    print_rows(header, lines)


def bounds(table: Table, airl: Table) -> list[Bound]:
    """:return: what is known of the figures"""
    lake = {"task": "FrozenLake", "features": "arrival", "episodes": 1000}
    of_goal = np.concatenate([table.values("largest", expert=expert, **lake) for expert in ("soft", "planner")])
    gap, penalty, fall, cpu = (table.values(name) for name in ("gap", "penalty", "fall", "cpu"))
    found = [
        Bound(
            "FrozenLake, 1 000 demonstrations: share of fits whose largest reward is the goal's",
            nan_mean(of_goal),
            at_least=1.0,
        ),
        Bound("gap of features / (l2 max|w|), furthest from 1", float(np.abs(gap / penalty - 1.0).max()), at_most=1e-2),
        Bound("largest fall of the likelihood in a step", float(fall.max()), at_most=1e-12),
        Bound("largest time of a fit, 12 to 64 states", float(cpu.max()), at_most=2.0, unit=" CPU-s"),
    ]
    for name, features, expert in (
        ("FrozenLake", "arrival", "planner"),
        ("FrozenLake", "arrival", "soft"),
        ("maze 3x4", "state_action", "soft"),
        ("maze 5x3", "state_action", "soft"),
        ("FrozenLake8x8", "arrival", "planner"),
    ):
        where = {"task": name, "features": features, "expert": expert, "episodes": 1000}
        lost = (table.values("best", **where) - table.values("greedy", **where)) / np.abs(table.values("best", **where))
        label = f"{name}, {features}, {expert} expert: of V* lost by planning for the recovered reward, median"
        found.append(Bound(label, float(np.median(lost)) if len(lost) else np.nan, at_most=0.1))
    found.append(Bound("AIRL acts alike on visited states, median", airl.median("agree"), at_least=0.9))
    return found


def nan_mean(values: np.ndarray) -> float:
    """:return: share of fits that found the goal, NaN where nothing was measured"""
    return float((values == LAKE_GOAL).mean()) if len(values) else np.nan


def draw(table: Table) -> None:
    """Write docs/images/irl.png: what is lost against the number of demonstrations."""
    figure, axes = panels(len(TASKS), columns=3, height=2.8)
    for axis, name in zip(axes, TASKS, strict=True):
        for i, (features, expert) in enumerate((f, e) for f in FEATURES for e in ("soft", "planner")):
            lost = []
            for n in EPISODES:
                where = {"task": name, "features": features, "expert": expert, "episodes": n}
                best = table.values("best", **where)
                lost.append((best - table.values("greedy", **where)) / np.abs(best))
            middle = np.array([np.median(each) for each in lost])
            low, high = (np.array([reach(each) for each in lost]) for reach in (np.min, np.max))
            shown = f"{features.replace('_', ', ')}; {expert} expert"
            axis.plot(EPISODES, middle, "o-", color=COLORS[i], label=shown, markersize=3)
            axis.fill_between(EPISODES, low, high, color=COLORS[i], alpha=0.15, linewidth=0)
        axis.set(xscale="log", title=name, xlabel="demonstrations")
        axis.set_xticks(EPISODES, [str(n) for n in EPISODES])
        axis.minorticks_off()
        top = max(axis.get_ylim()[1], 0.05)
        axis.set_ylim(-0.03 * top, top)
    for axis in axes[::3]:
        axis.set_ylabel("lost, as a share of V*")
    axes[0].legend(fontsize=7)
    save(figure, "irl")


def draw_rewards() -> None:
    """Write docs/images/irl_rewards.png: true rewards of arriving, and those recovered from 1 000 demonstrations."""
    shapes = {"FrozenLake": (4, 4), "maze 3x4": (3, 4), "FrozenLake8x8": (8, 8)}
    figure, axes = panels(3 * len(shapes), width=3.4, height=2.9, columns=len(shapes))
    for column, (name, shape) in enumerate(shapes.items()):
        task = TASKS[name]
        mdp = task.make()
        of = mdp.outcomes
        acted_in = ~np.isin(of.row // mdp.n_actions, ends_of(mdp))
        true = np.full(mdp.n_states, np.nan)
        true[of.next[acted_in]] = of.reward[acted_in]
        draw_cells(axes[column], true.reshape(shape), f"{name}, true", ".2g")
        for row, expert in enumerate(("soft", "planner"), start=1):
            shown = demonstrate(mdp, expert_of(mdp, expert, task), 1000, seed=0)
            found = max_ent_irl(mdp, shown).of_arrival
            assert found is not None
            cells = np.where(np.isnan(true), np.nan, found).reshape(shape)
            draw_cells(axes[column + row * len(shapes)], cells, f"{name}, from a {expert} expert", ".1f")
    save(figure, "irl_rewards")


def draw_cells(axis: Axes, cells: np.ndarray, title: str, form: str) -> None:
    """One picture: a number and a colour for each cell, NaN where nobody arrives."""
    largest = np.nanmax(np.abs(cells))
    axis.imshow(cells, cmap="RdBu", vmin=-largest, vmax=largest)
    for (row, column), paid in np.ndenumerate(cells):
        if not np.isnan(paid):
            color = "white" if abs(paid) > 0.6 * largest else "black"
            size = 6 if len(cells) > 4 else 8
            axis.text(column, row, f"{paid:{form}}", ha="center", va="center", fontsize=size, color=color)
    axis.set(title=title, xticks=[], yticks=[])
    axis.grid(visible=False)


def ends_of(mdp: TabularMDP) -> np.ndarray:
    """:return: numbers of the states that only end: nobody acts in them"""
    goes_on = np.unique(mdp.outcomes.row[~mdp.outcomes.terminated] // mdp.n_actions)
    return np.setdiff1d(np.arange(mdp.n_states), goes_on)


def main() -> int:
    """:return: exit status"""
    args = parse(parser(__doc__, seeds=5))
    print(hardware())
    keep = {"saved": not args.quick, "fresh": args.fresh}
    table = Table("irl", COLUMNS, KEY, **keep)
    airl = Table("irl_airl", ("seed", "visited", "agree", "airl", "max_ent", "cpu"), ("seed",), **keep)
    optima = Table("irl_optima", (*OPTIMA, "apart", "better"), OPTIMA, **keep)
    measure(table, args)
    measure_airl(airl, args)
    measure_optima(optima, args)
    penalties = Table("irl_penalties", (*PENALTY_KEY, "nats"), PENALTY_KEY, **keep)
    measure_penalties(penalties, args)
    measure_sizes(Table("irl_sizes", ("task", "states", "iterations", "cpu"), ("task",), **keep), args)
    report(table)
    tell_penalties(penalties)
    tell_optima(optima)
    if not args.quick:
        draw(table)
        draw_rewards()
    return verdict(bounds(table, airl))


if __name__ == "__main__":
    sys.exit(main())
