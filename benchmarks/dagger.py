"""
Who drives where the expert is asked: behaviour cloning, whose expert drives, and DAgger, whose learner does, at equal
numbers of labels (Ross, Gordon and Bagnell, 2011).

    python benchmarks/dagger.py

The lakes are FrozenLake8x8-v1 with a table of labels and the planner as the expert, and are scored exactly, with no
noise of rollouts: the discounted value at the start, and the return in 100 steps. On the one that does not slip the
learner's hand shakes: a tenth of its actions is any action, and so it is scored. Cloning sees the expert's own steady
path; in "noise", it sees the path of an expert whose hand shakes as well. DAgger begins with up to 14 of the expert's
labels, one path, and is asked after every step of its own. The slippery lake has no other noise; the expert itself is
thrown off its path there, which is why the two do not differ much.

On CartPole-v1 the expert is a PPO agent that is trained here, both learners have the same network, and cloning makes as
many updates as DAgger has made with as many labels; the score is of 50 greedy episodes.

Finished rows stay in results/dagger.csv. Exit code 1 where DAgger is not ahead on the lake that does not slip.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from common import COLORS, Bound, Table, hardware, panels, parse, parser, plain_ticks, print_rows, save, verdict
from learning import mean_return
from matplotlib.ticker import NullLocator
from rl_zoo3.utils import linear_schedule
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_ext import DAgger
from sb3_ext.demonstrations import Demonstrations, record
from sb3_ext.imitation import behaviour_cloning
from sb3_ext.planning import PlannerPolicy, TabularMDP, evaluate, expected_return, policy_table

LAKE, POLE = "FrozenLake8x8-v1", "CartPole-v1"
NOISE = 0.1
GAMMA = 0.99
FIRST = 14  # labels of one path over the lake
ON_LAKE = (20, 50, 100, 200, 500, 1000)
ON_POLE = (100, 200, 400, 800, 1600)
METHODS = {
    "deterministic": ("bc", "noise", "dagger"),
    "slippery": ("bc", "dagger"),
    POLE: ("bc", "dagger"),
}
NAMES = {"bc": "cloning", "noise": "cloning, shaky expert", "dagger": "DAgger"}
COLUMNS = ("task", "method", "labels", "seed", "score", "return", "expert_score", "expert_return")


# ---------------------------------------------------------------------- the lakes


class Shaky(gym.ActionWrapper):
    """Any action in place of the one that is given, with probability `NOISE`."""

    def action(self, action: object) -> object:
        return int(self.np_random.integers(4)) if self.np_random.random() < NOISE else action


def lake(task: str, shakes: bool = False) -> gym.Env:
    env = gym.make(LAKE, is_slippery=task == "slippery")
    return gym.wrappers.TimeLimit(Shaky(env.unwrapped), 100) if shakes else env


@cache
def table_of(task: str) -> tuple[TabularMDP, PlannerPolicy]:
    """:return: the lake as it is scored, and who knows it"""
    return TabularMDP.from_env(lake(task), GAMMA), PlannerPolicy.from_env(lake(task), GAMMA)


def scores(task: str, model: DAgger | PlannerPolicy) -> tuple[float, float]:
    """:return: exact value at the start and exact return in 100 steps, with the hand that the learner has"""
    mdp, _ = table_of(task)
    noise = NOISE if task == "deterministic" else 0.0
    acting = (1.0 - noise) * policy_table(model, mdp, deterministic=False) + noise / mdp.n_actions
    return float(mdp.start @ evaluate(mdp, acting)), expected_return(mdp, acting)


def first_labels(demonstrations: Demonstrations, n_labels: int) -> Demonstrations:
    """:return: that many steps, the last episode cut short"""
    episodes, left = [], n_labels
    for episode in demonstrations.episodes:
        if left == 0:
            break
        n_kept = min(left, len(episode))
        episodes.append(replace(episode, kept=np.arange(n_kept)))
        left -= n_kept
    assert left == 0, f"{n_labels - left} labels are too few"
    return replace(demonstrations, episodes=tuple(episodes))


def add(
    table: Table,
    task: str,
    method: str,
    n_labels: int,
    seed: int,
    found: tuple[float, float],
    best: tuple[float, float],
) -> None:
    numbers = [f"{number:.6f}" for number in (*found, *best)]
    table.add(dict(zip(COLUMNS, (task, method, n_labels, seed, *numbers), strict=True)))


def run_lake(table: Table, task: str, method: str, seed: int, budgets: tuple[int, ...]) -> None:
    """All budgets of a seed: DAgger goes on from one to the next."""
    _, planner = table_of(task)
    expert = scores(task, planner)
    seen = record(planner, lake(task, shakes=method == "noise"), n_episodes=max(budgets) // 10 + 1, seed=seed)
    env = make_vec_env(lambda: lake(task, shakes=task == "deterministic"), 1, seed=seed)
    model = DAgger("TablePolicy", env, planner, first_labels(seen, FIRST), n_steps=1, seed=seed, device="cpu")
    done = 0
    for n_labels in budgets:
        if method == "dagger":
            model.learn(n_labels - FIRST - done, reset_num_timesteps=done == 0)
            done = model.num_timesteps
        else:
            model = DAgger("TablePolicy", env, planner, first_labels(seen, n_labels), seed=seed, device="cpu")
            model.learn(0)
        add(table, task, method, n_labels, seed, scores(task, model), expert)


# ---------------------------------------------------------------------- the pole


@cache
def pole_expert(n_steps: int) -> tuple[PPO, float]:
    """:return: with rl-zoo3's settings for this task, and the return of 50 greedy episodes"""
    env = make_vec_env(POLE, 8, seed=0)
    rate, clip = linear_schedule(1e-3), linear_schedule(0.2)
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}
    model = PPO("MlpPolicy", env, learning_rate=rate, clip_range=clip, seed=0, device="cpu", **settings).learn(n_steps)
    return model, returns_of(model, 50)


