"""
Tables as algorithms: what they learn of FrozenLake-v1, exactly, and how many steps of how many lanes they learn from.

    python benchmarks/tabular.py

Learned: 64 lanes, 120k steps, epsilon from 1 to 0.1, discount 0.99. The gap is exact, as a share of V*; it is measured
100 times, and what counts is the median of the last half: with steps of one length the greedy policy flickers to the
end, and its last gap is luck. ExpectedSARSA goes to the values of the policy that explores, so its error of Q is large.

Speed: env steps per CPU second, in turns, on one thread. A `TabularVecEnv` steps all lanes in a few array operations,
and a table learns from them in a few more; with SB3's `DummyVecEnv` each lane is a Python call. What one lane costs is
said beside a bare loop of ``env.step`` and SB3's own loop around it, in which nothing is learned.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from common import COLORS, Bound, Table, hardware, in_turns, panels, parse, parser, print_rows, save, verdict
from matplotlib.axes import Axes
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import DoubleQ, ExpectedSARSA, QLearning
from sb3_ext.planning import TabularMDP, TabularVecEnv, evaluate, solve
from sb3_ext.tabular import TableAlgorithm

LAKE, GAMMA = "FrozenLake-v1", 0.99
LANES = (1, 4, 16, 64, 256, 1024)
MEASUREMENTS = 100
SOLVED = 0.02  # share of V*
CONSTANT: Mapping[str, Any] = {"learning_rate": 0.1, "visit_power": 0.0}


class Contestant(NamedTuple):
    """An algorithm with its steps."""

    name: str
    algorithm: type[TableAlgorithm]
    settings: Mapping[str, Any]


CONTESTANTS = (
    Contestant("QLearning, step n^-0.6 (default)", QLearning, {}),
    Contestant("QLearning, step 0.1", QLearning, CONSTANT),
    Contestant("ExpectedSARSA, step 0.1", ExpectedSARSA, CONSTANT),
    Contestant("DoubleQ, step 0.1", DoubleQ, CONSTANT),
    Contestant("DoubleQ, step n^-0.6 (default)", DoubleQ, {}),
)


class Gaps(BaseCallback):
    """Keeps the exact gap of the greedy policy, as a share of V*."""

    def __init__(self, mdp: TabularMDP, every: int) -> None:
        super().__init__()
        self.mdp, self.best, self.every = mdp, solve(mdp), every
        self.steps, self.found = [0] * 0, [0.0] * 0

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.every * (len(self.found) + 1):
            assert isinstance(self.model, TableAlgorithm)
            value = evaluate(self.mdp, self.model.policy.values(np.arange(self.mdp.n_states)).argmax(axis=1))
            optimum = float(self.mdp.start @ self.best.v)
            self.steps.append(self.num_timesteps)
            self.found.append(1.0 - float(self.mdp.start @ value) / optimum)
        return True


def learned(contestant: Contestant, seed: int, n_steps: int) -> dict[str, object]:
    """:return: a row of the table"""
    mdp = TabularMDP.from_env(LAKE, gamma=GAMMA)
    model = contestant.algorithm("TablePolicy", TabularVecEnv(mdp, 64), gamma=GAMMA, seed=seed, **contestant.settings)
    gaps, begin = Gaps(mdp, n_steps // MEASUREMENTS), time.process_time()
    model.learn(n_steps, callback=gaps)
    seconds = time.process_time() - begin
    found = np.array(gaps.found)
    solved = np.flatnonzero(found <= SOLVED)
    inside = gaps.best.v > 0.0  # of holes and the goal nothing is learned
    errors = np.abs(model.policy.values(np.arange(mdp.n_states)) - gaps.best.q)[inside]
    return {
        "contestant": contestant.name,
        "seed": seed,
        "first": gaps.steps[solved[0]] if len(solved) else "",
        "median": round(float(np.median(found[len(found) // 2 :])), 4),
        "last": round(float(found[-1]), 4),
        "q_error": round(float(errors.max()), 3),
        "seconds": round(seconds, 2),
    }


# ---------------------------------------------------------------------- speed


class Idle(QLearning):
    """SB3's loop alone: actions are random, and nothing is learned."""

    def _sample_action(self, *_: Any, **__: Any) -> tuple[np.ndarray, np.ndarray]:
        actions = np.random.randint(4, size=self.n_envs)
        return actions, actions

    def train(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def bare_loop(n_steps: int) -> Callable[[], object]:
    env, actions = gym.make(LAKE), np.random.default_rng(0).integers(0, 4, n_steps)

    def work() -> None:
        env.reset(seed=0)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return work


def vec_loop(n_steps: int) -> Callable[[], object]:
    env, actions = make_vec_env(LAKE, 1, seed=0), np.random.default_rng(0).integers(0, 4, (n_steps, 1))
    env.reset()

    def work() -> None:
        for action in actions:
            env.step(action)

    return work


def learning(cls: type[TableAlgorithm], env: VecEnv, n_steps: int) -> Callable[[], object]:
    model = cls("TablePolicy", env, seed=0)
    return lambda: model.learn(n_steps)


def steps_per_second(scale: float, rounds: int) -> dict[str, np.ndarray]:
    """:return: [rounds] env steps per CPU second, by name"""
    mdp = TabularMDP.from_env(LAKE, gamma=GAMMA)
    few, many = int(4000 * scale), int(1024 * 200 * scale)
    n_steps = {
        "env.step": few,
        "DummyVecEnv.step": few,
        "SB3's loop": few,
        "gymnasium, 1": few,
        "gymnasium, 16": 4 * few,
    }
    works = {
        "env.step": bare_loop(few),
        "DummyVecEnv.step": vec_loop(few),
        "SB3's loop": learning(Idle, make_vec_env(LAKE, 1), few),
        "gymnasium, 1": learning(QLearning, make_vec_env(LAKE, 1), few),
        "gymnasium, 16": learning(QLearning, make_vec_env(LAKE, 16), 4 * few),
    }
    for n in LANES:
        name = f"table, {n}"
        n_steps[name] = min(few * n, many)
        works[name] = learning(QLearning, TabularVecEnv(mdp, n), n_steps[name])
    return {name: n_steps[name] / seconds for name, seconds in in_turns(works, rounds).items()}


def plot(speed: Mapping[str, np.ndarray]) -> None:
    figure, (axes,) = panels(1, width=5.2, height=3.4)
    values = [float(np.median(speed[f"table, {n}"])) for n in LANES]
    axes.loglog(LANES, values, "o-", color=COLORS[0], label="QLearning, TabularVecEnv")
    gymnasium = [float(np.median(speed[f"gymnasium, {n}"])) for n in (1, 16)]
    axes.loglog((1, 16), gymnasium, "s-", color=COLORS[1], label="QLearning, DummyVecEnv")
    for name, color in (("env.step", COLORS[4]), ("SB3's loop", COLORS[2])):
        label = {"env.step": "env.step in a bare loop", "SB3's loop": "SB3's loop, nothing learned"}[name]
        axes.axhline(float(np.median(speed[name])), color=color, linestyle=":", label=f"{label}, one lane")
    _name(axes)
    save(figure, "tabular_speed")


def _name(axes: Axes) -> None:
    axes.set_xticks(LANES, [f"{n:,}".replace(",", " ") for n in LANES])
    axes.minorticks_off()
    axes.set_xlabel("lanes")
    axes.set_ylabel("env steps per CPU second")
    axes.set_title("Q-learning on FrozenLake-v1")
    axes.set_ylim(top=8e6)  # room for the legend
    axes.legend(loc="upper left")


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    columns = ("contestant", "seed", "first", "median", "last", "q_error", "seconds")
    table = Table("tabular", columns, ("contestant", "seed"), saved=not args.quick, fresh=args.fresh)
    n_steps = 1_920 if args.quick else 120_000
    print(f"{hardware()}\n{LAKE}, gamma {GAMMA}, 64 lanes, {n_steps} steps, seeds 0 to {args.seeds - 1}\n")
    for contestant in CONTESTANTS:
        for seed in range(args.seeds):
            if not table.has(contestant=contestant.name, seed=seed):
                table.add(learned(contestant, seed, n_steps))
    rows = []
    for name in (contestant.name for contestant in CONTESTANTS):
        each = {column: table.values(column, contestant=name) for column in columns[2:]}
        shown = [_spread(each["first"] / 1000.0, "k"), *(_spread(each[x]) for x in ("median", "last", "q_error"))]
        rows.append((name, *shown, f"{n_steps / np.median(each['seconds']) / 1000:.0f}k"))
    print_rows(("", f"gap <= {SOLVED:g} at", "median of last half", "last gap", "error of Q", "steps/CPU-s"), rows)
    print()
    speed = steps_per_second(0.05 if args.quick else 1.0, 1 if args.quick else 7)
    middle = {name: float(np.median(x)) for name, x in speed.items()}
    print_rows(
        ("one thread", "env steps per CPU-s", "us per step of all lanes"),
        [(name, f"{x:.0f}", f"{1e6 / x * _lanes(name):.1f}") for name, x in middle.items()],
    )
    if not args.quick:
        plot(speed)
    of_bare, of_loop = (float(np.median(speed["gymnasium, 1"] / speed[name])) for name in ("env.step", "SB3's loop"))
    print(f"\nOne lane makes {of_bare:.2f} of the steps of a bare loop, SB3's own loop {of_bare / of_loop:.2f}")
    default = float(np.max(table.values("median", contestant=CONTESTANTS[0].name)))
    faster = float(np.median(speed["table, 256"] / speed["gymnasium, 16"]))
    sys.exit(
        verdict(
            [
                Bound("default, largest median gap of the last half", default, at_most=SOLVED),
                Bound("256 lanes of a table beside 16 of gymnasium", faster, at_least=8.0, unit="x"),
                Bound("one lane beside SB3's loop alone", of_loop, at_least=0.4, unit="x"),
            ]
        )
    )


def _spread(values: np.ndarray, unit: str = "") -> str:
    """:return: smallest and largest over seeds"""
    if np.isnan(values).any():
        return "never" if np.isnan(values).all() else f"{np.nanmin(values):.3g}{unit} to never"
    return f"{values.min():.3g}{unit} to {values.max():.3g}{unit}"


def _lanes(name: str) -> int:
    return int(name.rsplit(", ", 1)[-1]) if ", " in name else 1


if __name__ == "__main__":
    main()