def returns_of(model: PPO | DAgger, n_episodes: int) -> float:
    return mean_return(model, make_vec_env(POLE, 10, seed=100_000), n_episodes)[0]


def run_pole(table: Table, seed: int, budgets: tuple[int, ...], quick: bool) -> None:
    """All budgets of a seed, of both methods: cloning makes as many updates as DAgger has made by then."""
    expert, best = pole_expert(500 if quick else 100_000)
    n_episodes = 2 if quick else 50
    n_envs = 4
    model = DAgger("MlpPolicy", make_vec_env(POLE, n_envs, seed=seed), expert, n_steps=25, seed=seed, device="cpu")
    lanes = make_vec_env(POLE, n_envs, seed=seed)
    seen = record(expert, lanes, n_episodes=8 * n_envs, seed=seed)
    for n_labels in budgets:
        model.learn(n_labels - model.num_timesteps, reset_num_timesteps=model.num_timesteps == 0)
        clone = PPO("MlpPolicy", gym.make(POLE), seed=seed, device="cpu")
        # As many of each lane, as DAgger has.
        rows = [
            first_labels(replace(seen, episodes=seen.episodes[i::n_envs]), n_labels // n_envs) for i in range(n_envs)
        ]
        of_expert = replace(seen, episodes=tuple(episode for part in rows for episode in part.episodes))
        n_epochs = math.ceil(model._n_updates / math.ceil(n_labels / 64))
        behaviour_cloning(clone, of_expert, n_epochs, learning_rate=model.lr_schedule(1.0), seed=seed)
        for method, learner in (("bc", clone), ("dagger", model)):
            score = returns_of(learner, n_episodes)
            add(table, POLE, method, n_labels, seed, (score, score), (best, best))


# ---------------------------------------------------------------------- what came of it


def report(table: Table) -> None:
    """Print a table for each task: mean and standard deviation over seeds."""
    for task, methods in METHODS.items():
        budgets = ON_POLE if task == POLE else ON_LAKE
        for column in ("score", "return") if task != POLE else ("return",):
            found = table.values(f"expert_{column}", task=task)
            if not len(found):
                continue
            what = "exact value at the start" if column == "score" else "return" if task == POLE else "exact return"
            n_seeds = len(table.values("score", task=task, method="dagger", labels=max(budgets)))
            print(f"\n{task}, {what}, {n_seeds} seeds; expert {found[0]:.3f}")
            cells: list[tuple[object, ...]] = []
            for method in methods:
                of_method = [table.values(column, task=task, method=method, labels=n) for n in budgets]
                shown = [f"{x.mean():.3f} +- {x.std():.3f}" if len(x) else "-" for x in of_method]
                cells.append((NAMES[method], *shown))
            print_rows(("labels", *map(str, budgets)), cells)


def bounds(table: Table) -> list[Bound]:
    """On the lake that does not slip DAgger is ahead. On ice, and on the pole, nothing is promised."""
    task, last = "deterministic", ON_LAKE[-1]

    def lead(n_labels: int) -> float:
        """:return: standard errors between the two; of scores that do not vary at all, at least a ten-thousandth"""
        ours, theirs = (table.values("score", task=task, method=m, labels=n_labels) for m in ("dagger", "bc"))
        return float((ours.mean() - theirs.mean()) / math.sqrt((ours.var() + theirs.var()) / len(ours) + 1e-8))

    gap = table.values("expert_score", task=task, method="dagger", labels=last)
    gap = gap - table.values("score", task=task, method="dagger", labels=last)
    clones = [table.values("score", task=task, method="bc", labels=n).mean() for n in ON_LAKE]
    return [
        *[Bound(f"{n} labels: DAgger's lead, standard errors", lead(n), at_least=2.0) for n in ON_LAKE[1:]],
        Bound("all that cloning gains from 20 to 1000 labels", float(np.ptp(clones)), at_most=0.01),
        Bound("1000 labels: DAgger's gap to the expert", float(gap.mean()), at_most=0.03),
    ]


def plot(table: Table) -> None:
    """Draw docs/images/dagger.png: score against labels, mean and range over seeds."""
    figure, axes = panels(len(METHODS), width=3.4, height=3.0)
    titles = {"deterministic": "lake without slips, shaky hand", "slippery": "slippery lake", POLE: POLE}
    for axis, (task, methods) in zip(axes, METHODS.items(), strict=True):
        budgets = ON_POLE if task == POLE else ON_LAKE
        for method in methods:
            found = [table.values("score", task=task, method=method, labels=n) for n in budgets]
            if not all(len(x) for x in found):
                continue
            color = COLORS[list(NAMES).index(method)]
            axis.plot(budgets, [x.mean() for x in found], marker="o", markersize=3, color=color, label=NAMES[method])
            axis.fill_between(
                budgets, [x.min() for x in found], [x.max() for x in found], color=color, alpha=0.12, lw=0
            )
        best = table.values("expert_score", task=task)
        if len(best):
            axis.axhline(best[0], color="black", linewidth=1, linestyle="--", label="expert")
        axis.set_xscale("log")
        plain_ticks(axis.xaxis)
        axis.set_xticks(budgets[:: 2 if task == POLE else 1], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
        if task == "deterministic":
            axis.set_ylim(0.5, 0.7)  # one seed of the shaky expert falls at once, and is at 0
        axis.set(title=titles[task], xlabel="labels")
    axes[0].set_ylabel("exact value at the start")
    axes[2].set_ylabel("return")
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    save(figure, "dagger")


def main() -> int:
    arguments = parser(__doc__, seeds=20)
    arguments.add_argument("--pole-seeds", type=int, default=5, help="repeats on CartPole (default: 5)")
    arguments.add_argument("--tasks", nargs="+", default=list(METHODS), choices=list(METHODS), help="only these")
    args = parse(arguments)
    key = ("task", "method", "labels", "seed")
    table = Table("dagger", COLUMNS, key=key, saved=not args.quick, fresh=args.fresh)
    lakes, poles = (ON_LAKE[:2], ON_POLE[:1]) if args.quick else (ON_LAKE, ON_POLE)
    for task in [task for task in args.tasks if task != POLE]:
        for method in METHODS[task]:
            for seed in range(args.seeds):
                if not all(table.has(task=task, method=method, labels=n, seed=seed) for n in lakes):
                    run_lake(table, task, method, seed, lakes)
    for seed in range(min(args.seeds, args.pole_seeds) if POLE in args.tasks else 0):
        if not all(table.has(task=POLE, method=m, labels=n, seed=seed) for m in METHODS[POLE] for n in poles):
            run_pole(table, seed, poles, args.quick)
    print(hardware())
    report(table)
    if args.quick:
        return 0
    plot(table)
    return verdict(bounds(table)) if "deterministic" in args.tasks else 0


if __name__ == "__main__":
    sys.exit(main())
